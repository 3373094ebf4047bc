// What popularity has counted of items, on its way into a checkpoint: each item with its number, in any order.

import { type NamedArrays, packTexts } from '../../core/namedArrays.ts'
import type { RowBlock } from '../batch/changedRows.ts'
import type { PopularityRanking } from './popularityRanking.ts'

interface Counted {
  readonly idOf: (item: number) => string
  readonly popularity: PopularityRanking
}

/** At some 30 bytes an item a quarter of a megabyte. */
const itemsMax = 8192

export class CountedItemBlock implements RowBlock {
  readonly #counted: Counted
  readonly #items: number[] = []
  readonly #counts: number[] = []

  constructor(counted: Counted) {
    this.#counted = counted
  }

  get isFull(): boolean {
    return this.#items.length === itemsMax
  }

  add(item: number): void {
    this.#items.push(item)
    this.#counts.push(this.#counted.popularity.rawCount(item))
  }

  finish(): NamedArrays {
    const ids = packTexts(this.#items.map(this.#counted.idOf))
    return new Map<string, Int32Array | Uint8Array | Float64Array>([
      ['items', Int32Array.from(this.#items)],
      ['ids', ids.bytes],
      ['idLengths', ids.lengths],
      ['counts', Float64Array.from(this.#counts)]
    ])
  }
}
