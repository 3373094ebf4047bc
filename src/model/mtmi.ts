// Multi-Tower Multi-Interest: K user towers that read the history, one item tower that reads the item. Neither sees the other.
//
// B users, L history positions, K towers, D dimensions, U item rows touched, A = D hidden units, N items.
// Source: arXiv 2403.05122, as described in ARCHITECTURE; towers are self-attentive pooling. Every vector that leaves has length 1.

import * as tf from '@tensorflow/tfjs-core'
import { type GradientSaver, gatherRows } from './gatherRows.ts'
import type { WeightTensors } from './weights.ts'
import { ageGroups } from './weights.ts'

export interface HistoryTensors {
  readonly size: number // B
  readonly length: number // L
  readonly steps: tf.Tensor1D // [B·L]      int32, positions in `rows`, oldest first, left-padded
  readonly age: tf.Tensor1D // [B·L]      int32, age group (see ageGroup)
  readonly blocked: tf.Tensor3D // [B, L, 1]  0 at a real step, −1e9 at padding and at steps dropped out
}

/**
 * K unit vectors per user.
 *
 *     s(k, e) = q_k · tanh(e W_k + b_k)                             once per item row, then gathered
 *     a(k, l) = softmax over l of s(k, e_l) + position(k, l) + age(k, l)
 *     u_k     = unit( (Σ_l a(k, l) e_l) P_k + c_k )
 *
 * A step's score depends on its item, plus terms for position and age: so scores cost U rows, not B·L steps.
 *
 * @param rows [U, D] of the items in the histories: row plus mean of feature rows
 * @param scores of these rows, where they are known already. [U, K]
 * @returns [K, B, D]
 */
export function userTowers(
  weights: WeightTensors,
  rows: tf.Tensor2D,
  history: HistoryTensors,
  scores: tf.Tensor2D = attentionScores(weights, rows)
): tf.Tensor3D {
  const { size: B, length: L } = history
  const [R, K] = weights['attention.position'].shape as [number, number]
  const D = rows.shape[1]
  const position = tf.slice(weights['attention.position'], [R - L, 0], [L, K]) //                                  [L, K]
  const ofSteps = tf.add(gatherRows(scores, history.steps), gatherRows(weights['attention.age'] as tf.Tensor2D, history.age)) //                                                                                                              [B·L, K]
  const logits = tf.add(tf.add(tf.reshape(ofSteps, [B, L, K]), position), history.blocked) //                      [B, L, K]
  const attention = tf.softmax(tf.transpose(logits, [0, 2, 1])) //                                                 [B, K, L]
  const steps = tf.reshape(gatherRows(rows, history.steps), [B, L, D]) //                                          [B, L, D]
  const pooled = tf.transpose(tf.matMul(attention, steps), [1, 0, 2]) //                                           [K, B, D]
  return unit(tf.add(tf.matMul(pooled, weights['user.weight']), weights['user.bias'])) //                          [K, B, D]
}

/**
 * q_k · tanh(e W_k + b_k).
 *
 * @param rows [U, D]
 * @returns [U, K]
 */
export function attentionScores(weights: WeightTensors, rows: tf.Tensor2D): tf.Tensor2D {
  const hidden = tf.tanh(tf.add(tf.matMul(rows, weights['attention.weight'] as tf.Tensor2D), weights['attention.bias'])) // [U, K·A]
  return tf.matMul(hidden as tf.Tensor2D, queryBlocks(weights['attention.query'])) as tf.Tensor2D //               [U, K]
}

/**
 * v = unit(e W + b).
 *
 * @param rows [N, D]
 * @returns [N, D]
 */
export function itemTower(weights: WeightTensors, rows: tf.Tensor2D): tf.Tensor2D {
  return unit(tf.add(tf.matMul(rows, weights['item.weight'] as tf.Tensor2D), weights['item.bias'])) //             [N, D]
}

/**
 * The queries on the diagonal of a block matrix: so all towers' scores are one product. A sum over products would be read as well, but its gradient in
 * tfjs makes a table of ones as large as `hidden`.
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

/**
 * The last axis scaled to length 1; a zero vector stays zero. With its own gradient, which is a projection:
 *
 *     ∂/∂x = (g − y ⟨y, g⟩) / ‖x‖
 */
function unit<T extends tf.Tensor>(x: T): T {
  const scaled = tf.customGrad((input, save) => {
    const perLength = tf.rsqrt(tf.add(tf.sum(tf.square(input as tf.Tensor), -1, true), 1e-12)) //                   […, 1]
    const y = tf.mul(input as tf.Tensor, perLength)
    ;(save as GradientSaver)([y, perLength])
    return {
      value: y,
      gradFunc: (gradient: tf.Tensor, saved: tf.Tensor[]) => {
        const [y, perLength] = saved as [tf.Tensor, tf.Tensor]
        return tf.mul(tf.sub(gradient, tf.mul(y, tf.sum(tf.mul(y, gradient), -1, true))), perLength)
      }
    }
  })
  return scaled(x) as T
}

/** Doublings of the age. @param ageSeconds anything below 0, or no number, counts as 0 @returns 0 … ageGroups − 1 */
export function ageGroup(ageSeconds: number): number {
  if (!(ageSeconds > 0)) return 0
  return Math.min(ageGroups - 1, Math.floor(Math.log2(1 + ageSeconds)))
}
