// Where the targets of a batch rank among all items, before it is learned: the progressive quality. Beyond some number
// of items for a share of the examples.
//
// B examples, L history positions, K interests, D dimensions, N items with a row, U rows touched.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions, TrainOptions } from '../core/config/config.ts'
import { interestScoreOf } from '../index/interestScore.ts'
import { historyTensors } from '../model/historyTensors.ts'
import type { Model } from '../model/model.ts'
import { type Weights, weightTensors } from '../model/weights.ts'
import type { FeatureRows } from './batch/featureRows.ts'
import type { ItemTable } from './batch/itemTable.ts'
import type { MiniBatch } from './batch/miniBatch.ts'
import type { ItemInputs } from './itemInputs.ts'
import { rankTargets } from './ranking.ts'
import { type EvaluationReport, unknownRank } from './trainer.ts'

/**
 * Beyond `evaluateItemsMax`: examples ranked of a batch that is ranked at all. Making N item vectors then costs about
 * as much as scoring them.
 */
const sampledExamples = 32

/** Share of a learning step's arithmetic that ranking may cost beyond `evaluateItemsMax`. */
const rankingShare = 0.1

export interface TargetRankerParts {
  readonly model: Model
  readonly options: ModelOptions
  readonly train: TrainOptions
  readonly items: ItemTable
  readonly featureRows: FeatureRows
  readonly inputs: ItemInputs
}

export class TargetRanker {
  readonly #parts: TargetRankerParts
  /** Chooses what is ranked beyond `evaluateItemsMax`. */
  #hashSeed: number
  /** Batches given to `evaluate`: picks those that are ranked. */
  #evaluations = 0

  constructor(parts: TargetRankerParts, hashSeed: number) {
    this.#parts = parts
    this.#hashSeed = hashSeed
  }

  /** What a restart needs to choose as this one would have. */
  state(): { readonly hashSeed: number; readonly evaluations: number } {
    return { hashSeed: this.#hashSeed, evaluations: this.#evaluations }
  }

  restore({ hashSeed, evaluations }: ReturnType<TargetRanker['state']>): void {
    this.#hashSeed = hashSeed
    this.#evaluations = evaluations
  }

  /** Ranks the targets of a batch, or a share of them, by these weights. */
  evaluate(batch: MiniBatch, dense: Weights): EvaluationReport {
    const { model, items } = this.#parts
    const { interestCount: K, dimensions: D, historyMax } = model
    const N = items.size
    const chosen = this.#chooseRanked(batch, N)
    const ranks = new Int32Array(batch.size).fill(N === 0 ? unknownRank : -1)
    const B = chosen.length
    if (B === 0) return { ranks, candidates: N, intraUserCosine: Number.NaN, wins: new Float32Array(K) }
    const L = batch.length
    const steps = new Int32Array(B * L) // [B, L]
    const age = new Float32Array(B * L) // [B, L]
    const excluded = new Int32Array(B * L) // [B, L]
    const target = new Int32Array(B) // [B]
    const columns = this.#columns()
    for (const [i, b] of chosen.entries()) {
      for (let l = 0; l < L; l++) {
        const position = batch.history[b * L + l]!
        steps[i * L + l] = position
        age[i * L + l] = batch.age[b * L + l]!
        excluded[i * L + l] = position === 0 ? -1 : columns[batch.items[position]!]!
      }
      target[i] = batch.target[b] === 0 ? -1 : columns[batch.items[batch.target[b]!]!]!
    }
    const inputs = this.#parts.inputs.gather(batch.items, batch.features)
    let intraUserCosine = Number.NaN
    let wins: Float32Array = new Float32Array(K)
    // Numbers leave by variables: tf.tidy would walk every element of what it returns.
    tf.tidy(() => {
      const weights = weightTensors(dense, model.shapes)
      const rows = tf.tensor2d(inputs, [batch.items.length, D]) //                                     [U, D]
      const histories = historyTensors({ size: B, length: L, steps, age }, historyMax)
      const users = model.user.interests(weights, rows, histories).interests //                         [K, B, D]
      const positions = tf.tensor1d(
        Int32Array.from(chosen, (b) => batch.target[b]!),
        'int32'
      ) //             [B]
      const targetVectors = model.itemVectors(weights, tf.gather(rows, positions)) //                   [B, D]
      const vectors = (from: number, to: number) => {
        const chunk = new Int32Array(to - from)
        for (let column = from; column < to; column++) chunk[column - from] = items.admittedRow(column)
        return model.itemVectors(
          weights,
          tf.tensor2d(this.#parts.inputs.gather(chunk, this.#parts.featureRows.of(chunk)), [to - from, D])
        )
      }
      const ranking = rankTargets({
        users,
        vectors,
        items: N,
        target,
        targetVectors,
        excluded,
        score: interestScoreOf(this.#parts.options)
      })
      for (const [i, b] of chosen.entries()) ranks[b] = ranking.ranks[i]!
      intraUserCosine = meanIntraUserCosine(users.dataSync() as Float32Array, K, B, D)
      wins = shareOfWins(ranking.toTarget, target, K)
    })
    return { ranks, candidates: N, intraUserCosine, wins }
  }

  /**
   * Examples of a batch that are ranked: all, or beyond `evaluateItemsMax` a few of some batches, chosen by hash, so
   * that a replay chooses the same.
   */
  #chooseRanked(batch: MiniBatch, N: number): number[] {
    const { model, train } = this.#parts
    const all = Array.from({ length: batch.size }, (_, b) => b)
    const number = this.#evaluations++
    if (N === 0) return []
    if (N <= train.evaluateItemsMax) return all
    const { interestCount: K, dimensions: D } = model
    const { replayRatio, negatives } = train
    // Multiplications and additions; the item rows' way through memory counts as much as their tower.
    const B = batch.size * (1 + replayRatio)
    const learning =
      3 * (batch.items.length * D * K * D + 2 * B * batch.length * K * D + B * K * D * D + B * K * (B + negatives) * D)
    const ranking = 2 * N * D * D + sampledExamples * K * N * D
    const every = Math.max(1, Math.ceil(ranking / (rankingShare * learning)))
    if (hash(number, this.#hashSeed) % every !== 0) return []
    return all
      .map((b) => ({ b, order: hash(b, number) }))
      .sort((x, y) => x.order - y.order || x.b - y.b)
      .slice(0, sampledExamples)
      .map(({ b }) => b)
      .sort((x, y) => x - y)
  }

  /** Column of each row in the order of ranking; −1 for rows that are nobody's. O(N), as ranking is. */
  #columns(): Int32Array {
    const { items } = this.#parts
    const columns = new Int32Array(items.rows).fill(-1)
    for (let column = 0; column < items.size; column++) columns[items.admittedRow(column)] = column
    return columns
  }
}

/** Mean over users and pairs of interests; NaN where there are no pairs. @param users [K, B, D] */
function meanIntraUserCosine(users: Float32Array, K: number, B: number, D: number): number {
  if (K < 2) return Number.NaN
  let sum = 0
  for (let k = 0; k < K; k++)
    for (let l = 0; l < k; l++) for (let i = 0; i < B * D; i++) sum += users[k * B * D + i]! * users[l * B * D + i]!
  return sum / ((B * K * (K - 1)) / 2)
}

/** @param toTarget [K, B] @returns [K], summing to 1 where any target is known */
function shareOfWins(toTarget: Float32Array, target: Int32Array, K: number): Float32Array {
  const B = target.length
  const wins = new Float32Array(K)
  let known = 0
  for (let b = 0; b < B; b++) {
    if (target[b]! < 0) continue
    let best = 0
    for (let k = 1; k < K; k++) if (toTarget[k * B + b]! > toTarget[best * B + b]!) best = k
    wins[best]!++
    known++
  }
  return known === 0 ? wins : wins.map((count) => count / known)
}

/** 32 well-mixed bits of two numbers (murmur3's finaliser). */
function hash(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
