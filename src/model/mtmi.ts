// Multi-Tower Multi-Interest: K user towers that read the history. The item tower (model.ts) reads the item; neither
// sees the other.
//
// B users, L history positions, K towers, D dimensions, U item rows touched, A = D hidden units, R positions with a
// term of their own, G age groups; W windows with P histories each, B = W·P. Source: arXiv 2403.05122, as described in
// ARCHITECTURE; towers are self-attentive pooling. Every vector that leaves has length 1.

import * as tf from '@tensorflow/tfjs-core'
import type { Rng } from '../core/rng.ts'
import { ageGroups, type HistoryTensors } from './historyTensors.ts'
import { type LossOptions, mtmiLoss } from './loss.ts'
import { type GradientSaver, gatherRows, unit } from './tensorOps.ts'
import type { ModelShape, UserModel } from './userModel.ts'
import { filled, nearIdentity, type WeightShapes, type Weights, type WeightTensors } from './weights.ts'

type MtmiWeight =
  | 'attention.weight'
  | 'attention.bias'
  | 'attention.query'
  | 'attention.position'
  | 'attention.age'
  | 'user.weight'
  | 'user.bias'
export type MtmiWeights = WeightTensors<MtmiWeight>

export function mtmi(shape: ModelShape, loss: LossOptions): UserModel {
  const shapes = mtmiShapes(shape)
  return {
    architecture: {},
    shapes,
    initialWeights: (rng) => mtmiInitialWeights(shape, rng),
    interests: (weights, rows, history, scores) => ({
      interests: unit(project(weights as MtmiWeights, pool(weights as MtmiWeights, rows, history, scores)))
    }),
    loss: ({ interests }, _history, candidates, weight, onExamples) =>
      mtmiLoss(interests, candidates, weight, loss, onExamples),
    rowScores: (weights, rows) => attentionScores(weights as MtmiWeights, rows),
    rowScoreCount: shape.interestCount,
    readsWindows: true,
    graph: { ...shape, loss }
  }
}

export function mtmiShapes({ interestCount: K, dimensions: D, historyMax: R }: ModelShape): WeightShapes<MtmiWeight> {
  return {
    'attention.weight': [D, K * D], // the K towers side by side: one matmul
    'attention.bias': [K * D],
    'attention.query': [K, D],
    'attention.position': [R, K], // row R − 1 is the newest step
    'attention.age': [ageGroups, K],
    'user.weight': [K, D, D],
    'user.bias': [K, 1, D]
  }
}

/**
 * Towers start with different memories, from the newest steps alone to the whole window, so that they differ before the
 * attention is trained.
 */
export function mtmiInitialWeights(shape: ModelShape, rng: Rng): Weights {
  const { interestCount: K, dimensions: D, historyMax: R } = shape
  const shapes = mtmiShapes(shape)
  return {
    'attention.weight': filled(shapes['attention.weight'], () => rng.normal() / Math.sqrt(D)),
    'attention.bias': filled(shapes['attention.bias'], () => 0),
    'attention.query': filled(shapes['attention.query'], () => (0.1 * rng.normal()) / Math.sqrt(D)),
    // Weight e^(−decay·steps back) with half-lives of about 1.4, 5.5, 22, … steps; the last tower weighs all alike.
    'attention.position': filled(shapes['attention.position'], (i) => {
      const k = i % K
      const stepsBack = R - 1 - Math.floor(i / K)
      return k === K - 1 ? 0 : -0.5 * 0.25 ** k * stepsBack
    }),
    'attention.age': filled(shapes['attention.age'], () => 0),
    'user.weight': filled(shapes['user.weight'], nearIdentity(D, rng)),
    'user.bias': filled(shapes['user.bias'], () => 0)
  }
}

/**
 * Attention of each tower over the steps of each history, and the embeddings it pools.
 *
 *     s(k, e) = q_k · tanh(e W_k + b_k)                             once per item row, then gathered
 *     a(k, l) = softmax over l of s(k, e_l) + position(k, l) + age(k, l)
 *     p_k     = Σ_l a(k, l) e_l
 *
 * A step's score depends on its item, plus terms for position and age: so scores cost U rows, not B·L steps.
 *
 * @param rows [U, D] of the items in the histories: embedding plus mean of feature embeddings
 * @param scores of these rows, where already known. [U, K]
 * @param terms to be added to the logits of each step. [B·L, K] each
 * @returns [K, B, D]
 */
export function pool(
  weights: MtmiWeights,
  rows: tf.Tensor2D,
  history: HistoryTensors,
  scores: tf.Tensor2D = attentionScores(weights, rows),
  terms: readonly tf.Tensor2D[] = []
): tf.Tensor3D {
  const { size: B, length: L, perWindow: P = 1, position } = history
  const [R, K] = weights['attention.position'].shape as [number, number]
  const D = rows.shape[1]
  const W = B / P
  const ofSteps = tf.reshape(gatherRows(scores, history.steps), [W, 1, L, K]) //                                 [W, 1, L, K]
  const ofAge = tf.reshape(gatherRows(weights['attention.age'] as tf.Tensor2D, history.age), [W, P, L, K]) //    [W, P, L, K]
  const ofPosition =
    position === undefined
      ? tf.slice(weights['attention.position'], [R - L, 0], [L, K]) //                                           [L, K]
      : tf.reshape(gatherRows(weights['attention.position'] as tf.Tensor2D, position), [W, P, L, K])
  let logits = tf.add(tf.add(tf.add(ofSteps, ofAge), ofPosition), tf.reshape(history.blocked, [W, P, L, 1])) //  [W, P, L, K]
  for (const term of terms) logits = tf.add(logits, tf.reshape(term, [W, P, L, K]))
  const attention = tf.reshape(tf.softmax(tf.transpose(logits, [0, 1, 3, 2])), [W, P * K, L]) as tf.Tensor3D //  [W, P·K, L]
  const steps = tf.reshape(gatherRows(rows, history.steps), [W, L, D]) //                                        [W, L, D]
  return tf.transpose(tf.reshape(tf.matMul(attention, steps), [B, K, D]), [1, 0, 2]) as tf.Tensor3D //           [K, B, D]
}

/** p_k P_k + c_k; its unit vector is interest u_k. @param pooled [K, B, D] @returns [K, B, D] */
export function project(weights: MtmiWeights, pooled: tf.Tensor3D): tf.Tensor3D {
  return tf.add(tf.matMul(pooled, weights['user.weight'] as tf.Tensor3D), weights['user.bias']) as tf.Tensor3D
}

/**
 * q_k · tanh(e W_k + b_k), with its own gradient, which creates no second table of the size of the hidden units: they
 * are most of what a step writes to memory. The bias rides along as one more row of W.
 *
 * @param rows [U, D]
 * @returns [U, K]
 */
export function attentionScores(weights: MtmiWeights, rows: tf.Tensor2D): tf.Tensor2D {
  const scores = tf.customGrad((e, w, b, q, save) => {
    const [U, D] = (e as tf.Tensor2D).shape
    const wide = (w as tf.Tensor2D).shape[1]
    const read = tf.concat([e as tf.Tensor2D, tf.ones([U, 1])], 1) as tf.Tensor2D //                             [U, D + 1]
    const map = tf.concat([w as tf.Tensor2D, tf.reshape(b as tf.Tensor1D, [1, wide])], 0) as tf.Tensor2D //      [D + 1, K·A]
    const hidden = tf.tanh(tf.matMul(read, map)) as tf.Tensor2D //                                               [U, K·A]
    ;(save as GradientSaver)([read, w as tf.Tensor, hidden, q as tf.Tensor])
    return {
      value: tf.matMul(hidden, q as tf.Tensor2D),
      gradFunc: (gradient: tf.Tensor, saved: tf.Tensor[]) => {
        const [read, w, hidden, q] = saved as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D, tf.Tensor2D]
        const ofScores = gradient as tf.Tensor2D //                                                              [U, K]
        const slope = tf.sub(1, tf.square(hidden)) //                                                            [U, K·A]
        const inner = tf.mul(tf.matMul(ofScores, q, false, true), slope) as tf.Tensor2D //                       [U, K·A]
        const ofMap = tf.matMul(read, inner, true, false) //                                                     [D + 1, K·A]
        return [
          tf.matMul(inner, w, false, true), //                                                                   [U, D]
          tf.slice(ofMap, [0, 0], [D, wide]), //                                                                 [D, K·A]
          tf.reshape(tf.slice(ofMap, [D, 0], [1, wide]), [wide]), //                                             [K·A]
          tf.transpose(tf.matMul(ofScores, hidden, true, false)) //                                              [K·A, K]
        ]
      }
    }
  })
  const queries = queryBlocks(weights['attention.query']) //                                                     [K·A, K]
  return scores(rows, weights['attention.weight'], weights['attention.bias'], queries) as tf.Tensor2D
}

/**
 * The queries on the diagonal of a block matrix, so that all towers' scores are one product. The gradient of a sum over
 * products would create a table of ones as large as `hidden`.
 *
 * @param query [K, A]
 * @returns [K·A, K]
 */
function queryBlocks(query: tf.Tensor): tf.Tensor2D {
  const [K, A] = query.shape as [number, number]
  const own = tf.tensor2d(
    Float32Array.from({ length: K * A * K }, (_, i) => (Math.floor(i / (A * K)) === i % K ? 1 : 0)),
    [K * A, K]
  )
  return tf.mul(tf.reshape(query, [K * A, 1]), own)
}
