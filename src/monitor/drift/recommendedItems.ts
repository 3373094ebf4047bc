// Which part of the catalogue recommendations come from, and how evenly, in bounded memory.
//
// Coverage as in Ge, Delgado-Battenfeld & Jannach, Beyond Accuracy (RecSys 2010), evenness by Gini as in Fleder &
// Hosanagar (Management Science 2009).
//
// Beyond a number of items only a share of them is followed, chosen by hash, the same for ever: adaptive sampling
// (Flajolet, On adaptive sampling, 1990).

import { hashKey } from '../../core/hashKey.ts'
import { giniIndex } from './evenness.ts'

export interface RecommendedItemsState {
  readonly level: number
  readonly lists: number
  readonly now: readonly (readonly [string, number])[]
  readonly before: readonly (readonly [string, number])[]
}

interface RecommendedItemsOptions {
  /** Items followed at most. */
  readonly followedMax: number
  /** Lists in one of the two halves of what counts as lately: between one and two halves are looked back at. */
  readonly halfLists: number
}

const recommendedItemsDefaults: RecommendedItemsOptions = { followedMax: 8192, halfLists: 5000 }

export class RecommendedItems {
  readonly #options: RecommendedItemsOptions
  /** Items whose hash begins with so many zeros are followed: 1 in 2^level. */
  #level = 0
  #lists = 0
  #now = new Map<string, number>()
  #before = new Map<string, number>()

  constructor(options: Partial<RecommendedItemsOptions> = {}) {
    this.#options = { ...recommendedItemsDefaults, ...options }
  }

  /** One list that a user got. */
  observe(itemIds: Iterable<string>): void {
    for (const itemId of itemIds) {
      if (!this.#follows(itemId)) continue
      this.#now.set(itemId, (this.#now.get(itemId) ?? 0) + 1)
    }
    while (this.#now.size > this.#options.followedMax) {
      this.#level++
      for (const map of [this.#now, this.#before])
        for (const itemId of map.keys()) if (!this.#follows(itemId)) map.delete(itemId)
    }
    if (++this.#lists < this.#options.halfLists) return
    this.#lists = 0
    this.#before = this.#now
    this.#now = new Map()
  }

  /**
   * @param items in the index
   * @returns the share of them that was recommended lately, and how unevenly, those never recommended counted with 0;
   *   undefined before the first list
   */
  report(items: number): { coverage: number; gini: number } | undefined {
    const counts = new Map(this.#before)
    for (const [itemId, count] of this.#now) counts.set(itemId, (counts.get(itemId) ?? 0) + count)
    if (counts.size === 0) return undefined
    const followed = Math.max(counts.size, items / 2 ** this.#level)
    return { coverage: counts.size / followed, gini: giniIndex([...counts.values()], Math.round(followed)) }
  }

  state(): RecommendedItemsState {
    return { level: this.#level, lists: this.#lists, now: [...this.#now], before: [...this.#before] }
  }

  restore({ level, lists, now, before }: RecommendedItemsState): void {
    this.#level = level
    this.#lists = lists
    this.#now = new Map(now)
    this.#before = new Map(before)
  }

  #follows(itemId: string): boolean {
    return this.#level === 0 || hashKey(itemId) >>> (32 - this.#level) === 0
  }
}
