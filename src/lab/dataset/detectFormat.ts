// Which format a file has, by its name and its first lines.

import { detectTimeUnit } from '../../ingest/timeUnit.ts'
import { looksMapped } from './columnMapping.ts'
import { type Delimiter, detectDelimiter, splitPlain, splitQuoted } from './fields.ts'
import type { FormatName } from './formatName.ts'
import { atomicHeader } from './headerLine.ts'
import { parseObject } from './jsonLine.ts'

export interface DetectedFormat {
  readonly format: FormatName
  /** Why, for the user; where another reading was possible, what was assumed. */
  readonly because: string
}

/**
 * @param name of the file, without folders and `.gz`
 * @param head its first lines, empty ones left out; a thousand or more tell pairs from clicks and lists from sessions
 * @returns undefined if it is none of the formats
 */
export function detectFormat(name: string, head: readonly string[]): DetectedFormat | undefined {
  const first = head[0]
  if (first === undefined) return undefined
  if (name.endsWith('.inter') && atomicHeader(first) !== undefined)
    return { format: 'recbole', because: 'a .inter file with a name:type header' }
  if (/\.(item|user|link|kg|net)$/.test(name)) return undefined
  const json = parseObject(first)
  if (json !== undefined) return detectJson(json)
  // The first line may be a header: the shape is that of the others.
  const delimiter = detectDelimiter(head.slice(0, 1000))
  if (delimiter === undefined) return undefined
  if (delimiter !== 'space' && delimiter !== '::') {
    const names = splitQuoted(first, delimiter)?.map((field) => field.trim()) ?? []
    if (['visitorid', 'event', 'itemid', 'timestamp'].every((column) => names.includes(column))) {
      return { format: 'retailrocket', because: `a header ${names.join(',')}` }
    }
    if (looksMapped(names)) return { format: 'csv', because: `a header ${names.join(', ')}` }
  }
  const rows = head.map((line) => (delimiter === ',' ? (splitQuoted(line, delimiter) ?? []) : splitPlain(line, delimiter)))
  const width = commonWidth(rows)
  if (looksLikeHeader(rows)) return undefined
  return width === undefined
    ? detectLists(rows)
    : detectRows(
        name,
        rows.filter((row) => row.length === width),
        width,
        delimiter
      )
}

function detectJson(record: Readonly<Record<string, unknown>>): DetectedFormat | undefined {
  const names = Object.keys(record)
  if ('reviewerID' in record && 'asin' in record) return { format: 'amazon-json', because: 'JSON lines with reviewerID and asin' }
  if (looksMapped(names)) return { format: 'jsonl', because: `JSON lines with ${names.join(', ')}` }
  return undefined
}

/** The number of fields of all but a few rows; undefined if rows differ in length, as lists do. */
function commonWidth(rows: readonly (readonly string[])[]): number | undefined {
  const counts = new Map<number, number>()
  for (const row of rows) counts.set(row.length, (counts.get(row.length) ?? 0) + 1)
  const [width, count] = [...counts].sort((a, b) => b[1] - a[1])[0]!
  // Broken rows are few; of lists, even the most frequent length is not nine in ten.
  return count >= rows.length * 0.9 ? width : undefined
}

function detectRows(name: string, rows: readonly (readonly string[])[], width: number, delimiter: Delimiter): DetectedFormat | undefined {
  const column = (i: number) => rows.map((row) => row[i]!)
  const unit = (i: number) => {
    const found = detectTimeUnit(column(i))
    // Small integers are ids or flags; a time in seconds has at least nine digits since 1973.
    return found === 's' && rows.filter((row) => Number(row[i]) >= 1e8).length < rows.length * 0.9 ? undefined : found
  }
  if (width === 5 && delimiter === '\t' && unit(1) === 'iso')
    return { format: 'gowalla', because: 'user, ISO time, latitude, longitude, location' }
  if (width === 4 && unit(3) !== undefined) return { format: 'user-item-rating-time', because: 'four columns, the last a time' }
  if (width === 3 && unit(2) !== undefined) return { format: 'user-item-time', because: 'three columns, the last a time' }
  if (width === 3 && rows.length > 1 && column(2).every((flag) => flag === '1'))
    return { format: 'flagged-pairs', because: 'three columns, the last always 1' }
  if (width === 2) {
    if (/^(period|week|day|month)[_-]?\d+/i.test(name)) return { format: 'clicks', because: 'two columns, and files named after periods' }
    return usersRecur(column(0))
      ? { format: 'clicks', because: 'two columns, and the ids of the first come back after others: taken as one time order' }
      : { format: 'pairs', because: "two columns, and each id of the first in one run: taken as each user's own order" }
  }
  return width >= 3 ? detectLists(rows) : undefined
}

/** Lists begin with a user's id if that id is a line's own: never a line's first twice, and ascending or never an item. */
function detectLists(rows: readonly (readonly string[])[]): DetectedFormat | undefined {
  const lists = rows.filter((row) => row.length > 0)
  // Prose has lines of words, too; ids have digits. Lists of other ids need --format.
  const fields = lists.flat()
  if (fields.filter((field) => /\d/.test(field)).length < fields.length * 0.9) return undefined
  const firsts = lists.map((row) => row[0]!)
  const unique = new Set(firsts).size === firsts.length
  const ascending = firsts.every((id, i) => /^\d+$/.test(id) && (i === 0 || Number(id) > Number(firsts[i - 1])))
  const items = new Set(lists.flatMap((row) => row.slice(1)))
  if (unique && lists.every((row) => row.length > 1)) {
    if (ascending)
      return { format: 'user-items', because: 'lists whose first ids ascend: taken as users (if they are items: --format sessions)' }
    if (!firsts.some((id) => items.has(id))) {
      return {
        format: 'user-items',
        because: 'lists whose first ids are never elsewhere: taken as users (if they are items: --format sessions)'
      }
    }
  }
  return {
    format: 'sessions',
    because: 'lists whose first ids come again like items: a line is a session (if they are users: --format user-items)'
  }
}

/** A first line of names over lines of numbers: columns that only the user knows (--columns). */
function looksLikeHeader(rows: readonly (readonly string[])[]): boolean {
  const [names, ...others] = rows
  if (names === undefined || others.length === 0 || names.length < 2 || names.some((name) => !/^[A-Za-z_][A-Za-z_ ]*$/.test(name)))
    return false
  return names.every((_, i) => others.every((row) => row[i] === undefined || /\d/.test(row[i])))
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
