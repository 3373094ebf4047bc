// JSON lines: one object a line, its fields found by a column mapping.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import { type FieldPath, parseFieldPath } from '../../core/fieldPath.ts'
import { own } from '../../core/own.ts'
import { shorten } from '../../core/shorten.ts'
import type { ForeignRecord } from '../../ingest/mapping/foreignRecord.ts'
import { elementsOf, readField } from '../../ingest/mapping/readField.ts'
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
 * @param mapping names fields; `a.b` is field b of the object in field a, unless there is a field `a.b`; `items[*].sku`
 *   and the other paths of
 *   docs/mapping.md: an interaction for every element, all of them or, where one is bad, none
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
  const item = pathOf(mapping.item)
  const texts = (name: string | undefined) =>
    records
      .flatMap((record) => elementsIn(record, item).map((element) => jsonText(element, name, pathOf(name))))
      .filter((text) => text !== undefined)
  const times = presentTexts(texts(mapping.time), rules)
  const detected =
    mapping.time === undefined
      ? undefined
      : (givenTimeForm(options.columns) ?? reading.time ?? timeFormOf(times, mapping.time, rules, where))
  const form =
    detected === undefined || detected.zone !== undefined ? detected : { ...detected, zone: options.columns.zone }
  const idRules = (name: string | undefined) => ({ ...rules, integral: isFloatColumn(texts(name), rules) })
  const [userRules, itemRules] = [idRules(mapping.user), idRules(mapping.item)]
  const parseTime = form === undefined ? undefined : compileTimeParser(form, rules)
  const passes = options.filters.length === 0 ? undefined : compileFilters(options.filters)
  const types = new Map(Object.entries(reading.types ?? {}))
  const reader = (name: string | undefined) => {
    const path = pathOf(name)
    return (element: ForeignRecord) => jsonText(element, name, path)
  }
  const [user, itemText, time] = [reader(mapping.user), reader(mapping.item), reader(mapping.time)]
  const [type, value] = [reader(mapping.type), reader(mapping.value)]
  const parse: LineParser = (line, emit) => {
    const record = parseObject(line)
    if (record === undefined) throw new BadEventError(`expected a JSON object, found ${shorten(line)}`)
    if (passes !== undefined && !passes(foreignOf(record))) return
    // All of them are read before any is emitted.
    const rows = elementsIn(record, item).map((element) => {
      const userId = checkId('user', user(element), userRules)
      const itemId = checkId('item', itemText(element), itemRules)
      const text = time(element)
      if (parseTime !== undefined && (text === undefined || cleanText(text, rules) === undefined))
        throw new BadEventError(`expected a time in field ${mapping.time}, found none in ${shorten(line)}`)
      const timeMs = parseTime === undefined ? Number.NaN : parseTime(text!)
      const theirs = cleanText(type(element) ?? '', rules)
      const ours = theirs === undefined ? reading.type : (types.get(theirs) ?? theirs)
      return [userId, itemId, ours, timeMs, parseValue(value(element), rules)] as const
    })
    for (const row of rows) emit(...row)
  }
  const firstMs = form === undefined || times.length === 0 ? undefined : timeReader(form)(times[0]!)
  return layoutOf(parse, {
    timed: mapping.time !== undefined,
    columns: { ...mapping, ...form },
    shown: shownMapping(mapping, jsonNames(records), form === undefined ? undefined : shownTimes(form, firstMs))
  })
}

/** A name that is a path through lists or texts; undefined for plain names of fields. */
function pathOf(name: string | undefined): FieldPath | undefined {
  return name !== undefined && /[[|]/.test(name) ? parseFieldPath(name) : undefined
}

function foreignOf(value: JsonRecord): ForeignRecord {
  return { topic: '', record: noRecord, value }
}

/** The record once for every element that the item's path goes through; once where it goes through no list. */
function elementsIn(record: JsonRecord, item: FieldPath | undefined): readonly ForeignRecord[] {
  return item === undefined ? [foreignOf(record)] : elementsOf([item], foreignOf(record))
}

function jsonText(element: ForeignRecord, name: string | undefined, path: FieldPath | undefined): string | undefined {
  if (path === undefined) return jsonField(element.value as JsonRecord, name)
  const found = readField(path, element)
  return found === undefined || typeof found === 'object' ? undefined : String(found)
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
    return undefined // not JSON: the caller reports the line
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
  const broken =
    first.startsWith('{') && head.length > 1 && head.slice(0, 10).every((line) => parseObject(line) === undefined)
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
        (inner, key) =>
          typeof inner === 'object' && inner !== null ? own(inner as Record<string, unknown>, key) : undefined,
        record
      )
  }
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}
