// Lets other tower weights through to the publisher, or holds them back: tries them on the newest targets, a little at
// a time, and keeps what was found.

import type { Clock } from '../core/clock.ts'
import { type StateKind, z } from '../core/stateFile.ts'
import type { InterestScore } from '../index/interestScore.ts'
import type { EncoderItem } from '../model/encoder.ts'
import type { AppliedUpdate, ModelReplica } from '../model/replica/modelReplica.ts'
import type { MetricsEntry, MetricsReport } from '../monitor/metrics.ts'
import type { UserId } from '../records/interaction.ts'
import type { VersionReason } from '../records/modelUpdate.ts'
import { type GateSlide, noSlide, slideAfter } from './gateSlide.ts'
import { type GateOptions, GateTrial, type GateVerdict } from './publisherGate.ts'
import { type GateTarget, PublisherTargets } from './publisherTargets.ts'

/** Work done at once before others on the thread get a turn: what a click may have to wait more. */
const pieceMs = 10
/** Verdicts kept, the newest: a quarter of an hour of them. */
const recordsMax = 100

/** A verdict, for those who ask later. JSON: figures that are not numbers are null. */
export interface GateRecord extends GateVerdict {
  readonly step: number
  readonly modelVersion: string
  readonly reason?: VersionReason
  readonly atMs: number
  /** Time of the thread that the trial took, and from when it was begun. */
  readonly workMs: number
  readonly tookMs: number
}

/** Weights that do not take effect, and why. */
export interface RejectedCandidate {
  /** The step refused last. */
  readonly step: number
  /** When the first of those in a row was refused. */
  readonly sinceMs: number
  readonly text: string
}

/** Oldest first. */
export interface GateHistory {
  readonly records: readonly GateRecord[]
  readonly held?: RejectedCandidate
  /** Of the accepted ones; absent where the last is the best. */
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
  removed: 'what the gate decided is forgotten; `mtmi versions` shows it from then on'
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
  /** Later than this the next trial may begin. */
  #restUntilMs = 0
  #records: readonly GateRecord[]
  #held: RejectedCandidate | undefined
  #slide: GateSlide

  constructor(parts: ModelGateParts) {
    this.#parts = parts
    this.#targets = new PublisherTargets(parts.options.targets)
    const history = parts.store?.load()
    this.#records = history?.records ?? []
    this.#held = history?.held
    this.#slide = history?.slide ?? noSlide
    this.#tell()
  }

  get rejected(): RejectedCandidate | undefined {
    return this.#held
  }

  /** A trial is under way. */
  get working(): boolean {
    return this.#trial !== undefined
  }

  get last(): GateRecord | undefined {
    return this.#records.at(-1)
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
   * @returns what took effect; undefined while nothing is decided
   */
  advance(draining: boolean): AppliedUpdate[] | undefined {
    const { replica, clock } = this.#parts
    const startedMs = clock.nowMs()
    if (this.#trial === undefined && !draining && startedMs < this.#restUntilMs) return undefined
    const candidate = replica.propose()
    if (candidate === undefined) return undefined
    this.#trial ??= {
      trial: new GateTrial({
        live: replica,
        candidate: candidate.encoder,
        items: this.#parts.items(),
        targets: this.#targets.newestFirst(),
        options: this.#parts.options,
        asked: candidate.reason !== undefined,
        scoring: this.#parts.scoring,
        slide: this.#slide
      }),
      startedMs,
      workMs: 0
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
    this.#restUntilMs = nowMs + running.workMs * (1 / this.#parts.options.timeShareMax - 1)
    const { step, modelVersion, reason } = candidate
    this.#keep({
      ...verdict,
      ...{ step, modelVersion, ...(reason === undefined ? {} : { reason }) },
      ...{ atMs: nowMs, workMs: running.workMs, tookMs: nowMs - running.startedMs }
    })
    if (verdict.outcome === 'accepted') return replica.accept()
    replica.refuse()
    return undefined
  }

  #keep(record: GateRecord): void {
    const { store, measure, onVerdict } = this.#parts
    this.#records = [...this.#records, record].slice(-recordsMax)
    const { outcome, reasons, figures, step, atMs, workMs } = record
    if (outcome === 'accepted') {
      this.#held = undefined
      // What somebody asked for is what later ones are compared with.
      this.#slide = record.reason === undefined ? slideAfter(this.#slide, figures) : noSlide
    } else this.#held = { step, sinceMs: this.#held?.sinceMs ?? atMs, text: reasons.map(({ text }) => text).join('; ') }
    store?.save({
      records: this.#records,
      ...(this.#held === undefined ? {} : { held: this.#held }),
      ...(this.#slide.share === 0 ? {} : { slide: this.#slide })
    })
    this.#tell()
    onVerdict?.(record)
    const entries: MetricsEntry[] = [
      { metric: 'gates', labels: { outcome }, value: 1 },
      { metric: 'gateSeconds', value: workMs / 1000 }
    ]
    if (figures.targets > 0) {
      for (const weights of ['live', 'candidate'] as const)
        entries.push({ metric: 'gateHitRate', labels: { weights }, value: figures.hits[weights] / figures.targets })
    }
    if (figures.canaries > 0) entries.push({ metric: 'gateOverlap', value: figures.overlap })
    measure?.(entries)
  }

  #tell(): void {
    this.#parts.measure?.([
      { metric: 'gateHeld', value: this.#held === undefined ? 0 : 1 },
      { metric: 'gateSlide', value: this.#slide.share }
    ])
  }
}
