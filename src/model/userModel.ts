// What turns a history into interests: the part in which models differ. Table, sampler, item tower and trainer are the
// same for all.
//
// B users, L history positions, K interests, D dimensions, U item rows touched.

import type * as tf from '@tensorflow/tfjs-core'
import type { Rng } from '../core/rng.ts'
import type { HistoryTensors } from './historyTensors.ts'
import type { Candidates } from './loss.ts'
import type { TowerGraphOptions } from './towerGraph.ts'
import type { WeightShapes, Weights, WeightTensors } from './weights.ts'

export interface ModelShape {
  readonly interestCount: number // K
  readonly dimensions: number // D
  /** R: newest steps of a history that are read. */
  readonly historyMax: number
}

export interface UserVectors {
  /** Of length 1. [K, B, D] */
  readonly interests: tf.Tensor3D
}

/** Stateless: the weights are passed with each call, and belong to the caller. */
export interface UserModel {
  /** Options beyond the shape that decide which vectors the same weights give. */
  readonly architecture: Readonly<Record<string, string | number>>
  /** Of its own weights. Names beginning with `item.` are the item tower's. */
  readonly shapes: WeightShapes
  /** Initial values, drawn in the order of `shapes`. */
  initialWeights(rng: Rng): Weights
  /**
   * Differentiable in the weights and rows. Finite for every history, an empty one included; padding has no influence.
   *
   * @param rows of the items in the histories: embedding plus mean of feature embeddings. [U, D]
   * @param scores `rowScores` of these rows, where already known
   */
  interests(weights: WeightTensors, rows: tf.Tensor2D, history: HistoryTensors, scores?: tf.Tensor2D): UserVectors
  /**
   * Weighted sum of the examples' losses.
   *
   * @param weight [B], summing to 1 for a mean
   * @param onExamples receives the loss of each example: [B], not to be kept
   */
  loss(
    users: UserVectors,
    history: HistoryTensors,
    candidates: Candidates,
    weight: tf.Tensor1D,
    onExamples?: (losses: tf.Tensor1D) => void
  ): tf.Scalar
  /**
   * The part of the work that depends on an item's row alone: computed once per unique row, and cached when serving.
   * Absent if there is none.
   *
   * @returns [U, S] with S = `rowScoreCount`
   */
  rowScores?(weights: WeightTensors, rows: tf.Tensor2D): tf.Tensor2D
  readonly rowScoreCount: number
  /** Whether `interests` accepts histories that share a window. */
  readonly readsWindows: boolean
  /** For a model whose training step is also available as one graph. */
  readonly graph?: TowerGraphOptions
}
