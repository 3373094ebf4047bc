// How the lines of a file fall into rows and columns, and whether its first line is a header.

import type { ValueRules } from '../../records/value/valueRules.ts'
import { columnsKnownAs, roles } from './columnMapping.ts'
import { type Delimiter, detectDelimiter, RecordAssembler } from './fields.ts'
import { presentTexts, splitterOf, type Table } from './tableLayout.ts'

/**
 * @param quoted false: quotes are characters like others, and each line is a record. @returns undefined if lines have
 *   no delimiter
 */
export function tableOf(
  head: readonly string[],
  quoted = true,
  given?: Delimiter
): { delimiter: Delimiter; quoted: boolean; rows: string[][] } | undefined {
  // Of the first line alone: quoted fields of the others may hold line ends, and then any delimiter.
  const first = head[0]?.includes('"') ? detectDelimiter([head[0]]) : undefined
  const delimiter = given ?? first ?? detectDelimiter(head.slice(0, 1000))
  if (delimiter === undefined) return undefined
  const rows: string[][] = []
  const quotes = quoted && delimiter !== 'space' && delimiter !== '::'
  const split = splitterOf(delimiter, quotes)
  const take = (_: number, record: string) => {
    const fields = split(record)
    if (fields !== undefined) rows.push(fields)
  }
  const records = new RecordAssembler(
    quotes ? delimiter : undefined,
    take,
    (record) => rows.length === 0 || split(record)?.length === rows[0]!.length
  )
  for (const [i, line] of head.entries()) records.add(i, line)
  records.end()
  return { delimiter, quoted: quotes, rows }
}

/** The table with its first row as names. */
export function withHeader({
  delimiter,
  quoted,
  rows
}: {
  delimiter: Delimiter
  quoted: boolean
  rows: readonly (readonly string[])[]
}): Table {
  const names = rows[0]!.map((name) => name.trim().replace(/\s+/g, ' '))
  return { delimiter, quoted, names, headerLines: 1, rows: rows.slice(1).filter((row) => row.length === names.length) }
}

/** The table with its columns numbered from 1. */
export function withoutHeader(
  { delimiter, quoted, rows }: { delimiter: Delimiter; quoted: boolean; rows: readonly (readonly string[])[] },
  width: number
): Table {
  const names = Array.from({ length: width }, (_, i) => String(i + 1))
  return { delimiter, quoted, names, headerLines: 0, rows: rows.filter((row) => row.length === width) }
}

/** The number of fields of all but a few rows; undefined if rows differ in length, as lists do. */
export function commonWidth(rows: readonly (readonly string[])[]): number | undefined {
  const counts = new Map<number, number>()
  for (const row of rows) counts.set(row.length, (counts.get(row.length) ?? 0) + 1)
  const [width, count] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [0, 0]
  // Broken rows are few; of lists, even the most frequent length is not nine in ten.
  return count > 0 && count >= rows.length * 0.9 ? width : undefined
}

/** Whether the first row has names: one that is known, or no number above a column of numbers. */
export function hasHeader(rows: readonly (readonly string[])[], rules: ValueRules): boolean {
  const [names, ...others] = rows
  if (names === undefined || names.some((name) => name.length > 100)) return false
  const isNumber = (text: string) => /^[+-]?[\d.,:/ -]*\d$/.test(text)
  if (names.some((name) => isNumber(name.trim()))) return false
  if (roles.some((role) => columnsKnownAs(role, names).length > 0)) return true
  if (names.length < 2 || names.some((name) => !/^[A-Za-z_][\w ./:()-]*$/.test(name.trim()))) return false
  return names.some((_, i) => {
    const texts = presentTexts(
      others.map((row) => row[i] ?? ''),
      rules
    )
    return (
      texts.length > 0 &&
      texts.filter((text) => /\d/.test(text)).length * 10 >= texts.length * 9 &&
      !/\d/.test(names[i]!)
    )
  })
}
