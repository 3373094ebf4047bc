// Most popular items, over all time or with old interactions fading away.

import type { ItemSet } from './itemSet.ts'
import { missRank } from './rankingMetrics.ts'

/**
 * Weights grow instead of old counts shrinking; before they leave the range of exact ratios everything is scaled down
 * at once.
 */
const scaleMax = 2 ** 200

/**
 * Counts, and a list of their greatest that is refreshed once per batch.
 *
 * A refresh looks at the old list and the items counted since only: between two of them an item that was not counted
 * cannot have overtaken one that is on the list, since all fade alike. Its cost does not depend on the number of items.
 */
export class PopularityRanking {
  #counts = new Float64Array(1024)
  #weight = 1
  readonly #growth: number
  #top: number[] = []
  #topMax = 0
  readonly #touched = new Set<number>()

  readonly #beforeAll: () => void

  /**
   * @param halfLife in interactions; Infinity: all of them count the same for ever
   * @param beforeAll called before the counts of all items change at once: now and then the scale is moved
   */
  constructor(halfLife: number, beforeAll: () => void = () => {}) {
    this.#growth = 2 ** (1 / halfLife)
    this.#beforeAll = beforeAll
  }

  /** Makes room for items 0 … size − 1. */
  grow(size: number): void {
    if (size <= this.#counts.length) return
    const grown = new Float64Array(Math.max(size, 2 * this.#counts.length))
    grown.set(this.#counts)
    this.#counts = grown
  }

  count(item: number): void {
    this.#counts[item] = this.#counts[item]! + this.#weight
    this.#weight *= this.#growth
    this.#touched.add(item)
    if (this.#weight > scaleMax) {
      this.#beforeAll()
      for (let i = 0; i < this.#counts.length; i++) this.#counts[i] = this.#counts[i]! / this.#weight
      this.#weight = 1
    }
  }

  /** Decayed to now; 0 for an item never counted. */
  countOf(item: number): number {
    return (this.#counts[item] ?? 0) / this.#weight
  }

  /** Brings the list up to date, long enough to rank past `excludedMax` excluded items. */
  refresh(excludedMax: number): void {
    const counts = this.#counts
    let candidates: number[]
    if (missRank + excludedMax + 1 > this.#topMax) {
      this.#topMax = 2 * (missRank + excludedMax + 1)
      candidates = []
      for (let i = 0; i < counts.length; i++) if (counts[i]! > 0) candidates.push(i)
    } else {
      if (this.#touched.size === 0) return
      candidates = this.#top
      for (const item of candidates) this.#touched.delete(item)
      for (const item of this.#touched) candidates.push(item)
    }
    this.#touched.clear()
    candidates.sort((a, b) => counts[b]! - counts[a]! || a - b)
    candidates.length = Math.min(candidates.length, this.#topMax)
    this.#top = candidates
  }

  /** Best first, as of the last refresh. */
  top(): readonly number[] {
    return this.#top
  }

  /**
   * Rank of the target among the counted items that are not excluded, as of the last refresh; 0 is best, items of equal
   * count go before it. `missRank` is as far as it counts, and what an item never counted gets.
   *
   * @param excluded at most `excludedMax` of the refresh, and never the target
   * @param alsoExcluded more items to pass over, say those ranked already
   */
  rank(target: number, excluded: ItemSet, alsoExcluded?: ItemSet): number {
    const score = this.#counts[target] ?? 0
    if (score === 0) return missRank
    let rank = 0
    for (const item of this.#top) {
      if (this.#counts[item]! < score || rank >= missRank) return rank
      if (item !== target && !excluded.has(item) && alsoExcluded?.has(item) !== true) rank++
    }
    return this.#top.length < this.#topMax ? rank : missRank
  }

  /** What the next interaction counts. */
  get unit(): number {
    return this.#weight
  }

  /** Of what is restored. */
  set unit(unit: number) {
    this.#weight = unit
  }

  /** In the unit of all others at one time; 0 for an item never counted. */
  rawCount(item: number): number {
    return this.#counts[item] ?? 0
  }

  /** Sets an item, for which there is room, to what was read of it. */
  restore(item: number, rawCount: number): void {
    this.#counts[item] = rawCount
  }

  /** As it was when nothing had been counted, but for the unit. */
  clear(unit: number): void {
    this.#counts = new Float64Array(1024)
    this.#weight = unit
    this.#top = []
    this.#topMax = 0
    this.#touched.clear()
  }
}
