// Event times as data sets write them → milliseconds since the Unix epoch.

import { BadEventError } from '../core/errors.ts'
import { shorten } from '../core/shorten.ts'

export const timeUnits = ['s', 'ms', 'us', 'iso'] as const
export type TimeUnit = (typeof timeUnits)[number]

/** 2100-01-01: a later time is one in the wrong unit, not an event. */
const eventTimeMaxMs = 4_102_444_800_000

const perMs: Readonly<Record<Exclude<TimeUnit, 'iso'>, number>> = { s: 1000, ms: 1, us: 0.001 }

/** `2010-10-19T23:55:27Z`, with or without T, seconds, fraction and zone. No zone means UTC: the machine's own zone must not decide the order of events. */
const isoTime = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?)?$/

/** @throws BadEventError unless the text is a time in this unit between 1970 and 2100 */
export function parseTimeMs(text: string, unit: TimeUnit, line: string): number {
  const timeMs = unit === 'iso' ? isoTimeMs(text) : text.trim() === '' ? Number.NaN : Math.round(Number(text) * perMs[unit])
  if (timeMs >= 0 && timeMs < eventTimeMaxMs) return timeMs === 0 ? 0 : timeMs
  const expected = unit === 'iso' ? 'an ISO time' : `a time in ${unit} since 1970`
  throw new BadEventError(
    Number.isNaN(timeMs)
      ? `expected ${expected}, found ${shorten(text, 40)} in ${shorten(line)}`
      : `expected ${expected} between 1970 and 2100, found ${shorten(text, 40)} (is the unit right?)`
  )
}

/**
 * The unit that fits all given times: by their size where they are numbers, since 1e11 seconds is the year 5138 and 1e11 ms is 1973.
 * undefined: they are neither all numbers nor all ISO times, or there are none.
 */
export function detectTimeUnit(times: readonly string[]): TimeUnit | undefined {
  // Bad lines must not hide the unit of the others; with more bad than good ones it is the column that is wrong.
  const mostly = (count: number) => count * 2 > times.length
  const numbers = times.filter((text) => /^-?\d+(\.\d+)?([eE]\+?\d+)?$/.test(text.trim())).map(Number)
  if (mostly(numbers.length)) {
    const median = numbers.sort((a, b) => a - b)[numbers.length >> 1]!
    return median < 1e11 ? 's' : median < 1e14 ? 'ms' : 'us'
  }
  return mostly(times.filter((text) => !Number.isNaN(isoTimeMs(text))).length) ? 'iso' : undefined
}

function isoTimeMs(text: string): number {
  const match = isoTime.exec(text.trim())
  if (match === null) return Number.NaN
  const [year, month, day, hour, minute, second] = [1, 2, 3, 4, 5, 6].map((group) => Number(match[group] ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
    number
  ]
  const dayMs = Date.UTC(year, month - 1, day)
  // Date.UTC carries over: the 31st of June would be the 1st of July.
  if (new Date(dayMs).getUTCDate() !== day || month < 1 || month > 12 || hour > 23 || minute > 59 || second > 60) return Number.NaN
  const fractionMs = match[7] === undefined ? 0 : Math.floor(Number(`0.${match[7]}`) * 1000)
  return dayMs + ((hour * 60 + minute) * 60 + second) * 1000 + fractionMs - zoneMs(match[8])
}

function zoneMs(zone: string | undefined): number {
  if (zone === undefined || zone === 'Z' || zone === 'UTC') return 0
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(-2))
  return (zone.startsWith('-') ? -minutes : minutes) * 60_000
}
