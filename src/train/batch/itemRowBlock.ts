// Rows of the item table on their way into a checkpoint: columns side by side, each row with its number, in any order.

import type { IdDictionary } from '../../core/idDictionary.ts'
import type { NamedArrays } from '../../core/namedArrays.ts'
import type { RowBlock } from './changedRows.ts'

/** Columns of 65,536 rows of the table. */
export interface ItemColumns {
  readonly values: Float32Array // [65,536, D]
  readonly accumulators: Float32Array
  readonly counts: Uint32Array
  readonly lastSeenMs: Float64Array
  readonly generations: Uint32Array
  /** Index in the list of admitted rows; −1 for a row that is nobody's. */
  readonly places: Int32Array
  readonly dirty: Uint8Array
}

/** Of a block's values: some milliseconds of copying and writing. */
const valuesBytes = 1024 * 1024

export interface ItemRowBlockOptions {
  readonly dimensions: number
  readonly ids: IdDictionary
  /** Where a row is, and its index there. */
  readonly columnsOf: (row: number) => ItemColumns
  readonly indexOf: (row: number) => number
}

export class ItemRowBlock implements RowBlock {
  readonly #options: ItemRowBlockOptions
  readonly #max: number
  readonly #rows: Int32Array
  readonly #values: Float32Array
  readonly #accumulators: Float32Array
  readonly #counts: Int32Array
  readonly #lastSeenMs: Float64Array
  readonly #generations: Int32Array
  readonly #places: Int32Array
  readonly #idLengths: Int32Array
  #ids: Uint8Array
  #idBytes = 0
  #size = 0

  constructor(options: ItemRowBlockOptions) {
    this.#options = options
    const max = Math.max(64, Math.floor(valuesBytes / (4 * options.dimensions)))
    this.#max = max
    this.#rows = new Int32Array(max)
    this.#values = new Float32Array(max * options.dimensions)
    this.#accumulators = new Float32Array(max)
    this.#counts = new Int32Array(max)
    this.#lastSeenMs = new Float64Array(max)
    this.#generations = new Int32Array(max)
    this.#places = new Int32Array(max)
    this.#idLengths = new Int32Array(max)
    this.#ids = new Uint8Array(16 * max)
  }

  get isFull(): boolean {
    return this.#size === this.#max
  }

  add(row: number): void {
    const { dimensions, ids } = this.#options
    const columns = this.#options.columnsOf(row)
    const index = this.#options.indexOf(row)
    const at = this.#size++
    this.#rows[at] = row
    // A loop beats `set(subarray)` below some 100 numbers: no view is made.
    const values = this.#values
    for (let from = index * dimensions, to = at * dimensions, end = to + dimensions; to < end; )
      values[to++] = columns.values[from++]!
    this.#accumulators[at] = columns.accumulators[index]!
    this.#counts[at] = columns.counts[index]! | 0
    this.#lastSeenMs[at] = columns.lastSeenMs[index]!
    this.#generations[at] = columns.generations[index]! | 0
    this.#places[at] = columns.places[index]!
    const length = ids.lengthOf(row)
    if (this.#idBytes + length > this.#ids.length) {
      const longer = new Uint8Array(2 * this.#ids.length + length)
      longer.set(this.#ids)
      this.#ids = longer
    }
    ids.copyTo(row, this.#ids, this.#idBytes)
    this.#idBytes += length
    this.#idLengths[at] = length
  }

  finish(): NamedArrays {
    const n = this.#size
    return new Map<string, Float32Array | Float64Array | Int32Array | Uint8Array>([
      ['rows', this.#rows.subarray(0, n)],
      ['values', this.#values.subarray(0, n * this.#options.dimensions)],
      ['accumulators', this.#accumulators.subarray(0, n)],
      ['counts', this.#counts.subarray(0, n)],
      ['lastSeenMs', this.#lastSeenMs.subarray(0, n)],
      ['generations', this.#generations.subarray(0, n)],
      ['places', this.#places.subarray(0, n)],
      ['ids', this.#ids.subarray(0, this.#idBytes)],
      ['idLengths', this.#idLengths.subarray(0, n)]
    ])
  }
}
