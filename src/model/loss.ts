// What the towers are trained with: inverse distance weighting (IDW) and user representation repel (URR).
//
// B examples, K towers, C candidates (unique, shared by the batch), D dimensions. User and item vectors have length 1.
// Source: arXiv 2403.05122. `sg` is a stop-gradient. The graph of towerGraph.ts computes the same.

import * as tf from '@tensorflow/tfjs-core'
import { type GradientSaver, stopGradient, sumByIndex } from './tensorOps.ts'

export interface LossOptions {
  /** τ */
  readonly temperature: number
  /** How a weight falls with the distance: d^−α, or e^(−d²/2sτ). */
  readonly idwForm: 'power' | 'gaussian'
  /** α of the power form. Infinity: the nearest tower alone. */
  readonly idwAlpha: number
  /** s of the gaussian form. */
  readonly idwSoftness: number
  /** β; 0: no repel. */
  readonly repelBeta: number
  /** m_r */
  readonly repelMargin: number
}

export interface Candidates {
  /** Each candidate once, so that only its own column holds an example's target: no accidental hits. [C, D] */
  readonly vectors: tf.Tensor2D
  /** Column of each example's target. [B] int32 */
  readonly positive: tf.Tensor1D
  /** ln P(the item is a candidate), or zeros. [C] */
  readonly logQ: tf.Tensor1D
  /** −1e9 where a candidate is no negative of an example, else 0. [B, C] */
  readonly blocked?: tf.Tensor2D
}

/** Keeps the square root's slope finite at 0; the least distance is then 1e-3. */
export const distanceFloorSquared = 1e-6
/** ε of the inverse distance weights: a tower on the target gets a large weight, not all of it. */
export const weightEpsilon = 1e-3
/** Below the least normal float. The reported loss saturates at 87; its gradient stays exact. */
export const probabilityFloor = 1.2e-38

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
 * @param onExamples receives the loss of each example, L_IDW(b) + β · L_URR(b): [B], not to be kept
 */
export function mtmiLoss(
  users: tf.Tensor3D,
  candidates: Candidates,
  weight: tf.Tensor1D,
  options: LossOptions,
  onExamples?: (losses: tf.Tensor1D) => void
): tf.Scalar {
  const weights = stopGradient([users, candidates.vectors], (u, v) => {
    const toTarget = tf.sum(tf.mul(u, tf.gather(v, candidates.positive)), 2) as tf.Tensor2D //                   [K, B]
    return idwWeights(distance(toTarget), options)
  })
  const pull = tf.sum(tf.mul(weights, softmaxLosses(users, candidates, options.temperature)), 0) //              [B]
  const loss =
    options.repelBeta === 0 ? pull : tf.add(pull, tf.mul(options.repelBeta, repel(users, options.repelMargin))) // [B]
  onExamples?.(loss as tf.Tensor1D)
  return tf.sum(tf.mul(weight, loss))
}

/** ‖u − v‖ of unit vectors, from their inner product. */
export function distance<T extends tf.Tensor>(cosine: T): T {
  return tf.sqrt(tf.add(tf.relu(tf.sub(2, tf.mul(2, cosine))), distanceFloorSquared)) as T
}

/**
 * w_k over the first axis.
 *
 * On the unit sphere −d²/2τ is cos/τ less a constant, so with s = 1 the gaussian w_k = p(k, i₊) / Σ_j p(j, i₊): the
 * share of the target's likelihood that interest k explains. As constants they make the gradient of Σ_k w_k ℓ_k that
 * of −ln Σ_k p(k, i₊), the likelihood of a mixture.
 *
 * @param distances [K, B] @returns [K, B], columns sum to 1
 */
export function idwWeights(
  distances: tf.Tensor2D,
  { idwForm, idwAlpha, idwSoftness, temperature }: Omit<LossOptions, 'repelBeta' | 'repelMargin'>
): tf.Tensor2D {
  if (idwForm === 'power' && idwAlpha === Number.POSITIVE_INFINITY) {
    const nearest = tf.cast(tf.lessEqual(distances, tf.min(distances, 0)), 'float32') //                         [K, B]
    return tf.div(nearest, tf.sum(nearest, 0))
  }
  const logits =
    idwForm === 'power'
      ? tf.mul(-idwAlpha, tf.log(tf.add(distances, weightEpsilon)))
      : tf.mul(-0.5 / (idwSoftness * temperature), tf.square(distances)) //                                      [K, B]
  return tf.transpose(tf.softmax(tf.transpose(logits))) as tf.Tensor2D
}

/** L_URR of each example, −m_r … 0. @param users [K, B, D] @returns [B] */
export function repel(users: tf.Tensor3D, margin: number): tf.Tensor1D {
  const [K, B] = users.shape
  if (K < 2) return tf.zeros([B]) as tf.Tensor1D
  const byUser = tf.transpose(users, [1, 0, 2]) //                                                               [B, K, D]
  const apart = tf.minimum(distance(tf.matMul(byUser, byUser, false, true)), margin) //                          [B, K, K]
  const pairs = tf.tensor2d(
    Float32Array.from({ length: K * K }, (_, i) => (Math.floor(i / K) < i % K ? 1 : 0)),
    [K, K]
  )
  return tf.mul(-2 / (K * (K - 1)), tf.sum(tf.mul(apart, pairs), [1, 2]))
}

/**
 * ℓ_k = −ln p(k, i₊), where p is the softmax over all pairs of an interest and a candidate.
 *
 *     p(j, i) = exp( u_j·v_i/τ − logQ_i ) / Σ_{j', i'} exp( u_j'·v_i'/τ − logQ_i' )
 *     ∂ Σ_k g_k ℓ_k / ∂u_j = ( G Σ_i p(j, i) v_i − g_j v₊ )/τ        ∂/∂v_i = Σ_j ( G p(j, i) − g_j [i = i₊] ) u_j/τ        G = Σ_k g_k
 *
 * One softmax over all of a user's interests, because they share one list when they are served: the best interest
 * decides an item's place. With a softmax per interest none would learn to be less certain than the others where it is
 * not the relevant one. (One pass over 30,000 simulated events, α 8: hit rate@20 .331 with one softmax, .288 with K.
 * On MovieLens 100k they are equal.)
 *
 * Its own gradient, because the [B, K·C] table of logits is by far the largest tensor of a step: it is written once by
 * the matmul (logQ rides along as one more dimension), once by the softmax, and read by two matmuls. tfjs's own chain
 * would pass over it some fifteen times.
 *
 * @param users [K, B, D]
 * @returns [K, B]
 */
export function softmaxLosses(users: tf.Tensor3D, candidates: Candidates, temperature: number): tf.Tensor2D {
  const { positive, logQ, blocked } = candidates
  const [K, B, D] = users.shape
  const C = candidates.vectors.shape[0]
  const columns = tf.reshape(tf.tile(tf.expandDims(positive, 1), [1, K]), [B * K]) as tf.Tensor1D //             [B·K]
  const losses = tf.customGrad((u, v, save) => {
    const user = u as tf.Tensor2D
    const vectors = v as tf.Tensor2D
    const scaled = tf.concat([tf.div(user, temperature), tf.fill([B * K, 1], -1)], 1) //                         [B·K, D + 1]
    const corrected = tf.concat([vectors, tf.expandDims(logQ, 1)], 1) //                                         [C, D + 1]
    let logits = tf.matMul(scaled, corrected, false, true) as tf.Tensor //                                       [B·K, C]
    if (blocked !== undefined) logits = tf.add(tf.reshape(logits, [B, K, C]), tf.expandDims(blocked, 1)) //      [B, K, C]
    const share = tf.reshape(tf.softmax(tf.reshape(logits, [B, K * C])), [B * K, C]) as tf.Tensor2D //           [B·K, C]
    const places = tf.add(tf.range(0, B * K * C, C, 'int32'), columns) as tf.Tensor1D //                          [B·K]
    const ofPositive = tf.gather(tf.reshape(share, [B * K * C]), places) //                                      [B·K]
    ;(save as GradientSaver)([user, vectors, share, columns])
    return {
      value: tf.neg(tf.log(tf.maximum(ofPositive, probabilityFloor))),
      gradFunc: (gradient: tf.Tensor, saved: tf.Tensor[]) => {
        const [user, vectors, share, columns] = saved as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D, tf.Tensor1D]
        const slope = tf.div(tf.reshape(gradient, [B, K]), temperature) //                                       [B, K]
        const ofOne = tf.reshape(slope, [B * K, 1]) //                                                           [B·K, 1]  g_k/τ
        const ofAll = tf.reshape(tf.tile(tf.sum(slope, 1, true), [1, K]), [B * K, 1]) //                         [B·K, 1]  G/τ
        const pulled = tf.mul(ofOne, user) as tf.Tensor2D //                                                     [B·K, D]
        return [
          tf.sub(tf.mul(ofAll, tf.matMul(share, vectors)), tf.mul(ofOne, tf.gather(vectors, columns))), //       [B·K, D]
          tf.sub(tf.matMul(share, tf.mul(ofAll, user) as tf.Tensor2D, true, false), sumByIndex(pulled, columns, C)) // [C, D]
        ]
      }
    }
  })
  const byUser = tf.reshape(tf.transpose(users, [1, 0, 2]), [B * K, D]) //                                       [B·K, D]
  return tf.transpose(tf.reshape(losses(byUser, candidates.vectors), [B, K])) //                                 [K, B]
}
