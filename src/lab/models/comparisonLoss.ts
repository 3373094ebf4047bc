// What models for comparison are trained with: a readout, which decides which of a user's interests learn from a
// target, and a loss over candidates. IDW and repel are MTMI's own (src/model/loss.ts).
//
// B examples, K interests, C candidates, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions } from '../../core/config/modelOptions.ts'
import { type Candidates, distance, idwWeights, mtmiLoss, repel, softmaxLosses } from '../../model/loss.ts'
import { gatherRows, stopGradient, unit } from '../../model/tensorOps.ts'
import type { UserModel } from '../../model/userModel.ts'

/** Which interests learn from a target (see comparisonLoss). */
export type Readout = 'idw' | 'hard' | 'label-aware'

/** A user model without its loss, and the readout that it was published with. */
export type ComparedModel = Omit<UserModel, 'loss' | 'readsWindows' | 'rowScoreCount'> & {
  readonly readout: Readout
  readonly readsWindows?: boolean
  readonly rowScoreCount?: number
}

export type ComparisonLossOptions = Pick<
  ModelOptions,
  | 'loss'
  | 'margin'
  | 'temperature'
  | 'idwForm'
  | 'idwAlpha'
  | 'idwSoftness'
  | 'idwStopGradient'
  | 'repelBeta'
  | 'repelMargin'
  | 'labelAwarePower'
> & { readonly readout: Readout }

/** The model with the loss that the options ask for; the published readout unless they name another. */
export function withLoss(model: ComparedModel, options: ModelOptions): UserModel {
  const readout = options.readout === 'model' ? model.readout : options.readout
  return {
    rowScoreCount: 0,
    readsWindows: false,
    ...model,
    loss: ({ interests }, _history, candidates, weight, onExamples) =>
      comparisonLoss(interests, candidates, weight, { ...options, readout }, onExamples)
  }
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
 * Shapes: as `UserModel.loss`. @param interests [K, B, D]
 */
export function comparisonLoss(
  interests: tf.Tensor3D,
  candidates: Candidates,
  weight: tf.Tensor1D,
  options: ComparisonLossOptions,
  onExamples?: (losses: tf.Tensor1D) => void
): tf.Scalar {
  const { readout, loss, temperature, idwStopGradient, repelBeta, repelMargin, margin } = options
  const users = readout === 'idw' ? interests : readVector(interests, candidates, readout, options) //            [K or 1, B, D]
  if (loss === 'softmax' && idwStopGradient) return mtmiLoss(users, candidates, weight, options, onExamples)
  const weightsOf = (u: tf.Tensor3D, v: tf.Tensor2D) => idwWeights(distance(toTargets(u, v, candidates)), options)
  const weights = idwStopGradient
    ? stopGradient([users, candidates.vectors], weightsOf)
    : weightsOf(users, candidates.vectors) //                                                                     [K, B]
  const losses =
    loss === 'triplet' ? tripletLosses(users, candidates, margin) : softmaxLosses(users, candidates, temperature) // [K, B]
  const pull = tf.sum(tf.mul(weights, losses), 0) //                                                              [B]
  const all = tf.add(pull, tf.mul(repelBeta, repel(users, repelMargin))) as tf.Tensor1D //                        [B]
  onExamples?.(all)
  return tf.sum(tf.mul(weight, all))
}

/** Cosines with each user's own target. @param users [K, B, D] @returns [K, B] */
function toTargets(users: tf.Tensor3D, vectors: tf.Tensor2D, { positive }: Candidates): tf.Tensor2D {
  return tf.sum(tf.mul(users, gatherRows(vectors, positive)), 2)
}

/** The one vector that is scored. @param users [K, B, D] @returns [1, B, D] */
function readVector(
  users: tf.Tensor3D,
  candidates: Candidates,
  readout: 'hard' | 'label-aware',
  { labelAwarePower: p, temperature }: ComparisonLossOptions
): tf.Tensor3D {
  const K = users.shape[0]
  const near = toTargets(users, candidates.vectors, candidates) //                                                [K, B]
  const share =
    readout === 'hard'
      ? stopGradient([near], (cosines) => {
          const nearest = tf.cast(tf.equal(cosines, tf.max(cosines, 0)), 'float32') //                            [K, B]
          return tf.div(nearest, tf.sum(nearest, 0)) as tf.Tensor2D
        })
      : p === 0
        ? tf.fill(near.shape, 1 / K)
        : softmaxOverFirst(signedPower(tf.div(near, temperature), p)) //                                          [K, B]
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
 * ℓ_k = mean over the negatives i of [ d(u_k, v₊) − min_j d(u_j, v_i) + m ]₊.
 *
 * A negative is scored by the nearest interest: distances, unlike probabilities, cannot be summed.
 *
 * @param users [K, B, D]
 * @returns [K, B]
 */
function tripletLosses(users: tf.Tensor3D, candidates: Candidates, margin: number): tf.Tensor2D {
  const [K, B, D] = users.shape
  const toTarget = distance(toTargets(users, candidates.vectors, candidates)) //                                      [K, B]
  const C = candidates.vectors.shape[0]
  const cosines = tf.reshape(tf.matMul(tf.reshape(users, [K * B, D]), candidates.vectors, false, true), [K, B, C]) // [K, B, C]
  const nearest = distance(tf.max(cosines, 0)) //                                                                     [B, C]
  // Not tf.oneHot: WASM's gives other numbers for floats.
  const others = tf.notEqual(tf.expandDims(candidates.positive, 1), tf.range(0, C, 1, 'int32')) //                    [B, C]
  let negative = tf.cast(others, 'float32') as tf.Tensor //                                                           [B, C]
  if (candidates.blocked !== undefined)
    negative = tf.mul(negative, tf.cast(tf.greater(candidates.blocked, -1), 'float32'))
  const share = tf.div(negative, tf.maximum(tf.sum(negative, 1, true), 1)) //                                         [B, C]
  const violation = tf.relu(tf.sub(tf.add(tf.expandDims(toTarget, 2), margin), nearest)) //                           [K, B, C]
  return tf.sum(tf.mul(violation, share), 2)
}
