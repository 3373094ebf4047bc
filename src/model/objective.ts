// What a model is trained with: a readout, which says which of a user's interests learn from a target, a loss over
// candidates, and regularisers.
//
// B examples, L history positions, K interests, C candidates, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import type { Candidates } from './candidates.ts'
import { gatherRows } from './gatherRows.ts'
import type { HistoryTensors } from './historyTensors.ts'
import { cosines, distance, inverseDistanceWeights, mtmiLoss } from './losses.ts'
import type { LossOptions } from './lossOptions.ts'
import { unit } from './unit.ts'
import type { Readout, UserVectors } from './userModel.ts'

export interface ObjectiveOptions extends LossOptions {
  readonly readout: Readout | 'model'
  /** p of the label-aware readout. */
  readonly labelAwarePower: number
  /** λ of REMI's regulariser. */
  readonly routingRegularisation: number
}

/** @param ofModel the readout that the model was published with */
export function readoutOf({ readout }: ObjectiveOptions, ofModel: Readout): Readout {
  return readout === 'model' ? ofModel : readout
}

/** Keeps the slope of a power finite at 0. */
const powerFloorSquared = 1e-12

/**
 * Weighted sum of the examples' losses.
 *
 *     idw           IDW and URR over all interests (see mtmiLoss)
 *     hard          u = the interest nearest to the target, then the loss of this one vector (ComiRec)
 *     label-aware   u = unit( Σ_k softmax_k( ±|cos_k/τ|^p ) u_k ), then the same (MIND; sign kept, as cosines may be negative)
 *
 * plus λ · ‖diag cov(A)‖² of the routing A (REMI).
 *
 * @param ofModel the readout that the model was published with
 * @param weight [B], summing to 1 for a mean
 * @param onExamples is shown the loss of each example: [B], not to be kept
 * @returns scalar
 */
export function objective(
  user: UserVectors,
  history: HistoryTensors,
  candidates: Candidates,
  weight: tf.Tensor1D,
  options: ObjectiveOptions,
  ofModel: Readout,
  onExamples?: (losses: tf.Tensor1D) => void
): tf.Scalar {
  const readout = readoutOf(options, ofModel)
  const users = readout === 'idw' ? user.interests : readVector(user.interests, candidates, readout, options) // [K, B, D] or [1, B, D]
  const { routingRegularisation: lambda } = options
  if (lambda === 0) return mtmiLoss(users, candidates, weight, options, onExamples)
  if (user.routing === undefined)
    throw new Error('routingRegularisation: the model has no routing; modelProblems should have said so')
  const added = tf.mul(lambda, routingConcentration(user.routing, history.blocked)) as tf.Tensor1D //             [B]
  const loss = mtmiLoss(users, candidates, weight, options, (losses) => onExamples?.(tf.add(losses, added)))
  return tf.add(loss, tf.sum(tf.mul(weight, added)))
}

/** The one vector that is scored, by what is nearest to the target. @param users [K, B, D] @returns [1, B, D] */
function readVector(
  users: tf.Tensor3D,
  candidates: Candidates,
  readout: 'hard' | 'label-aware',
  options: ObjectiveOptions
): tf.Tensor3D {
  const targets = gatherRows(candidates.vectors, candidates.positive) //                                          [B, D]
  const near = cosines(users, targets) //                                                                         [K, B]
  if (readout === 'hard') {
    const chosen = inverseDistanceWeights(distance(near), Number.POSITIVE_INFINITY) //                            [K, B]
    return unit(tf.sum(tf.mul(tf.expandDims(chosen, 2), users), 0, true)) as tf.Tensor3D //                       [1, B, D]
  }
  const K = users.shape[0]
  const { labelAwarePower: p, temperature } = options
  const share = p === 0 ? tf.fill(near.shape, 1 / K) : softmaxOverFirst(signedPower(tf.div(near, temperature), p)) // [K, B]
  return unit(tf.sum(tf.mul(tf.expandDims(share, 2), users), 0, true)) as tf.Tensor3D //                          [1, B, D]
}

/** sign(x)·|x|^p. */
function signedPower(x: tf.Tensor2D, p: number): tf.Tensor2D {
  const size = tf.exp(tf.mul(p / 2, tf.log(tf.add(tf.square(x), powerFloorSquared))))
  const sign = tf.sub(tf.mul(2, tf.cast(tf.greaterEqual(x, 0), 'float32')), 1)
  return tf.mul(sign, size)
}

function softmaxOverFirst(x: tf.Tensor2D): tf.Tensor2D {
  return tf.transpose(tf.softmax(tf.transpose(x)))
}

/**
 * Σ_k ( Var_l A(k, l) )², over the real steps: 0 where every step has the same share, ¼² at most for each interest.
 *
 * Source: REMI (Xie et al., RecSys 2023), ‖diag cov(A)‖².
 *
 * @param routing [B, K, L]
 * @param blocked 0 at a real step. [B, L, 1]
 * @returns [B]; 0 for an empty history
 */
export function routingConcentration(routing: tf.Tensor3D, blocked: tf.Tensor3D): tf.Tensor1D {
  const real = tf.transpose(tf.cast(tf.greaterEqual(blocked, 0), 'float32'), [0, 2, 1]) //                        [B, 1, L]
  const steps = tf.maximum(tf.sum(real, 2, true), 1) //                                                           [B, 1, 1]
  const mean = tf.div(tf.sum(tf.mul(routing, real), 2, true), steps) //                                           [B, K, 1]
  const apart = tf.mul(tf.sub(routing, mean), real) //                                                            [B, K, L]
  const variance = tf.div(tf.sum(tf.square(apart), 2, true), steps) //                                            [B, K, 1]
  return tf.sum(tf.square(variance), [1, 2])
}
