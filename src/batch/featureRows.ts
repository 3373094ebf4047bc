// Feature rows of items, looked up once and remembered while they hold.

import type { ItemTable } from './itemTable.ts'
import type { ItemFeatures } from './miniBatch.ts'

/** Items remembered: a fixed memory whatever the catalogue's size; popular items, met in most batches, stay. */
const slots = 131_072

const none = new Int32Array(0)

export class FeatureRows {
  readonly #items: ItemTable
  readonly #features: ItemTable
  readonly #featuresOf: (itemId: string) => readonly string[]
  /** Direct-mapped by row: the row, its generation, and its features' rows. Only lists that are complete and not empty are kept. */
  #keys = new Int32Array(slots)
  #generations = new Int32Array(slots)
  #lists: Int32Array[] = new Array<Int32Array>(slots).fill(none)
  /** Of the feature table, when the lists were made: a row that was taken away may be another feature's now. */
  #removals = 0
  #scratch = new Int32Array(64)

  constructor(items: ItemTable, features: ItemTable, featuresOf: (itemId: string) => readonly string[]) {
    this.#items = items
    this.#features = features
    this.#featuresOf = featuresOf
  }

  /** @param items [U] rows of the item table; row 0 has no features. Features without a row are left out. */
  of(items: Int32Array): ItemFeatures {
    if (this.#removals !== this.#features.removals) this.clear()
    const start = new Int32Array(items.length + 1) // [U + 1]
    let rows = this.#scratch
    let count = 0
    for (let u = 0; u < items.length; u++) {
      const list = items[u] === 0 ? none : this.#list(items[u]!)
      if (rows.length < count + list.length) {
        const longer = new Int32Array(2 * (count + list.length))
        longer.set(rows)
        rows = longer
        this.#scratch = rows
      }
      for (let i = 0; i < list.length; i++) rows[count++] = list[i]!
      start[u + 1] = count
    }
    return { start, rows: rows.slice(0, count) }
  }

  /** The features of this row's item may have changed. */
  forget(row: number): void {
    const slot = row & (slots - 1)
    if (this.#keys[slot] === row) this.#keys[slot] = 0
  }

  clear(): void {
    this.#keys.fill(0)
    this.#lists.fill(none)
    this.#removals = this.#features.removals
  }

  #list(row: number): Int32Array {
    const slot = row & (slots - 1)
    const generation = this.#items.generation(row) | 0
    if (this.#keys[slot] === row && this.#generations[slot] === generation) return this.#lists[slot]!
    const features = this.#featuresOf(this.#items.idOf(row))
    if (features.length === 0) return none
    const rows = new Int32Array(features.length)
    let found = 0
    for (const feature of features) {
      const featureRow = this.#features.rowOf(feature)
      if (featureRow !== 0) rows[found++] = featureRow
    }
    // An incomplete list may be completed by the next admission.
    if (found < features.length) return rows.subarray(0, found)
    this.#keys[slot] = row
    this.#generations[slot] = generation
    this.#lists[slot] = rows
    return rows
  }
}
