// What turns a history into interests: the part in which the models differ. Table, sampler, item tower, loss and trainer are the same for all.
//
// B users, L history positions, K interests, D dimensions, U item rows touched.

import type * as tf from '@tensorflow/tfjs-core'
import type { Rng } from '../base/rng.ts'
import type { HistoryTensors } from './historyTensors.ts'
import type { WeightShapes, Weights, WeightTensors } from './weights.ts'

export interface ModelShape {
  /** K asked for; a model of one vector takes no notice. */
  readonly interestCount: number
  readonly dimensions: number // D
  /** R: newest steps of a history that are read. */
  readonly historyMax: number
}

export interface UserVectors {
  /** Of length 1. [K, B, D] */
  readonly interests: tf.Tensor3D
  /** How much of each step goes into each interest, where the model knows such a thing; 0 at padding. [B, K, L] */
  readonly routing?: tf.Tensor3D
}

/** Stateless: the weights are given with each call, and belong to the caller. */
export interface UserModel {
  /** K: interests that it makes of a history. */
  readonly interestCount: number
  /** Of its own weights, no name of which begins with `item.` */
  readonly shapes: WeightShapes
  /** First values, drawn in the order of `shapes`. */
  initialWeights(rng: Rng): Weights
  /**
   * Differentiable in the weights and rows. Finite for every history, an empty one included; padding has no influence.
   *
   * @param rows of the items in the histories: row plus mean of feature rows. [U, D]
   * @param scores what `rowScores` gives for these rows, where it is known already
   */
  interests(weights: WeightTensors, rows: tf.Tensor2D, history: HistoryTensors, scores?: tf.Tensor2D): UserVectors
  /**
   * What of the work depends on an item's row alone: made once per unique row, and remembered by whoever serves. Absent if there is nothing of the kind.
   *
   * @returns [U, S] with S = `rowScoreCount`
   */
  rowScores?(weights: WeightTensors, rows: tf.Tensor2D): tf.Tensor2D
  readonly rowScoreCount: number
}
