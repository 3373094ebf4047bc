// Rows by id that are set from outside: a reader's copy of a table. Grows in chunks, so that growth copies nothing but
// a small first chunk.

import { CorruptError } from '../../core/errors.ts'
import { chunkCapacity, chunkRows, IdDictionary } from '../../core/idDictionary.ts'
import { type NamedArray, type NamedArrays, namedArray } from '../../core/namedArrays.ts'

const chunkShift = Math.log2(chunkRows)
const chunkMask = chunkRows - 1

/** Rows by id, to be read. Rows are numbered from 1; 0 is none. */
export interface Rows {
  readonly dimensions: number
  readonly size: number
  /** Every row in use is below it. */
  readonly rows: number
  find(id: string): number
  idOf(row: number): string
  /** Interactions of the row's item, as the trainer last counted them. */
  count(row: number): number
  /** out[at … at + D) += scale · row. */
  add(row: number, scale: number, out: Float32Array, at: number): void
}

export class RowStore implements Rows {
  readonly dimensions: number
  readonly #ids = new IdDictionary()
  readonly #chunks: Float32Array[] = []
  /** By chunk, as the rows. */
  readonly #counts: Float64Array[] = []
  readonly #free: number[] = []
  #rows = 1

  constructor(dimensions: number) {
    this.dimensions = dimensions
  }

  /**
   * @param arrays as `state` gave them @param counts as `counts` did, if it did @throws CorruptError if they are not
   */
  static from(arrays: NamedArrays, dimensions: number, counts?: Float64Array): RowStore {
    const store = new RowStore(dimensions)
    const [rows, size] = namedArray(arrays, 'shape', Float64Array, 2)
    if (size === 0) return store
    store.#rows = rows!
    store.#ids.reserve(size!)
    for (let from = 0; from < rows!; from += chunkRows) {
      const used = Math.min(chunkRows, rows! - from)
      const index = from / chunkRows
      store.#reserve(index, used - 1)
      store.#chunks[index]!.set(namedArray(arrays, `values.${from}`, Float32Array, used * dimensions))
      if (counts !== undefined) store.#counts[index]!.set(counts.subarray(from, from + used))
      const lengths = namedArray(arrays, `idLengths.${from}`, Int32Array, used)
      store.#ids.unpack(from, namedArray(arrays, `ids.${from}`, Uint8Array), lengths)
      for (let i = 0; i < used; i++) if (lengths[i] === 0 && from + i > 0) store.#free.push(from + i)
    }
    if (store.size !== size) throw new CorruptError(`state: ${store.size} ids for ${size} rows`)
    return store
  }

  get size(): number {
    return this.#ids.size
  }

  /** Every row in use is below it. */
  get rows(): number {
    return this.#rows
  }

  /** Of every row, copied. */
  counts(): Float64Array {
    const counts = new Float64Array(this.#rows)
    for (const [index, chunk] of this.#counts.entries()) {
      const from = index * chunkRows
      counts.set(chunk.subarray(0, Math.min(chunkRows, this.#rows - from)), from)
    }
    return counts
  }

  /** All of it but the counts, copied. */
  state(): NamedArrays {
    const arrays = new Map<string, NamedArray>([['shape', Float64Array.of(this.#rows, this.size)]])
    for (const [index, chunk] of this.#chunks.entries()) {
      const from = index * chunkRows
      const used = Math.min(chunkRows, this.#rows - from)
      const { bytes, lengths } = this.#ids.pack(from, from + used)
      arrays
        .set(`values.${from}`, chunk.slice(0, used * this.dimensions))
        .set(`ids.${from}`, bytes)
        .set(`idLengths.${from}`, lengths)
    }
    return arrays
  }

  /** The id's row, or 0. */
  find(id: string): number {
    return this.#ids.find(id)
  }

  idOf(row: number): string {
    return this.#ids.idOf(row)
  }

  *ids(): Iterable<string> {
    for (let row = 1; row < this.#rows; row++) {
      const id = this.#ids.idOf(row)
      if (id !== '') yield id
    }
  }

  /** @param values [D], copied @returns the id's row */
  set(id: string, values: Float32Array, count = 0): number {
    let row = this.#ids.find(id)
    if (row === 0) {
      row = this.#free.pop() ?? this.#rows++
      this.#ids.set(row, id)
      this.#reserve(row >>> chunkShift, row & chunkMask)
    }
    this.#chunks[row >>> chunkShift]!.set(values, (row & chunkMask) * this.dimensions)
    this.#counts[row >>> chunkShift]![row & chunkMask] = count
    return row
  }

  /** @returns the row that the id had, or 0 */
  delete(id: string): number {
    const row = this.#ids.find(id)
    if (row === 0) return 0
    this.#ids.delete(row)
    this.#free.push(row)
    return row
  }

  /** Room for row `row` of the chunk. */
  #reserve(chunk: number, row: number): void {
    if (row < (this.#counts[chunk]?.length ?? 0)) return
    const capacity = chunkCapacity(chunk, row)
    const values = new Float32Array(capacity * this.dimensions)
    const counts = new Float64Array(capacity)
    values.set(this.#chunks[chunk] ?? [])
    counts.set(this.#counts[chunk] ?? [])
    this.#chunks[chunk] = values
    this.#counts[chunk] = counts
  }

  count(row: number): number {
    return this.#counts[row >>> chunkShift]?.[row & chunkMask] ?? 0
  }

  /** out[at … at + D) += scale · row. */
  add(row: number, scale: number, out: Float32Array, at: number): void {
    const values = this.#chunks[row >>> chunkShift]!
    let from = (row & chunkMask) * this.dimensions
    for (let to = at, end = at + this.dimensions; to < end; to++) out[to]! += scale * values[from++]!
  }
}
