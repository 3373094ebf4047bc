// Most popular items, with old interactions fading away.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'
import type { ItemId } from '../../records/interaction.ts'
import { missRank } from './rankingMetrics.ts'

/**
 * Weights grow instead of old counts shrinking; before they leave the range of exact ratios everything is scaled down
 * at once.
 */
const scaleMax = 2 ** 200

interface CountedItem {
  readonly itemId: ItemId
  /** In the order in which items were first counted. */
  readonly index: number
  /** In the unit of all others at one time. */
  count: number
}

/**
 * Counts, and a list of their greatest that is refreshed once per batch.
 *
 * A refresh looks at the old list and the items counted since only: between two of them an item that was not counted
 * cannot have overtaken one that is on the list, since all fade alike. Its cost does not depend on the number of items.
 */
export class PopularityRanking {
  #items = new Map<ItemId, CountedItem>()
  readonly #itemsMax: number
  readonly #growth: number
  /** What the next interaction counts. */
  #unit = 1
  #top: CountedItem[] = []
  #topMax = 0
  readonly #touched = new Set<CountedItem>()

  /**
   * @param halfLife in interactions; Infinity: all of them count the same for ever
   * @param itemsMax items that can be counted; later ones it never knows
   */
  constructor(halfLife: number, itemsMax = Number.POSITIVE_INFINITY) {
    this.#growth = 2 ** (1 / halfLife)
    this.#itemsMax = itemsMax
  }

  count(itemId: ItemId): void {
    const item = this.#items.get(itemId) ?? this.#add(itemId, 0)
    if (item === undefined) return
    item.count += this.#unit
    this.#unit *= this.#growth
    this.#touched.add(item)
    if (this.#unit <= scaleMax) return
    for (const each of this.#items.values()) each.count /= this.#unit
    this.#unit = 1
  }

  #add(itemId: ItemId, count: number): CountedItem | undefined {
    if (this.#items.size >= this.#itemsMax) return undefined
    const item = { itemId, index: this.#items.size, count }
    this.#items.set(itemId, item)
    return item
  }

  /** Decayed to now; 0 for an item never counted. */
  countOf(itemId: ItemId): number {
    return (this.#items.get(itemId)?.count ?? 0) / this.#unit
  }

  /** Brings the list up to date, long enough to rank past `excludedMax` excluded items. */
  refresh(excludedMax: number): void {
    let candidates: CountedItem[]
    if (missRank + excludedMax + 1 > this.#topMax) {
      this.#topMax = 2 * (missRank + excludedMax + 1)
      candidates = [...this.#items.values()]
    } else {
      if (this.#touched.size === 0) return
      candidates = this.#top
      for (const item of candidates) this.#touched.delete(item)
      for (const item of this.#touched) candidates.push(item)
    }
    this.#touched.clear()
    candidates.sort((a, b) => b.count - a.count || a.index - b.index)
    candidates.length = Math.min(candidates.length, this.#topMax)
    this.#top = candidates
  }

  /**
   * Rank of the target among the counted items that are not excluded, as of the last refresh; 0 is best, items of equal
   * count go before it. `missRank` is as far as it counts, and what an item never counted gets.
   *
   * @param excluded at most `excludedMax` of the refresh, and never the target
   */
  rank(target: ItemId, excluded: ReadonlySet<ItemId>): number {
    const own = this.#items.get(target)
    if (own === undefined) return missRank
    let rank = 0
    for (const item of this.#top) {
      if (item.count < own.count || rank >= missRank) return rank
      if (item !== own && !excluded.has(item.itemId)) rank++
    }
    return this.#top.length < this.#topMax ? rank : missRank
  }

  /** The state as it is now; the ids are packed when the result is called. */
  copy(): () => NamedArrays {
    const counts = Float64Array.from(this.#items.values(), ({ count }) => count)
    const unit = Float64Array.of(this.#unit)
    const items = this.#items // of another map after a restore
    return () => {
      const { bytes, lengths } = packTexts([...items.keys()].slice(0, counts.length))
      return new Map<string, NamedArray>([
        ['unit', unit],
        ['counts', counts],
        ['ids', bytes],
        ['idLengths', lengths]
      ])
    }
  }

  /** @throws CorruptError if an array is missing or does not fit */
  restore(arrays: NamedArrays): void {
    const counts = namedArray(arrays, 'counts', Float64Array)
    const lengths = namedArray(arrays, 'idLengths', Int32Array, counts.length)
    this.#unit = namedArray(arrays, 'unit', Float64Array, 1)[0]!
    this.#items = new Map()
    this.#top = []
    this.#topMax = 0
    this.#touched.clear()
    for (const [i, itemId] of unpackTexts(namedArray(arrays, 'ids', Uint8Array), lengths).entries())
      this.#add(itemId, counts[i]!)
    if (this.#items.size !== counts.length)
      throw new CorruptError(`state: ${counts.length} popular items, of which ${this.#items.size} are distinct`)
  }
}
