// What the simple methods have counted of items, on its way into a checkpoint: each item with its number, in any order.

import { type NamedArrays, packTexts } from '../../core/namedArrays.ts'
import type { RowBlock } from '../batch/changedRows.ts'
import type { NeighbourCounts } from './neighbourCounts.ts'
import type { PopularityRanking } from './popularityRanking.ts'

export interface Counted {
  readonly idOf: (item: number) => string
  readonly popularity: PopularityRanking
  readonly neighbours: NeighbourCounts
}

/** At about 1 KiB an item a quarter of a megabyte. */
const itemsMax = 256

export class CountedItemBlock implements RowBlock {
  readonly #counted: Counted
  readonly #items: number[] = []
  readonly #counts: number[] = []
  readonly #totals: number[] = []
  readonly #used: number[] = []
  readonly #neighbours: number[] = []
  readonly #neighbourCounts: number[] = []

  constructor(counted: Counted) {
    this.#counted = counted
  }

  get isFull(): boolean {
    return this.#items.length === itemsMax
  }

  add(item: number): void {
    const { popularity, neighbours } = this.#counted
    const start = neighbours.start(item)
    const used = neighbours.used(item)
    this.#items.push(item)
    this.#counts.push(popularity.rawCount(item))
    this.#totals.push(neighbours.total(item))
    this.#used.push(used)
    this.#neighbours.push(...neighbours.ids(item).subarray(start, start + used))
    this.#neighbourCounts.push(...neighbours.counts(item).subarray(start, start + used))
  }

  finish(): NamedArrays {
    const ids = packTexts(this.#items.map(this.#counted.idOf))
    return new Map<string, Int32Array | Uint8Array | Float32Array | Float64Array>([
      ['items', Int32Array.from(this.#items)],
      ['ids', ids.bytes],
      ['idLengths', ids.lengths],
      ['counts', Float64Array.from(this.#counts)],
      ['totals', Float64Array.from(this.#totals)],
      ['used', Int32Array.from(this.#used)],
      ['neighbours', Int32Array.from(this.#neighbours)],
      ['neighbourCounts', Float32Array.from(this.#neighbourCounts)]
    ])
  }
}
