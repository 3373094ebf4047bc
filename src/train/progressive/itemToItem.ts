// Item-to-item recommendation by counting: what is clicked near what.

import type { ItemSet } from './itemSet.ts'
import { NeighbourCounts } from './neighbourCounts.ts'
import type { PopularityRanking } from './popularityRanking.ts'
import { missRank } from './rankingMetrics.ts'

export interface ItemToItemOptions {
  /** Steps before the target that are counted with it. */
  readonly window: number
  /** A step further back counts this much less, 0 … 1. */
  readonly countRecency: number
  /** Also count the target as a neighbour of the step, not only the step's as followed by the target. */
  readonly bothWays: boolean
  /** Newest steps of a history that are scored from. */
  readonly scoreWindow: number
  /** A step further back scores this much less, 0 … 1. */
  readonly scoreRecency: number
  /**
   * Whether to divide a count by √((total of the one item + c) · (total of the other + c)), so that what goes with
   * everything is not put before everything. This c keeps an item that was seen twice, both times with the same, from
   * the top; undefined: raw counts.
   */
  readonly shrinkage: number | undefined
  /** Neighbours kept per item. */
  readonly slots: number
  /** In learned targets, of the counts. */
  readonly halfLife: number
}

/**
 * Chosen on MovieLens 100k, Video Games, DIGINETICA and the simulation together, against raw counts, one-way counts,
 * other windows and recencies: on each within a tenth of the best of them.
 */
export const cooccurrenceDefaults: ItemToItemOptions = {
  window: 10,
  countRecency: 0.8,
  bothWays: true,
  scoreWindow: 50,
  scoreRecency: 0.8,
  shrinkage: 30,
  slots: 128, // 1 KiB an item; 256 gain 3% on the densest data and cost twice the time
  halfLife: 200_000
}

export class ItemToItem {
  readonly options: ItemToItemOptions
  readonly neighbours: NeighbourCounts
  #scores = new Float64Array(1024)
  #scored = new Int32Array(1024)
  readonly #countWeight: Float64Array
  readonly #scoreWeight: Float64Array

  /** @param beforeAll see NeighbourCounts */
  constructor(options: ItemToItemOptions, beforeAll?: () => void) {
    this.options = options
    this.neighbours = new NeighbourCounts(options.slots, options.halfLife, beforeAll)
    this.#countWeight = Float64Array.from({ length: options.window }, (_, back) => options.countRecency ** back)
    this.#scoreWeight = Float64Array.from({ length: options.scoreWindow }, (_, back) => options.scoreRecency ** back)
  }

  /** Makes room for items 0 … size − 1. */
  grow(size: number): void {
    this.neighbours.grow(size)
    if (size <= this.#scores.length) return
    this.#scores = new Float64Array(Math.max(size, 2 * this.#scores.length))
    this.#scored = new Int32Array(this.#scores.length)
  }

  /**
   * Rank of the target, 0 best, `missRank` as far as it counts; ties go before it. Items that nothing of the history
   * was seen with follow after all others, by popularity.
   *
   * @param history items, oldest first, in `history[0 … length − 1]`; those below 0 were never learned
   * @param excluded the history's items, and never the target
   * @param isScored emptied and used
   */
  rank(
    history: Int32Array,
    length: number,
    target: number,
    excluded: ItemSet,
    popularity: PopularityRanking,
    isScored: ItemSet
  ): number {
    const { slots } = this.options
    const normalised = this.options.shrinkage !== undefined
    const shrinkage = (this.options.shrinkage ?? 0) * this.neighbours.unit
    const scores = this.#scores
    const scored = this.#scored
    let found = 0
    isScored.clear()
    const back = Math.min(length, this.#scoreWeight.length)
    for (let i = 0; i < back; i++) {
      const item = history[length - 1 - i]!
      if (item < 0) continue
      const total = this.neighbours.total(item)
      if (total === 0) continue
      const weight = normalised ? this.#scoreWeight[i]! / Math.sqrt(total + shrinkage) : this.#scoreWeight[i]!
      const ids = this.neighbours.ids(item)
      const counts = this.neighbours.counts(item)
      const start = this.neighbours.start(item)
      for (let slot = start; slot < start + slots; slot++) {
        const id = ids[slot]!
        if (id < 0) break
        if (!isScored.has(id)) {
          isScored.add(id)
          scored[found++] = id
          scores[id] = 0
        }
        scores[id] = scores[id]! + weight * counts[slot]!
      }
    }
    let rank = 0
    if (isScored.has(target)) {
      const goal = normalised ? scores[target]! / Math.sqrt(this.neighbours.total(target) + shrinkage) : scores[target]!
      for (let i = 0; i < found && rank < missRank; i++) {
        const id = scored[i]!
        const score = normalised ? scores[id]! / Math.sqrt(this.neighbours.total(id) + shrinkage) : scores[id]!
        if (score >= goal && id !== target && !excluded.has(id)) rank++
      }
      return rank
    }
    for (let i = 0; i < found && rank < missRank; i++) if (!excluded.has(scored[i]!)) rank++
    return rank === missRank ? missRank : Math.min(missRank, rank + popularity.rank(target, excluded, isScored))
  }

  /** @param history items, oldest first, in `history[0 … length − 1]`; those below 0 are passed over */
  learn(history: Int32Array, length: number, target: number): void {
    const back = Math.min(length, this.#countWeight.length)
    for (let i = 0; i < back; i++) {
      const item = history[length - 1 - i]!
      if (item < 0 || item === target) continue
      this.neighbours.add(item, target, this.#countWeight[i]!)
      if (this.options.bothWays) this.neighbours.add(target, item, this.#countWeight[i]!)
    }
    this.neighbours.age()
  }
}
