// The memory's lists by item: a reader's copy of what the trainer sent.
//
// M neighbours of an item take 8·M bytes, and some 200 more for the two arrays; every id is kept once.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'
import type { ItemId } from '../../records/interaction.ts'

/** Items of a history that make an item likely, and S > 0 of each, greatest first. */
export interface Neighbours {
  readonly neighbours: readonly ItemId[]
  readonly weights: Float32Array
}

interface StoredList {
  readonly indices: Int32Array
  readonly weights: Float32Array
}

export class NeighbourLists {
  /** Of items with a list, of their neighbours, and of some that are neither any more: see `#dropUnused`. */
  readonly #indexOf = new Map<ItemId, number>()
  #ids: ItemId[] = []
  #idsMax = 1024
  readonly #lists = new Map<number, StoredList>()

  /** @param arrays as `state` gave them @throws CorruptError if they are not */
  static from(arrays: NamedArrays): NeighbourLists {
    const lists = new NeighbourLists()
    if (arrays.size === 0) return lists
    const idLengths = namedArray(arrays, 'idLengths', Int32Array)
    for (const id of unpackTexts(namedArray(arrays, 'ids', Uint8Array), idLengths)) lists.#index(id)
    const items = namedArray(arrays, 'items', Int32Array)
    const lengths = namedArray(arrays, 'lengths', Int32Array, items.length)
    const total = lengths.reduce((sum, length) => sum + length, 0)
    const indices = namedArray(arrays, 'neighbours', Int32Array, total)
    const weights = namedArray(arrays, 'weights', Float32Array, total)
    for (const index of [...items, ...indices])
      if (!(index >= 0 && index < lists.#ids.length)) throw new CorruptError(`state: neighbour ${index} has no id`)
    for (let i = 0, at = 0; i < items.length; at += lengths[i++]!) {
      const end = at + lengths[i]!
      lists.#lists.set(items[i]!, { indices: indices.slice(at, end), weights: weights.slice(at, end) })
    }
    return lists
  }

  /** Items with a list. */
  get size(): number {
    return this.#lists.size
  }

  *ids(): Iterable<ItemId> {
    for (const index of this.#lists.keys()) yield this.#ids[index]!
  }

  of(itemId: ItemId): Neighbours | undefined {
    const index = this.#indexOf.get(itemId)
    const list = index === undefined ? undefined : this.#lists.get(index)
    if (list === undefined) return undefined
    return { neighbours: Array.from(list.indices, (neighbour) => this.#ids[neighbour]!), weights: list.weights }
  }

  /** @param list replaces the item's; empty: it has none any more. Copied */
  set(itemId: ItemId, { neighbours, weights }: Neighbours): void {
    if (neighbours.length === 0) {
      const index = this.#indexOf.get(itemId)
      if (index !== undefined) this.#lists.delete(index)
      return
    }
    if (this.#ids.length >= this.#idsMax) this.#dropUnused()
    const indices = new Int32Array(neighbours.length) // `from` with a function takes twice as long
    for (let i = 0; i < neighbours.length; i++) indices[i] = this.#index(neighbours[i]!)
    this.#lists.set(this.#index(itemId), { indices, weights: weights.slice() })
  }

  /** All of it, copied. */
  state(): NamedArrays {
    const { bytes, lengths } = packTexts(this.#ids)
    const stored = [...this.#lists.values()]
    const total = stored.reduce((sum, { indices }) => sum + indices.length, 0)
    const [neighbours, weights] = [new Int32Array(total), new Float32Array(total)]
    let at = 0
    for (const list of stored) {
      neighbours.set(list.indices, at)
      weights.set(list.weights, at)
      at += list.indices.length
    }
    return new Map<string, Uint8Array | Int32Array | Float32Array>([
      ...([
        ['ids', bytes],
        ['idLengths', lengths]
      ] as const),
      ['items', Int32Array.from(this.#lists.keys())],
      ['lengths', Int32Array.from(stored, ({ indices }) => indices.length)],
      ...([
        ['neighbours', neighbours],
        ['weights', weights]
      ] as const)
    ])
  }

  /** Numbers the items again, each time that there are twice as many as were in use the time before. */
  #dropUnused(): void {
    const before = this.#ids
    const lists = [...this.#lists].map(([index, list]) => ({ id: before[index]!, list }))
    this.#indexOf.clear()
    this.#ids = []
    this.#lists.clear()
    for (const { id, list } of lists) {
      for (const [i, neighbour] of list.indices.entries()) list.indices[i] = this.#index(before[neighbour]!)
      this.#lists.set(this.#index(id), list)
    }
    this.#idsMax = 2 * this.#ids.length + 1024
  }

  #index(itemId: ItemId): number {
    const known = this.#indexOf.get(itemId)
    if (known !== undefined) return known
    this.#indexOf.set(itemId, this.#ids.length)
    return this.#ids.push(itemId) - 1
  }
}
