// What a file is, by its name and its first lines: which format, and how its columns are read. Where two readings are
// possible, an option decides; nothing is guessed.

import { ConfigError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import { timeReader } from '../../records/value/eventTime.ts'
import type { ValueRules } from '../../records/value/valueRules.ts'
import { looksLikeCatalogue } from './catalogue.ts'
import { type ColumnMapping, completeMapping, looksMapped, namesColumns, roles } from './columnMapping.ts'
import { type FormatName, fixedFormats, headerFormats, jsonFormats, type NamedColumns } from './formatName.ts'
import { jsonLayout, jsonNames, parseObject, rejectOtherJson } from './jsonLayout.ts'
import type { ReadingOptions } from './layout.ts'
import { metarankLayout, mindLayout, netflixLayout, ottoLayout } from './nestedFormats.ts'
import { atomicHeader, rejectListColumns } from './recbole.ts'
import { recogniseFixed, recogniseLists } from './recogniseFixed.ts'
import {
  because,
  interactions,
  notOf,
  type Recognition,
  type SampledFile,
  signatureOf,
  typeOf,
  unknownColumns
} from './recognition.ts'
import { presentTexts, type Table, tableLayout } from './tableLayout.ts'
import { commonWidth, hasHeader, tableOf, withHeader, withoutHeader } from './tableShape.ts'

/**
 * @param format as given; undefined: to be recognised
 * @throws ConfigError if the file cannot be of the given format, or is of a kind that must be converted first
 */
export function recognise(file: SampledFile, format: FormatName | undefined, options: ReadingOptions): Recognition {
  try {
    const found = recogniseFile(file, format, options)
    if (found.kind === 'interactions') rejectUnusable(file.path, found.format, options)
    return found
  } catch (error) {
    if (format !== undefined || !(error instanceof ConfigError)) throw error
    return { kind: 'ask', message: error.problems.join('\n') }
  }
}

/** Formats whose columns are fixed, as their records are no rows. */
const nested: ReadonlySet<FormatName> = new Set(['otto', 'metarank', 'mind', 'netflix', 'user-items', 'sessions'])

/** @throws ConfigError for options that would have no effect */
function rejectUnusable(path: string, format: FormatName, { filters, columns }: ReadingOptions): void {
  if (!nested.has(format)) return
  const unusable = [
    ...(filters.length > 0 ? ['--filter'] : []),
    ...(Object.keys(columns).length > 0 ? ['--columns'] : [])
  ]
  if (unusable.length > 0)
    throw new ConfigError([
      `${path}: ${unusable.join(' and ')} cannot be used with ${format}, whose records are no rows of columns`
    ])
}

function recogniseFile(file: SampledFile, format: FormatName | undefined, options: ReadingOptions): Recognition {
  const first = file.head[0]
  if (first === undefined) return { kind: 'unknown' }
  if (/^\s*[[{]/.test(first)) return recogniseJson(file, format, options)
  if (format === 'otto' || format === 'metarank' || format === 'jsonl' || format === 'amazon-json') {
    throw new ConfigError([`${file.path}: expected a JSON object on every line, found ${shorten(first)}`])
  }
  if (
    format === 'recbole' ||
    (format === undefined && file.name.endsWith('.inter') && atomicHeader(first) !== undefined)
  ) {
    return recogniseAtomic(file, options)
  }
  if (format === undefined && /\.(item|user|link|kg|net)$/.test(file.name)) return { kind: 'unknown' }
  if (format === 'netflix' || (format === undefined && /^\d+:\s*$/.test(first))) {
    return interactions('netflix', 'a line with a movie and a colon', netflixLayout(options.rules))
  }
  if (format === 'user-items' || format === 'sessions') return recogniseLists(file, format, options.rules)
  return recogniseTable(file, format, options)
}

function recogniseJson(
  { path, head }: SampledFile,
  format: FormatName | undefined,
  options: ReadingOptions
): Recognition {
  rejectOtherJson(head, path)
  const records = head.map(parseObject).filter((record) => record !== undefined)
  const [record] = records
  if (record === undefined)
    throw new ConfigError([`${path}: expected a JSON object on every line, found ${shorten(head[0]!)}`])
  const names = jsonNames(records)
  const guessing = format === undefined && !namesColumns(options.columns)
  if (format === 'otto' || (guessing && 'session' in record && Array.isArray(record.events))) {
    return interactions('otto', 'sessions with a list of events', ottoLayout(options.rules))
  }
  const events = ['interaction', 'ranking', 'item', 'user']
  if (
    format === 'metarank' ||
    (guessing && records.every(({ event, timestamp }) => events.includes(String(event)) && timestamp !== undefined))
  ) {
    return interactions('metarank', 'events named interaction, ranking, item or user', metarankLayout(options.rules))
  }
  const spec = jsonFormats.find(
    (one) => (format === undefined || one.format === format) && one.names.every((name) => names.includes(name))
  )
  if (spec === undefined && format !== undefined && format !== 'jsonl') throw notOf(path, format, names)
  if (spec === undefined && guessing && !looksMapped(names)) {
    return looksLikeCatalogue(names)
      ? { kind: 'catalogue' }
      : unknownColumns(
          path,
          names,
          records.map((one) => JSON.stringify(one))
        )
  }
  const mapping = completeMapping(options.columns, spec?.mapping ?? {}, names, path)
  const reading = spec ?? { type: typeOf(mapping) }
  const layout = jsonLayout(records, mapping, reading, options, path)
  const found = spec?.format ?? 'jsonl'
  return interactions(
    found,
    because(options, `JSON lines with ${spec === undefined ? 'a user and an item' : spec.names.join(', ')}`),
    layout,
    signatureOf(found, names)
  )
}

function recogniseAtomic({ path, head }: SampledFile, options: ReadingOptions): Recognition {
  const atomic = atomicHeader(head[0]!)
  if (atomic === undefined) {
    throw new ConfigError([
      `${path}: expected a tab-separated header of name:type columns (user_id:token, item_id:token, …), found ${shorten(head[0]!)}`
    ])
  }
  rejectListColumns(atomic, path)
  const split = tableOf(head, false, '\t')!
  const table = { ...withHeader(split), names: atomic.map(({ name }) => name) }
  const mapping = completeMapping(options.columns, {}, table.names, path)
  return interactions(
    'recbole',
    'a .inter file with a name:type header',
    tableLayout(table, mapping, { type: typeOf(mapping) }, options, path)
  )
}

function recogniseTable(file: SampledFile, format: FormatName | undefined, options: ReadingOptions): Recognition {
  const split = tableOf(file.head)
  if (split === undefined) {
    if (format !== undefined)
      throw new ConfigError([
        `${file.path}: expected fields with a delimiter between them, found ${shorten(file.head[0]!)}`
      ])
    return { kind: 'unknown' }
  }
  const mind = recogniseMind(file, format, options.rules)
  if (mind !== undefined) return mind
  const headed =
    split.delimiter !== 'space' &&
    split.delimiter !== '::' &&
    (isNamed(split.rows[0]!, options.columns) || hasHeader(split.rows, options.rules))
  const fixed = format === undefined ? [] : fixedFormats.filter((one) => one.format === format)
  if (headed && (format === undefined || format === 'csv' || headerFormats.some((one) => one.format === format))) {
    return recogniseHeader(file, withHeader(split), format, options)
  }
  if (format !== undefined && format !== 'csv' && fixed.length === 0) throw notOf(file.path, format, split.rows[0]!)
  const given = [...new Set(fixed.map(({ columns }) => columns.length))].sort(
    (a, b) => rowsOf(split.rows, b) - rowsOf(split.rows, a)
  )[0]
  if (given !== undefined && rowsOf(split.rows, given) === 0) throw notOf(file.path, format!, split.rows[0]!)
  const width = given ?? commonWidth(split.rows)
  if (width === undefined || width < 2) {
    if (format === undefined && !namesColumns(options.columns)) return recogniseLists(file, undefined, options.rules)
    const [widest] = [...split.rows].sort((a, b) => b.length - a.length)
    throw new ConfigError([
      `${file.path}: expected lines with the same number of fields, found ${split.rows[0]!.length} to ${widest!.length}`
    ])
  }
  return recogniseFixed(file, withoutHeader(split, width), format, options)
}

function rowsOf(rows: readonly (readonly string[])[], width: number): number {
  return rows.filter((row) => row.length === width).length
}

/** Whether all names that are given, and are no numbers, are in the first row. */
function isNamed(row: readonly string[], columns: ColumnMapping): boolean {
  const given = roles
    .map((role) => columns[role])
    .filter((name) => name !== undefined && !/^\d+$/.test(name) && name !== 'none')
  return given.length > 0 && given.every((name) => row.some((cell) => cell.trim() === name))
}

function recogniseMind(
  { name, head }: SampledFile,
  format: FormatName | undefined,
  rules: ValueRules
): Recognition | undefined {
  const readTime = timeReader({ format: 'M/d/yyyy h:mm:ss a' })
  const rows = head.slice(0, 100).map((line) => line.split('\t'))
  const fits = rows.filter(
    (row) => row.length === 5 && !Number.isNaN(readTime(row[2]!)) && /^(\S+-[01]( |$))+/.test(row[4]!)
  ).length
  if (format !== 'mind' && (format !== undefined || fits * 2 <= rows.length)) return undefined
  return interactions(
    'mind',
    name === 'behaviors.tsv' ? 'behaviors.tsv' : 'five columns, the last of items with -0 or -1',
    mindLayout(rules)
  )
}

function recogniseHeader(
  file: SampledFile,
  table: Table,
  format: FormatName | undefined,
  options: ReadingOptions
): Recognition {
  const { names, rows } = table
  const has = (spec: NamedColumns) => spec.names.every((name) => names.includes(name))
  const spec = headerFormats.find((one) => (format === undefined || one.format === format) && has(one))
  if (spec === undefined && format !== undefined && format !== 'csv') throw notOf(file.path, format, names)
  if (spec === undefined && !namesColumns(options.columns) && !looksMapped(names)) {
    if (looksLikeCatalogue(names)) return { kind: 'catalogue' }
    return unknownColumns(
      file.path,
      names,
      rows.map((row) => row.join(' │ '))
    )
  }
  const empty = (name: string) =>
    presentTexts(
      rows.map((row) => row[names.indexOf(name)]!),
      options.rules
    ).length *
      2 <
    rows.length
  const mapping = completeMapping(options.columns, spec?.mapping ?? {}, names, file.path, empty)
  const layout = tableLayout(table, mapping, spec ?? { type: typeOf(mapping) }, options, file.path)
  const found = spec?.format ?? 'csv'
  return interactions(
    found,
    because(options, `a header with ${spec === undefined ? 'a user and an item' : spec.names.join(', ')}`),
    layout,
    signatureOf(found, names)
  )
}
