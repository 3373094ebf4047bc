// What the towers are trained with: inverse distance weighting (IDW) and user representation repel (URR).
//
// B examples, K towers, C candidates (unique, shared by the batch), D dimensions. User and item vectors have length 1.
// Source: arXiv 2403.05122. `sg` is a stop-gradient.

import * as tf from '@tensorflow/tfjs-core'
import { type Candidates, softmaxShares } from './candidates.ts'
import { type GradientSaver, gatherRows, sumByIndex } from './gatherRows.ts'
import {
  distanceFloorSquared,
  isPlainSoftmax,
  type LossOptions,
  probabilityFloor,
  weightEpsilon
} from './lossOptions.ts'
import { softmaxLoss } from './softmaxLoss.ts'

/**
 * L = Σ_b weight(b) · (L_IDW(b) + β · L_URR(b)).
 *
 *     d_k   = ‖u_k − v₊‖
 *     w_k   = (d_k + ε)^−α / Σ_j (d_j + ε)^−α          or e^(−d_k²/2sτ) / Σ_j e^(−d_j²/2sτ)
 *     L_IDW = Σ_k sg(w_k) · ℓ_k
 *     L_URR = −(2/(K(K−1))) Σ_{k<l} min( d(u_k, u_l), m_r )
 *
 * @param users [K, B, D]
 * @param weight [B], summing to 1 for a mean
 * @param onExamples is shown the loss of each example, L_IDW(b) + β · L_URR(b): [B], not to be kept
 * @returns scalar
 */
export function mtmiLoss(
  users: tf.Tensor3D,
  candidates: Candidates,
  weight: tf.Tensor1D,
  options: LossOptions,
  onExamples?: (losses: tf.Tensor1D) => void
): tf.Scalar {
  if (isPlainSoftmax(options)) return softmaxLoss(users, candidates, weight, options, onExamples)
  const targets = gatherRows(candidates.vectors, candidates.positive) //                                  [B, D]
  const toTarget = distance(cosines(users, targets)) //                                                   [K, B]
  const weights = weightsOf(toTarget as tf.Tensor2D, options) //                                          [K, B]
  const perTower =
    options.loss === 'softmax'
      ? options.hardNegativesBeta === 0
        ? softmaxLosses(users, candidates, options.temperature)
        : hardSoftmaxLosses(users, candidates, options.temperature, options.hardNegativesBeta)
      : tripletLosses(users, toTarget as tf.Tensor2D, candidates, options.margin) //                      [K, B]
  const pull = tf.sum(tf.mul(options.idwStopGradient ? constant(weights, tf.clone) : weights, perTower), 0) //  [B]
  const loss =
    options.repelBeta === 0 ? pull : tf.add(pull, tf.mul(options.repelBeta, repel(users, options.repelMargin))) // [B]
  onExamples?.(loss as tf.Tensor1D)
  return tf.sum(tf.mul(weight, loss))
}

/**
 * Inner products with each user's own target, with their own gradient. @param users [K, B, D] @param targets [B, D]
 * @returns [K, B]
 */
export function cosines(users: tf.Tensor3D, targets: tf.Tensor2D): tf.Tensor2D {
  const product = tf.customGrad((u, v, save) => {
    ;(save as GradientSaver)([u as tf.Tensor, v as tf.Tensor])
    return {
      value: tf.sum(tf.mul(u as tf.Tensor, v as tf.Tensor), 2),
      gradFunc: (gradient: tf.Tensor, saved: tf.Tensor[]) => {
        const slope = tf.expandDims(gradient, 2) //                                                         [K, B, 1]
        return [tf.mul(slope, saved[1]!), tf.sum(tf.mul(slope, saved[0]!), 0)]
      }
    }
  })
  return product(users, targets) as tf.Tensor2D
}

/** ‖u − v‖ of unit vectors, from their inner product. */
export function distance<T extends tf.Tensor>(cosine: T): T {
  return tf.sqrt(tf.add(tf.relu(tf.sub(2, tf.mul(2, cosine))), distanceFloorSquared)) as T
}

function weightsOf(distances: tf.Tensor2D, { idwForm, idwAlpha, idwSoftness, temperature }: LossOptions): tf.Tensor2D {
  return idwForm === 'power'
    ? inverseDistanceWeights(distances, idwAlpha)
    : gaussianWeights(distances, idwSoftness * temperature)
}

/**
 * w_k of the gaussian form, over the first axis. On the unit sphere −d²/2τ is cos/τ less a constant, so with s = 1 w_k
 * = p(k, i₊) / Σ_j p(j, i₊): what interest k answers for of the target. As constants they make the gradient of Σ_k w_k
 * ℓ_k that of −ln Σ_k p(k, i₊), a mixture's likelihood.
 *
 * @param distances [K, B] @param width s·τ @returns [K, B], columns sum to 1
 */
function gaussianWeights(distances: tf.Tensor2D, width: number): tf.Tensor2D {
  return tf.transpose(tf.softmax(tf.transpose(tf.mul(-0.5 / width, tf.square(distances))))) as tf.Tensor2D
}

/** w_k of the power form, over the first axis. @param distances [K, B] @returns [K, B], columns sum to 1 */
export function inverseDistanceWeights(distances: tf.Tensor2D, alpha: number): tf.Tensor2D {
  if (alpha === Number.POSITIVE_INFINITY) {
    return constant(distances, (d) => {
      const nearest = tf.cast(tf.lessEqual(d, tf.min(d, 0)), 'float32') //                                [K, B]
      return tf.div(nearest, tf.sum(nearest, 0))
    })
  }
  const powers = tf.mul(-alpha, tf.log(tf.add(distances, weightEpsilon))) //                              [K, B]
  return tf.transpose(tf.softmax(tf.transpose(powers))) as tf.Tensor2D //                                              [K, B]
}

/** L_URR of each example, −m_r … 0. @param users [K, B, D] @returns [B] */
export function repel(users: tf.Tensor3D, margin: number): tf.Tensor1D {
  const [K, B] = users.shape
  if (K < 2) return tf.zeros([B]) as tf.Tensor1D
  const byUser = tf.transpose(users, [1, 0, 2]) //                                                        [B, K, D]
  const apart = tf.minimum(distance(tf.matMul(byUser, byUser, false, true)), margin) //                   [B, K, K]
  const pairs = tf.tensor2d(
    Float32Array.from({ length: K * K }, (_, i) => (Math.floor(i / K) < i % K ? 1 : 0)),
    [K, K]
  )
  return tf.mul(-2 / (K * (K - 1)), tf.sum(tf.mul(apart, pairs), [1, 2]))
}

/**
 * ℓ_k = −ln p(k, i₊), where p is the softmax over all pairs of an interest and a candidate, with its own gradient.
 *
 *     p(j, i) = exp( u_j·v_i/τ − logQ_i ) / Σ_{j', i'} exp( u_j'·v_i'/τ − logQ_i' )
 *     ∂ Σ_k g_k ℓ_k / ∂u_j = ( G Σ_i p(j, i) v_i − g_j v₊ )/τ        ∂/∂v_i = Σ_j ( G p(j, i) − g_j [i = i₊] ) u_j/τ        G = Σ_k g_k
 *
 * One softmax over all of a user's interests, because they share one list when they are served: the best interest
 * decides an item's place. With a softmax for each interest by itself none would learn to be less sure than the others
 * where it is not the one that matters now, and what it likes would crowd out what is wanted. (One pass over 30,000
 * simulated events, α 8: hit rate@20 .331 with one softmax, .288 with K. On MovieLens 100k they are equal.)
 *
 * The [B, K·C] table of logits is by far the largest tensor of a step. It is written once by the matmul (logQ rides
 * along as one more dimension), once by the softmax, and read by two matmuls: tfjs's own chain would pass over it some
 * fifteen times.
 *
 * @param users [K, B, D]
 * @returns [K, B]
 */
export function softmaxLosses(users: tf.Tensor3D, candidates: Candidates, temperature: number): tf.Tensor2D {
  const [K, B, D] = users.shape
  const C = candidates.vectors.shape[0]
  const positive = tf.reshape(tf.tile(tf.expandDims(candidates.positive, 1), [1, K]), [B * K]) as tf.Tensor1D // [B·K]
  const losses = tf.customGrad((u, v, save) => {
    const user = u as tf.Tensor2D
    const vectors = v as tf.Tensor2D
    const keep = save as GradientSaver
    const { share, ofPositive } = softmaxShares(user, candidates, vectors, temperature) //                        [B·K, C], [B·K]
    keep([user, vectors, share, positive])
    return {
      value: tf.neg(tf.log(tf.maximum(ofPositive, probabilityFloor))),
      gradFunc: (gradient: tf.Tensor, saved: tf.Tensor[]) => {
        const [user, vectors, share, positive] = saved as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D, tf.Tensor1D]
        const slope = tf.div(tf.reshape(gradient, [B, K]), temperature) //                                        [B, K]
        const ofOne = tf.reshape(slope, [B * K, 1]) //                                                            [B·K, 1]
        const ofAll = tf.reshape(tf.tile(tf.sum(slope, 1, true), [1, K]), [B * K, 1]) //                          [B·K, 1]
        const pulled = tf.mul(ofOne, user) as tf.Tensor2D //                                                      [B·K, D]
        return [
          tf.sub(tf.mul(ofAll, tf.matMul(share, vectors)), tf.mul(ofOne, tf.gather(vectors, positive))), //       [B·K, D]
          tf.sub(tf.matMul(share, tf.mul(ofAll, user) as tf.Tensor2D, true, false), sumByIndex(pulled, positive, C)) // [C, D]
        ]
      }
    }
  })
  const byUser = tf.reshape(tf.transpose(users, [1, 0, 2]), [B * K, D]) //                                        [B·K, D]
  return tf.transpose(tf.reshape(losses(byUser, candidates.vectors), [B, K])) //                                  [K, B]
}

/**
 * The same with hard negatives: those that score high weigh more, all together as much as before.
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
  const targets = gatherRows(vectors, positive) //                                                                [B, D]
  const corrected = tf.sub(tf.div(cosines(users, targets), temperature), tf.gather(logQ, positive)) //            [K, B]
  const all = tf.concat([tf.transpose(corrected), tf.expandDims(hard, 1)], 1) //                                  [B, K + 1]
  return tf.sub(tf.logSumExp(all, 1), corrected)
}

/**
 * ℓ_k = mean over the negatives i of [ d(u_k, v₊) − min_j d(u_j, v_i) + m ]₊.
 *
 * A negative is scored by the nearest interest: this form knows distances, not probabilities that could be summed (see
 * interestScore.ts).
 *
 * @param users [K, B, D]
 * @param toTarget d(u_k, v₊), [K, B]
 * @returns [K, B]
 */
export function tripletLosses(
  users: tf.Tensor3D,
  toTarget: tf.Tensor2D,
  candidates: Candidates,
  margin: number
): tf.Tensor2D {
  const [K, B, D] = users.shape
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

/** f(x) as a constant: no gradient flows through it. */
function constant<T extends tf.Tensor>(x: T, f: (x: T) => T): T {
  const stopped = tf.customGrad((input) => ({
    value: f(input as T),
    gradFunc: (gradient: tf.Tensor) => tf.zerosLike(gradient)
  }))
  return stopped(x) as T
}
