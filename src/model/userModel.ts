// What turns a history into interests: the part in which the models differ. Table, sampler, item tower, loss and
// trainer are the same for all.
//
// B users, L history positions, K interests, D dimensions, U item rows touched.

import type * as tf from '@tensorflow/tfjs-core'
import type { Rng } from '../core/rng.ts'
import type { HistoryTensors } from './historyTensors.ts'
import type { TowerOptions } from './towerGraph.ts'
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
  /** Share of each step in each interest, where the model knows such a thing; of no meaning at padding. [B, K, L] */
  readonly routing?: tf.Tensor3D
}

/** Which interests learn from a target (see objective). */
export type Readout = 'idw' | 'hard' | 'label-aware'

/** Stateless: the weights are given with each call, and belong to the caller. */
export interface UserModel {
  /** Options beyond the shape that decide which vectors the same weights give. */
  readonly architecture: Readonly<Record<string, string | number>>
  /** What it was published with. */
  readonly readout: Readout
  /** Towers that may have rows of their own. */
  readonly towers: number
  /** Of its own weights, no name of which begins with `item.` */
  readonly shapes: WeightShapes
  /** First values, drawn in the order of `shapes`. */
  initialWeights(rng: Rng): Weights
  /**
   * Differentiable in the weights and rows. Finite for every history, an empty one included; padding has no influence.
   * `routing` is told only where each history has a window of its own.
   *
   * @param rows of the items in the histories: row plus mean of feature rows. [U, D], or [U, towers · D] where each
   *   tower has rows of its own
   * @param scores what `rowScores` gives for these rows, where it is known already
   */
  interests(weights: WeightTensors, rows: tf.Tensor2D, history: HistoryTensors, scores?: tf.Tensor2D): UserVectors
  /**
   * What of the work depends on an item's row alone: made once per unique row, and remembered by whoever serves. Absent
   * if there is nothing of the kind.
   *
   * @returns [U, S] with S = `rowScoreCount`
   */
  rowScores?(weights: WeightTensors, rows: tf.Tensor2D): tf.Tensor2D
  readonly rowScoreCount: number
  /**
   * Whether `interests` reads histories that share a window. Where it does not, each history is given steps of its own.
   * Absent: it does not.
   */
  readonly readsWindows?: boolean
  /** What towerGraph is to be told, where a training step of it can be one graph. */
  readonly graph?: TowerOptions
}
