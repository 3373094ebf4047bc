// Whether stages make progress: offsets that move, not sockets that are open.

import { type Offsets, recordsBehind } from '../src/core/offsets.ts'
import type { Metrics } from '../src/monitor/metricsRegistry.ts'

/** How far a stage is. */
export interface StageProgress {
  /** Next offset to read, by partition. */
  readonly consumed: Offsets
  /** End offsets of the partitions that the stage reads. */
  readonly ends: Offsets
  /** When the log took the newest record that was processed, milliseconds; 0 before the first. */
  readonly takenAtMs: number
}

interface Noted {
  behind: number
  consumed: number
  /** When the log took the newest record that the stage has processed; 0 before the first. */
  takenAtMs: number
  /** When it last moved, or had nothing to do. */
  movedAtMs: number
}

/** Longer than a restart of a broker or of the index, which is no reason to restart the stage. */
const staleMaxMs = 120_000

export class ProgressWatch<StageName extends 'ingest' | 'sequence' | 'train' | 'publish'> {
  readonly #stages = new Map<StageName, Noted>()

  note(stage: StageName, progress: StageProgress, nowMs: number): void {
    const { ends, takenAtMs } = progress
    const behind = recordsBehind(progress.consumed, ends)
    const consumed = [...progress.consumed.values()].reduce((sum, offset) => sum + Number(offset), 0)
    const noted = this.#stages.get(stage)
    const moved = noted === undefined || behind === 0 || consumed !== noted.consumed
    this.#stages.set(stage, { behind, consumed, takenAtMs, movedAtMs: moved ? nowMs : noted.movedAtMs })
  }

  /** @returns which stage has work waiting and has not moved for `staleMs`; undefined: none */
  stalled(nowMs: number, staleMs = staleMaxMs): string | undefined {
    for (const [stage, { behind, movedAtMs }] of this.#stages) {
      if (nowMs - movedAtMs > staleMs)
        return `${stage} has ${behind} records waiting and has not moved for ${Math.round((nowMs - movedAtMs) / 1000)} s`
    }
    return undefined
  }

  /**
   * How far each stage is behind the newest record of its input, in the time of the log, when it last moved, and how
   * many records wait and are done.
   */
  *lags(
    nowMs: number
  ): Iterable<{ stage: StageName; lagSeconds: number; movedAtMs: number; waiting: number; done: number }> {
    for (const [stage, { behind, consumed, takenAtMs, movedAtMs }] of this.#stages) {
      const sinceMs = takenAtMs > 0 ? takenAtMs : movedAtMs
      yield {
        stage,
        lagSeconds: behind === 0 ? 0 : Math.max(0, nowMs - sinceMs) / 1000,
        movedAtMs,
        waiting: behind,
        done: consumed
      }
    }
  }

  measure({ lag, progress }: Pick<Metrics, 'lag' | 'progress'>, nowMs: number): void {
    for (const { stage, lagSeconds, movedAtMs } of this.lags(nowMs)) {
      lag.set({ stage }, lagSeconds)
      progress.at({ stage }, movedAtMs)
    }
  }
}
