// Files without a header: tables whose columns are known by number or by evidence, pairs, and lists of items.

import type { ValueRules } from '../../records/value/valueRules.ts'
import { type ColumnMapping, completeMapping, namesColumns } from './columnMapping.ts'
import { splitPlain } from './fields.ts'
import { type FixedColumns, type FormatName, fixedFormats } from './formatName.ts'
import { columnKinds, shownReadings, tableReadings } from './inspectTable.ts'
import type { ReadingOptions } from './layout.ts'
import { listLayout } from './nestedFormats.ts'
import {
  interactions,
  notOf,
  type Recognition,
  type SampledFile,
  signatureOf,
  typeOf,
  unknownColumns
} from './recognition.ts'
import { type Table, tableLayout } from './tableLayout.ts'
import { tableOf } from './tableShape.ts'

export function recogniseFixed(
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
    return csv(table, mapping, 'with the columns given', options, file.path)
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

function csv(table: Table, mapping: ColumnMapping, why: string, options: ReadingOptions, where: string): Recognition {
  const layout = tableLayout(table, mapping, { type: typeOf(mapping) }, options, where)
  return interactions('csv', why, layout, signatureOf('csv', table.names))
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

/** Two columns of ids without names: evidence decides which of them is the user, or else an option. */
function recogniseReadings({ path, name }: SampledFile, table: Table, options: ReadingOptions): Recognition {
  const readings = tableReadings(table, options.rules)
  const [only, other] = readings
  if (only === undefined)
    return unknownColumns(
      path,
      table.names,
      table.rows.map((row) => row.join(' │ '))
    )
  if (other === undefined) return csv(table, only.mapping, `no header, and ${only.because}`, options, path)
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
export function recogniseLists(
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
