// JSON lines: one object a line, its fields found by a column mapping.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import { shorten } from '../../core/shorten.ts'
import { compileFilters } from '../../ingest/mapping/sourceFilter.ts'
import { parseExactJson } from '../../records/avro/exactJson.ts'
import { compileTimeParser, timeReader } from '../../records/value/eventTime.ts'
import { cleanText } from '../../records/value/valueRules.ts'
import { type ColumnMapping, givenTimeForm } from './columnMapping.ts'
import { type Layout, layoutOf, type ReadingOptions, shownMapping, shownTimes } from './layout.ts'
import { checkId, isFloatColumn, type LineParser, parseValue } from './lineParser.ts'
import { presentTexts, type TableReading, timeFormOf } from './tableLayout.ts'

type JsonRecord = Readonly<Record<string, unknown>>

/**
 * @param records of the file's head
 * @param mapping names fields; `a.b` is field b of the object in field a, unless there is a field `a.b`
 * @throws ConfigError as `tableLayout` does
 */
export function jsonLayout(
  records: readonly JsonRecord[],
  mapping: ColumnMapping,
  reading: TableReading,
  options: ReadingOptions,
  where: string
): Layout {
  const { rules } = options
  const texts = (name: string | undefined) => records.map((record) => jsonField(record, name)).filter((text) => text !== undefined)
  const times = presentTexts(texts(mapping.time), rules)
  const detected =
    mapping.time === undefined
      ? undefined
      : (givenTimeForm(options.columns) ?? reading.time ?? timeFormOf(times, mapping.time, rules, where))
  const form = detected === undefined || detected.zone !== undefined ? detected : { ...detected, zone: options.columns.zone }
  const idRules = (name: string | undefined) => ({ ...rules, integral: isFloatColumn(texts(name), rules) })
  const [userRules, itemRules] = [idRules(mapping.user), idRules(mapping.item)]
  const parseTime = form === undefined ? undefined : compileTimeParser(form, rules)
  const passes = options.filters.length === 0 ? undefined : compileFilters(options.filters)
  const types = new Map(Object.entries(reading.types ?? {}))
  const parse: LineParser = (line, emit) => {
    const record = parseObject(line)
    if (record === undefined) throw new BadEventError(`expected a JSON object, found ${shorten(line)}`)
    if (passes !== undefined && !passes({ topic: '', record: noRecord, value: record })) return
    const userId = checkId('user', jsonField(record, mapping.user), userRules)
    const itemId = checkId('item', jsonField(record, mapping.item), itemRules)
    const time = jsonField(record, mapping.time)
    if (parseTime !== undefined && (time === undefined || cleanText(time, rules) === undefined))
      throw new BadEventError(`expected a time in field ${mapping.time}, found none in ${shorten(line)}`)
    const timeMs = parseTime === undefined ? Number.NaN : parseTime(time!)
    const theirs = cleanText(jsonField(record, mapping.type) ?? '', rules)
    emit(
      userId,
      itemId,
      theirs === undefined ? reading.type : (types.get(theirs) ?? theirs),
      timeMs,
      parseValue(jsonField(record, mapping.value), rules)
    )
  }
  const firstMs = form === undefined || times.length === 0 ? undefined : timeReader(form)(times[0]!)
  return layoutOf(parse, {
    timed: mapping.time !== undefined,
    shown: shownMapping(mapping, jsonNames(records), form === undefined ? undefined : shownTimes(form, firstMs))
  })
}

const noRecord = { key: new Uint8Array(), value: null, headers: {}, partition: 0, offset: 0n, timestampMs: 0 }

/** All fields of the records. */
export function jsonNames(records: readonly JsonRecord[]): string[] {
  return [...new Set(records.flatMap(Object.keys))]
}

/** The line as an object; undefined if it is none. */
export function parseObject(line: string): JsonRecord | undefined {
  if (!line.trimStart().startsWith('{')) return undefined
  try {
    // JSON.parse would round ids of 64 bits: two users would become one.
    const value = parseExactJson(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonRecord) : undefined
  } catch {
    return undefined
  }
}

/** @throws ConfigError for JSON that is not one object a line */
export function rejectOtherJson(head: readonly string[], where: string): void {
  const first = head[0]!.trimStart()
  if (/^\{\s*u?'/.test(first)) {
    throw new ConfigError([
      `${where} holds Python literals, not JSON (${shorten(first, 40)}); convert it first: python3 -c "import ast,json,sys; [print(json.dumps(ast.literal_eval(l))) for l in sys.stdin]" < FILE > FILE.jsonl`
    ])
  }
  // One broken line is no document.
  const broken = first.startsWith('{') && head.length > 1 && head.slice(0, 10).every((line) => parseObject(line) === undefined)
  if (/^[[{]\s*$/.test(first) || first.startsWith('[{') || broken) {
    throw new ConfigError([
      `${where} begins ${shorten(first, 40)}: it looks like one JSON document, and JSON is read one object a line; convert it first: jq -c '.[]' FILE > FILE.jsonl`
    ])
  }
}

/** A scalar field as text; undefined where it is absent, null, or not a scalar. */
export function jsonField(record: JsonRecord, name: string | undefined): string | undefined {
  if (name === undefined) return undefined
  let value: unknown = own(record, name)
  if (value === undefined && name.includes('.')) {
    value = name
      .split('.')
      .reduce<unknown>(
        (inner, key) => (typeof inner === 'object' && inner !== null ? own(inner as Record<string, unknown>, key) : undefined),
        record
      )
  }
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}
