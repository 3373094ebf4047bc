// Feature rows of items, looked up once and remembered while they hold.

import type { ItemTable } from './itemTable.ts'
import type { ItemFeatures } from './miniBatch.ts'

/** Items remembered: a fixed memory whatever the catalogue's size; popular items, met in most batches, stay. */
const slots = 131_072
/**
 * Feature rows remembered for them, 16 MiB: eight an item where the slots are half full. When the pool is full all is
 * forgotten.
 */
const poolMax = 4_194_304

export class FeatureRows {
  readonly #items: ItemTable
  readonly #features: ItemTable
  readonly #featuresOf: (itemId: string) => readonly string[]
  /**
   * Direct-mapped by row: (row, its generation, start in the pool, length), side by side in one cache line. Only lists
   * that are complete are kept.
   */
  readonly #slots = new Int32Array(4 * slots)
  #pool = new Int32Array(1024)
  #pooled = 0
  /** Of the feature table, when the lists were made: a row that was taken away may be another feature's now. */
  #removals = 0
  /** Rows of the batch in the making. */
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
    const known = this.#slots
    this.#count = 0
    for (let u = 0; u < items.length; u++) {
      const row = items[u]!
      if (row !== 0) {
        const at = 4 * (row & (slots - 1))
        if (known[at] === row && known[at + 1] === (this.#items.generation(row) | 0)) {
          const length = known[at + 3]!
          this.#makeRoom(length)
          for (let i = known[at + 2]!, end = i + length; i < end; i++) this.#rows[this.#count++] = this.#pool[i]!
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
    if (features.length === 0) {
      // Remembered too, or an item without features would be looked up by its id in every batch.
      this.#slots[at] = row
      this.#slots[at + 1] = this.#items.generation(row) | 0
      this.#slots[at + 3] = 0
      return
    }
    this.#makeRoom(features.length)
    const first = this.#count
    for (const feature of features) {
      const featureRow = this.#features.rowOf(feature)
      if (featureRow !== 0) this.#rows[this.#count++] = featureRow
    }
    // An incomplete list may be completed by the next admission.
    if (this.#count - first < features.length) return
    if (this.#pooled + features.length > poolMax) this.clear()
    if (features.length > poolMax) return
    if (this.#pooled + features.length > this.#pool.length)
      this.#pool = longer(this.#pool, this.#pooled + features.length)
    this.#pool.set(this.#rows.subarray(first, this.#count), this.#pooled)
    this.#slots[at] = row
    this.#slots[at + 1] = this.#items.generation(row) | 0
    this.#slots[at + 2] = this.#pooled
    this.#slots[at + 3] = features.length
    this.#pooled += features.length
  }

  #makeRoom(more: number): void {
    if (this.#count + more > this.#rows.length) this.#rows = longer(this.#rows, this.#count + more)
  }
}

function longer(array: Int32Array, least: number): Int32Array<ArrayBuffer> {
  const copy = new Int32Array(2 * least)
  copy.set(array)
  return copy
}
