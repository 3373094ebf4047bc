// What models for comparison are trained with: a readout, which decides which of a user's interests learn from a
// target, a loss over candidates, and regularisers. IDW and repel are MTMI's own (src/model/loss.ts).
//
// B examples, L history positions, K interests, C candidates, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions } from '../../core/config/modelOptions.ts'
import type { HistoryTensors } from '../../model/historyTensors.ts'
import { type Candidates, distance, idwWeights, mtmiLoss, repel, softmaxLosses } from '../../model/loss.ts'
import { gatherRows, stopGradient, unit } from '../../model/tensorOps.ts'
import type { UserModel, UserVectors } from '../../model/userModel.ts'

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
  | 'hardNegativesBeta'
  | 'labelAwarePower'
  | 'routingRegularisation'
> & { readonly readout: Readout }

/** The model with the loss that the options ask for; the published readout unless they name another. */
export function withLoss(model: ComparedModel, options: ModelOptions): UserModel {
  const readout = options.readout === 'model' ? model.readout : options.readout
  return {
    rowScoreCount: 0,
    ...model,
    // A regulariser of the routing needs each history's own steps.
    readsWindows: model.readsWindows === true && options.routingRegularisation === 0,
    loss: (users, history, candidates, weight, onExamples) =>
      comparisonLoss(users, history, candidates, weight, { ...options, readout }, onExamples)
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
 * plus λ · ‖diag cov(A)‖² of the routing A (REMI). Shapes: as `UserModel.loss`.
 */
export function comparisonLoss(
  user: UserVectors,
  history: HistoryTensors,
  candidates: Candidates,
  weight: tf.Tensor1D,
  options: ComparisonLossOptions,
  onExamples?: (losses: tf.Tensor1D) => void
): tf.Scalar {
  const { readout, routingRegularisation: lambda } = options
  const users = readout === 'idw' ? user.interests : readVector(user.interests, candidates, readout, options) // [K, B, D] or [1, B, D]
  if (lambda === 0) return overCandidates(users, candidates, weight, options, onExamples)
  if (user.routing === undefined)
    throw new Error('routingRegularisation: the model has no routing; modelProblems should have rejected it')
  const added = tf.mul(lambda, routingConcentration(user.routing, history.blocked)) as tf.Tensor1D //             [B]
  const loss = overCandidates(users, candidates, weight, options, (losses) => onExamples?.(tf.add(losses, added)))
  return tf.add(loss, tf.sum(tf.mul(weight, added)))
}

function overCandidates(
  users: tf.Tensor3D,
  candidates: Candidates,
  weight: tf.Tensor1D,
  options: ComparisonLossOptions,
  onExamples?: (losses: tf.Tensor1D) => void
): tf.Scalar {
  const { loss, temperature, hardNegativesBeta: hardness, idwStopGradient, repelBeta, repelMargin, margin } = options
  if (loss === 'softmax' && hardness === 0 && idwStopGradient)
    return mtmiLoss(users, candidates, weight, options, onExamples)
  const weightsOf = (u: tf.Tensor3D, v: tf.Tensor2D) => idwWeights(distance(toTargets(u, v, candidates)), options)
  const weights = idwStopGradient
    ? stopGradient([users, candidates.vectors], weightsOf)
    : weightsOf(users, candidates.vectors) //                                                                     [K, B]
  const losses =
    loss === 'triplet'
      ? tripletLosses(users, candidates, margin)
      : hardness === 0
        ? softmaxLosses(users, candidates, temperature)
        : hardSoftmaxLosses(users, candidates, temperature, hardness) //                                          [K, B]
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
 * Softmax with hard negatives: those that score high weigh more, all together as much as before.
 *
 *     ℓ_k = −s(k, i₊) + ln( Σ_j e^{s(j, i₊)} + N )
 *     N   = Σ e^{(β+1) s} / mean e^{β s}                   over all interests j and negatives i, each of which counts 1/q_i times
 *
 * With β = 0 it is `softmaxLosses`. Source: REMI (Xie et al., RecSys 2023) after Robinson et al. 2021; the 1/q_i, which
 * make the sample stand for the catalogue, are ours: the paper draws its negatives evenly.
 *
 * @param users [K, B, D]
 * @returns [K, B]
 */
export function hardSoftmaxLosses(
  users: tf.Tensor3D,
  candidates: Candidates,
  temperature: number,
  beta: number
): tf.Tensor2D {
  const { vectors, positive, logQ, blocked } = candidates
  const [K, B, D] = users.shape
  const C = vectors.shape[0]
  const byUser = tf.reshape(tf.transpose(users, [1, 0, 2]), [B * K, D]) as tf.Tensor2D //                         [B·K, D]
  const scores = tf.reshape(tf.div(tf.matMul(byUser, vectors, false, true), temperature), [B, K, C]) //           [B, K, C]
  const own = tf.equal(tf.expandDims(positive, 1), tf.range(0, C, 1, 'int32')) //                                 [B, C]
  let counts = tf.sub(tf.mul(tf.cast(own, 'float32'), -1e9), logQ) as tf.Tensor2D //                              [B, C]
  if (blocked !== undefined) counts = tf.add(counts, blocked)
  const each = tf.add(tf.zeros([B, K, 1]), tf.expandDims(counts, 1)) //                                           [B, K, C]
  const total = (x: tf.Tensor) => tf.logSumExp(tf.reshape(x, [B, K * C]), 1) //                                   [B]
  const hard = tf.add(
    tf.sub(total(tf.add(tf.mul(beta + 1, scores), each)), total(tf.add(tf.mul(beta, scores), each))),
    total(each)
  ) // [B]
  const ofTarget = tf.div(toTargets(users, vectors, candidates), temperature) //                                  [K, B]
  const corrected = tf.sub(ofTarget, tf.gather(logQ, positive)) //                                                [K, B]
  const all = tf.concat([tf.transpose(corrected), tf.expandDims(hard, 1)], 1) //                                  [B, K + 1]
  return tf.sub(tf.logSumExp(all, 1), corrected)
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
