// Tables: rows of fields between delimiters, with or without a header.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import { compileFilters } from '../../ingest/mapping/sourceFilter.ts'
import { compileTimeParser, type TimeForm, timeReader } from '../../records/value/eventTime.ts'
import { splitQuoted } from '../../records/value/splitQuoted.ts'
import { cleanText, type ValueRules } from '../../records/value/valueRules.ts'
import { type ColumnMapping, givenTimeForm, roles } from './columnMapping.ts'
import { detectTime } from './detectTime.ts'
import { type Delimiter, splitPlain } from './fields.ts'
import { type Layout, layoutOf, type ReadingOptions, shownMapping, shownTimes } from './layout.ts'
import { checkId, isFloatColumn, type LineParser, parseValue } from './lineParser.ts'

/** How a table's lines fall into fields, and its first ones. */
export interface Table {
  readonly delimiter: Delimiter
  /** Whether fields may be quoted, as in CSV. */
  readonly quoted: boolean
  /** Of the columns; their numbers from 1 where the file has no header. */
  readonly names: readonly string[]
  readonly headerLines: 0 | 1
  /** Sound rows from the start, without the header. */
  readonly rows: readonly (readonly string[])[]
}

/** What a format says of a table beyond its columns. */
export interface TableReading {
  /** Of rows without a type. */
  readonly type: string
  /** Their types → ours; others keep their name. */
  readonly types?: Readonly<Record<string, string>> | undefined
  /** Only rows with one of these types are interactions. */
  readonly onlyTypes?: readonly string[] | undefined
  /** How times are written, where the format fixes it. */
  readonly time?: TimeForm | undefined
  /** A text before each time, for times that leave a part out. */
  readonly timePrefix?: string | undefined
  /** A column of milliseconds after `time`. */
  readonly plusMs?: string | undefined
}

export function splitterOf(delimiter: Delimiter, quoted: boolean): (record: string) => string[] | undefined {
  if (!quoted || delimiter === 'space' || delimiter === '::') return (record) => splitPlain(record, delimiter)
  // Quotes mean nothing in most tab-separated files: one that is never closed is a character.
  if (delimiter === '\t') return (record) => splitQuoted(record, delimiter) ?? record.split(delimiter)
  return (record) => splitQuoted(record, delimiter)
}

/**
 * @param mapping names among `table.names`; user and item are there
 * @throws ConfigError if the times of the column cannot be understood, or can be understood in two ways
 */
export function tableLayout(
  table: Table,
  mapping: ColumnMapping,
  reading: TableReading,
  options: ReadingOptions,
  where: string
): Layout {
  const { names, rows, quoted, delimiter } = table
  const twice = names.find((name, i) => names.indexOf(name) !== i && roles.some((role) => mapping[role] === name))
  if (twice !== undefined)
    throw new ConfigError([`${where}: column ${JSON.stringify(twice)} is in the header twice; rename one of them`])
  const cells = (name: string) => rows.map((row) => row[names.indexOf(name)] ?? '')
  const prefix = reading.timePrefix ?? ''
  const times =
    mapping.time === undefined
      ? []
      : presentTexts(cells(mapping.time), options.rules).map((text) => prefixed(prefix, text))
  const form =
    mapping.time === undefined
      ? undefined
      : (givenTimeForm(options.columns) ?? reading.time ?? timeFormOf(times, mapping.time, options.rules, where))
  const withZone = form === undefined || form.zone !== undefined ? form : { ...form, zone: options.columns.zone }
  const firstMs = withZone === undefined || times.length === 0 ? undefined : timeReader(withZone)(times[0]!.trim())
  return layoutOf(tableParser(table, mapping, reading, withZone, options), {
    headerLines: table.headerLines,
    timed: mapping.time !== undefined,
    quotedDelimiter: quoted && delimiter !== 'space' && delimiter !== '::' ? delimiter : undefined,
    isWhole: (record) => splitterOf(delimiter, quoted)(record)?.length === names.length,
    columns: { ...mapping, ...withZone },
    shown: shownMapping(
      mapping,
      names,
      withZone === undefined ? undefined : shownTimes(withZone, firstMs),
      reading.plusMs
    )
  })
}

/** The form of a column's times. @throws ConfigError where there is none, or more than one */
export function timeFormOf(texts: readonly string[], column: string, rules: ValueRules, where: string): TimeForm {
  if (texts.length === 0) return { unit: 's' }
  const found = detectTime(texts, rules)
  if (found.kind === 'form') return found.form
  if (found.kind === 'ambiguous') {
    const choices = found.forms.map(({ unit, format }) =>
      format === undefined ? `--columns unit=${unit}` : `--columns 'format=${format}'`
    )
    throw new ConfigError([
      `${where}: the times of column ${column} can be read in more than one way: ${found.shown}. Say which: ${choices.join(' or ')}`
    ])
  }
  throw new ConfigError([
    `${where}: column ${column} holds no times that are understood: ${found.shown}; name another with --columns time=…, say how they are written with ` +
      `--columns unit=s, ms, us, ns, iso or rfc2822, or 'format=dd/MM/yyyy HH:mm:ss', or leave times out with --columns time=none`
  ])
}

/** A month and day has its year in front, with the zero that a number has lost. */
function prefixed(prefix: string, text: string): string {
  return prefix === '' ? text : prefix + text.trim().padStart(4, '0')
}

export function presentTexts(texts: readonly string[], rules: ValueRules): string[] {
  return texts.map((text) => cleanText(text, rules)).filter((text) => text !== undefined)
}

function tableParser(
  table: Table,
  mapping: ColumnMapping,
  reading: TableReading,
  form: TimeForm | undefined,
  { rules, filters }: ReadingOptions
): LineParser {
  const { names, delimiter, quoted, rows } = table
  const split = splitterOf(delimiter, quoted)
  const at = (name: string | undefined) => (name === undefined ? -1 : names.indexOf(name))
  const [user, item, time, type, value, plus] = [
    mapping.user,
    mapping.item,
    mapping.time,
    mapping.type,
    mapping.value,
    reading.plusMs
  ].map(at) as [number, number, number, number, number, number]
  const idRules = (column: number) => ({
    ...rules,
    integral: isFloatColumn(
      rows.map((row) => row[column] ?? ''),
      rules
    )
  })
  const [userRules, itemRules] = [idRules(user), idRules(item)]
  const parseTime = form === undefined ? undefined : compileTimeParser(form, rules)
  const passes = filters.length === 0 ? undefined : rowFilter(names, compileFilters(filters), rules)
  const only = reading.onlyTypes === undefined ? undefined : new Set(reading.onlyTypes)
  const types = new Map(Object.entries(reading.types ?? {}))
  const prefix = reading.timePrefix ?? ''
  const decimalComma = delimiter === ';'
  return (record, emit) => {
    const fields = split(record)
    if (fields === undefined) throw new BadEventError(`a quoted field never ends: ${shorten(record)}`)
    if (fields.length !== names.length) {
      throw new BadEventError(
        `expected ${names.length} fields (${shortNames(names)}), found ${fields.length}: ${shorten(record)}`
      )
    }
    // Files that were put together have their header again.
    if (table.headerLines > 0 && fields[user] === names[user] && fields[item] === names[item]) return
    if (passes !== undefined && !passes(fields)) return
    const theirs = type < 0 ? undefined : cleanText(fields[type]!, rules)
    if (only !== undefined && !only.has(theirs ?? '')) return
    const userId = checkId('user', fields[user], userRules)
    const itemId = checkId('item', fields[item], itemRules)
    let timeMs = parseTime === undefined ? Number.NaN : parseTime(prefixed(prefix, fields[time]!))
    if (plus >= 0) timeMs += Number(fields[plus]) || 0
    const number = value < 0 ? undefined : parseValue(fields[value], rules, decimalComma)
    emit(userId, itemId, theirs === undefined ? reading.type : (types.get(theirs) ?? theirs), timeMs, number)
  }
}

/** Filters see a row as an object of its columns; those without a value are not there. */
function rowFilter(
  names: readonly string[],
  passes: ReturnType<typeof compileFilters>,
  rules: ValueRules
): (fields: readonly string[]) => boolean {
  const record = { key: new Uint8Array(), value: null, headers: {}, partition: 0, offset: 0n, timestampMs: 0 }
  return (fields) => {
    const value = Object.fromEntries(
      names.map((name, i) => [name, cleanText(fields[i]!, rules)] as const).filter(([, text]) => text !== undefined)
    )
    return passes({ topic: '', record, value })
  }
}

function shortNames(names: readonly string[]): string {
  return names.length <= 8 ? names.join(', ') : `${names.slice(0, 7).join(', ')}, … ${names.at(-1)}`
}
