// Where the targets of a batch, or of a sample of it, rank among all items before the batch is trained on.
//
// B examples ranked, L history positions, K interests, D dimensions, N items with a row, U rows read.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions, TrainOptions } from '../../core/config/config.ts'
import { interestScoreOf } from '../../index/interestScore.ts'
import { historyTensors } from '../../model/historyTensors.ts'
import type { Model } from '../../model/model.ts'
import { type Weights, weightTensors } from '../../model/weights.ts'
import type { Example } from '../../records/example.ts'
import { memoryDecay } from '../../records/modelUpdate.ts'
import type { BatchAssembler } from '../batch/batchAssembler.ts'
import type { ItemTable } from '../batch/itemTable.ts'
import type { MiniBatch } from '../batch/miniBatch.ts'
import type { ItemInputs } from '../itemInputs.ts'
import type { ItemMemory } from '../memory/itemMemory.ts'
import { MemoryWeight, type MemoryWeightState, memoryWeights } from '../memory/memoryWeight.ts'
import { type EvaluationReport, unknownRank } from '../trainer.ts'
import { missRank } from './rankingMetrics.ts'
import { type MemoryShares, rankTargets } from './rankTargets.ts'
import { type RankingCost, sampleExamples } from './sampling.ts'

interface TargetRankerParts {
  readonly model: Model
  readonly options: ModelOptions
  readonly train: TrainOptions
  readonly items: ItemTable
  readonly assembler: BatchAssembler
  readonly inputs: ItemInputs
  readonly memory: ItemMemory
  /** Of the examples; see `sampleExamples`. */
  readonly share: number | 'auto'
}

/** What a restart needs to choose the same examples. */
export interface TargetRankerState {
  readonly hashSeed: number
  /** Batches given to `evaluate`. */
  readonly evaluations: number
  readonly ranked: number
  readonly memoryWeight: MemoryWeightState
}

/** Newest distinct items of a history that the memory is read for. */
const memoryHistory = 20

export class TargetRanker {
  readonly #parts: TargetRankerParts
  #state: Omit<TargetRankerState, 'memoryWeight'>
  readonly #memoryWeight = new MemoryWeight()

  constructor(parts: TargetRankerParts, hashSeed: number) {
    this.#parts = parts
    this.#state = { hashSeed, evaluations: 0, ranked: 0 }
  }

  state(): TargetRankerState {
    return { ...this.#state, memoryWeight: this.#memoryWeight.state() }
  }

  restore({ hashSeed, evaluations, ranked, memoryWeight }: TargetRankerState): void {
    this.#state = { hashSeed, evaluations, ranked }
    this.#memoryWeight.restore(memoryWeight)
  }

  /** τ · λ in effect: as commits have it. */
  get memoryWeight(): number {
    return this.#parts.options.temperature * this.#memoryWeight.weight
  }

  /** Ranks the targets of a batch, or a sample of them, by these weights. */
  evaluate(examples: readonly Example[], dense: Weights): EvaluationReport {
    const { model, items, assembler, share } = this.#parts
    const size = examples.length
    const candidates = items.size // N
    const { hashSeed: seed, evaluations: number, ranked } = this.#state
    const isEmpty = candidates === 0
    const { chosen, inclusion } = isEmpty
      ? { chosen: [], inclusion: 1 }
      : sampleExamples(size, share, () => this.#cost(size), { seed, number, ranked })
    this.#state = { hashSeed: seed, evaluations: number + 1, ranked: ranked + chosen.length }
    const ranks = new Int32Array(size).fill(isEmpty && share !== 0 ? unknownRank : -1)
    const withoutMemory = ranks.slice()
    const cooccurrence = new Int32Array(size).fill(-1)
    if (chosen.length === 0) {
      const wins = new Float32Array(model.interestCount)
      return { ranks, withoutMemory, cooccurrence, inclusion, candidates, intraUserCosine: Number.NaN, wins }
    }
    const batch = assembler.assemble(
      chosen.map((b) => examples[b]!),
      new Map(),
      'none'
    )
    const { ranks: found, byMemory, ...rest } = this.#rank(batch, dense)
    const served = found[this.#memoryWeight.chosen]!
    for (const [i, b] of chosen.entries()) {
      ranks[b] = served[i]!
      withoutMemory[b] = found[0]![i]!
      cooccurrence[b] = byMemory[i]!
      this.#memoryWeight.note(
        found.map((each) => each[i]!),
        1 / inclusion
      )
    }
    this.#memoryWeight.choose()
    return { ranks, withoutMemory, cooccurrence, inclusion, candidates, ...rest }
  }

  /**
   * Overheads are as measured, at 28 · 10⁹ operations a second: 5 ms for a ranking, 7 ms for a step, 1 ns to compare a
   * score, .1 ms for the memory of an example.
   */
  #cost(size: number): RankingCost {
    const { model, train, items } = this.#parts
    const { interestCount: K, dimensions: D, historyMax: L } = model
    const N = items.size
    const all = size * (1 + train.replayRatio)
    return {
      fixed: 140e6 + 2 * N * D * D,
      perExample: 4e6 + K * N * D + memoryWeights.length * 28 * N,
      step: 200e6 + 3 * (2 * all * L * K * D + all * K * D * D + all * K * (all + train.negatives) * D)
    }
  }

  #rank(
    batch: MiniBatch,
    dense: Weights
  ): Pick<EvaluationReport, 'intraUserCosine' | 'wins'> & {
    readonly ranks: readonly Int32Array[]
    readonly byMemory: Int32Array
  } {
    const { model, items, inputs: itemInputs, assembler } = this.#parts
    const { interestCount: K, dimensions: D, historyMax } = model
    const { size: B, length: L } = batch
    const columns = this.#columns()
    const columnOf = (position: number) => (position === 0 ? -1 : columns[batch.items[position]!]!)
    const target = batch.target.map(columnOf) // [B]
    const excluded = Array.from(target, (own, b) => {
      return new Set(batch.history.subarray(b * L, (b + 1) * L).map(columnOf)).add(own)
    })
    const inputs = itemInputs.gather(batch.items, batch.features)
    const memory = this.#memoryShares(batch, columns)
    let ranks: readonly Int32Array[] = []
    let intraUserCosine = Number.NaN
    let wins: Float32Array = new Float32Array(K)
    // Numbers leave by variables: tf.tidy would walk every element of what it returns.
    tf.tidy(() => {
      const weights = weightTensors(dense, model.shapes)
      const rows = tf.tensor2d(inputs, [batch.items.length, D]) //                                       [U, D]
      const histories = historyTensors({ size: B, length: L, steps: batch.history, age: batch.age }, historyMax)
      const users = model.user.interests(weights, rows, histories).interests //                          [K, B, D]
      const targetVectors = model.itemVectors(weights, tf.gather(rows, tf.tensor1d(batch.target, 'int32'))) // [B, D]
      const vectors = (from: number, to: number) => {
        const chunk = new Int32Array(to - from)
        for (let column = from; column < to; column++) chunk[column - from] = items.admittedRow(column)
        const values = itemInputs.gather(chunk, assembler.featureRows.of(chunk))
        return model.itemVectors(weights, tf.tensor2d(values, [to - from, D]))
      }
      const score = interestScoreOf(this.#parts.options)
      const input = { users, vectors, items: items.size, target, targetVectors, excluded, score }
      const ranking = rankTargets({ ...input, memory, weights: memoryWeights })
      ranks = ranking.ranks
      intraUserCosine = meanIntraUserCosine(users.dataSync() as Float32Array, K, B, D)
      wins = shareOfWins(ranking.toTarget, target, K)
    })
    const byMemory = Int32Array.from(memory, (shares, b) => rankByMemory(shares, excluded[b]!))
    return { ranks, byMemory, intraUserCosine, wins }
  }

  /** m of each user, for the newest distinct items of the history. */
  #memoryShares({ size, length, history: steps, items, target }: MiniBatch, columns: Int32Array): MemoryShares[] {
    return Array.from({ length: size }, (_, b) => {
      const recent = new Set<number>()
      for (let at = (b + 1) * length - 1; at >= b * length && recent.size < memoryHistory; at--)
        if (steps[at] !== 0) recent.add(items[steps[at]!]!)
      const history = [...recent]
      const weights = history.map((_row, age) => memoryDecay ** age)
      const { rows, scores: shares } = this.#parts.memory.scores(history, weights)
      const own = target[b] === 0 ? -1 : rows.indexOf(items[target[b]!]!)
      return { target: own < 0 ? 0 : shares[own]!, columns: rows.map((row) => columns[row]!), shares }
    })
  }

  /** Column of each row in the order of ranking; −1 for free rows. O(N), as ranking is. */
  #columns(): Int32Array {
    const { items } = this.#parts
    const columns = new Int32Array(items.rows).fill(-1)
    for (let column = 0; column < items.size; column++) columns[items.admittedRow(column)] = column
    return columns
  }
}

/** As EvaluationReport has it. @param excluded columns of the history and of the target */
function rankByMemory({ target: own, columns, shares }: MemoryShares, excluded: ReadonlySet<number>) {
  let rank = 0
  // Without a share of its own the target comes after all: from `missRank` on it does not matter how many these are.
  for (let i = 0; i < columns.length && (own > 0 || rank < missRank); i++)
    if (shares[i]! >= own && !excluded.has(columns[i]!)) rank++
  return own > 0 ? rank : -1 - Math.min(missRank, rank)
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
