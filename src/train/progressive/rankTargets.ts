// The exact rank of each target among all items, scored as when they are served.
//
// B users, K interests, N items, D dimensions. [B, N] scores exist only chunk by chunk, and never leave the engine.

import * as tf from '@tensorflow/tfjs-core'
import { type InterestScore, mixtureShare } from '../../index/interestScore.ts'
import { unknownRank } from '../trainer.ts'

export interface RankingInput {
  /** [K, B, D] */
  readonly users: tf.Tensor3D
  /** Item vectors of columns `from` … `to` − 1. [to − from, D] */
  readonly vectors: (from: number, to: number) => tf.Tensor2D
  readonly items: number // N
  /** [B] column of the target; −1 where it has none */
  readonly target: Int32Array
  /** Vectors of the targets, anything where there is none. [B, D] */
  readonly targetVectors: tf.Tensor2D
  /** Columns that are left out for user b: `excluded[b · L … (b + 1) · L)`, −1 for none. [B, L] */
  readonly excluded: Int32Array
  readonly score: InterestScore
}

export interface Ranking {
  readonly ranks: Int32Array // [B]
  readonly toTarget: Float32Array // [K, B]  cosine of each interest with the target
}

/** Numbers of one chunk of scores: 32 MiB. */
const chunkNumbers = 8 * 1024 * 1024

/**
 * Scores this close are ties, and ties count against the model: the same product, taken in another order, differs by
 * this much.
 */
const tie = 1e-6

/**
 * rank(b) = how many items score no less than the target, without those excluded; not-finite scores count as better.
 *
 * @returns ranks, `unknownRank` where the target has no column
 */
export function rankTargets(input: RankingInput): Ranking {
  const { users, items: N, target, excluded, score } = input
  const [K, B] = users.shape
  const L = excluded.length / B
  const toTarget = tf.tidy(() => tf.sum(tf.mul(users, input.targetVectors), 2).dataSync()) as Float32Array // [K, B]
  const mixed = score.form === 'mixture' && K > 1
  const threshold = new Float32Array(B)
  for (let b = 0; b < B; b++)
    threshold[b] = mixed ? leastShares(toTarget, b, B, K, score.temperature) : leastCosine(toTarget, b, B, K)
  const counts = new Float64Array(B)
  const chunk = Math.max(1, Math.min(N, Math.floor(chunkNumbers / (K * B))))
  const lists = exclusions(target, excluded, B, L)
  for (let from = 0; from < N; from += chunk) {
    const to = Math.min(N, from + chunk)
    const n = to - from
    const owners: number[] = []
    const cells: number[] = []
    for (const [b, columns] of lists.entries()) {
      for (const column of columns) {
        if (column < from || column >= to) continue
        owners.push(b)
        cells.push(b * n + column - from)
      }
    }
    tf.tidy(() => {
      const vectors = input.vectors(from, to) //                                                      [n, D]
      const scores = mixed ? mixtures(users, vectors, score.temperature) : nearest(users, vectors) //  [B·n]
      const least = tf.tensor2d(threshold, [B, 1])
      const below = tf.less(tf.reshape(scores, [B, n]), least) //                                     [B, n]
      const belowCount = tf.sum(tf.cast(below, 'int32'), 1).dataSync() //                             [B]
      for (let b = 0; b < B; b++) counts[b]! += n - belowCount[b]!
      if (cells.length === 0) return
      const left = tf.gather(scores, tf.tensor1d(cells, 'int32')).dataSync()
      for (const [i, b] of owners.entries()) if (!(left[i]! < threshold[b]!)) counts[b]!--
    })
  }
  return {
    ranks: Int32Array.from(target, (column, b) => (column < 0 ? unknownRank : Math.max(0, counts[b]!))),
    toTarget
  }
}

/** Of the nearest interest. */
function leastCosine(toTarget: Float32Array, b: number, B: number, K: number): number {
  let best = Number.NEGATIVE_INFINITY
  for (let k = 0; k < K; k++) best = Math.max(best, toTarget[k * B + b]!)
  return best - tie
}

/** Of the mixture, as the sum of its shares, which ranks as its score does: the tie, too, is one of scores. */
function leastShares(toTarget: Float32Array, b: number, B: number, K: number, temperature: number): number {
  let sum = 0
  for (let k = 0; k < K; k++) sum += mixtureShare(toTarget[k * B + b]!, temperature)
  return sum * Math.exp(-tie / temperature)
}

/** The greatest cosine. @param users [K, B, D] @param vectors [n, D] @returns [B·n] */
function nearest(users: tf.Tensor3D, vectors: tf.Tensor2D): tf.Tensor1D {
  const [K, B, D] = users.shape
  const cosines = tf.matMul(tf.reshape(users, [K * B, D]), vectors, false, true) //                   [K·B, n]
  return tf.max(tf.reshape(cosines, [K, B * vectors.shape[0]]), 0)
}

/**
 * Σ_k e^((cos_k − 1)/τ). The −1 and the τ are part of the product, as one more column on each side: separately they
 * would take two more passes over [K·B, n] numbers.
 *
 * @param users [K, B, D] @param vectors [n, D] @returns [B·n]
 */
function mixtures(users: tf.Tensor3D, vectors: tf.Tensor2D, temperature: number): tf.Tensor1D {
  const [K, B, D] = users.shape
  const n = vectors.shape[0]
  const scaled = tf.mul(tf.concat([tf.reshape(users, [K * B, D]), tf.fill([K * B, 1], -1)], 1), 1 / temperature) // [K·B, D + 1]
  const exponents = tf.matMul(
    scaled as tf.Tensor2D,
    tf.concat([vectors, tf.ones([n, 1])], 1) as tf.Tensor2D,
    false,
    true
  ) // [K·B, n]
  return tf.sum(tf.exp(tf.reshape(exponents, [K, B * n])), 0)
}

/** Columns not to count for each user, each once: the target itself, and what is excluded. */
function exclusions(target: Int32Array, excluded: Int32Array, B: number, L: number): number[][] {
  return Array.from({ length: B }, (_, b) => {
    const columns = new Set(excluded.subarray(b * L, (b + 1) * L))
    columns.add(target[b]!)
    columns.delete(-1)
    return [...columns]
  })
}
