// Multi-Tower Multi-Interest: K user towers that read the history, one item tower that reads the item. Neither sees the
// other.
//
// B users, L history positions, K towers, D dimensions, U item rows touched, A = D hidden units, R positions with a
// term of their own, G age groups. Source: arXiv 2403.05122, as described in ARCHITECTURE; towers are self-attentive
// pooling. Every vector that leaves has length 1.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions } from '../core/config/modelOptions.ts'
import type { Rng } from '../core/rng.ts'
import { nearIdentity } from './firstValues.ts'
import { type GradientSaver, gatherRows } from './gatherRows.ts'
import { ageGroups, type HistoryTensors } from './historyTensors.ts'
import { tanhGradient } from './tanhGradient.ts'
import type { TowerOptions } from './towerGraph.ts'
import { unit } from './unit.ts'
import type { ModelShape, UserModel, UserVectors } from './userModel.ts'
import { filled, type WeightShapes, type Weights, type WeightTensors } from './weights.ts'

type MtmiWeight =
  | 'attention.weight'
  | 'attention.bias'
  | 'attention.query'
  | 'attention.position'
  | 'attention.age'
  | 'user.weight'
  | 'user.bias'
/** There only with `model.context: time`, and `model.communication: mean`. */
type OptionalWeight = 'attention.hour' | 'attention.day' | 'user.exchange'
type MtmiWeights = WeightTensors<MtmiWeight> & Partial<WeightTensors<OptionalWeight>>

export function mtmi(shape: ModelShape, { communication, context }: ModelOptions): UserModel {
  const communicates = communication === 'mean' && shape.interestCount > 1
  return towersOf(shape, { summed: false, communicates, readsTime: context === 'time' })
}

/**
 * One self-attentive vector with the very weights of MTMI at K = `heads`: its towers summed before the length is made
 * 1. What K vectors are worth is the difference between the two.
 */
export function oneVector(shape: ModelShape, { heads, context }: ModelOptions): UserModel {
  const towers = towersOf(
    { ...shape, interestCount: heads },
    { summed: true, communicates: false, readsTime: context === 'time' }
  )
  return { ...towers, architecture: { heads, ...towers.architecture } }
}

function towersOf(shape: ModelShape, options: TowerOptions): UserModel {
  const shapes = mtmiShapes(shape, options)
  return {
    architecture: {
      ...(options.communicates ? { communication: 'mean' } : {}),
      ...(options.readsTime ? { context: 'time' } : {})
    },
    readout: 'idw',
    towers: shape.interestCount,
    shapes,
    initialWeights: (rng) => initialWeights(shape, shapes, rng),
    interests: (weights, rows, history, scores) =>
      userTowers(weights as MtmiWeights, rows, history, options.summed, scores),
    rowScores: (weights, rows) => attentionScores(weights as MtmiWeights, rows),
    rowScoreCount: shape.interestCount,
    readsWindows: true,
    graph: options
  }
}

function mtmiShapes(
  { interestCount: K, dimensions: D, historyMax: R }: ModelShape,
  { communicates, readsTime }: TowerOptions
): WeightShapes<MtmiWeight> & Partial<WeightShapes<OptionalWeight>> {
  return {
    'attention.weight': [D, K * D], // the K towers side by side: one matmul
    'attention.bias': [K * D],
    'attention.query': [K, D],
    'attention.position': [R, K], // row R − 1 is the newest step
    'attention.age': [ageGroups, K],
    'user.weight': [K, D, D],
    'user.bias': [K, 1, D],
    ...(readsTime ? { 'attention.hour': [24, K], 'attention.day': [7, K] } : {}),
    ...(communicates ? { 'user.exchange': [K, D, D] } : {})
  }
}

/**
 * Towers start with different memories, from the newest steps alone to the whole window, so that there is something to
 * tell them apart before the attention has learned anything.
 */
function initialWeights(
  { interestCount: K, dimensions: D, historyMax: R }: ModelShape,
  shapes: ReturnType<typeof mtmiShapes>,
  rng: Rng
): Weights {
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
    'user.bias': filled(shapes['user.bias'], () => 0),
    // At 0 the towers are those without: what they gain is learned.
    ...Object.fromEntries(
      (['attention.hour', 'attention.day', 'user.exchange'] as const).flatMap((name) => {
        const shape = shapes[name]
        return shape === undefined ? [] : [[name, filled(shape, () => 0)]]
      })
    )
  }
}

/**
 * K unit vectors per user.
 *
 *     s(k, e) = q_k · tanh(e W_k + b_k)                             once per item row, then gathered
 *     a(k, l) = softmax over l of s(k, e_l) + position(k, l) + age(k, l) + hour(k, l) + day(k, l)
 *     p_k     = Σ_l a(k, l) e_l
 *     u_k     = unit( p_k P_k + (Σ_{j≠k} p_j / (K − 1)) X_k + c_k )
 *
 * The terms of hour and day are there only with `context: time`, X_k only with `communication: mean`.
 *
 * A step's score depends on its item, plus terms for position and age: so scores cost U rows, not B·L steps.
 *
 * @param rows [U, D] of the items in the histories: row plus mean of feature rows
 * @param summed one vector: the sum over k before the length is made 1
 * @param scores of these rows, where they are known already. [U, K]
 * @returns interests [K, B, D] or [1, B, D], routing a [B, K, L]
 */
function userTowers(
  weights: MtmiWeights,
  rows: tf.Tensor2D,
  history: HistoryTensors,
  summed: boolean,
  scores: tf.Tensor2D = attentionScores(weights, rows)
): UserVectors {
  const { size: B, length: L, perWindow: P = 1, position } = history
  const [R, K] = weights['attention.position'].shape as [number, number]
  const D = weights['user.weight'].shape[1]!
  const W = B / P
  const ofSteps = tf.reshape(gatherRows(scores, history.steps), [W, 1, L, K]) //                                   [W, 1, L, K]
  const ofAge = tf.reshape(gatherRows(weights['attention.age'] as tf.Tensor2D, history.age), [W, P, L, K]) //      [W, P, L, K]
  const ofPosition =
    position === undefined
      ? tf.slice(weights['attention.position'], [R - L, 0], [L, K]) //                                             [L, K]
      : tf.reshape(gatherRows(weights['attention.position'] as tf.Tensor2D, position), [W, P, L, K])
  let logits = tf.add(tf.add(tf.add(ofSteps, ofAge), ofPosition), tf.reshape(history.blocked, [W, P, L, 1])) //    [W, P, L, K]
  for (const term of ofTime(weights, history)) logits = tf.add(logits, tf.reshape(term, [W, P, L, K]))
  const attention = tf.reshape(tf.softmax(tf.transpose(logits, [0, 1, 3, 2])), [W, P * K, L]) //                   [W, P·K, L]
  const steps = gatherRows(rows, history.steps) //                                                                 [W·L, D] or [W·L, K·D]
  const pooled =
    rows.shape[1] === D
      ? tf.transpose(tf.reshape(tf.matMul(attention, tf.reshape(steps, [W, L, D])), [B, K, D]), [1, 0, 2])
      : ofOwnRows(tf.reshape(attention, [W, P, K, L]), tf.reshape(steps, [W, L, K, D])) //                         [K, B, D]
  const own = tf.add(tf.matMul(pooled, weights['user.weight']), weights['user.bias']) //                           [K, B, D]
  const exchange = weights['user.exchange']
  const projected = exchange === undefined ? own : tf.add(own, tf.matMul(ofOthers(pooled as tf.Tensor3D), exchange)) // [K, B, D]
  const interests = unit(summed ? tf.sum(projected, 0, true) : projected) as tf.Tensor3D //                        [K or 1, B, D]
  return P === 1 ? { interests, routing: attention as tf.Tensor3D } : { interests }
}

/**
 * What each step's distance from the newest in the day and in the week adds to its logits; nothing without `context:
 * time`. @returns [B·L, K] each
 */
function ofTime(weights: MtmiWeights, history: HistoryTensors): tf.Tensor2D[] {
  const { 'attention.hour': ofHour, 'attention.day': ofDay } = weights
  if (ofHour === undefined || ofDay === undefined) return []
  const { hours, days } = history.apart()
  return [gatherRows(ofHour as tf.Tensor2D, hours), gatherRows(ofDay as tf.Tensor2D, days)]
}

/** The mean over the other towers. @param pooled [K, B, D] @returns [K, B, D] */
function ofOthers(pooled: tf.Tensor3D): tf.Tensor3D {
  return tf.div(tf.sub(tf.sum(pooled, 0, true), pooled), pooled.shape[0] - 1)
}

/**
 * q_k · tanh(e W_k + b_k).
 *
 * @param rows [U, D]
 * @returns [U, K]
 */
function attentionScores(weights: MtmiWeights, rows: tf.Tensor2D): tf.Tensor2D {
  const weight = weights['attention.weight'] as tf.Tensor2D //                                                     [D, K·A]
  const bias = weights['attention.bias'] as tf.Tensor1D //                                                         [K·A]
  const queries = queryBlocks(weights['attention.query']) //                                                       [K·A, K]
  if (rows.shape[1] === weight.shape[0]) return scoresOfOne(rows, weight, bias, queries)
  return tf.matMul(tf.tanh(tf.add(ofOwnTable(rows, weight), bias)) as tf.Tensor2D, queries) //                     [U, K]
}

/**
 * tanh(e W + b) Q with its own gradient, in which no table of the size of the hidden units is made twice: they are most
 * of what a step writes to memory. The bias rides along as one more row of W.
 *
 * @param rows [U, D]
 * @param queries [K·A, K]
 * @returns [U, K]
 */
function scoresOfOne(rows: tf.Tensor2D, weight: tf.Tensor2D, bias: tf.Tensor1D, queries: tf.Tensor2D): tf.Tensor2D {
  const scores = tf.customGrad((e, w, b, q, save) => {
    const [U, D] = (e as tf.Tensor2D).shape
    const wide = (w as tf.Tensor2D).shape[1]
    const read = tf.concat([e as tf.Tensor2D, tf.ones([U, 1])], 1) as tf.Tensor2D //                               [U, D + 1]
    const map = tf.concat([w as tf.Tensor2D, tf.reshape(b as tf.Tensor1D, [1, wide])], 0) as tf.Tensor2D //        [D + 1, K·A]
    const hidden = tf.tanh(tf.matMul(read, map)) as tf.Tensor2D //                                                 [U, K·A]
    ;(save as GradientSaver)([read, w as tf.Tensor, hidden, q as tf.Tensor])
    return {
      value: tf.matMul(hidden, q as tf.Tensor2D),
      gradFunc: (gradient: tf.Tensor, saved: tf.Tensor[]) => {
        const [read, w, hidden, q] = saved as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D, tf.Tensor2D]
        const ofScores = gradient as tf.Tensor2D //                                                                [U, K]
        const inner = tanhGradient(hidden, tf.matMul(ofScores, q, false, true)) as tf.Tensor2D //                  [U, K·A]
        const ofMap = tf.matMul(read, inner, true, false) //                                                       [D + 1, K·A]
        return [
          tf.matMul(inner, w, false, true), //                                                                     [U, D]
          tf.slice(ofMap, [0, 0], [D, wide]), //                                                                   [D, K·A]
          tf.reshape(tf.slice(ofMap, [D, 0], [1, wide]), [wide]), //                                               [K·A]
          tf.transpose(tf.matMul(ofScores, hidden, true, false)) //                                                [K·A, K]
        ]
      }
    }
  })
  return scores(rows, weight, bias, queries) as tf.Tensor2D
}

/** Where each tower has rows of its own. @param rows [U, K·D] @param weight [D, K·A] @returns [U, K·A] */
function ofOwnTable(rows: tf.Tensor2D, weight: tf.Tensor2D): tf.Tensor2D {
  const [U, width] = rows.shape
  const [D, wide] = weight.shape
  const K = width / D
  const ofTower = tf.transpose(tf.reshape(rows, [U, K, D]), [1, 0, 2]) //                                          [K, U, D]
  const maps = tf.transpose(tf.reshape(weight, [D, K, wide / K]), [1, 0, 2]) //                                    [K, D, A]
  return tf.reshape(tf.transpose(tf.matMul(ofTower, maps), [1, 0, 2]), [U, wide])
}

/**
 * Pooled where each tower has rows of its own. @param attention [W, P, K, L] @param steps [W, L, K, D] @returns [K,
 * W·P, D]
 */
function ofOwnRows(attention: tf.Tensor4D, steps: tf.Tensor4D): tf.Tensor3D {
  const [W, P] = attention.shape
  const [, , K, D] = steps.shape
  const each = tf.matMul(tf.transpose(attention, [0, 2, 1, 3]), tf.transpose(steps, [0, 2, 1, 3])) //              [W, K, P, D]
  return tf.reshape(tf.transpose(each, [1, 0, 2, 3]), [K, W * P, D])
}

/**
 * The queries on the diagonal of a block matrix: so all towers' scores are one product. A sum over products would be
 * read as well, but its gradient in tfjs makes a table of ones as large as `hidden`.
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
