// Event times as others write them → milliseconds since the Unix epoch.

import { BadEventError } from '../../core/errors.ts'
import { shorten } from '../../core/shorten.ts'
import { checkZone, patternTime, rfc2822Time, zonedMs } from './timePattern.ts'
import type { ValueRules } from './valueRules.ts'

export const timeUnits = ['s', 'ms', 'us', 'ns', 'iso', 'rfc2822'] as const
export type TimeUnit = (typeof timeUnits)[number]

/** How the times of one column or field are written: either `unit` or `format`. */
export interface TimeForm {
  readonly unit?: TimeUnit | undefined
  /** A pattern of luxon, such as `dd/MM/yyyy HH:mm:ss`. */
  readonly format?: string | undefined
  /** Where times without a zone were taken, such as `Europe/Berlin`. Default UTC: never the machine's own zone. */
  readonly zone?: string | undefined
}

/**
 * @returns milliseconds since the Unix epoch. @throws BadEventError with what was expected and what the text looks like
 */
type TimeParser = (text: string) => number

/** 2100-01-01: a later time is one in the wrong unit, not an event. */
export const latestMs = 4_102_444_800_000

/** Numbers of these units between 1990 and 2100 do not overlap: a number has one unit at most. */
const numericUnits = ['s', 'ms', 'us', 'ns'] as const
const perMs: Readonly<Record<(typeof numericUnits)[number], number>> = { s: 1000, ms: 1, us: 1e-3, ns: 1e-6 }
const unitNames = { s: 'seconds', ms: 'milliseconds', us: 'microseconds', ns: 'nanoseconds' } as const

const number = /^[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$/

/**
 * ISO 8601 and RFC 3339, extended or basic: `2010-10-19T23:55:27.123Z`, `2010-10-19 23:55:27+00`, `20101019T235527`,
 * `2010-10-19`; also with a zone's name behind it, as Java and Go write it: `2010-10-19T23:55:27[Europe/Berlin]`,
 * `2010-10-19 23:55:27 +0000 UTC`.
 */
const isoTime =
  /^(\d{4})(-?)(\d\d)\2(\d\d)(?:([Tt]|\s+|)(\d\d)(:?)(\d\d)(?:\7(\d\d)(?:[.,](\d{1,9}))?)?\s*(?:([Zz]|UTC|GMT)|([+\-−])(\d\d):?(\d\d)?(?: [A-Z]{3,4})?)?)?(?:\[([\w/+-]+)\])?$/

/** @throws ConfigError if the zone or the pattern cannot be used */
export function compileTimeParser(form: TimeForm, rules: ValueRules): TimeParser {
  const read = timeReader(form)
  const expected = `expected ${form.format === undefined ? described(form.unit ?? 'ms') : `a time such as ${form.format}`}`
  return (text) => {
    const timeMs = read(text.trim())
    if (timeMs >= rules.earliestMs && timeMs < latestMs) return timeMs
    const found = `found ${shorten(text, 40)}`
    const reading = Number.isNaN(timeMs) ? '' : `, which would be ${shownTime(timeMs)}`
    const range = Number.isNaN(timeMs) ? '' : ` between ${shownTime(rules.earliestMs)} and ${shownTime(latestMs)}`
    throw new BadEventError(`${expected}${range}, ${found}${reading}${hint(text, rules)}`)
  }
}

/**
 * As `compileTimeParser`, without bounds: NaN where the text is no time of this form. @throws ConfigError if the zone
 * or the pattern cannot be used
 */
export function timeReader(form: TimeForm): (text: string) => number {
  if (form.zone !== undefined) checkZone(form.zone)
  return form.format === undefined ? byUnit(form.unit ?? 'ms', form.zone) : patternTime(form.format, form.zone)
}

/** A time as reports show it: ISO, without what is 0. Outside the years 0 … 9999: the year. */
export function shownTime(timeMs: number): string {
  const years = timeMs / 31_556_952_000 + 1970
  if (!(years >= 0 && years < 10_000)) return Math.abs(years) > 1e9 ? 'no date' : `the year ${Math.floor(years)}`
  return new Date(timeMs)
    .toISOString()
    .replace(/\.000Z$/, 'Z')
    .replace(/T00:00:00Z$/, '')
}

/** What a text could be: how it would have to be read, and which time that gives. Unreadable things have no form. */
interface TimeReading {
  readonly what: string
  readonly form?: TimeForm
  readonly timeMs?: number
}

/** The plausible readings of one text, by units and ISO forms and by what numbers are mistaken for times. */
export function timeReadings(text: string, rules: ValueRules): TimeReading[] {
  const trimmed = text.trim()
  const within = (timeMs: number) => timeMs >= rules.earliestMs && timeMs < latestMs
  const readings: TimeReading[] = []
  if (number.test(trimmed)) {
    for (const unit of numericUnits) {
      const timeMs = byUnit(unit, undefined)(trimmed)
      if (within(timeMs)) readings.push({ what: unitNames[unit], form: { unit }, timeMs })
    }
  }
  const isoMs = byUnit('iso', undefined)(trimmed)
  if (within(isoMs)) readings.push({ what: 'ISO 8601', form: { unit: 'iso' }, timeMs: isoMs })
  const compactHour = /^(\d{4})(\d\d)(\d\d)(\d\d)$/.exec(trimmed)
  if (compactHour !== null && Number(compactHour[4]) < 24) {
    const timeMs = byUnit('iso', undefined)(`${trimmed}00`)
    if (within(timeMs)) readings.push({ what: 'date and hour', form: { format: 'yyyyMMddHH' }, timeMs })
  }
  const ticksMs = /^\d{18}$/.test(trimmed) ? (Number(trimmed) - 621_355_968_000_000_000) / 10_000 : Number.NaN
  if (within(ticksMs)) readings.push({ what: '.NET ticks', timeMs: ticksMs })
  if (readings.length > 0) return readings
  const value = number.test(trimmed) ? Number(trimmed) : Number.NaN
  if (/^(0?[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$/.test(trimmed))
    readings.push({ what: 'month and day without a year (MMDD)' })
  if (/^(19|20)\d\d$/.test(trimmed)) readings.push({ what: 'a year' })
  if (/^\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])?$/.test(trimmed))
    readings.push({ what: 'a date with a year of two digits' })
  if (value >= 32_874 && value < 73_051)
    readings.push({ what: "a spreadsheet's day number", timeMs: (value - 25_569) * 86_400_000 })
  if (value >= 1.16e16 && value < 1.6e16)
    readings.push({ what: 'microseconds since 1601', timeMs: value / 1000 - 11_644_473_600_000 })
  if (value >= 1.16e17 && value < 1.6e17)
    readings.push({ what: 'a Windows file time', timeMs: value / 10_000 - 11_644_473_600_000 })
  if (readings.length === 0 && Math.abs(value) < 1e8)
    readings.push({ what: 'a count of something else, such as days, or a place in an order' })
  return readings
}

/** A reading in words: `seconds (2024-05-01T10:06:16Z): unit s`. */
export function shownReading({ what, form, timeMs }: TimeReading): string {
  const date = timeMs === undefined ? '' : ` (${shownTime(timeMs)})`
  const how = form === undefined ? '' : form.unit !== undefined ? `: unit ${form.unit}` : `: format ${form.format}`
  return `${what}${date}${how}`
}

function hint(text: string, rules: ValueRules): string {
  const readings = timeReadings(text, rules)
  return readings.length === 0 ? '' : `; it looks like ${readings.map(shownReading).join(', or ')}`
}

function described(unit: TimeUnit): string {
  return unit === 'iso'
    ? 'an ISO time'
    : unit === 'rfc2822'
      ? 'an RFC 2822 time'
      : `a time in ${unitNames[unit]} since 1970 (unit ${unit})`
}

function byUnit(unit: TimeUnit, zone: string | undefined): (text: string) => number {
  if (unit === 'iso') return (text) => isoTimeMs(text, zone)
  if (unit === 'rfc2822') return (text) => rfc2822Time(text, zone)
  const scale = perMs[unit]
  return (text) => (number.test(text) ? Math.round(Number(text) * scale) : Number.NaN)
}

/** NaN unless the text is a possible date, with or without a time of day. */
function isoTimeMs(text: string, zone: string | undefined): number {
  const match = isoTime.exec(text)
  if (match === null) return Number.NaN
  const [
    ,
    years,
    dash,
    months,
    days,
    between,
    hours,
    ,
    minutes,
    seconds,
    fraction,
    utc,
    sign,
    zoneHours,
    zoneMinutes,
    zoneName
  ] = match
  // Digits without separators are the basic form's.
  if (dash === '-' && between === '') return Number.NaN
  const [year, month, day] = [Number(years), Number(months), Number(days)]
  const [hour, minute, second] = [Number(hours ?? 0), Number(minutes ?? 0), Number(seconds ?? 0)]
  const dayMs = Date.UTC(year, month - 1, day)
  // Date.UTC carries over: the 31st of June would be the 1st of July.
  if (new Date(dayMs).getUTCDate() !== day || month < 1 || month > 12 || hour > 23 || minute > 59 || second > 60)
    return Number.NaN
  const fractionMs = fraction === undefined ? 0 : Number(fraction.slice(0, 3).padEnd(3, '0'))
  const localMs = dayMs + ((hour * 60 + minute) * 60 + second) * 1000 + fractionMs
  if (utc !== undefined) return localMs
  if (sign === undefined) return zonedMs(localMs, zoneName ?? zone)
  const [offsetHours, offsetMinutes] = [Number(zoneHours), Number(zoneMinutes ?? 0)]
  if (offsetHours > 18 || offsetMinutes > 59) return Number.NaN
  return localMs - (sign === '+' ? 1 : -1) * (offsetHours * 60 + offsetMinutes) * 60_000
}
