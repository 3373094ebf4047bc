// Watches the sequencer's output for drift of the inputs: runs the detectors, sets the metrics and keeps the detections
// for the report.

import type { Clock } from '../core/clock.ts'
import type { DriftOptions } from '../core/config/config.ts'
import type { RunDirectory } from '../core/runDirectory.ts'
import { type StateKind, z } from '../core/stateFile.ts'
import type { Catalogue } from '../records/catalogue.ts'
import type { UserSequence } from '../records/userSequence.ts'
import type { Detection } from './drift/detection.ts'
import { InputDrift, type InputDriftState, inputFeatures } from './drift/inputDrift.ts'
import type { MetricsEntry, MetricsReport } from './metrics.ts'

/** Of an item: more would let items with many tags outvote the others. */
const categoriesMax = 4
/** Detections kept, the newest. */
const keptMax = 100

export interface DriftWatchState {
  readonly input: InputDriftState
  readonly detections: readonly Detection[]
}

const driftState: StateKind<DriftWatchState> = {
  file: 'drift.json',
  version: 1,
  schema: z.looseObject({
    input: z.looseObject({}),
    detections: z.array(z.looseObject({}))
  }),
  removed: 'the drift watch gathers its reference again'
}

const stateIntervalMs = 30_000

interface DriftWatchOptions {
  readonly options: DriftOptions
  readonly clock: Clock
  /** Features are categories of items. */
  readonly catalogue: Pick<Catalogue, 'featuresOf'>
  readonly measure?: (report: MetricsReport) => void
  /** Where the state of an earlier process is; losing it only makes the reference be gathered again. */
  readonly store?: { load(): DriftWatchState | undefined; save(state: DriftWatchState): void }
}

export class DriftWatch {
  readonly #options: DriftWatchOptions
  readonly #input: InputDrift
  #detections: Detection[] = []
  #lastSaveMs: number
  #changed = false

  constructor(options: DriftWatchOptions) {
    this.#options = options
    this.#input = new InputDrift(options.options)
    this.#lastSaveMs = options.clock.nowMs()
    const earlier = options.store?.load()
    if (earlier !== undefined && this.#input.restore(earlier.input)) this.#detections = [...earlier.detections]
    options.measure?.(zeros(inputFeatures, ['psi']))
  }

  /** Detections, oldest first. */
  get detections(): readonly Detection[] {
    return this.#detections
  }

  /** As of now: how far the newest interactions are from the reference. */
  get report(): InputDrift['report'] {
    return this.#input.report
  }

  /** What the sequencer has just emitted. */
  observe(sequences: readonly UserSequence[]): void {
    const before = this.#input.report
    const found: Detection[] = []
    for (const { userId, steps, fresh } of sequences) {
      for (const { position } of fresh) {
        const step = steps[position]
        if (step === undefined) continue
        const earlier = position === 0 ? undefined : steps[position - 1]
        const noticed = this.#input.observe({
          userId,
          type: step.type,
          itemId: step.itemId,
          categories: this.#options.catalogue.featuresOf(step.itemId).slice(0, categoriesMax),
          historyLength: position,
          gapMs: earlier === undefined ? undefined : step.eventTimeMs - earlier.eventTimeMs,
          eventTimeMs: step.eventTimeMs
        })
        for (const detection of noticed) found.push(detection)
        this.#changed = true
      }
    }
    if (found.length > 0) this.#detections = [...this.#detections, ...found].slice(-keptMax)
    if (this.#input.report !== before) this.#measure(found)
    if (this.#options.clock.nowMs() - this.#lastSaveMs >= stateIntervalMs) this.save()
  }

  /** Writes the state down if something has happened since. */
  save(): void {
    this.#lastSaveMs = this.#options.clock.nowMs()
    if (!this.#changed) return
    this.#changed = false
    this.#options.store?.save({ input: this.#input.state(), detections: this.#detections })
  }

  #measure(found: readonly Detection[]): void {
    const { measure, clock } = this.#options
    if (measure === undefined) return
    const { features, newUserShare } = this.#input.report
    const entries: MetricsEntry[] = []
    if (newUserShare !== undefined) entries.push({ metric: 'driftNew', labels: { role: 'user' }, value: newUserShare })
    for (const feature of inputFeatures) {
      const compared = features[feature]
      if (compared === undefined) continue
      entries.push({ metric: 'driftPsi', labels: { feature }, value: compared.psi })
      entries.push({ metric: 'driftPsiThreshold', labels: { feature }, value: compared.threshold })
    }
    entries.push(...detectionMetrics(found, clock.nowMs()))
    measure(entries)
  }
}

/** In the run's folder: the next process continues with it. */
export function driftStore(run: RunDirectory): NonNullable<DriftWatchOptions['store']> {
  return run.state(driftState)
}

export function detectionMetrics(found: readonly Detection[], nowMs: number): MetricsEntry[] {
  return found.flatMap(({ signal, detector }): MetricsEntry[] => [
    { metric: 'driftDetections', labels: { signal, detector }, value: 1 },
    { metric: 'driftDetectionAge', labels: { signal, detector }, value: nowMs }
  ])
}

/** Counters begin at 0 and not when they are first counted up: from nothing to 1 is no increase to Prometheus. */
export function zeros(
  signals: readonly Detection['signal'][],
  detectors: readonly Detection['detector'][]
): MetricsEntry[] {
  return signals.flatMap((signal) =>
    detectors.map((detector): MetricsEntry => ({ metric: 'driftDetections', labels: { signal, detector }, value: 0 }))
  )
}
