// The event time of a foreign record, in milliseconds.

import type { SourceOptions } from '../../core/config/sources.ts'
import { BadEventError } from '../../core/errors.ts'
import { parseTimeMs, type TimeUnit } from '../timeUnit.ts'
import type { ForeignRecord } from './foreignRecord.ts'
import { fail, parseFields, readField, scalarText } from './readField.ts'

/**
 * @param unit of what is in the record. Absent: milliseconds, and ISO where it is the header `ce_time`. `log:time` is milliseconds in any case
 * @returns the time of the first path that is there
 */
export function compileTime(time: NonNullable<SourceOptions['time']>): (foreign: ForeignRecord) => number {
  const fields = parseFields(time.path).map((path) => {
    const unit: TimeUnit = path.kind === 'time' ? 'ms' : (time.unit ?? (path.text === 'header:ce_time' ? 'iso' : 'ms'))
    return { path, unit }
  })
  const paths = fields.map(({ path }) => path)
  return (foreign) => {
    for (const { path, unit } of fields) {
      const found = readField(path, foreign)
      if (found === undefined) continue
      if (path.kind === 'time') return found as number
      const text = scalarText(found, path, 'time')
      if (text === '') continue
      try {
        return parseTimeMs(text, unit, path.text)
      } catch (error) {
        if (!(error instanceof BadEventError)) throw error
        throw new BadEventError(`time (${path.text}): ${error.message}`)
      }
    }
    return fail(paths, foreign, 'time')
  }
}
