// MTMI with what studies add: towers that communicate, context of time, and the towers summed to one vector.
//
// B users, L history positions, K towers, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions } from '../../core/config/modelOptions.ts'
import type { HistoryTensors } from '../../model/historyTensors.ts'
import { attentionScores, type MtmiWeights, mtmiInitialWeights, mtmiShapes, pool, project } from '../../model/mtmi.ts'
import { gatherRows, unit } from '../../model/tensorOps.ts'
import type { ModelShape } from '../../model/userModel.ts'
import { filled, type WeightShapes, type WeightTensors } from '../../model/weights.ts'
import type { ComparedModel } from './comparisonLoss.ts'

interface Variant {
  /** One vector: the sum over k before the length is made 1. */
  readonly summed: boolean
  /** Each tower adds the mean of what the others pooled, through a map of its own that starts at 0. */
  readonly communicates: boolean
  /** The attention reads each step's distance from the newest in the day and in the week. */
  readonly readsTime: boolean
}

export function mtmiVariant(shape: ModelShape, { communication, context }: ModelOptions): ComparedModel {
  const communicates = communication === 'mean' && shape.interestCount > 1
  return variantOf(shape, { summed: false, communicates, readsTime: context === 'time' })
}

/**
 * One self-attentive vector with the very weights of MTMI at K = `heads`: its towers summed before the length is made
 * 1. The difference between the two is what K vectors are worth.
 */
export function oneVector(shape: ModelShape, { heads, context }: ModelOptions): ComparedModel {
  const towers = { ...shape, interestCount: heads }
  const model = variantOf(towers, { summed: true, communicates: false, readsTime: context === 'time' })
  return { ...model, architecture: { heads, ...model.architecture } }
}

/**
 *     a(k, l) = softmax over l of s(k, e_l) + position(k, l) + age(k, l) + hour(k, l) + day(k, l)
 *     u_k     = unit( p_k P_k + (Σ_{j≠k} p_j / (K − 1)) X_k + c_k )
 */
function variantOf(shape: ModelShape, { summed, communicates, readsTime }: Variant): ComparedModel {
  const { interestCount: K, dimensions: D } = shape
  const added: WeightShapes = {
    ...(readsTime ? { 'attention.hour': [24, K], 'attention.day': [7, K] } : {}),
    ...(communicates ? { 'user.exchange': [K, D, D] } : {})
  }
  return {
    architecture: { ...(communicates ? { communication: 'mean' } : {}), ...(readsTime ? { context: 'time' } : {}) },
    readout: 'idw',
    shapes: { ...mtmiShapes(shape), ...added },
    initialWeights: (rng) => ({
      ...mtmiInitialWeights(shape, rng),
      // At 0 the towers are those of MTMI: their gain is learned.
      ...Object.fromEntries(Object.entries(added).map(([name, size]) => [name, filled(size, () => 0)]))
    }),
    interests: (given, rows, history, scores) => {
      const weights = given as MtmiWeights & WeightTensors
      const terms = readsTime ? timeTerms(weights, history) : []
      const pooled = pool(weights, rows, history, scores, terms)
      const own = project(weights, pooled) //                                                                   [K, B, D]
      const projected = communicates ? tf.add(own, tf.matMul(meanOfOthers(pooled), weights['user.exchange']!)) : own // [K, B, D]
      const interests = unit(summed ? tf.sum(projected, 0, true) : projected) as tf.Tensor3D //                 [K or 1, B, D]
      return { interests }
    },
    rowScores: (weights, rows) => attentionScores(weights as MtmiWeights, rows),
    rowScoreCount: K,
    readsWindows: true
  }
}

/** What each step's distance from the newest in the day and in the week adds to its logits. @returns [B·L, K] each */
function timeTerms(weights: WeightTensors, { seconds }: HistoryTensors): tf.Tensor2D[] {
  const hours = tf.tensor1d(Int32Array.from(seconds, hourApart), 'int32')
  const days = tf.tensor1d(Int32Array.from(seconds, dayApart), 'int32')
  return [
    gatherRows(weights['attention.hour'] as tf.Tensor2D, hours),
    gatherRows(weights['attention.day'] as tf.Tensor2D, days)
  ]
}

/** Hours, rounded, less whole days: 0 for the same time of day, whatever the time zone. @returns 0 … 23 */
export function hourApart(ageSeconds: number): number {
  return ageSeconds > 0 ? Math.round(ageSeconds / 3600) % 24 : 0
}

/** Days, rounded, less whole weeks: 0 for the same day of the week. @returns 0 … 6 */
export function dayApart(ageSeconds: number): number {
  return ageSeconds > 0 ? Math.round(ageSeconds / 86_400) % 7 : 0
}

/** @param pooled [K, B, D] @returns [K, B, D] */
function meanOfOthers(pooled: tf.Tensor3D): tf.Tensor3D {
  return tf.div(tf.sub(tf.sum(pooled, 0, true), pooled), pooled.shape[0] - 1)
}
