// A format, applied to one file: which parser reads its lines, and what they hold.

import { ConfigError } from '../../core/errors.ts'
import { detectTimeUnit, type TimeUnit } from '../../ingest/timeUnit.ts'
import { type ColumnMapping, completeMapping } from './columnMapping.ts'
import { detectDelimiter, splitPlain, splitQuoted } from './fields.ts'
import type { FormatName } from './formatName.ts'
import { atomicHeader, headerLine, rejectListColumns } from './headerLine.ts'
import { jsonField, jsonLine, parseObject } from './jsonLine.ts'
import type { LineParser } from './lineParser.ts'
import { listLine, type PlainColumn, plainLine } from './plainLine.ts'

/** Formats whose columns or fields have names. */
const namedFormats: ReadonlySet<FormatName> = new Set(['csv', 'jsonl', 'recbole', 'retailrocket', 'amazon-json'])

export interface BoundFormat {
  readonly parse: LineParser
  /** Lines at the start that are no rows: 0 or 1. */
  readonly headerLines: number
  /** Whether rows have event times. */
  readonly timed: boolean
  /** Whether a line holds several interactions. */
  readonly listed: boolean
  /** Where a quoted field may go on in the next line: what stands between fields. */
  readonly quotedDelimiter: string | undefined
  /** How times were understood; undefined without times. */
  readonly unit: TimeUnit | undefined
}

/**
 * @param head the file's first lines, empty ones left out
 * @param where the file's name, for messages
 * @throws ConfigError if the header, or the mapping, cannot be right for the file
 */
export function bindFormat(format: FormatName, head: readonly string[], columns: ColumnMapping, where: string): BoundFormat {
  const named = Object.keys(columns).filter((role) => role !== 'unit')
  if (named.length > 0 && !namedFormats.has(format)) {
    throw new ConfigError([
      `${where}: --columns ${named.map((role) => `${role}=…`).join(', ')}: ${format} has no column names; use it with --format ${[...namedFormats].join(', ')}`
    ])
  }
  switch (format) {
    case 'pairs':
    case 'clicks':
      return plain(['user', 'item'], 'click', head, columns)
    case 'flagged-pairs':
      return plain(['user', 'item', 'flag'], 'checkin', head, columns)
    case 'user-item-time':
      return plain(['user', 'item', 'time'], 'review', head, columns)
    case 'user-item-rating-time':
      return plain(['user', 'item', 'value', 'time'], 'rating', head, columns)
    case 'gowalla':
      return bound(plainLine(['user', 'time', 'flag', 'flag', 'item'], '\t', 'checkin', 'iso'), { timed: true, unit: 'iso' })
    case 'user-items':
    case 'sessions': {
      const delimiter = detectDelimiter(head.slice(0, 1000)) ?? 'space'
      return bound(listLine(delimiter, format === 'user-items', format === 'sessions' ? 'view' : 'click'), { listed: true })
    }
    case 'amazon-json':
    case 'jsonl':
      return json(format, head, columns, where)
    case 'recbole':
      return recbole(head, columns, where)
    case 'retailrocket':
      return csv(head, { user: 'visitorid', item: 'itemid', time: 'timestamp', type: 'event', unit: 'ms', ...columns }, where, 'view')
    case 'csv':
      return csv(head, columns, where)
  }
}

function bound(parse: LineParser, rest: Partial<BoundFormat> = {}): BoundFormat {
  return { parse, headerLines: 0, timed: false, listed: false, quotedDelimiter: undefined, unit: undefined, ...rest }
}

function plain(fields: readonly PlainColumn[], type: string, head: readonly string[], columns: ColumnMapping): BoundFormat {
  const delimiter = detectDelimiter(head.slice(0, 1000)) ?? 'space'
  const time = fields.indexOf('time')
  if (time < 0) return bound(plainLine(fields, delimiter, type))
  const times = head.map((line) => splitPlain(line, delimiter)[time]).filter((text) => text !== undefined)
  const unit = columns.unit ?? detectTimeUnit(times) ?? 's'
  return bound(plainLine(fields, delimiter, type, unit), { timed: true, unit })
}

function recbole(head: readonly string[], columns: ColumnMapping, where: string): BoundFormat {
  const atomic = atomicHeader(head[0] ?? '')
  if (atomic === undefined) {
    throw new ConfigError([
      `${where}: expected a tab-separated header of name:type columns (user_id:token, item_id:token, …), found ${JSON.stringify((head[0] ?? '').slice(0, 80))}`
    ])
  }
  rejectListColumns(atomic, where)
  const names = atomic.map(({ name }) => name)
  const mapping = completeMapping(columns, names, where)
  return mapped(head, names, mapping, '\t', false, where, mapping.value === 'rating' ? 'rating' : 'click')
}

function csv(head: readonly string[], columns: ColumnMapping, where: string, type?: string): BoundFormat {
  const delimiter = headerDelimiter(head)
  const names = splitQuoted(head[0] ?? '', delimiter)?.map((name) => name.trim()) ?? []
  const mapping = completeMapping(columns, names, where)
  return mapped(head, names, mapping, delimiter, true, where, type ?? (mapping.value?.toLowerCase() === 'rating' ? 'rating' : 'click'))
}

function mapped(
  head: readonly string[],
  names: readonly string[],
  mapping: ColumnMapping,
  delimiter: string,
  quoted: boolean,
  where: string,
  type: string
): BoundFormat {
  const twice = names.find((name, i) => names.indexOf(name) !== i && Object.values(mapping).includes(name))
  if (twice !== undefined) throw new ConfigError([`${where}: column ${JSON.stringify(twice)} is in the header twice; rename one of them`])
  const time = mapping.time
  const times =
    time === undefined
      ? []
      : head
          .slice(1)
          .map((line) => (quoted ? splitQuoted(line, delimiter) : line.split(delimiter))?.[names.indexOf(time)])
          .filter((text) => text !== undefined)
  const unit = time === undefined ? undefined : (mapping.unit ?? unitOf(times, time, where))
  return bound(headerLine({ names, mapping, delimiter, quoted, unit: unit ?? 's', type }), {
    headerLines: 1,
    timed: time !== undefined,
    quotedDelimiter: quoted ? delimiter : undefined,
    unit
  })
}

function json(format: 'amazon-json' | 'jsonl', head: readonly string[], columns: ColumnMapping, where: string): BoundFormat {
  const records = head.map(parseObject).filter((record) => record !== undefined)
  const names = [...new Set(records.flatMap(Object.keys))]
  if (names.length === 0)
    throw new ConfigError([`${where}: expected a JSON object on every line, found ${JSON.stringify((head[0] ?? '').slice(0, 80))}`])
  const amazon: ColumnMapping = {
    user: 'reviewerID',
    item: 'asin',
    time: 'unixReviewTime',
    ...(names.includes('overall') ? { value: 'overall' } : {})
  }
  const mapping = completeMapping(format === 'amazon-json' ? { ...amazon, ...columns } : columns, names, where)
  const time = mapping.time
  const times = time === undefined ? [] : records.map((record) => jsonField(record, time)).filter((text) => text !== undefined)
  const unit = time === undefined ? undefined : (mapping.unit ?? unitOf(times, time, where))
  const type = format === 'amazon-json' ? 'review' : mapping.value?.toLowerCase() === 'rating' ? 'rating' : 'click'
  return bound(jsonLine(mapping, unit ?? 's', type), { timed: time !== undefined, unit })
}

function headerDelimiter(head: readonly string[]): string {
  const delimiter = detectDelimiter(head.slice(0, 1))
  return delimiter === undefined || delimiter === 'space' ? ',' : delimiter
}

function unitOf(times: readonly string[], column: string, where: string): TimeUnit {
  const unit = detectTimeUnit(times)
  if (unit !== undefined || times.length === 0) return unit ?? 's'
  throw new ConfigError([
    `${where}: column ${column} is neither a number nor an ISO time: ${times
      .slice(0, 3)
      .map((text) => JSON.stringify(text))
      .join(', ')}; name another with --columns time=…, or give its unit with --columns unit=s, ms, us or iso`
  ])
}
