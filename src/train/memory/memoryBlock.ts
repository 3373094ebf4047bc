// The memory on its way into a checkpoint, and out of it: lists side by side, each with its row, in any order.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArray, type NamedArrays, namedArray, packTexts, unpackTexts } from '../../core/namedArrays.ts'
import type { RowBlock } from '../batch/changedRows.ts'
import type { NeighbourStore } from './neighbourStore.ts'

/** At up to 2.3 KB an item half a megabyte. */
const rowsMax = 256

/** As the file has them. */
const slotKinds = {
  ids: Int32Array,
  generations: Int32Array,
  into: Float32Array,
  from: Float32Array,
  sent: Float32Array
} as const
const slotNames = Object.keys(slotKinds) as (keyof typeof slotKinds)[]

export class MemoryBlock implements RowBlock {
  readonly #store: NeighbourStore
  readonly #rows: number[] = []
  readonly #seen: number[] = []
  readonly #used: number[] = []
  readonly #slots: Record<keyof typeof slotKinds, number[]> = { ids: [], generations: [], into: [], from: [], sent: [] }

  constructor(store: NeighbourStore) {
    this.#store = store
  }

  get isFull(): boolean {
    return this.#rows.length === rowsMax
  }

  add(row: number): void {
    const used = this.#store.used(row)
    const list = this.#store.list(row)
    this.#rows.push(row)
    this.#seen.push(this.#store.seen(row))
    this.#used.push(used)
    if (list === undefined) return
    for (const name of slotNames)
      for (let at = list.start; at < list.start + used; at++) this.#slots[name].push(list[name][at]!)
  }

  finish(): NamedArrays {
    return new Map<string, NamedArray>([
      ['rows', Int32Array.from(this.#rows)],
      ['seen', Float64Array.from(this.#seen)],
      ['used', Int32Array.from(this.#used)],
      ...slotNames.map((name): [string, NamedArray] => [name, slotKinds[name].from(this.#slots[name])])
    ])
  }
}

/** @throws CorruptError if an array is missing or does not fit */
export function restoreMemoryRows(store: NeighbourStore, arrays: NamedArrays): void {
  const rows = namedArray(arrays, 'rows', Int32Array)
  const seen = namedArray(arrays, 'seen', Float64Array, rows.length)
  const used = namedArray(arrays, 'used', Int32Array, rows.length)
  const total = used.reduce((sum, count) => sum + count, 0)
  const slots = slotNames.map((name) => ({
    name,
    values: namedArray<NamedArray>(arrays, name, slotKinds[name], total)
  }))
  let from = 0
  for (const [i, row] of rows.entries()) {
    const count = used[i]!
    if (!(row >= 0 && count >= 0 && count <= store.slots))
      throw new CorruptError(`state: row ${row} of the memory with ${count} neighbours, at most ${store.slots}`)
    store.clear(row)
    store.setSeen(row, seen[i]!)
    if (count > 0) {
      const list = store.grow(row, count)
      for (const { name, values } of slots)
        for (let slot = 0; slot < count; slot++) list[name][list.start + slot] = values[from + slot] as number
    }
    from += count
  }
}

/** What a checkpoint holds of the memory besides its rows. */
interface MemoryState {
  readonly unit: number
  readonly sweep: number
  readonly waiting: readonly (readonly [number, 1 | 2])[]
  readonly gone: readonly string[]
}

export function memoryState({ unit, sweep, waiting, gone }: MemoryState): NamedArrays {
  const { bytes, lengths } = packTexts(gone)
  return new Map<string, NamedArray>([
    ['numbers', Float64Array.of(unit, sweep)],
    ['waiting', Int32Array.from(waiting.flat())],
    ['gone', bytes],
    ['goneLengths', lengths]
  ])
}

/** @throws CorruptError if an array is missing or does not fit */
export function restoreMemoryState(arrays: NamedArrays): MemoryState {
  const [unit, sweep] = namedArray(arrays, 'numbers', Float64Array, 2)
  const pairs = namedArray(arrays, 'waiting', Int32Array)
  const waiting: [number, 1 | 2][] = []
  for (let i = 0; i + 1 < pairs.length; i += 2) waiting.push([pairs[i]!, pairs[i + 1] === 2 ? 2 : 1])
  const gone = unpackTexts(namedArray(arrays, 'gone', Uint8Array), namedArray(arrays, 'goneLengths', Int32Array))
  return { unit: unit!, sweep: sweep!, waiting, gone }
}
