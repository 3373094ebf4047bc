// Lists of a model with the memory (src/train/memory): candidates of both, scored by the sum of both.
//
//     s(u, x) = e(u, x) / τ + λ Σ_{h: newest 20, distinct} ρ^age(h) · S[h, x]        e: the score of the interests
//
// The memory is what the product would hold after the training users: lists of bounded length, entries of S above what
// is sent. It does not depend on the model, so every model of a comparison is offered the same.

import { Rng } from '../../core/rng.ts'
import { ExactRanks } from '../../index/exactRanks.ts'
import type { InterestScore } from '../../index/interestScore.ts'
import { mixtureScore, mixtureShare } from '../../index/interestScore.ts'
import type { Encoder, EncoderItem } from '../../model/encoder.ts'
import type { ItemId } from '../../records/interaction.ts'
import type { SequenceStep } from '../../records/userSequence.ts'
import { ItemTable } from '../../train/batch/itemTable.ts'
import { ItemMemory, type MemoryLimits } from '../../train/memory/itemMemory.ts'
import { memoryWeights } from '../../train/memory/memoryWeight.ts'
import { type Lists, listLength, offlineMetrics } from './offlineMetrics.ts'
import type { OfflineCase, UserSteps } from './offlineSplit.ts'

/** λ and ρ. */
export interface MemoryChoice {
  readonly weight: number
  readonly decay: number
}

/** Where validation users do not choose. */
const defaultChoice: MemoryChoice = { weight: 20, decay: 0.8 }
const decays = [0.6, 0.8, 0.9, 1] as const
/** Newest distinct items of a history that the memory is read for. */
const recentMax = 20
/** Candidates of each interest. */
const nearestMax = 200

/** S by item of a history, then by item that it makes likely. */
export type LabMemory = ReadonlyMap<ItemId, ReadonlyMap<ItemId, number>>

/** The memory of the training users, without forgetting. */
export function labMemory(train: readonly UserSteps[], limits: Partial<MemoryLimits> = {}): LabMemory {
  const table = new ItemTable({ dimensions: 1, itemsMax: 2 ** 30, admissionMin: 1, rng: new Rng(0) })
  const unlimited = {
    halfLife: Number.POSITIVE_INFINITY,
    sentMax: Number.POSITIVE_INFINITY,
    comparedMax: Number.POSITIVE_INFINITY
  }
  const memory = new ItemMemory(table, { ...unlimited, ...limits })
  for (const { steps } of train) for (const { itemId } of steps) table.observe(itemId, 0)
  const { window } = memory.limits
  for (const { steps } of train)
    memory.learn(
      steps.slice(1).map((target, i) => ({ history: steps.slice(Math.max(0, i + 1 - window), i + 1), target }))
    )
  memory.resendAll()
  const speaks = new Map<ItemId, Map<ItemId, number>>()
  for (const update of memory.takeUpdates()) {
    if (update.kind !== 'item-neighbours') continue
    for (const [i, neighbour] of update.neighbours.entries()) {
      const items = speaks.get(neighbour) ?? new Map<ItemId, number>()
      if (items.size === 0) speaks.set(neighbour, items)
      items.set(update.itemId, update.weights[i]!)
    }
  }
  return speaks
}

/** Candidates of a case: e / τ of each, and S from each of the newest items that makes it likely. */
interface ScoredCase {
  readonly rows: readonly number[]
  readonly alone: Float64Array
  /** By candidate: age and S, alternating. */
  readonly votes: readonly (readonly number[])[]
}

export class MemoryLists {
  readonly #memory: LabMemory
  readonly #items: readonly EncoderItem[]
  readonly #rowOf: ReadonlyMap<ItemId, number>
  readonly #vectors: Float32Array // [N, D]
  readonly #nearest: ExactRanks
  readonly #encoder: Encoder
  readonly #score: InterestScore

  /** @param items all that may be recommended */
  constructor(encoder: Encoder, items: readonly EncoderItem[], memory: LabMemory, score: InterestScore) {
    this.#encoder = encoder
    this.#items = items
    this.#memory = memory
    this.#score = score
    this.#rowOf = new Map(items.map(({ itemId }, row) => [itemId, row]))
    this.#vectors = encoder.itemVectors(items).vectors
    this.#nearest = new ExactRanks(encoder.dimensions)
    this.#nearest.load(this.#vectors)
  }

  /** λ and ρ with the best Recall@50 of these cases; λ 0 is among them, and the first of equals counts. */
  choose(validation: readonly OfflineCase[]): MemoryChoice {
    if (validation.length === 0) return defaultChoice
    const scored = validation.map((one, b) => this.#candidates(one, b, validation))
    const recall = (choice: MemoryChoice) =>
      offlineMetrics(validation, this.#ranked(validation, scored, choice))['recall@50']
    const best = (choices: readonly MemoryChoice[]) => {
      const recalls = choices.map(recall)
      return choices[recalls.indexOf(Math.max(...recalls))]!
    }
    const { weight } = best(memoryWeights.map((each) => ({ ...defaultChoice, weight: each })))
    return weight === 0 ? { ...defaultChoice, weight } : best(decays.map((decay) => ({ weight, decay })))
  }

  listsOf(cases: readonly OfflineCase[], choice: MemoryChoice): Lists {
    return this.#ranked(
      cases,
      cases.map((one, b) => this.#candidates(one, b, cases)),
      choice
    )
  }

  #ranked(cases: readonly OfflineCase[], scored: readonly ScoredCase[], { weight, decay }: MemoryChoice): Lists {
    return cases.map((one, b) => {
      const { rows, alone, votes } = scored[b]!
      const scores = alone.slice()
      for (const [i, own] of votes.entries())
        for (let at = 0; at < own.length; at += 2) scores[i]! += weight * decay ** own[at]! * own[at + 1]!
      const order = Array.from(rows.keys()).sort((x, y) => scores[y]! - scores[x]! || rows[x]! - rows[y]!)
      return order.slice(0, listLength(one)).map((i) => this.#items[rows[i]!]!.itemId)
    })
  }

  #encoded: { readonly cases: readonly OfflineCase[]; readonly interests: Float32Array; readonly known: Uint8Array } = {
    ...{ cases: [], interests: new Float32Array(0), known: new Uint8Array(0) }
  }

  #candidates(one: OfflineCase, b: number, cases: readonly OfflineCase[]): ScoredCase {
    if (this.#encoded.cases !== cases) {
      const { interests, known } = this.#encoder.interests(cases.map(({ history }) => history)) // [B, K, D]
      this.#encoded = { cases, interests, known }
    }
    const { dimensions: D, interestCount: K } = this.#encoder
    const own = this.#encoded.interests.subarray(b * K * D, (b + 1) * K * D)
    const isKnown = this.#encoded.known[b] !== 0
    const votes = new Map<number, number[]>()
    for (const [age, itemId] of recentItems(one.history).entries())
      for (const [item, S] of this.#memory.get(itemId) ?? []) {
        const row = this.#rowOf.get(item)
        if (row === undefined) continue
        const given = votes.get(row) ?? []
        if (given.length === 0) votes.set(row, given)
        given.push(age, S)
      }
    const candidates = new Set(votes.keys())
    for (let k = 0; k < K && isKnown; k++)
      for (const row of this.#nearest.list(own.subarray(k * D, (k + 1) * D), nearestMax)) candidates.add(row)
    const rows = [...candidates]
    const alone = Float64Array.from(rows, (row) => (isKnown ? this.#interestScore(own, row) : 0))
    return { rows, alone, votes: rows.map((row) => votes.get(row) ?? []) }
  }

  /** e / τ */
  #interestScore(own: Float32Array, row: number): number {
    const { dimensions: D, interestCount: K } = this.#encoder
    const { form, temperature } = this.#score
    let shares = 0
    let best = Number.NEGATIVE_INFINITY
    for (let k = 0; k < K; k++) {
      let cosine = 0
      for (let d = 0; d < D; d++) cosine += own[k * D + d]! * this.#vectors[row * D + d]!
      best = Math.max(best, cosine)
      shares += mixtureShare(cosine, temperature)
    }
    return (form === 'mixture' ? mixtureScore(shares, K, temperature) : best) / temperature
  }
}

/** Newest first, each once. */
function recentItems(history: readonly SequenceStep[]): ItemId[] {
  const recent = new Set<ItemId>()
  for (let i = history.length - 1; i >= 0 && recent.size < recentMax; i--) recent.add(history[i]!.itemId)
  return [...recent]
}
