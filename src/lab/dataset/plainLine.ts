// Parsers of lines without a header: pairs, lists, timed rows.

import { BadEventError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import { parseTimeMs, type TimeUnit } from '../../ingest/timeUnit.ts'
import { type Delimiter, splitPlain, splitQuoted } from './fields.ts'
import { checkId, type LineParser, parseValue } from './lineParser.ts'

/** What stands in the columns of a row, from the left. `flag` is ignored. */
export type PlainColumn = 'user' | 'item' | 'time' | 'value' | 'flag'

/**
 * One interaction a line, in fixed columns.
 *
 * @param type event type of every row
 * @param unit of the time column; ignored where there is none
 */
export function plainLine(columns: readonly PlainColumn[], delimiter: Delimiter, type: string, unit: TimeUnit = 's'): LineParser {
  const user = columns.indexOf('user')
  const item = columns.indexOf('item')
  const time = columns.indexOf('time')
  const value = columns.indexOf('value')
  return (line, emit) => {
    const fields = delimiter === ',' ? (splitQuoted(line, delimiter) ?? []) : splitPlain(line, delimiter)
    if (fields.length !== columns.length) {
      throw new BadEventError(`expected ${columns.length} fields (${columns.join(', ')}), found ${fields.length}: ${shorten(line)}`)
    }
    const userId = checkId('user', fields[user], line)
    const itemId = checkId('item', fields[item], line)
    const timeMs = time < 0 ? Number.NaN : parseTimeMs(fields[time]!, unit, line)
    emit(userId, itemId, type, timeMs, value < 0 ? undefined : parseValue(fields[value], line))
  }
}

/** A list of items a line, oldest first. @param withUser whether the first field is the user's id; without it a line is a session */
export function listLine(delimiter: Delimiter, withUser: boolean, type: string): LineParser {
  const first = withUser ? 1 : 0
  return (line, emit) => {
    const fields = splitPlain(line, delimiter)
    if (fields.length <= first) throw new BadEventError(`expected a user and at least one item, found ${shorten(line)}`)
    for (let i = 0; i < fields.length; i++) checkId(i < first ? 'user' : 'item', fields[i], line)
    const userId = withUser ? fields[0] : undefined
    for (let i = first; i < fields.length; i++) emit(userId, fields[i]!, type, Number.NaN, undefined)
  }
}
