// What the simple methods have counted of items, on its way into a checkpoint: each item with its number, in any order.

import { type NamedArray, type NamedArrays, packTexts } from '../../core/namedArrays.ts'
import { own } from '../../core/own.ts'
import type { RowBlock } from '../batch/changedRows.ts'
import type { NeighbourCounts } from './neighbourCounts.ts'
import type { PopularityRanking } from './popularityRanking.ts'

export interface Counted {
  readonly idOf: (item: number) => string
  readonly popularities: Readonly<Record<string, PopularityRanking>>
  readonly neighbours: Readonly<Record<string, NeighbourCounts>>
}

/** At some 2 KiB an item half a megabyte. */
const itemsMax = 256

export class CountedItemBlock implements RowBlock {
  readonly #counted: Counted
  readonly #items: number[] = []
  readonly #popularities: Readonly<Record<string, number[]>>
  readonly #neighbours: Readonly<
    Record<string, { used: number[]; totals: number[]; ids: Int32Array[]; counts: Float32Array[] }>
  >

  constructor(counted: Counted) {
    this.#counted = counted
    this.#popularities = Object.fromEntries(Object.keys(counted.popularities).map((name) => [name, []]))
    this.#neighbours = Object.fromEntries(
      Object.keys(counted.neighbours).map((name) => [name, { used: [], totals: [], ids: [], counts: [] }])
    )
  }

  get isFull(): boolean {
    return this.#items.length === itemsMax
  }

  add(item: number): void {
    this.#items.push(item)
    for (const [name, counts] of Object.entries(this.#popularities))
      counts.push(own(this.#counted.popularities, name)!.rawCount(item))
    for (const [name, of] of Object.entries(this.#neighbours)) {
      const part = own(this.#counted.neighbours, name)!
      const start = part.start(item)
      const used = part.used(item)
      of.used.push(used)
      of.totals.push(part.total(item))
      of.ids.push(part.ids(item).slice(start, start + used))
      of.counts.push(part.counts(item).slice(start, start + used))
    }
  }

  finish(): NamedArrays {
    const ids = packTexts(this.#items.map(this.#counted.idOf))
    const arrays = new Map<string, NamedArray>([
      ['items', Int32Array.from(this.#items)],
      ['ids', ids.bytes],
      ['idLengths', ids.lengths]
    ])
    for (const [name, counts] of Object.entries(this.#popularities))
      arrays.set(`${name}.counts`, Float64Array.from(counts))
    for (const [name, { used, totals, ids, counts }] of Object.entries(this.#neighbours)) {
      const sum = used.reduce((a, b) => a + b, 0)
      const [allIds, allCounts] = [new Int32Array(sum), new Float32Array(sum)]
      for (let i = 0, at = 0; i < used.length; at += used[i++]!) {
        allIds.set(ids[i]!, at)
        allCounts.set(counts[i]!, at)
      }
      arrays.set(`${name}.used`, Int32Array.from(used))
      arrays.set(`${name}.ids`, allIds)
      arrays.set(`${name}.counts`, allCounts)
      arrays.set(`${name}.totals`, Float64Array.from(totals))
    }
    return arrays
  }
}
