// Formats whose records hold several interactions, or need those before them: lists, MIND, OTTO, Metarank, the Netflix
// Prize.

import { BadEventError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import { shorten } from '../../core/shorten.ts'
import { compileTimeParser } from '../../records/value/eventTime.ts'
import { cleanText, type ValueRules } from '../../records/value/valueRules.ts'
import { type Delimiter, splitPlain } from './fields.ts'
import { jsonField, parseObject } from './jsonLayout.ts'
import { type Layout, layoutOf } from './layout.ts'
import { checkId, type LineParser, parseValue } from './lineParser.ts'

/**
 * A list of items a line, oldest first. @param withUser whether the first field is the user's id; without it a line is
 * a session
 */
export function listLayout(delimiter: Delimiter, withUser: boolean, rules: ValueRules): Layout {
  const first = withUser ? 1 : 0
  const idRules = { ...rules, integral: false }
  const type = withUser ? 'click' : 'view'
  const parse: LineParser = (line, emit) => {
    const fields = splitPlain(line, delimiter)
    if (fields.length <= first) throw new BadEventError(`expected a user and at least one item, found ${shorten(line)}`)
    const ids = fields.map((field, i) => checkId(i < first ? 'user' : 'item', field, idRules))
    for (let i = first; i < ids.length; i++) emit(withUser ? ids[0] : undefined, ids[i]!, type, Number.NaN, undefined)
  }
  return layoutOf(parse, {
    listed: true,
    shown: withUser ? 'user = first of a line, items = the others' : 'items = all of a line, which is a session'
  })
}

const weekMs = 7 * 24 * 60 * 60 * 1000

/**
 * MIND's behaviors.tsv: impression, user, time, history, impressions as `N1-0 N2-1`. What was clicked (`-1`) are
 * clicks; what was only shown is not.
 *
 * The history has no times, and is the same in all lines of a user: it is given once, a week before the first of them
 * (a file covers six days), one second apart.
 */
export function mindLayout(rules: ValueRules): Layout {
  const idRules = { ...rules, integral: false }
  const parseTime = compileTimeParser({ format: 'M/d/yyyy h:mm:ss a' }, rules)
  const open = (): LineParser => {
    const seen = new Set<string>()
    return (line, emit) => {
      const fields = line.split('\t')
      if (fields.length !== 5) {
        throw new BadEventError(
          `expected 5 fields (impression, user, time, history, impressions), found ${fields.length}: ${shorten(line)}`
        )
      }
      const userId = checkId('user', fields[1], idRules)
      const timeMs = parseTime(fields[2]!)
      const ids = (text: string) => text.split(' ').filter((id) => id !== '')
      const history = ids(fields[3]!).map((id) => checkId('item', id, idRules))
      const clicked = ids(fields[4]!).flatMap((shown) => {
        // The test set does not say what was clicked.
        const match = /^(.+)-([01])$/.exec(shown)
        return match?.[2] === '1' ? [checkId('item', match[1], idRules)] : []
      })
      if (!seen.has(userId)) {
        seen.add(userId)
        for (const [i, itemId] of history.entries())
          emit(userId, itemId, 'click', timeMs - weekMs - (history.length - i) * 1000, undefined)
      }
      for (const itemId of clicked) emit(userId, itemId, 'click', timeMs, undefined)
    }
  }
  const shown =
    'user = 2, time = 3 (format M/d/yyyy h:mm:ss a), items = 4 (history, once a user, a week before: the file has no times for it) and those of 5 that end in -1; unused: 1'
  return layoutOf(open, { listed: true, timed: true, shown }, true)
}

const ottoTypes: Readonly<Record<string, string>> = { clicks: 'click', carts: 'cart', orders: 'purchase' }

/** OTTO's sessions: `{"session": 42, "events": [{"aid": 0, "ts": 1661200010000, "type": "clicks"}, …]}`. */
export function ottoLayout(rules: ValueRules): Layout {
  const idRules = { ...rules, integral: false }
  const parseTime = compileTimeParser({ unit: 'ms' }, rules)
  const parse: LineParser = (line, emit) => {
    const record = parseObject(line)
    const events = record?.events
    if (record === undefined || !Array.isArray(events))
      throw new BadEventError(`expected a session with a list of events, found ${shorten(line)}`)
    const userId = checkId('user', jsonField(record, 'session'), idRules)
    const found = events.map((event: Readonly<Record<string, unknown>>) => {
      const type = jsonField(event, 'type') ?? 'click'
      const time = jsonField(event, 'ts') ?? ''
      return {
        itemId: checkId('item', jsonField(event, 'aid'), idRules),
        type: own(ottoTypes, type) ?? type,
        timeMs: parseTime(time)
      }
    })
    for (const { itemId, type, timeMs } of found) emit(userId, itemId, type, timeMs, undefined)
  }
  const shown =
    'user = session, item = events[].aid, time = events[].ts (unit ms), type = events[].type (clicks, carts, orders: click, cart, purchase); unused: none'
  return layoutOf(parse, { listed: true, timed: true, shown })
}

/** Metarank's events: only interactions count; items are the catalogue, rankings and users are not used. */
export function metarankLayout(rules: ValueRules): Layout {
  const idRules = { ...rules, integral: false }
  const parseTime = compileTimeParser({ unit: 'ms' }, rules)
  const parseIsoTime = compileTimeParser({ unit: 'iso' }, rules)
  const parse: LineParser = (line, emit) => {
    const record = parseObject(line)
    if (record === undefined) throw new BadEventError(`expected a JSON object, found ${shorten(line)}`)
    if (record.event !== 'interaction') return
    const user = jsonField(record, 'user')
    const userId = checkId(
      'user',
      cleanText(user ?? '', rules) === undefined ? jsonField(record, 'session') : user,
      idRules
    )
    const itemId = checkId('item', jsonField(record, 'item'), idRules)
    const time = jsonField(record, 'timestamp') ?? ''
    emit(
      userId,
      itemId,
      jsonField(record, 'type') ?? 'click',
      (time.includes('-') ? parseIsoTime : parseTime)(time),
      undefined
    )
  }
  const shown =
    'user = user (or session), item = item, time = timestamp (unit ms or iso), type = type; unused: ranking, fields, and events that are no interactions'
  return layoutOf(parse, { timed: true, shown })
}

/** The Netflix Prize's combined_data: `123:` begins a movie's ratings, each `user,rating,date`. */
export function netflixLayout(rules: ValueRules): Layout {
  const idRules = { ...rules, integral: false }
  const parseTime = compileTimeParser({ unit: 'iso' }, rules)
  const open = (): LineParser => {
    let movie: string | undefined
    return (line, emit) => {
      if (/^\d+:\s*$/.test(line)) {
        movie = line.trim().slice(0, -1)
        return
      }
      const fields = line.split(',')
      if (fields.length !== 3 || movie === undefined)
        throw new BadEventError(`expected a movie and a colon, or user,rating,date, found ${shorten(line)}`)
      emit(checkId('user', fields[0], idRules), movie, 'rating', parseTime(fields[2]!), parseValue(fields[1], rules))
    }
  }
  return layoutOf(
    open,
    { timed: true, shown: 'item = lines with a colon, user = 1, value = 2, time = 3 (unit iso); unused: none' },
    true
  )
}
