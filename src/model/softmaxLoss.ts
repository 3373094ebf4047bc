// The softmax form of the loss in one piece, with its gradient written out: what mtmiLoss says, in some thirty
// operations instead of two hundred.
//
// B examples, K towers, C candidates, D dimensions, G = Σ_k g_k. What has as many numbers as there are pairs of an
// example and a tower is done in plain loops here: each operation of the engine costs as much as some ten thousand
// multiplications. What has D or C numbers for each of them is left to it.
//
//     g_k         = weight(b) · w_k / τ                                                         slope of the loss in a tower's logits
//     ∂L/∂u_k     = G Σ_i p(k, i) v_i − g_k v₊ + Σ_l r(k, l) u_l
//     ∂L/∂v_i     = Σ_b Σ_k ( G p(k, i) − g_k [i = i₊] ) u_k
//     r(k, l)     = weight(b) · β · 2/(K(K−1)) / d(u_k, u_l)   where k ≠ l and d(u_k, u_l) ≤ m_r, else 0

import * as tf from '@tensorflow/tfjs-core'
import { type Candidates, softmaxShares } from './candidates.ts'
import { type GradientSaver, sumByIndex } from './gatherRows.ts'
import { distanceFloorSquared, type LossOptions, probabilityFloor, weightEpsilon } from './lossOptions.ts'

/** As mtmiLoss, for options that are plain softmax. @param users [K, B, D] @param weight [B] @returns scalar */
export function softmaxLoss(
  users: tf.Tensor3D,
  candidates: Candidates,
  weight: tf.Tensor1D,
  options: LossOptions,
  onExamples?: (losses: tf.Tensor1D) => void
): tf.Scalar {
  const [K, B, D] = users.shape
  const C = candidates.vectors.shape[0]
  const repels = options.repelBeta !== 0 && K > 1
  const weights = weight.dataSync()
  const loss = tf.customGrad((u, v, save) => {
    const vectors = v as tf.Tensor2D
    const byUser = tf.transpose(u as tf.Tensor3D, [1, 0, 2]) //                                                    [B, K, D]
    const { share, ofPositive } = softmaxShares(
      tf.reshape(byUser, [B * K, D]),
      candidates,
      vectors,
      options.temperature
    ) // [B·K, C], [B·K]
    const targets = tf.reshape(tf.gather(vectors, candidates.positive), [B, 1, D]) //                              [B, 1, D]
    const toTarget = tf.matMul(byUser, targets, false, true).dataSync() //                                         [B, K, 1]
    const between = repels ? tf.matMul(byUser, byUser, false, true).dataSync() : undefined //                      [B, K, K]
    const slopes = examples({ B, K, weights, toTarget, between, ofPositive: ofPositive.dataSync() }, options)
    const read = tf.concat([byUser, targets], 1) //                                                                [B, K + 1, D]
    // Saved, or what was made within the forward pass would be gone by the time of the backward pass.
    ;(save as GradientSaver)([vectors, share, read, candidates.positive])
    onExamples?.(tf.tensor1d(slopes.losses))
    return {
      value: tf.scalar(slopes.loss),
      gradFunc: (gradient: tf.Tensor, saved: tf.Tensor[]) => {
        const [vectors, share, read, positive] = saved as [tf.Tensor2D, tf.Tensor2D, tf.Tensor3D, tf.Tensor1D]
        const upstream = gradient.dataSync()[0]!
        const scaled = (values: Float32Array) => (upstream === 1 ? values : values.map((x) => upstream * x))
        const all = tf.tensor2d(scaled(slopes.all), [B * K, 1]) //                                                 [B·K, 1]
        const near = tf.tensor3d(scaled(slopes.near), [B, K, K + 1]) //                                            [B, K, K + 1]
        const own = tf.tensor3d(scaled(slopes.own), [B, 1, K + 1]) //                                              [B, 1, K + 1]
        const user = tf.reshape(tf.slice(read, [0, 0, 0], [B, K, D]), [B * K, D]) as tf.Tensor2D //                [B·K, D]
        const pulled = tf.reshape(tf.matMul(own, read), [B, D]) as tf.Tensor2D //                                  [B, D]
        const ofUsers = tf.add(tf.reshape(tf.mul(all, tf.matMul(share, vectors)), [B, K, D]), tf.matMul(near, read)) // [B, K, D]
        return [
          tf.transpose(ofUsers, [1, 0, 2]), //                                                                     [K, B, D]
          tf.sub(tf.matMul(share, tf.mul(all, user) as tf.Tensor2D, true, false), sumByIndex(pulled, positive, C)) // [C, D]
        ]
      }
    }
  })
  return loss(users, candidates.vectors) as tf.Scalar
}

interface Computed {
  readonly B: number
  readonly K: number
  readonly weights: ArrayLike<number> // [B]
  readonly toTarget: ArrayLike<number> // [B, K]     cosine with the target
  readonly between: ArrayLike<number> | undefined // [B, K, K]  cosines of a user's interests
  readonly ofPositive: ArrayLike<number> // [B, K]     p(k, i₊)
}

interface Slopes {
  readonly loss: number
  readonly losses: Float32Array // [B]
  readonly all: Float32Array // [B, K]         G of the example, for each k
  readonly near: Float32Array // [B, K, K + 1]  r(k, l), then −g_k: of (u_1 … u_K, v₊)
  readonly own: Float32Array // [B, K + 1]     g_k, then 0: of the same
}

function examples({ B, K, weights, toTarget, between, ofPositive }: Computed, options: LossOptions): Slopes {
  const { temperature, idwForm, idwAlpha: alpha, idwSoftness, repelBeta: beta, repelMargin: margin } = options
  const losses = new Float32Array(B)
  const all = new Float32Array(B * K)
  const near = new Float32Array(B * K * (K + 1))
  const own = new Float32Array(B * (K + 1))
  const share = new Float64Array(K)
  const perPair = 2 / (K * (K - 1))
  let loss = 0
  for (let b = 0; b < B; b++) {
    const weight = weights[b]!
    if (idwForm === 'power') inverseDistanceShares(toTarget, b * K, alpha, share)
    else gaussianShares(toTarget, b * K, idwSoftness * temperature, share)
    let sum = 0
    for (let k = 0; k < K; k++) {
      sum -= share[k]! * Math.log(Math.max(ofPositive[b * K + k]!, probabilityFloor))
      const slope = (weight * share[k]!) / temperature
      own[b * (K + 1) + k] = slope
      near[(b * K + k) * (K + 1) + K] = -slope
    }
    // The shares add up to 1.
    all.fill(weight / temperature, b * K, (b + 1) * K)
    if (between !== undefined) {
      for (let k = 0; k < K; k++) {
        for (let l = k + 1; l < K; l++) {
          const squared = Math.max(0, 2 - 2 * between[(b * K + k) * K + l]!)
          const apart = Math.sqrt(squared + distanceFloorSquared)
          sum -= beta * perPair * Math.min(apart, margin)
          if (!(apart <= margin && squared > 0)) continue
          const push = (weight * beta * perPair) / apart
          near[(b * K + k) * (K + 1) + l] = push
          near[(b * K + l) * (K + 1) + k] = push
        }
      }
    }
    losses[b] = sum
    loss += weight * sum
  }
  return { loss, losses, all, near, own }
}

/** w_k of one example, by the power form. @param cosines from `at` on @param out [K], overwritten */
function inverseDistanceShares(cosines: ArrayLike<number>, at: number, alpha: number, out: Float64Array): void {
  const K = out.length
  let nearest = Number.POSITIVE_INFINITY
  for (let k = 0; k < K; k++) {
    // A cosine that is no number makes the loss none, so that the step is seen to have diverged.
    const squared = 2 - 2 * cosines[at + k]!
    out[k] = Math.sqrt((squared < 0 ? 0 : squared) + distanceFloorSquared)
    if (!(out[k]! >= nearest)) nearest = out[k]!
  }
  let sum = 0
  for (let k = 0; k < K; k++) {
    if (alpha === Number.POSITIVE_INFINITY) out[k] = out[k]! <= nearest ? 1 : Number.isNaN(out[k]!) ? Number.NaN : 0
    // Relative to the nearest, so that no power overflows.
    else out[k] = ((out[k]! + weightEpsilon) / (nearest + weightEpsilon)) ** -alpha
    sum += out[k]!
  }
  for (let k = 0; k < K; k++) out[k]! /= sum
}

/** The same by the gaussian form. @param cosines from `at` on @param width s·τ @param out [K], overwritten */
function gaussianShares(cosines: ArrayLike<number>, at: number, width: number, out: Float64Array): void {
  const K = out.length
  let nearest = Number.NEGATIVE_INFINITY
  for (let k = 0; k < K; k++) if (!(cosines[at + k]! <= nearest)) nearest = cosines[at + k]!
  let sum = 0
  for (let k = 0; k < K; k++) {
    out[k] = Math.exp((cosines[at + k]! - nearest) / width)
    sum += out[k]!
  }
  for (let k = 0; k < K; k++) out[k]! /= sum
}
