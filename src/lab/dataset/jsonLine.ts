// JSON lines: one object a line, its fields found by a column mapping.

import { BadEventError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import { parseTimeMs, type TimeUnit } from '../../ingest/timeUnit.ts'
import type { ColumnMapping } from './columnMapping.ts'
import { checkId, type LineParser, parseValue } from './lineParser.ts'

/**
 * @param mapping names fields; `a.b` is field b of the object in field a, unless there is a field `a.b`
 * @param type of objects without a type field
 */
export function jsonLine(mapping: ColumnMapping, unit: TimeUnit, type: string): LineParser {
  return (line, emit) => {
    const record = parseObject(line)
    if (record === undefined) throw new BadEventError(`expected a JSON object, found ${shorten(line)}`)
    const userId = checkId('user', jsonField(record, mapping.user)?.trim(), line)
    const itemId = checkId('item', jsonField(record, mapping.item)?.trim(), line)
    const time = jsonField(record, mapping.time)
    if (mapping.time !== undefined && time === undefined)
      throw new BadEventError(`expected a time in field ${mapping.time}, found none in ${shorten(line)}`)
    const timeMs = time === undefined ? Number.NaN : parseTimeMs(time, unit, line)
    emit(userId, itemId, jsonField(record, mapping.type)?.trim() || type, timeMs, parseValue(jsonField(record, mapping.value), line))
  }
}

/** The line as an object; undefined if it is none. */
export function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/** A scalar field as text; undefined where it is absent, null, or not a scalar. */
export function jsonField(record: Readonly<Record<string, unknown>>, name: string | undefined): string | undefined {
  if (name === undefined) return undefined
  let value: unknown = record[name]
  if (value === undefined && name.includes('.')) {
    value = name
      .split('.')
      .reduce<unknown>(
        (inner, key) => (typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>)[key] : undefined),
        record
      )
  }
  if (typeof value === 'string') return value
  // A number beyond 2^53 has lost digits already: two users would become one.
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value) ? undefined : String(value)
  return typeof value === 'boolean' ? String(value) : undefined
}
