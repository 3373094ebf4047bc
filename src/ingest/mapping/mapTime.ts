// The event time of a foreign record, in milliseconds.

import type { SourceOptions } from '../../core/config/sources.ts'
import { BadEventError } from '../../core/errors.ts'
import { AvroTime } from '../../records/avro/avroReader.ts'
import { compileTimeParser, type TimeForm } from '../../records/value/eventTime.ts'
import { zonedMs } from '../../records/value/timePattern.ts'
import { cleanText, type ValueRules } from '../../records/value/valueRules.ts'
import type { ForeignRecord } from './foreignRecord.ts'
import { fail, parseFields, readField, scalarText } from './readField.ts'

/**
 * @param time how the times in the record are written: by `unit` or by `format`. Absent: milliseconds, and ISO where it
 *   is the header `ce_time`.
 *   `log:time` is milliseconds in any case, and a time whose unit an Avro schema gives needs neither; `zone` holds for
 *   its local times
 * @returns the time of the first path that is there
 */
export function compileTime(
  time: NonNullable<SourceOptions['time']>,
  rules: ValueRules
): (foreign: ForeignRecord) => number {
  const fields = parseFields(time.path).map((path) => {
    const form: TimeForm =
      time.format !== undefined
        ? { format: time.format, zone: time.zone }
        : { unit: time.unit ?? (path.text === 'header:ce_time' ? 'iso' : 'ms'), zone: time.zone }
    return { path, parse: compileTimeParser(form, rules) }
  })
  const paths = fields.map(({ path }) => path)
  return (foreign) => {
    for (const { path, parse } of fields) {
      const found = readField(path, foreign)
      if (found === undefined) continue
      if (path.kind === 'time') return found as number
      if (found instanceof AvroTime) {
        try {
          const timeMs = compileTimeParser({ unit: found.unit, zone: time.zone }, rules)(found.text)
          return found.isLocal ? zonedMs(timeMs, time.zone) : timeMs
        } catch (error) {
          throw explained(error, path.text)
        }
      }
      const text = cleanText(timeText(found, path), rules)
      if (text === undefined) continue
      try {
        return parse(text)
      } catch (error) {
        throw explained(error, path.text)
      }
    }
    return fail(paths, foreign, 'time')
  }
}

function explained(error: unknown, path: string): unknown {
  return error instanceof BadEventError ? new BadEventError(`time (${path}): ${error.message}`) : error
}

/** Of a number beyond 2^53, such as nanoseconds in JSON, the lost digits are below a millisecond. */
function timeText(found: unknown, path: Parameters<typeof scalarText>[1]): string {
  return typeof found === 'number' && Number.isFinite(found) ? String(found) : scalarText(found, path, 'time')
}
