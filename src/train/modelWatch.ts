// Watches each batch for drift of the model: feeds the detectors, sets the metrics, and keeps detections for the
// report.

import type { Clock } from '../core/clock.ts'
import type { Detection } from '../monitor/drift/detection.ts'
import { ModelDrift, type ModelDriftState } from '../monitor/drift/modelDrift.ts'
import { detectionMetrics, zeros } from '../monitor/driftWatch.ts'
import type { MetricsEntry, MetricsReport } from '../monitor/metrics.ts'
import type { EvaluationReport, StepReport } from './trainer.ts'
import { unknownRank } from './trainer.ts'

/** Detections kept, the newest. */
const keptMax = 100

export interface ModelWatchState {
  readonly model: ModelDriftState
  readonly detections: readonly Detection[]
}

export class ModelWatch {
  readonly #drift: ModelDrift
  readonly #clock: Clock
  readonly #measure: ((report: MetricsReport) => void) | undefined
  #detections: readonly Detection[] = []

  constructor(setup: {
    clock: Clock
    measure?: ((report: MetricsReport) => void) | undefined
  }) {
    this.#drift = new ModelDrift()
    this.#clock = setup.clock
    this.#measure = setup.measure
    this.#measure?.(zeros(['loss', 'hit_rate'], ['adwin']))
  }

  /** Oldest first. */
  get detections(): readonly Detection[] {
    return this.#detections
  }

  /**
   * @param step undefined if the batch was dropped @param eventTimeMs of the newest example @returns new detections
   */
  observe(evaluation: EvaluationReport, step: StepReport | undefined, eventTimeMs: number): readonly Detection[] {
    const found = this.#drift.observe({
      ranks: evaluation.ranks,
      unknownRank,
      wins: evaluation.wins,
      freshLosses: step?.freshLosses,
      replayedLoss: step?.replayedLoss,
      eventTimeMs
    })
    if (found.length > 0) this.#detections = [...this.#detections, ...found].slice(-keptMax)
    if (this.#measure === undefined) return found
    const { winsEntropy, overfitGap, newItemShare } = this.#drift.report
    const entries: MetricsEntry[] = detectionMetrics(found, this.#clock.nowMs())
    if (winsEntropy !== undefined) entries.push({ metric: 'driftWinsEntropy', value: winsEntropy })
    if (overfitGap !== undefined) entries.push({ metric: 'driftOverfitGap', value: overfitGap })
    if (newItemShare !== undefined) entries.push({ metric: 'driftNew', labels: { role: 'item' }, value: newItemShare })
    if (entries.length > 0) this.#measure(entries)
    return found
  }

  state(): ModelWatchState {
    return { model: this.#drift.state(), detections: this.#detections }
  }

  restore({ model, detections }: ModelWatchState): void {
    if (this.#drift.restore(model)) this.#detections = detections
  }
}
