// Rows by id that are set from outside: a reader's copy of a table. Grows in chunks, so that growth copies nothing.

import { chunkRows, IdDictionary } from '../batch/idDictionary.ts'

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

  get size(): number {
    return this.#ids.size
  }

  /** Every row in use is below it. */
  get rows(): number {
    return this.#rows
  }

  /** The id's row, or 0. */
  find(id: string): number {
    return this.#ids.find(id)
  }

  idOf(row: number): string {
    return this.#ids.idOf(row)
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
