// Feature rows of items, looked up once and cached while they are valid.

import type { ItemTable } from './itemTable.ts'
import type { ItemFeatures } from './miniBatch.ts'

/** Items cached: a fixed memory whatever the catalogue's size; popular items, in most batches, stay. */
const slots = 131_072
/** Feature rows cached for them, 16 MiB: eight per item where half the slots are used. A full pool is cleared. */
const poolMax = 4_194_304

export class FeatureRows {
  readonly #items: ItemTable
  readonly #features: ItemTable
  readonly #featuresOf: (itemId: string) => readonly string[]
  /** Direct-mapped by row: (row, its generation, start in the pool, length) in one cache line. Complete lists only. */
  readonly #slots = new Int32Array(4 * slots)
  #pool = new Int32Array(1024)
  #pooled = 0
  /** `removals` of the feature table when the lists were made: a freed row may belong to another feature now. */
  #removals: number
  /** Rows of the batch under construction. */
  #rows = new Int32Array(1024)
  #count = 0

  constructor(items: ItemTable, features: ItemTable, featuresOf: (itemId: string) => readonly string[]) {
    this.#items = items
    this.#features = features
    this.#featuresOf = featuresOf
    this.#removals = features.removals
  }

  /** @param items [U] rows of the item table; row 0 has no features. Features without a row are left out. */
  of(items: Int32Array): ItemFeatures {
    if (this.#removals !== this.#features.removals) this.clear()
    const start = new Int32Array(items.length + 1) // [U + 1]
    if (this.#features.size === 0) return { start, rows: new Int32Array(0) }
    const cached = this.#slots
    this.#count = 0
    for (let u = 0; u < items.length; u++) {
      const row = items[u]!
      if (row !== 0) {
        const at = 4 * (row & (slots - 1))
        if (cached[at] === row && cached[at + 1] === this.#items.generation(row)) {
          const length = cached[at + 3]!
          this.#rows = withRoom(this.#rows, this.#count + length)
          for (let i = cached[at + 2]!, end = i + length; i < end; i++) this.#rows[this.#count++] = this.#pool[i]!
        } else this.#lookUp(row, at)
      }
      start[u + 1] = this.#count
    }
    return { start, rows: this.#rows.slice(0, this.#count) }
  }

  /** The features of this row's item may have changed. */
  forget(row: number): void {
    const at = 4 * (row & (slots - 1))
    if (this.#slots[at] === row) this.#slots[at] = 0
  }

  clear(): void {
    this.#slots.fill(0)
    this.#pooled = 0
    this.#removals = this.#features.removals
  }

  #lookUp(row: number, at: number): void {
    const features = this.#featuresOf(this.#items.idOf(row))
    const first = this.#count
    this.#rows = withRoom(this.#rows, first + features.length)
    for (const feature of features) {
      const featureRow = this.#features.rowOf(feature)
      if (featureRow !== 0) this.#rows[this.#count++] = featureRow
    }
    // An incomplete list may be completed by the next admission. An empty one is cached too.
    if (this.#count - first < features.length) return
    if (this.#pooled + features.length > poolMax) this.clear()
    if (features.length > poolMax) return
    this.#pool = withRoom(this.#pool, this.#pooled + features.length)
    this.#pool.set(this.#rows.subarray(first, this.#count), this.#pooled)
    this.#slots[at] = row
    this.#slots[at + 1] = this.#items.generation(row)
    this.#slots[at + 2] = this.#pooled
    this.#slots[at + 3] = features.length
    this.#pooled += features.length
  }
}

function withRoom(array: Int32Array<ArrayBuffer>, least: number): Int32Array<ArrayBuffer> {
  if (least <= array.length) return array
  const longer = new Int32Array(2 * least)
  longer.set(array)
  return longer
}
