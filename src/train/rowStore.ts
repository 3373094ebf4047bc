// Rows by id that are set from outside: a reader's copy of a table. Grows in chunks, so that growth copies nothing.

import { CorruptError } from '../base/errors.ts'
import { chunkRows, IdDictionary } from '../batch/idDictionary.ts'
import { type NamedArray, type NamedArrays, namedArray } from '../batch/namedArrays.ts'

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
  /** out[at … at + D) += scale · row. */
  add(row: number, scale: number, out: Float32Array, at: number): void
}

export class RowStore implements Rows {
  readonly dimensions: number
  readonly #ids = new IdDictionary()
  readonly #chunks: Float32Array[] = []
  readonly #free: number[] = []
  #rows = 1

  constructor(dimensions: number) {
    this.dimensions = dimensions
  }

  /** @param arrays as `state` gave them @throws CorruptError if they are not */
  static from(arrays: NamedArrays, dimensions: number): RowStore {
    const store = new RowStore(dimensions)
    const [rows, size] = namedArray(arrays, 'shape', Float64Array, 2)
    if (size === 0) return store
    store.#rows = rows!
    store.#ids.reserve(size!)
    for (let from = 0; from < rows!; from += chunkRows) {
      const used = Math.min(chunkRows, rows! - from)
      const chunk = new Float32Array(chunkRows * dimensions)
      chunk.set(namedArray(arrays, `values.${from}`, Float32Array, used * dimensions))
      store.#chunks.push(chunk)
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

  /** All of it, copied. */
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
  set(id: string, values: Float32Array): number {
    let row = this.#ids.find(id)
    if (row === 0) {
      row = this.#free.pop() ?? this.#rows++
      this.#ids.set(row, id)
      if (row >>> chunkShift >= this.#chunks.length) this.#chunks.push(new Float32Array(chunkRows * this.dimensions))
    }
    this.#chunks[row >>> chunkShift]!.set(values, (row & chunkMask) * this.dimensions)
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

  /** out[at … at + D) += scale · row. */
  add(row: number, scale: number, out: Float32Array, at: number): void {
    const values = this.#chunks[row >>> chunkShift]!
    let from = (row & chunkMask) * this.dimensions
    for (let to = at, end = at + this.dimensions; to < end; to++) out[to]! += scale * values[from++]!
  }
}
