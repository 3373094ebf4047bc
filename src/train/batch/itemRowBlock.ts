// Rows of the embedding table on their way into a checkpoint: columns side by side, each row with its number, in any
// order.

import type { IdDictionary } from '../../core/idDictionary.ts'
import type { NamedArray, NamedArrays } from '../../core/namedArrays.ts'
import type { RowBlock } from './changedRows.ts'
import type { EmbeddingRows } from './embeddingRows.ts'

/** One number per row. In a chunk of the table each has 65,536 elements. */
export interface ItemColumns {
  /** Adagrad's sum of squares. */
  readonly accumulators: Float32Array
  /** Interactions of the item. */
  readonly counts: Int32Array
  readonly lastSeenMs: Float64Array
  /** How many items had the row before. */
  readonly generations: Int32Array
  /** Index in the list of admitted rows; −1 for a free row. */
  readonly places: Int32Array
}

export const columnKinds = {
  accumulators: Float32Array,
  counts: Int32Array,
  lastSeenMs: Float64Array,
  generations: Int32Array,
  places: Int32Array
} as const

export const columnNames = Object.keys(columnKinds) as (keyof ItemColumns)[]

export function newColumns(rows: number): ItemColumns {
  return {
    accumulators: new Float32Array(rows),
    counts: new Int32Array(rows),
    lastSeenMs: new Float64Array(rows),
    generations: new Int32Array(rows),
    places: new Int32Array(rows).fill(-1)
  }
}

/** Bytes of a block's embeddings: copying and writing them takes some milliseconds. */
const valuesBytes = 1024 * 1024

export class ItemRowBlock implements RowBlock {
  readonly #source: EmbeddingRows
  readonly #dictionary: IdDictionary
  readonly #max: number
  readonly #rows: Int32Array
  readonly #values: Float32Array
  readonly #columns: ItemColumns
  readonly #idLengths: Int32Array
  #ids: Uint8Array
  #idBytes = 0
  #size = 0

  constructor(source: EmbeddingRows, dictionary: IdDictionary) {
    this.#source = source
    this.#dictionary = dictionary
    const max = Math.max(64, Math.floor(valuesBytes / (4 * source.dimensions)))
    this.#max = max
    this.#rows = new Int32Array(max)
    this.#values = new Float32Array(max * source.dimensions)
    this.#columns = newColumns(max)
    this.#idLengths = new Int32Array(max)
    this.#ids = new Uint8Array(16 * max)
  }

  get isFull(): boolean {
    return this.#size === this.#max
  }

  add(row: number): void {
    const { dimensions } = this.#source
    const { values, columns } = this.#source.chunk(row)
    const index = this.#source.indexOf(row)
    const at = this.#size++
    this.#rows[at] = row
    // Below some 100 numbers a loop is faster than `set(subarray)`, which creates a view.
    const out = this.#values
    for (let from = index * dimensions, to = at * dimensions, end = to + dimensions; to < end; )
      out[to++] = values[from++]!
    for (const name of columnNames) this.#columns[name][at] = columns[name][index]!
    const length = this.#dictionary.lengthOf(row)
    if (this.#idBytes + length > this.#ids.length) {
      const longer = new Uint8Array(2 * this.#ids.length + length)
      longer.set(this.#ids)
      this.#ids = longer
    }
    this.#dictionary.copyTo(row, this.#ids, this.#idBytes)
    this.#idBytes += length
    this.#idLengths[at] = length
  }

  finish(): NamedArrays {
    const n = this.#size
    return new Map<string, NamedArray>([
      ['rows', this.#rows.subarray(0, n)],
      ['values', this.#values.subarray(0, n * this.#source.dimensions)],
      ...columnNames.map((name): [string, NamedArray] => [name, this.#columns[name].subarray(0, n)]),
      ['ids', this.#ids.subarray(0, this.#idBytes)],
      ['idLengths', this.#idLengths.subarray(0, n)]
    ])
  }
}
