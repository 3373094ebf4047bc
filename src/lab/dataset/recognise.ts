// What a file is, by its name and its first lines: which format, and how its columns are read. What could be read in
// two ways is asked, not guessed.

import { ConfigError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import { timeReader } from '../../records/value/eventTime.ts'
import type { ValueRules } from '../../records/value/valueRules.ts'
import { looksLikeCatalogue } from './catalogue.ts'
import {
  type ColumnMapping,
  columnsKnownAs,
  completeMapping,
  looksMapped,
  namesColumns,
  roles
} from './columnMapping.ts'
import { splitPlain } from './fields.ts'
import {
  type FixedColumns,
  type FormatName,
  fixedFormats,
  formats,
  headerFormats,
  jsonFormats,
  type NamedColumns
} from './formatName.ts'
import { columnKinds, shownReadings, tableReadings } from './inspectTable.ts'
import { jsonLayout, jsonNames, parseObject, rejectOtherJson } from './jsonLayout.ts'
import type { Layout, ReadingOptions } from './layout.ts'
import { listLayout, metarankLayout, mindLayout, netflixLayout, ottoLayout } from './nestedFormats.ts'
import { atomicHeader, rejectListColumns } from './recbole.ts'
import { presentTexts, type Table, tableLayout } from './tableLayout.ts'
import { commonWidth, hasHeader, tableOf, withHeader, withoutHeader } from './tableShape.ts'

export interface SampledFile {
  readonly path: string
  /** Without folders and the ending of a packed file. */
  readonly name: string
  /** Its first lines, empty ones left out; a thousand or more tell pairs from clicks and lists from sessions. */
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
  /** Interactions, and something must be said before they can be read. */
  | { readonly kind: 'ask'; readonly message: string }
  /** None that are known. `hint`: what to say of it, if it was all that there is. */
  | { readonly kind: 'unknown'; readonly hint?: string }

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

/** @throws ConfigError for what the user says and nothing would come of */
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

function interactions(format: FormatName, because: string, layout: Layout, signature: string = format): Recognition {
  return { kind: 'interactions', format, because, layout, signature }
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
          records.slice(0, 3).map((one) => shorten(JSON.stringify(one), 160))
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
      rows.slice(0, 3).map((row) => shorten(row.join(' │ '), 160))
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

function recogniseFixed(
  file: SampledFile,
  table: Table,
  format: FormatName | undefined,
  options: ReadingOptions
): Recognition {
  const { names } = table
  const wide = fixedFormats.filter((one) => one.columns.length === names.length)
  if (format !== undefined && format !== 'csv') {
    const candidates = wide.filter((one) => one.format === format)
    const spec = candidates.find((one) => fitsFixed(one, file, table)) ?? candidates[0]
    if (spec === undefined) throw notOf(file.path, format, table.rows[0] ?? [])
    return fixed(spec, table, 'as given', options, file.path)
  }
  if (namesColumns(options.columns)) {
    const mapping = completeMapping(options.columns, {}, names, file.path)
    return interactions(
      'csv',
      'with the columns given',
      tableLayout(table, mapping, { type: typeOf(mapping) }, options, file.path),
      signatureOf('csv', names)
    )
  }
  if (format === undefined) {
    const spec = wide.find((one) => fitsFixed(one, file, table))
    if (spec !== undefined)
      return fixed(spec, table, `${names.length} columns as ${spec.format} has them`, options, file.path)
    if (names.length === 2 && columnKinds(table, options.rules).every(({ kind }) => kind !== 'time'))
      return recognisePairs(file, table, options)
  }
  return recogniseReadings(file, table, options)
}

function fitsFixed(spec: FixedColumns, { name }: SampledFile, table: Table): boolean {
  if (spec.delimiter !== undefined && spec.delimiter !== table.delimiter) return false
  if (spec.fileName !== undefined) return spec.fileName.test(name)
  if (spec.evidence === undefined) return false
  return spec.evidence.every((pattern, i) => {
    if (pattern === undefined) return true
    const cells = table.rows.map((row) => row[i]!.trim()).filter((cell) => cell !== '')
    return (
      cells.length > 0 &&
      cells.filter((cell) => pattern.test(cell)).length * 10 >= cells.length * 9 &&
      (spec.format !== 'flagged-pairs' || cells.length > 1)
    )
  })
}

function fixed(spec: FixedColumns, table: Table, why: string, options: ReadingOptions, where: string): Recognition {
  const roleOf = Object.fromEntries(
    spec.columns.flatMap((column, i) => (column.startsWith('-') ? [] : [[column, table.names[i]!]]))
  )
  const mapping = completeMapping(options.columns, roleOf, table.names, where)
  const unquoted = spec.quoted === false ? { ...table, quoted: false } : table
  return interactions(spec.format, why, tableLayout(unquoted, mapping, spec, options, where))
}

function recognisePairs({ name, path }: SampledFile, table: Table, options: ReadingOptions): Recognition {
  const spec = (format: FormatName) => fixedFormats.find((one) => one.format === format)!
  if (/^(period|week|day|month)[_-]?\d+/i.test(name))
    return fixed(spec('clicks'), table, 'two columns, and files named after periods', options, path)
  const recur = usersRecur(table.rows.map((row) => row[0]!))
  const why = recur
    ? 'two columns, and the ids of the first come back after others: taken as one time order'
    : "two columns, and each id of the first in one run: taken as each user's own order"
  return fixed(
    spec(recur ? 'clicks' : 'pairs'),
    table,
    `${why}; if the first is the item: --columns user=2,item=1`,
    options,
    path
  )
}

/** Two columns of ids without names: which of them is the user is known by evidence, or asked. */
function recogniseReadings({ path, name }: SampledFile, table: Table, options: ReadingOptions): Recognition {
  const readings = tableReadings(table, options.rules)
  const [only, other] = readings
  if (only === undefined)
    return unknownColumns(
      path,
      table.names,
      table.rows.slice(0, 3).map((row) => shorten(row.join(' │ '), 160))
    )
  if (other === undefined) {
    const layout = tableLayout(table, only.mapping, { type: typeOf(only.mapping) }, options, path)
    return interactions('csv', `no header, and ${only.because}`, layout, signatureOf('csv', table.names))
  }
  const named = fixedFormats
    .filter((one) => one.columns.length === table.names.length && one.quoted !== false)
    .map((one) => one.format)
    .filter((one, i, all) => all.indexOf(one) === i && one !== 'flagged-pairs')
  const lists = columnKinds(table, options.rules).every(({ kind }) => kind === 'id' || kind === 'value')
    ? ['user-items', 'sessions']
    : []
  return {
    kind: 'ask',
    message:
      `${path}: ${name} has no header, and nothing in it says which column is the user and which the item. Say which:\n${shownReadings(table, readings, options.rules)}\n` +
      `    or other columns by number, or its format with --format${[...named, ...lists].length === 0 ? '' : `, such as ${[...named, ...lists].join(', ')}`}`
  }
}

/**
 * Lists begin with a user's id if that id is a line's own: never a line's first twice, and ascending or never an item.
 */
function recogniseLists(
  { head, path }: SampledFile,
  given: 'user-items' | 'sessions' | undefined,
  rules: ValueRules
): Recognition {
  const split = tableOf(head, false)
  if (split === undefined && given === undefined) return { kind: 'unknown' }
  const delimiter = split?.delimiter ?? 'space'
  const list = (format: 'user-items' | 'sessions', why: string) =>
    interactions(format, why, listLayout(delimiter, format === 'user-items', rules))
  if (given !== undefined) return list(given, 'as given')
  const lists = head.map((line) => splitPlain(line, delimiter)).filter((row) => row.length > 0)
  const fields = lists.flat()
  // Prose has lines of words, too; ids have digits. Lists of other ids need --format.
  if (fields.filter((field) => /\d/.test(field)).length < fields.length * 0.9) return { kind: 'unknown' }
  const column = columnKinds({ names: ['1', '2', '3', '4', '5'], rows: lists }, rules).findIndex(
    ({ kind }) => kind === 'type' || kind === 'decimal'
  )
  const dated = lists.some((row) => row.some((field) => /^\d{4}-\d\d-\d\d/.test(field)))
  if (column >= 0 || dated) {
    return {
      kind: 'unknown',
      hint: `${path}: lines differ in length, and hold ${dated ? 'times' : 'more than ids'}: they are no lists of items`
    }
  }
  const firsts = lists.map((row) => row[0]!)
  const unique = new Set(firsts).size === firsts.length
  const ascending = firsts.every((id, i) => /^\d+$/.test(id) && (i === 0 || Number(id) > Number(firsts[i - 1])))
  const items = new Set(lists.flatMap((row) => row.slice(1)))
  if (unique && lists.every((row) => row.length > 1)) {
    if (ascending)
      return list('user-items', 'lists whose first ids ascend: taken as users (if they are items: --format sessions)')
    if (!firsts.some((id) => items.has(id))) {
      return list(
        'user-items',
        'lists whose first ids are never elsewhere: taken as users (if they are items: --format sessions)'
      )
    }
  }
  return list(
    'sessions',
    'lists whose first ids come again like items: a line is a session (if they are users: --format user-items)'
  )
}

/** Whether an id comes back after another one. */
export function usersRecur(ids: readonly string[]): boolean {
  const seen = new Set<string>()
  return ids.some((id, i) => {
    if (i > 0 && id === ids[i - 1]) return false
    if (seen.has(id)) return true
    seen.add(id)
    return false
  })
}

function typeOf(mapping: ColumnMapping): string {
  return /rating/i.test(mapping.value ?? '') ? 'rating' : 'click'
}

function because(options: ReadingOptions, otherwise: string): string {
  return namesColumns(options.columns) ? 'with the columns given' : otherwise
}

/** Files with the same columns are parts of one data set; those of a named format always are. */
function signatureOf(format: FormatName, names: readonly string[]): string {
  return format === 'csv' || format === 'jsonl' ? `${format} ${names.join(',')}` : format
}

function notOf(path: string, format: FormatName, found: readonly string[]): ConfigError {
  return new ConfigError([
    `${path} is not ${format} (${formats[format]}): it has ${found.length} columns: ${shorten(found.join(', '), 120)}`
  ])
}

/** A user or an item is among the columns, and not both: somebody must say which is the other. */
function unknownColumns(path: string, names: readonly string[], rows: readonly string[]): Recognition {
  const [user, item] = [columnsKnownAs('user', names)[0], columnsKnownAs('item', names)[0]]
  const known = [user === undefined ? [] : [`user = ${user}`], item === undefined ? [] : [`item = ${item}`]].flat()
  const text =
    `${path}: ${known.length === 0 ? 'no column is known to be the user or the item' : `${known.join(', ')}, and no column is known to be the ${user === undefined ? 'user' : 'item'}`}; ` +
    `there are ${names.join(', ')}:\n${rows.map((row) => `        ${row}`).join('\n')}\n` +
    `    Name them with --columns user=…,item=…,time=…,type=…,value=…`
  return known.length === 1 && user !== undefined ? { kind: 'ask', message: text } : { kind: 'unknown', hint: text }
}
