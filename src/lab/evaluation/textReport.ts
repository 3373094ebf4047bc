// What a run says at its end, in plain text for a person: does it learn, are the interests different, is it fresh, what
// went wrong, what would a user get.

import { type StateKind, z } from '../../core/stateFile.ts'
import type { Detection } from '../../monitor/drift/detection.ts'
import type { ProgressiveMethod, ProgressiveReport } from '../../train/progressive/progressive.ts'
import { type AccountedRun, accountLines, lossLines } from './accountReport.ts'
import { number, ratio } from './figures.ts'
import type { InterestsFound } from './interestsFound.ts'
import { recovery } from './recovery.ts'
import { bar, clip, count, duration, percent, row, times, widthMax, wrap, wrapped } from './textLayout.ts'

export const runReport: StateKind<RunReport> = {
  file: 'report.json',
  version: 1,
  schema: z.looseObject({
    ...{ source: z.string(), interactions: z.number(), users: z.number(), items: z.number(), seconds: z.number() },
    sample: z.looseObject({ userId: z.string() }).optional()
  }),
  removed: 'the figures of the last run are gone; the next run writes its own'
}

export interface RunReport extends AccountedRun {
  /** What was read: `a simulated clickstream`, `ml-100k`. */
  readonly source: string
  /** Of the whole run, what earlier processes read included. */
  readonly interactions: number
  /** Read by the process that wrote this. */
  readonly interactionsThisTime: number
  readonly users: number
  /** In the index. */
  readonly items: number
  /** From the first row until everything in the log was published, by the process that wrote this. */
  readonly seconds: number
  readonly examplesTrained: number
  /** While training, by the process that wrote this; absent where it trained on nothing. */
  readonly examplesPerSecond?: number
  /** Where the arithmetic ran, and the program's version. */
  readonly backend?: string
  readonly version?: string
  readonly progressive?: ProgressiveReport
  /** Of its targets, those ranked before the first step. */
  readonly untrainedTargets: number
  readonly batchSize: number
  /** Where tastes changed: event time in milliseconds since the Unix epoch. Only a simulation knows. */
  readonly driftMs?: number
  /** Changes that the detectors noticed, in any order. */
  readonly detections?: readonly Detection[]
  readonly interestCount?: number
  /** Mean cosine between two interests of one user, −1 … 1. */
  readonly intraUserCosine?: number
  readonly interestsFound?: InterestsFound
  /**
   * From the log's taking a click to the user's new vectors being searchable, milliseconds, by the process that wrote
   * this.
   */
  readonly freshnessMs?: { readonly p50: number; readonly p99: number }
  readonly sample?: SampleUser
  /** Index version that was served. */
  readonly indexVersion?: string
  /**
   * Why other weights are served than the trainer's, in words: then its figures are not shown. Absent: they are the
   * same.
   */
  readonly held?: readonly string[]
}

export interface SampleUser {
  readonly userId: string
  /** Titles, or ids where there are none, newest first. */
  readonly recent: readonly string[]
  /** Best first. */
  readonly recommendations: readonly {
    readonly title: string
    readonly score: number
    /** From 0. */
    readonly interest: number
    /** Genres, categories. */
    readonly about?: string
  }[]
}

const methodNames: Readonly<Record<ProgressiveMethod, string>> = {
  model: 'this model',
  withoutMemory: '  without the memory',
  popularity: 'popular lately',
  cooccurrence: 'item co-occurrence'
}

/** Lines of at most 92 columns, joined; ends with a line break. */
export function textReport(report: RunReport): string {
  const sections = [
    ...[headline(report), learning(report), interests(report), freshness(report)],
    ...[outcomes(report), troubles(report), sample(report)]
  ]
  return `${sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`
}

function headline(report: RunReport): string[] {
  const { interactions, interactionsThisTime: now, seconds } = report
  const timing = `in ${seconds.toFixed(1)} s, ${number(seconds > 0 ? now / seconds : 0)} events/s`
  const read =
    now === 0
      ? ', all read by earlier runs'
      : now === interactions
        ? ` ${timing}`
        : `, ${number(now)} of them new, read ${timing}`
  const rate =
    report.examplesPerSecond === undefined ? '' : `, ${number(report.examplesPerSecond)} a second while training`
  const lines = [
    `MTMI Stream: ${report.source}`,
    `  ${count(interactions, 'event')}${interactions === 0 ? '' : read}`,
    `  ${count(report.users, 'user')} with a history, ${count(report.items, 'item')} in the index`,
    `  ${count(report.examplesTrained, 'example')} trained on${rate}`
  ]
  const engine = [report.backend, report.version && `version ${report.version}`].filter(Boolean).join(', ')
  if (engine !== '') lines.push(`  ${engine}`)
  return lines
}

function learning(report: RunReport): string[] {
  const { progressive, held } = report
  if (held !== undefined)
    return [
      'Does it learn?',
      "  Figures of the trainer's weights are left out, because other weights are served:",
      ...held.map((text) => `  - ${text}`)
    ]
  if (progressive === undefined) return []
  if (progressive.targets === 0) {
    const why =
      progressive.repeats === 0 ? 'no user had a second step' : 'every one of them was in its own history already'
    return ['Does it learn?', `  No target was ranked: ${why}.`]
  }
  if (progressive.targets <= report.untrainedTargets) {
    return [
      'Does it learn?',
      `  Too few events to tell: ${progressive.targets === 1 ? 'the only target was' : `all ${number(progressive.targets)} targets were`} ranked before the first training step.`,
      `  A step takes up to ${number(report.batchSize)} examples (train.batchSize).`
    ]
  }
  const lines = [
    'Does it learn?',
    `  ${count(progressive.targets, 'target')}, each ranked among all items before it was learned, history left out.`,
    ...(report.untrainedTargets > 0
      ? [
          `  ${number(report.untrainedTargets)} of them ${report.untrainedTargets === 1 ? 'was' : 'were'} ranked before the first training step.`
        ]
      : []),
    ...(progressive.evaluatedShare < 0.9995
      ? [
          `  They are a sample, ${percent(progressive.evaluatedShare)} of all (progressive.share): hit rate@20 ± ${progressive.standardError.toFixed(3)}, one standard error.`
        ]
      : []),
    ...(progressive.repeats > 0
      ? [
          `  ${count(progressive.repeats, 'repeated click')} cannot be ranked so, and ${progressive.repeats === 1 ? 'is' : 'are'} left out.`
        ]
      : []),
    '',
    `  ${''.padEnd(24)}${'hit rate@20'.padStart(12)}${'NDCG@20'.padStart(9)}${'the model is'.padStart(17)}`,
    row(methodNames.model, progressive['hitRate@20'], progressive['ndcg@20'], ''),
    ...(['withoutMemory', 'popularity', 'cooccurrence'] as const).map((method) => {
      const other = progressive[method]
      return row(
        methodNames[method],
        other['hitRate@20'],
        other['ndcg@20'],
        times(progressive['hitRate@20'], other['hitRate@20'])
      )
    })
  ]
  if (progressive.curve.length < 2) return lines
  const { curve } = progressive
  const methods = ['model', 'popularity', 'cooccurrence'] as const
  const highest = Math.max(...curve.flatMap((point) => methods.map((method) => point.metrics[method]['hitRate@20'])))
  const driftIndex = report.driftMs === undefined ? -1 : curve.findIndex((point) => point.timeMs > report.driftMs!)
  lines.push(
    '',
    `  hit rate@20 over the stream, bars from 0 to ${ratio(highest)}${driftIndex > 0 ? ', │ marks the drift' : ''}`
  )
  for (const method of methods) {
    const bars = curve.map((point) => bar(point.metrics[method]['hitRate@20'], highest))
    if (driftIndex > 0) bars.splice(driftIndex, 0, '│')
    lines.push(
      `  ${methodNames[method].padEnd(19)} ${bars.join('')} ${ratio(curve.at(-1)!.metrics[method]['hitRate@20'])}`
    )
  }
  lines.push(...drifted(progressive, report.driftMs))
  lines.push(...noticed(progressive, report))
  return lines
}

function drifted(progressive: ProgressiveReport, driftMs: number | undefined): string[] {
  if (driftMs === undefined) return []
  const { curve } = progressive
  // The drift is known by its time, and told in events: it lies somewhere in the first period that ended after it.
  const driftAt = clicksAt(curve, driftMs)
  if (driftAt === undefined) return []
  const told = recovery(
    curve.map((point) => ({ at: point.examples, value: point.metrics.model['hitRate@20'] })),
    driftAt
  )
  if (told === undefined) return []
  if (!told.fell) {
    const levels = `${ratio(told.before, 2)} before, no less than ${ratio(told.lowest, 2)} after.`
    if (progressive.evaluatedShare >= 1) return [`  At the drift it held its level: ${levels}`]
    // Of the whole stream's targets a bar has one share in as many as there are bars.
    const error = ratio(progressive.standardError * Math.sqrt(curve.length), 2)
    return [`  At the drift no bar falls beyond the sample's error (± ${error} a bar): ${levels}`]
  }
  const fell = `  It fell from ${ratio(told.before, 2)} to ${ratio(told.lowest, 2)} at the drift`
  if (told.recoveredAt === undefined || told.recoveredValue === undefined) {
    return [
      `${fell} and has not come back to ${ratio(0.95 * told.before, 2)} yet; it ends at ${ratio(curve.at(-1)!.metrics.model['hitRate@20'], 2)}.`
    ]
  }
  return [
    `${fell}, and was back at ${ratio(told.recoveredValue, 2)} after ${number(Math.round((told.recoveredAt - driftAt) / 100) * 100)} events.`
  ]
}

const signalNames: Readonly<Record<Detection['signal'], string>> = {
  event_type: 'event types',
  item_popularity: 'item popularity',
  category: 'categories',
  new_user: 'new users',
  event_gap: 'times between events',
  loss: 'loss',
  hit_rate: 'hit rate'
}

/** When the detectors noticed the planted drift, in clicks after it, and how many alarms came before it. */
function noticed({ curve }: ProgressiveReport, { driftMs, detections }: RunReport): string[] {
  if (driftMs === undefined || !Number.isFinite(driftMs) || detections === undefined) return []
  const planted = clicksAt(curve, driftMs)
  if (planted === undefined) return []
  const first = new Map<Detection['signal'], number>()
  let early = 0
  for (const { signal, eventTimeMs } of [...detections].sort((a, b) => a.eventTimeMs - b.eventTimeMs)) {
    if (eventTimeMs < driftMs) early++
    else if (!first.has(signal)) first.set(signal, (clicksAt(curve, eventTimeMs) ?? curve.at(-1)!.examples) - planted)
  }
  const after = [...first]
    .slice(0, 3)
    .map(([signal, clicks]) => `${signalNames[signal]} ${number(Math.round(clicks / 100) * 100)} clicks`)
  const alarms = early === 0 ? 'no alarm before it' : `${count(early, 'alarm')} before it`
  return [
    after.length === 0
      ? `  Drift: not noticed by the detectors; ${alarms}.`
      : `  Drift: noticed by ${after.join(', ')} after it; ${alarms}.`
  ]
}

/**
 * How many clicks had been learned at a moment of the stream; undefined before the first period ended and after the
 * last.
 */
function clicksAt(curve: ProgressiveReport['curve'], timeMs: number): number | undefined {
  const index = curve.findIndex((point) => point.timeMs > timeMs)
  if (index < 1) return undefined
  const before = curve[index - 1]!
  const after = curve[index]!
  return (
    before.examples + ((timeMs - before.timeMs) / (after.timeMs - before.timeMs)) * (after.examples - before.examples)
  )
}

function interests(report: RunReport): string[] {
  const lines: string[] = []
  if (report.intraUserCosine !== undefined && Number.isFinite(report.intraUserCosine)) {
    const whose =
      report.interestCount === undefined ? "a user's interests" : `a user's ${report.interestCount} interests`
    const verdict =
      report.intraUserCosine > 0.95
        ? 'they have collapsed into one'
        : report.intraUserCosine > 0.8
          ? 'they are close to each other'
          : 'they differ'
    lines.push(
      `  Two of ${whose} have a cosine of ${ratio(report.intraUserCosine, 2)} on average (1: the same): ${verdict}.`
    )
  }
  const found = report.interestsFound
  if (found !== undefined && found.users > 0) {
    lines.push(
      `  Planted interests found: ${percent(found.meanShareFound)}. All of them for ${percent(found.usersWithAllFound / found.users)} of ${count(found.users, 'user')}, most for ${percent(found.usersWithMostFound / found.users)}.`,
      ...(found.interests === 0
        ? []
        : [
            `  Of the ${count(found.interests, 'interest')} that ten users or more have, ${found.interestsFoundForMost} ${found.interestsFoundForMost === 1 ? 'is' : 'are'} found for most of them.`
          ])
    )
  }
  return lines.length === 0 ? [] : ['Are the interests different?', ...lines]
}

function freshness(report: RunReport): string[] {
  if (report.freshnessMs === undefined) return []
  return [
    'Is it fresh?',
    `  From click to searchable: half within ${duration(report.freshnessMs.p50)}, 99% within ${duration(report.freshnessMs.p99)}.`
  ]
}

function outcomes({ accounts }: RunReport): string[] {
  return accounts.length === 0
    ? []
    : ['What became of every record?', ...accountLines(accounts).flatMap((line) => wrapped(line))]
}

function troubles(report: RunReport): string[] {
  const lost = lossLines(report)
  return ['What went wrong?', ...(lost.length === 0 ? ['  Nothing.'] : lost.map((line) => `  ${line}`))]
}

function sample(report: RunReport): string[] {
  const user = report.sample
  if (user === undefined) return []
  const lines = [`What would user ${user.userId} get?`]
  if (user.recent.length > 0) lines.push(...wrap('  lately  ', user.recent))
  if (user.recommendations.length === 0) return [...lines, '  Nothing yet.']
  const byInterest = new Map<number, string[]>()
  user.recommendations.forEach(({ title, score, interest, about }, rank) => {
    const entry = `${String(rank + 1).padStart(2)}. ${ratio(score, 2)}  ${about ? `${clip(title, 40).padEnd(40)}  ${about}` : title}`
    byInterest.set(interest, [...(byInterest.get(interest) ?? []), entry])
  })
  for (const [interest, entries] of byInterest) {
    entries.forEach((entry, i) => {
      lines.push(clip(`  ${(i === 0 ? `interest ${interest + 1}` : '').padEnd(12)}${entry}`, widthMax))
    })
  }
  return lines
}
