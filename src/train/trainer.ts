// Test, then learn.

import type { Checkpoint } from '../model/replica/checkpoint.ts'
import type { MiniBatch } from './batch/miniBatch.ts'
import type { IncrementalTrainer } from './incrementalTrainer.ts'

export interface EvaluationReport {
  /**
   * [B] exact rank of the target among all items the model knows, 0 best, history excluded (unless the target itself
   * repeats an item of it); ties and not-finite scores count against the model. −1: not evaluated (not in the sampled
   * share). `unknownRank` where the model has no row for the target.
   */
  readonly ranks: Int32Array
  /** How many items were ranked. */
  readonly candidates: number
  /**
   * Mean cosine between two interests of the same user, over the batch; NaN where nothing was ranked, and for a model
   * of one vector: it cannot collapse.
   */
  readonly intraUserCosine: number
  /** Share of the examples in which interest k was the nearest to the target. [K] */
  readonly wins: Float32Array
}

/** The rank of a target that the model cannot have ranked. */
export const unknownRank = 0x7fffffff

export interface StepReport {
  readonly step: number
  /** Mean over the batch. */
  readonly loss: number
  /** L2 norm over dense weights and rows, before clipping. */
  readonly gradientNorm: number
  readonly touchedRows: number
  /** Examples learned from, replayed ones included. */
  readonly examples: number
  /**
   * What became of the examples that are not replayed: learned, or left out because their target, or all of their
   * history, has no row.
   */
  readonly fresh: { readonly learned: number; readonly unknownItem: number; readonly unknownHistory: number }
  /**
   * Examples left out because their user, or their item, had too many of those learned lately (see FloodGuard).
   * Undefined where nobody was asked.
   */
  readonly refused?: number
  /**
   * Of the examples that are not replayed and count, before they were learned: comparable with `replayedLoss`, of the
   * same weights and candidates.
   */
  readonly freshLosses?: Float32Array
  /** Mean over the replayed examples that count; undefined if there were none. */
  readonly replayedLoss?: number
}

export interface Trainer {
  /** Ranks targets exactly, with the weights as they are now: always before `learn`. */
  evaluate(batch: MiniBatch): EvaluationReport
  /** @throws DivergedError if the loss or a gradient is not finite; no weight has changed. */
  learn(batch: MiniBatch): StepReport
  /** Everything a restart needs; weights continue bit-equal from it on one thread. */
  checkpoint(): Checkpoint
  restore(checkpoint: Checkpoint): void
}

/** What the train stage asks of a trainer: see IncrementalTrainer, whose members these are. */
export type StageTrainer = Pick<
  IncrementalTrainer,
  | 'modelVersion'
  | 'copies'
  | 'waitingBlocks'
  | 'beginVersion'
  | 'restoreVersion'
  | 'useCatalogue'
  | 'featuresChanged'
  | 'evaluateExamples'
  | 'learnExamples'
  | 'slowDown'
  | 'forgetUser'
  | 'takeUpdates'
  | 'resendAll'
  | 'checkpoint'
  | 'beginCheckpoint'
  | 'restore'
>
