// What was recognised of a file, and the parts that the ways to recognise one share.

import { ConfigError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import { type ColumnMapping, columnsKnownAs, namesColumns } from './columnMapping.ts'
import { type FormatName, formats } from './formatName.ts'
import type { Layout, ReadingOptions } from './layout.ts'

export interface SampledFile {
  readonly path: string
  /** Without folders and the ending of a packed file. */
  readonly name: string
  /** Its first lines, empty ones left out; with a thousand or more, pairs can be distinguished from clicks and lists from sessions. */
  readonly head: readonly string[]
}

export type Recognition =
  | {
      readonly kind: 'interactions'
      readonly format: FormatName
      /** Why, for the user; where another reading was possible, what was assumed. */
      readonly because: string
      readonly layout: Layout
      /** Files of one data set have the same. */
      readonly signature: string
    }
  /** Items and their titles. */
  | { readonly kind: 'catalogue' }
  /** Interactions, and an option must be given before they can be read. */
  | { readonly kind: 'ask'; readonly message: string }
  /** None that are known. `hint`: the message, if the data set has no other file. */
  | { readonly kind: 'unknown'; readonly hint?: string }

export function interactions(
  format: FormatName,
  because: string,
  layout: Layout,
  signature: string = format
): Recognition {
  return { kind: 'interactions', format, because, layout, signature }
}

export function typeOf(mapping: ColumnMapping): string {
  return /rating/i.test(mapping.value ?? '') ? 'rating' : 'click'
}

export function because(options: ReadingOptions, otherwise: string): string {
  return namesColumns(options.columns) ? 'with the columns given' : otherwise
}

/** Files with the same columns are parts of one data set; those of a named format always are. */
export function signatureOf(format: FormatName, names: readonly string[]): string {
  return format === 'csv' || format === 'jsonl' ? `${format} ${names.join(',')}` : format
}

export function notOf(path: string, format: FormatName, found: readonly string[]): ConfigError {
  return new ConfigError([
    `${path} is not ${format} (${formats[format]}): it has ${found.length} columns: ${shorten(found.join(', '), 120)}`
  ])
}

/** A user or an item is among the columns, and not both: the option `--columns` must name the other. */
export function unknownColumns(path: string, names: readonly string[], rows: readonly string[]): Recognition {
  const shown = rows.slice(0, 3).map((row) => `        ${shorten(row, 160)}`)
  const [user, item] = [columnsKnownAs('user', names)[0], columnsKnownAs('item', names)[0]]
  const known = [user === undefined ? [] : [`user = ${user}`], item === undefined ? [] : [`item = ${item}`]].flat()
  const text =
    `${path}: ${known.length === 0 ? 'no column is known to be the user or the item' : `${known.join(', ')}, and no column is known to be the ${user === undefined ? 'user' : 'item'}`}; ` +
    `there are ${names.join(', ')}:\n${shown.join('\n')}\n` +
    `    Name them with --columns user=…,item=…,time=…,type=…,value=…`
  return known.length === 1 && user !== undefined ? { kind: 'ask', message: text } : { kind: 'unknown', hint: text }
}
