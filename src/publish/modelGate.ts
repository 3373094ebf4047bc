// Lets candidate tower weights take effect, or rejects them: tries them on the newest targets in small pieces of work,
// and keeps the verdicts.

import type { Clock } from '../core/clock.ts'
import { type StateKind, z } from '../core/stateFile.ts'
import type { InterestScore } from '../index/interestScore.ts'
import type { EncoderItem } from '../model/encoder.ts'
import type { AppliedUpdate } from '../model/replica/modelInEffect.ts'
import type { ModelReplica } from '../model/replica/modelReplica.ts'
import type { MetricsEntry, MetricsReport } from '../monitor/metrics.ts'
import type { UserId } from '../records/interaction.ts'
import type { VersionReason } from '../records/modelUpdate.ts'
import { type GateSlide, noSlide, slideAfter } from './gateStatistics.ts'
import { type GateOptions, type GateTarget, GateTrial, type GateVerdict, PublisherTargets } from './publisherGate.ts'

/** Work at once before others on the thread get a turn: a click may have to wait so much longer. */
const pieceMs = 10
/** Newest verdicts that are kept: a quarter of an hour of them. */
const recordsMax = 100

/** A verdict as it is kept. JSON: figures that are not numbers are null. */
export interface GateRecord extends GateVerdict {
  readonly step: number
  readonly modelVersion: string
  readonly reason?: VersionReason
  readonly atMs: number
  /** Time of the thread that the trial took, and time since it was begun. */
  readonly workMs: number
  readonly tookMs: number
}

export interface RejectedCandidate {
  /** The step rejected last. */
  readonly step: number
  /** When the first in a row was rejected. */
  readonly sinceMs: number
  readonly text: string
}

export interface GateHistory {
  /** Oldest first. */
  readonly records: readonly GateRecord[]
  readonly held?: RejectedCandidate
  /** Of the accepted weights; absent if the last are the best. */
  readonly slide?: GateSlide
}

export const gateHistory: StateKind<GateHistory> = {
  file: 'gates.json',
  version: 1,
  schema: z.looseObject({
    records: z.array(
      z.looseObject({ step: z.number(), modelVersion: z.string(), outcome: z.string(), atMs: z.number() })
    ),
    held: z.looseObject({ step: z.number(), sinceMs: z.number(), text: z.string() }).optional()
  }),
  removed: 'earlier verdicts of the gate are gone; `mtmi versions` shows later ones'
}

export interface GateStore {
  load(): GateHistory | undefined
  save(history: GateHistory): void
}

interface ModelGateParts {
  readonly replica: ModelReplica
  readonly items: () => Iterable<EncoderItem>
  readonly options: GateOptions
  readonly scoring?: InterestScore | undefined
  readonly clock: Clock
  readonly store?: GateStore | undefined
  readonly measure?: ((report: MetricsReport) => void) | undefined
  readonly onVerdict?: ((record: GateRecord) => void) | undefined
}

export class ModelGate {
  readonly #parts: ModelGateParts
  readonly #targets: PublisherTargets
  #trial: { readonly trial: GateTrial; readonly startedMs: number; workMs: number } | undefined
  /** The next trial does not begin earlier. */
  #restUntilMs = 0
  #history: GateHistory

  constructor(parts: ModelGateParts) {
    this.#parts = parts
    this.#targets = new PublisherTargets(parts.options.targets)
    this.#history = parts.store?.load() ?? { records: [] }
    this.#measureState()
  }

  get rejected(): RejectedCandidate | undefined {
    return this.#history.held
  }

  /** A trial is in progress. */
  get working(): boolean {
    return this.#trial !== undefined
  }

  /** Newest targets that are kept. */
  get targetsMax(): number {
    return this.#parts.options.targets
  }

  note(target: GateTarget): void {
    this.#targets.add(target)
  }

  forget(userId: UserId): void {
    this.#targets.forget(userId)
  }

  /**
   * Some milliseconds of work, if there is a candidate.
   * @param draining trials follow each other without a rest
   * @returns the updates that took effect; undefined while nothing is accepted
   */
  advance(draining: boolean): AppliedUpdate[] | undefined {
    const { replica, clock, items, options, scoring } = this.#parts
    const startedMs = clock.nowMs()
    if (this.#trial === undefined && !draining && startedMs < this.#restUntilMs) return undefined
    const candidate = replica.propose()
    if (candidate === undefined) return undefined
    this.#trial ??= {
      trial: new GateTrial({
        ...{ live: replica, candidate: candidate.encoder, items: items(), options, scoring, memory: replica },
        targets: this.#targets.newestFirst(),
        requested: candidate.reason !== undefined,
        slide: this.#history.slide ?? noSlide
      }),
      ...{ startedMs, workMs: 0 }
    }
    const running = this.#trial
    let verdict: GateVerdict | undefined
    let nowMs = startedMs
    while (verdict === undefined && nowMs - startedMs < pieceMs) {
      verdict = running.trial.advance()
      nowMs = clock.nowMs()
    }
    running.workMs += nowMs - startedMs
    if (verdict === undefined) return undefined
    this.#trial = undefined
    this.#restUntilMs = nowMs + running.workMs * (1 / options.timeShareMax - 1)
    const { step, modelVersion, reason } = candidate
    this.#keep({
      ...{ ...verdict, step, modelVersion, ...(reason === undefined ? {} : { reason }) },
      ...{ atMs: nowMs, workMs: running.workMs, tookMs: nowMs - running.startedMs }
    })
    if (verdict.outcome === 'accepted') return replica.accept()
    replica.refuse()
    return undefined
  }

  #keep(record: GateRecord): void {
    const { store, measure, onVerdict } = this.#parts
    const { outcome, reasons, figures, step, atMs, workMs, reason } = record
    const { records, held: before, slide: slideBefore = noSlide } = this.#history
    const isAccepted = outcome === 'accepted'
    const text = reasons.map(({ text }) => text).join('; ')
    // Weights that an operator requested are what later ones are compared with.
    const slide = !isAccepted ? slideBefore : reason === undefined ? slideAfter(slideBefore, figures) : noSlide
    this.#history = {
      records: [...records, record].slice(-recordsMax),
      ...(isAccepted ? {} : { held: { step, sinceMs: before?.sinceMs ?? atMs, text } }),
      ...(slide.share === 0 ? {} : { slide })
    }
    store?.save(this.#history)
    this.#measureState()
    onVerdict?.(record)
    const entries: MetricsEntry[] = [
      { metric: 'gates', labels: { outcome }, value: 1 },
      { metric: 'gateSeconds', value: workMs / 1000 }
    ]
    for (const weights of figures.targets > 0 ? (['live', 'candidate'] as const) : [])
      entries.push({ metric: 'gateHitRate', labels: { weights }, value: figures.hits[weights] / figures.targets })
    if (figures.canaries > 0) entries.push({ metric: 'gateOverlap', value: figures.overlap })
    measure?.(entries)
  }

  #measureState(): void {
    this.#parts.measure?.([
      { metric: 'gateHeld', value: this.rejected === undefined ? 0 : 1 },
      { metric: 'gateSlide', value: this.#history.slide?.share ?? 0 }
    ])
  }
}
