// Parsers of files with a header: CSV and TSV by column mapping, RecBole's .inter, Retail Rocket's events.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import { parseTimeMs, type TimeUnit } from '../../ingest/timeUnit.ts'
import type { ColumnMapping } from './columnMapping.ts'
import { splitQuoted } from './fields.ts'
import { checkId, type LineParser, parseValue } from './lineParser.ts'

export interface HeaderLineOptions {
  readonly names: readonly string[]
  /** Names of columns by role; user and item are among them. */
  readonly mapping: ColumnMapping
  readonly delimiter: string
  /** Whether fields may be quoted, as in CSV; RecBole's are not. */
  readonly quoted: boolean
  /** Of the time column, where there is one. */
  readonly unit: TimeUnit
  /** Of a row without a type column, or with nothing in it. */
  readonly type: string
}

/** One interaction a line, in the columns that a header names. */
export function headerLine(options: HeaderLineOptions): LineParser {
  const { names, mapping, delimiter, quoted, unit } = options
  const at = (name: string | undefined) => (name === undefined ? -1 : names.indexOf(name))
  const [user, item, time, type, value] = [
    at(mapping.user),
    at(mapping.item),
    at(mapping.time),
    at(mapping.type),
    at(mapping.value)
  ] as const
  return (line, emit) => {
    const fields = quoted ? splitQuoted(line, delimiter) : line.split(delimiter)
    if (fields === undefined) throw new BadEventError(`a quoted field never ends: ${shorten(line)}`)
    if (fields.length !== names.length) {
      throw new BadEventError(`expected ${names.length} fields (${shortNames(names)}), found ${fields.length}: ${shorten(line)}`)
    }
    const userId = checkId('user', fields[user]?.trim(), line)
    const itemId = checkId('item', fields[item]?.trim(), line)
    const timeMs = time < 0 ? Number.NaN : parseTimeMs(fields[time]!, unit, line)
    emit(
      userId,
      itemId,
      (type < 0 ? '' : fields[type]!.trim()) || options.type,
      timeMs,
      value < 0 ? undefined : parseValue(fields[value], line)
    )
  }
}

/** A column of a RecBole atomic file: `user_id:token`. */
export interface AtomicColumn {
  readonly name: string
  readonly type: 'token' | 'token_seq' | 'float' | 'float_seq'
}

const atomicTypes = ['token', 'token_seq', 'float', 'float_seq']

/** The columns of an atomic file's header line; undefined if it is none. */
export function atomicHeader(line: string): AtomicColumn[] | undefined {
  const columns = line.split('\t').map((field) => {
    const colon = field.lastIndexOf(':')
    return { name: field.slice(0, colon).trim(), type: field.slice(colon + 1).trim() }
  })
  return columns.every(({ name, type }) => name !== '' && atomicTypes.includes(type)) ? (columns as AtomicColumn[]) : undefined
}

/** @throws ConfigError for an .inter file that holds whole lists, which is another protocol's data */
export function rejectListColumns(columns: readonly AtomicColumn[], where: string): void {
  const list = columns.find(({ name, type }) => /^item_id_list$/.test(name) && type === 'token_seq')
  if (list === undefined) return
  throw new ConfigError([
    `${where}: column ${list.name}:${list.type} holds examples already cut from sequences; give the .inter file with one interaction a line`
  ])
}

function shortNames(names: readonly string[]): string {
  return names.length <= 8 ? names.join(', ') : `${names.slice(0, 7).join(', ')}, … ${names.at(-1)}`
}
