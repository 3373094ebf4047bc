// Embeddings by row, with one number per row of a few other columns. In chunks of 65,536 rows, so that growth copies
// nothing.
//
// D dimensions. Row 0 is padding and always zeros.

import { chunkRows } from '../../core/idDictionary.ts'
import { ChangedRows } from './changedRows.ts'
import { type ItemColumns, newColumns } from './itemRowBlock.ts'

const chunkShift = Math.log2(chunkRows)
const chunkMask = chunkRows - 1

/** Rows prefetched together: 64 rows of 64 numbers are a third of the first-level cache. */
export const readTogether = 64
/** In floats. */
const cacheLine = 16

interface Chunk {
  readonly values: Float32Array // [65,536, D]
  readonly columns: ItemColumns
  /** 1: changed since the last `takeDirty`. */
  readonly dirty: Uint8Array
}

export class EmbeddingRows {
  readonly dimensions: number
  readonly #chunks: Chunk[] = []
  /** For checkpoints of changes. */
  protected readonly changed = new ChangedRows()
  /** Written by `readAhead`, so that its reads are not optimised away. */
  readonly #read = new Float64Array(1)

  constructor(dimensions: number) {
    this.dimensions = dimensions
    this.reserve(1)
  }

  /** How many items had this row before: a stored row still belongs to its item if the generation is the same. */
  generation(row: number): number {
    return this.columns(row).generations[this.indexOf(row)]!
  }

  /** Interactions of the item since it was first counted. */
  count(row: number): number {
    return this.columns(row).counts[this.indexOf(row)]!
  }

  /** Event time of the item's newest interaction, milliseconds. */
  lastSeenMs(row: number): number {
    return this.columns(row).lastSeenMs[this.indexOf(row)]!
  }

  /** Copies embeddings. @param rows [n] @param out [n, D], overwritten; zeros for row 0 */
  gather(rows: Int32Array, out: Float32Array): void {
    const d = this.dimensions
    if (out.length < rows.length * d)
      throw new RangeError(`gather: ${rows.length} rows of ${d} into ${out.length} numbers`)
    for (let i = 0; i < rows.length; i++) {
      if (i % readTogether === 0) this.readAhead(rows, i)
      const row = rows[i]!
      if (row === 0) {
        out.fill(0, i * d, i * d + d)
        continue
      }
      // Below some 100 numbers a loop is faster than `set(subarray)`, which creates a view.
      const { values } = this.chunk(row)
      let from = this.start(row)
      for (let to = i * d, end = to + d; to < end; to++) out[to] = values[from++]!
    }
  }

  /** Prefetches the next `readTogether` rows, so that their cache misses overlap. */
  readAhead(rows: Int32Array, from: number): void {
    const d = this.dimensions
    const end = Math.min(rows.length, from + readTogether)
    let read = 0
    for (let i = from; i < end; i++) {
      const row = rows[i]!
      const { values, columns, dirty } = this.chunk(row)
      const at = row & chunkMask
      read += columns.accumulators[at]! + dirty[at]! + this.changed.markOf(row)
      for (let to = at * d, last = to + d; to < last; to += cacheLine) read += values[to]!
    }
    this.#read[0] = read
  }

  /** To be called before the row or its accumulator is written: a checkpoint in progress copies it first. */
  willChange(row: number): void {
    this.changed.willChange(row)
  }

  /** A view of the row [D]: `willChange` before writing, `markDirty` after. A throw-away array for row 0. */
  values(row: number): Float32Array {
    if (row === 0) return new Float32Array(this.dimensions)
    const start = this.start(row)
    return this.chunk(row).values.subarray(start, start + this.dimensions)
  }

  /** The array that holds the row, from `start(row)` on: for loops over many rows, without the view of `values`. */
  block(row: number): Float32Array {
    return this.chunk(row).values
  }

  start(row: number): number {
    return (row & chunkMask) * this.dimensions
  }

  /** Adagrad's sum of squares of the row; 0 for a new one. */
  accumulator(row: number): number {
    return this.columns(row).accumulators[row & chunkMask]!
  }

  setAccumulator(row: number, value: number): void {
    if (row !== 0) this.columns(row).accumulators[row & chunkMask] = value
  }

  /** The chunk that holds the row, and the row's index in it. */
  chunk(row: number): Chunk {
    return this.#chunks[row >>> chunkShift]!
  }

  indexOf(row: number): number {
    return row & chunkMask
  }

  protected columns(row: number): ItemColumns {
    return this.#chunks[row >>> chunkShift]!.columns
  }

  /** Room for rows below `rows`. */
  protected reserve(rows: number): void {
    while (this.#chunks.length * chunkRows < rows)
      this.#chunks.push({
        values: new Float32Array(chunkRows * this.dimensions),
        columns: newColumns(chunkRows),
        dirty: new Uint8Array(chunkRows)
      })
  }

  protected clear(): void {
    this.changed.forget()
    this.#chunks.length = 0
    this.reserve(1)
  }
}
