// Times by pattern and by zone: luxon.

import { DateTime, IANAZone } from 'luxon'
import { ConfigError } from '../../core/errors.ts'

/** Names of months and days, AM and PM, are read in English, whatever the machine speaks. */
const locale = 'en-US'

/**
 * A parser for one pattern, some 60,000 texts a second. NaN for a text that does not follow it, and for an impossible
 * date. @throws ConfigError
 */
export function patternTime(pattern: string, zone = 'utc'): (text: string) => number {
  let parser: ReturnType<typeof DateTime.buildFormatParser>
  try {
    parser = DateTime.buildFormatParser(pattern, { locale })
  } catch (error) {
    throw new ConfigError([`time format ${pattern} is not understood: ${(error as Error).message}`])
  }
  if (!/[yuXx]/.test(pattern.replace(/'[^']*'/g, ''))) {
    throw new ConfigError([
      `time format ${pattern} has no year: write it with yyyy MM dd HH mm ss, as in dd/MM/yyyy HH:mm:ss`
    ])
  }
  const options = { locale, zone }
  return (text) => DateTime.fromFormatParser(text, parser, options).toMillis()
}

/** `Sat, 09 Mar 2019 12:01:17 GMT`. NaN for what is none. */
export function rfc2822Time(text: string, zone = 'utc'): number {
  return DateTime.fromRFC2822(text, { zone }).toMillis()
}

/**
 * A local time, given as if it were UTC → the moment. NaN if there is no such zone; in the hour that a clock change
 * leaves out, the hour after.
 */
export function zonedMs(localMs: number, zone: string | undefined): number {
  if (zone === undefined || zone === 'UTC' || zone === 'utc' || zone === 'Z') return localMs
  if (!IANAZone.isValidZone(zone)) return Number.NaN
  const offsetAt = (timeMs: number) => IANAZone.create(zone).offset(timeMs) * 60_000
  const guessMs = localMs - offsetAt(localMs)
  return localMs - offsetAt(guessMs)
}

/** @throws ConfigError */
export function checkZone(zone: string): void {
  if (zone.toLowerCase() !== 'utc' && !IANAZone.isValidZone(zone)) {
    throw new ConfigError([
      `there is no time zone ${JSON.stringify(zone)}: expected UTC or a name such as Europe/Berlin`
    ])
  }
}
