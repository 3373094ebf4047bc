// The exact rank of each target among all items, scored as when they are served: by the interests alone, and with the
// memory at several weights.
//
//     s(x) = e(x) / τ + λ · m(x)        e: the score of the interests; m: of the memory, 0 for most items
//
// B users, K interests, N items, D dimensions. [B, N] scores exist only chunk by chunk.

import * as tf from '@tensorflow/tfjs-core'
import { type InterestScore, mixtureShare } from '../../index/interestScore.ts'
import { unknownRank } from '../trainer.ts'

interface RankingInput {
  /** [K, B, D] */
  readonly users: tf.Tensor3D
  /** Item vectors of columns `from` … `to` − 1. [to − from, D] */
  readonly vectors: (from: number, to: number) => tf.Tensor2D
  readonly items: number // N
  /** [B] column of the target; −1 where it has none */
  readonly target: Int32Array
  /** Vectors of the targets, anything where there is none. [B, D] */
  readonly targetVectors: tf.Tensor2D
  /** Columns that do not count, by user: those of the history and the target itself; −1 for none. [B] */
  readonly excluded: readonly ReadonlySet<number>[]
  readonly score: InterestScore
  /** By user. */
  readonly memory?: readonly MemoryShares[]
  /** λ of each ranking; default: one without the memory. */
  readonly weights?: readonly number[]
}

/** m of a user: of the target, and of every item that has one. */
export interface MemoryShares {
  readonly target: number
  readonly columns: ArrayLike<number>
  readonly shares: ArrayLike<number>
}

interface Ranking {
  /** By weight. [B] each */
  readonly ranks: readonly Int32Array[]
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
  const { users, items: N, target, excluded, score, memory, weights = [0] } = input
  const [K, B] = users.shape
  const toTarget = tf.tidy(() => tf.sum(tf.mul(users, input.targetVectors), 2).dataSync()) as Float32Array // [K, B]
  const mixed = score.form === 'mixture' && K > 1
  const least = new Float64Array(B)
  for (let b = 0; b < B; b++)
    least[b] = mixed ? leastShares(toTarget, b, B, K, score.temperature) : leastCosine(toTarget, b, B, K)
  /** e / τ, but for a constant: what λ · m is added to. */
  const scaled = (alone: number) => (mixed ? Math.log(alone) : alone / score.temperature)
  // An item without a share of the memory is compared with what the target has by its own share.
  const limits = weights.map((weight) => {
    const shares = least.map((_, b) => weight * (memory?.[b]?.target ?? 0))
    return least.map((from, b) => (mixed ? from * Math.exp(shares[b]!) : from + score.temperature * shares[b]!))
  })
  const counts = weights.map(() => new Float64Array(B))
  const chunk = Math.max(1, Math.min(N, Math.floor(chunkNumbers / (K * B))))
  for (let from = 0; from < N; from += chunk) {
    const to = Math.min(N, from + chunk)
    const n = to - from
    let scores = new Float32Array(0)
    tf.tidy(() => {
      const vectors = input.vectors(from, to) //                                                      [n, D]
      const found = mixed ? mixtures(users, vectors, score.temperature) : nearest(users, vectors) //  [B·n]
      scores = found.dataSync() as Float32Array<ArrayBuffer>
    })
    for (let b = 0; b < B; b++) {
      const own = scores.subarray(b * n, (b + 1) * n)
      countNotBelow(own, limits, counts, b)
      for (const column of excluded[b]!) {
        if (column < from || column >= to) continue
        for (let w = 0; w < weights.length; w++) if (!(own[column - from]! < limits[w]![b]!)) counts[w]![b]!--
      }
      const raised = memory?.[b]
      if (raised === undefined) continue
      const ownLimits = limits.map((limit) => limit[b]!)
      const scaledLimits = ownLimits.map(scaled)
      for (let i = 0; i < raised.columns.length; i++) {
        const column = raised.columns[i]!
        if (column < from || column >= to) continue
        const alone = own[column - from]!
        const base = scaled(alone)
        for (let w = 0; w < weights.length; w++) {
          const isRaised = alone < ownLimits[w]! && base + weights[w]! * raised.shares[i]! >= scaledLimits[w]!
          if (isRaised && !excluded[b]!.has(column)) counts[w]![b]!++ // few are raised, so fewer are looked up
        }
      }
    }
  }
  const rankOf = (count: Float64Array) =>
    Int32Array.from(target, (column, b) => (column < 0 ? unknownRank : Math.max(0, count[b]!)))
  return { ranks: counts.map(rankOf), toTarget }
}

/**
 * Adds to each count how many scores are not below its limit, those included that are no number. One pass, whatever the
 * number of limits: few scores reach the lowest.
 */
function countNotBelow(
  scores: Float32Array,
  limits: readonly Float64Array[],
  counts: readonly Float64Array[],
  b: number
): void {
  let lowest = Number.POSITIVE_INFINITY
  for (const limit of limits) lowest = Math.min(lowest, limit[b]!)
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i]!
    if (score < lowest) continue
    for (let w = 0; w < limits.length; w++) if (!(score < limits[w]![b]!)) counts[w]![b]!++
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
