// What the train stage needs of a trainer, and what a trainer reports.

import type { MiniBatch } from './batch/miniBatch.ts'
import type { IncrementalTrainer } from './incrementalTrainer.ts'

export interface EvaluationReport {
  /**
   * [B] exact rank of the target among all items with a row, 0 best, history excluded (unless the target itself repeats
   * an item of it); ties and not-finite scores count against the model. −1: not evaluated (outside the sampled share).
   * `unknownRank` where the target has no row.
   */
  readonly ranks: Int32Array
  /** As `ranks`, which are by the interests and the memory at the weight in effect: by the interests alone. */
  readonly withoutMemory?: Int32Array
  /**
   * [B] ranks by the memory alone, as `ranks`; −1 − n where no item of the history is counted with the target: n others
   * are, at most `missRank`.
   */
  readonly cooccurrence?: Int32Array
  /** Probability of each example of the batch to be in the sample: 1, all are ranked; 0, none is. */
  readonly inclusion: number
  /** How many items were ranked. */
  readonly candidates: number
  /** Mean cosine between two interests of a user, over the batch; NaN where nothing was ranked, or K is 1. */
  readonly intraUserCosine: number
  /** Share of the examples in which interest k was the nearest to the target. [K] */
  readonly wins: Float32Array
}

/** The rank of a target without a row. */
export const unknownRank = 0x7fffffff

export interface StepReport {
  readonly step: number
  /** Mean over the batch. */
  readonly loss: number
  /** L2 norm over dense weights and embeddings, before clipping. */
  readonly gradientNorm: number
  readonly touchedRows: number
  /** Examples trained on, replayed ones included. */
  readonly examples: number
  /**
   * Outcomes of the examples that are not replayed: trained on, or left out because target or whole history has no row.
   */
  readonly fresh: { readonly trained: number; readonly unknownItem: number; readonly unknownHistory: number }
  /** Examples left out by the flood guard. */
  readonly refused?: number
  /**
   * Of the fresh examples that count, before the step: comparable with `replayedLoss`, by the same weights and
   * candidates.
   */
  readonly freshLosses?: Float32Array
  /** Mean over the replayed examples that count; undefined if there were none. */
  readonly replayedLoss?: number
}

export interface BatchReport {
  readonly batch: number
  readonly examples: number
  readonly evaluation: EvaluationReport
  /** undefined: the batch was dropped, because its loss was not finite. */
  readonly step: StepReport | undefined
  /** Ranking, and training. */
  readonly evaluateMs: number
  readonly learnMs: number
}

/** What the train stage uses of a trainer: members of IncrementalTrainer. */
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

/** @param losses [B] @param weight [B] */
export function splitLosses(
  losses: Float32Array,
  weight: Float32Array,
  fresh: number
): Pick<StepReport, 'freshLosses' | 'replayedLoss'> {
  let sum = 0
  let replayed = 0
  for (let b = fresh; b < losses.length; b++) {
    if (!(weight[b]! > 0)) continue
    sum += losses[b]!
    replayed++
  }
  const freshLosses = losses.slice(0, fresh).filter((_, b) => weight[b]! > 0)
  return replayed === 0 ? { freshLosses } : { freshLosses, replayedLoss: sum / replayed }
}

/** Of the first `fresh` of a batch. No weight means that the target has no row, or else that the history has none. */
export function freshOutcomes(
  { weight, target }: Pick<MiniBatch, 'weight' | 'target'>,
  fresh: number
): StepReport['fresh'] {
  const outcomes = { trained: 0, unknownItem: 0, unknownHistory: 0 }
  for (let b = 0; b < fresh; b++)
    outcomes[weight[b]! > 0 ? 'trained' : target[b] === 0 ? 'unknownItem' : 'unknownHistory']++
  return outcomes
}
