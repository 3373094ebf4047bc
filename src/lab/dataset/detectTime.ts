// In which form the times of a column are written, by the texts themselves.

import { shorten } from '../../core/shorten.ts'
import {
  latestMs,
  shownReading,
  shownTime,
  type TimeForm,
  timeReader,
  timeReadings
} from '../../records/value/eventTime.ts'
import type { ValueRules } from '../../records/value/valueRules.ts'

type TimeDetection =
  | { readonly kind: 'form'; readonly form: TimeForm }
  /** Several forms fit all texts and give other times. */
  | { readonly kind: 'ambiguous'; readonly forms: readonly TimeForm[]; readonly shown: string }
  /** None fits most of the texts. `shown` says what they are, and what they look like. */
  | { readonly kind: 'none'; readonly shown: string }

const dayOrders = [
  'M/d/yyyy',
  'd/M/yyyy',
  'M-d-yyyy',
  'd-M-yyyy',
  'd.M.yyyy',
  'yyyy/M/d',
  'yyyy.M.d',
  'M/d/yy',
  'd/M/yy',
  'd.M.yy',
  'd-MMM-yyyy',
  'd MMM yyyy'
]
const clocks = ['', ' H:mm', ' H:mm:ss', ' H:mm:ss.SSS', ' h:mm a', ' h:mm:ss a', ', H:mm', ', H:mm:ss']

/** Forms that public data sets and exports use. Of two that give the same times the first is taken. */
const knownForms: readonly TimeForm[] = [
  { unit: 'iso' },
  { unit: 's' },
  { unit: 'ms' },
  { unit: 'us' },
  { unit: 'ns' },
  { unit: 'rfc2822' },
  ...[
    'yyyyMMddHH',
    // Twitter's, Goodreads' and Foursquare's; Unix `date`.
    'EEE MMM d HH:mm:ss ZZZ yyyy',
    'EEE MMM d HH:mm:ss z yyyy',
    'EEE MMM d HH:mm:ss yyyy',
    'yyyy-MM-dd-HH.mm.ss',
    'yyyy-MM-dd h:mm:ss a',
    'MMM d, yyyy',
    'MMMM d, yyyy',
    'MM d, yyyy',
    'd MMMM yyyy',
    // Web servers' logs.
    'd/MMM/yyyy:HH:mm:ss ZZZ',
    ...dayOrders.flatMap((day) => clocks.map((clock) => day + clock))
  ].map((format) => ({ format }))
]

/** A few texts rule out most forms; the others are tried on all. */
const firstTexts = 25
/** ns within these years would be .NET ticks of our time. */
const ticksLatestMs = Date.UTC(1995, 0, 1)

/** @param texts of one column, those without a value left out; a few bad ones do no harm */
export function detectTime(texts: readonly string[], rules: ValueRules): TimeDetection {
  const trimmed = texts.map((text) => text.trim())
  const stride = Math.max(1, Math.floor(trimmed.length / firstTexts))
  const spread = trimmed.filter((_, i) => i % stride === 0)
  const fits = (read: (text: string) => number, among: readonly string[]) =>
    among.filter((text) => {
      const timeMs = read(text)
      return timeMs >= rules.earliestMs && timeMs < latestMs
    }).length
  const candidates = knownForms
    .map((form) => ({ form, read: timeReader(form) }))
    .filter(({ read }) => fits(read, spread) * 2 > spread.length)
    .map((candidate) => ({ ...candidate, count: fits(candidate.read, trimmed) }))
  const best = Math.max(0, ...candidates.map(({ count }) => count))
  const [first, ...others] = candidates.filter(({ count }) => count === best)
  if (first === undefined || best * 2 <= trimmed.length) return { kind: 'none', shown: shownTexts(trimmed, rules) }
  if (first.form.unit === 'ns' && spread.every((text) => first.read(text) < ticksLatestMs))
    return { kind: 'none', shown: shownTexts(trimmed, rules) }
  const differs = (a: (text: string) => number, b: (text: string) => number) =>
    spread.some((text) => !Object.is(a(text), b(text))) // no time by either is no difference
  const all = [first]
  for (const rival of others) if (all.every(({ read }) => differs(read, rival.read))) all.push(rival)
  if (all.length === 1) return { kind: 'form', form: first.form }
  const shown = trimmed
    .slice(0, 3)
    .map(
      (text) =>
        `${shorten(text, 40)} is ${all.map(({ form, read }) => `${shownTime(read(text))} by ${shownForm(form)}`).join(' or ')}`
    )
    .join('; ')
  return { kind: 'ambiguous', forms: all.map(({ form }) => form), shown }
}

/** A form as a report names it: `unit s`, `format M/d/yyyy`. */
export function shownForm({ unit, format, zone }: TimeForm): string {
  return `${format === undefined ? `unit ${unit ?? 'ms'}` : `format ${format}`}${zone === undefined ? '' : `, zone ${zone}`}`
}

function shownTexts(texts: readonly string[], rules: ValueRules): string {
  const examples = texts
    .slice(0, 3)
    .map((text) => shorten(text, 40))
    .join(', ')
  const looks = texts.length === 0 ? [] : timeReadings(texts[0]!, rules)
  return `${examples}${looks.length === 0 ? '' : ` (${shorten(texts[0]!, 40)} looks like ${looks.map(shownReading).join(', or ')})`}`
}
