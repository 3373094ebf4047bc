// The input of the towers for an item: its embedding, plus a share of the mean of its features' embeddings, which
// shrinks with the item's interactions. And back: a gradient to those rows.
//
// U items, F features of an item, D dimensions. Linear, so it is done here in typed arrays: the towers read one tensor.

import type { Model } from '../model/model.ts'
import type { ItemTable } from './batch/itemTable.ts'
import type { ItemFeatures } from './batch/miniBatch.ts'

export class ItemInputs {
  readonly #items: ItemTable
  readonly #features: ItemTable
  readonly #model: Pick<Model, 'featureShare'>
  #inputs = new Float32Array(0)
  /** By feature row: its slot in the gradient under construction, + 1; 0: none. */
  #slots = new Int32Array(1024)

  constructor(items: ItemTable, features: ItemTable, model: Pick<Model, 'featureShare'>) {
    this.#items = items
    this.#features = features
    this.#model = model
  }

  /**
   * @param rows [U] of the item table; 0 gives zeros, plus features if it has any
   * @param features of the U items
   * @returns [U, D], valid until the next call: new megabytes for each step would load the garbage collector
   */
  gather(rows: Int32Array, features: ItemFeatures): Float32Array {
    const d = this.#items.dimensions
    if (this.#inputs.length < rows.length * d) this.#inputs = new Float32Array(Math.ceil(1.25 * rows.length) * d)
    const inputs = this.#inputs.subarray(0, rows.length * d)
    this.#items.gather(rows, inputs)
    if (features.rows.length === 0) return inputs
    const values = new Float32Array(features.rows.length * d)
    this.#features.gather(features.rows, values)
    for (let u = 0; u < rows.length; u++) {
      const from = features.start[u]!
      const to = features.start[u + 1]!
      if (to === from) continue
      const share = this.#shareOf(rows[u]!) / (to - from)
      for (let f = from; f < to; f++) for (let i = 0; i < d; i++) inputs[u * d + i]! += share * values[f * d + i]!
    }
    return inputs
  }

  /**
   * Each feature row's share of the items' gradients.
   *
   * @param items rows of the batch's items, as they were gathered and counted. [U]
   * @param gradients [U, D] with respect to the inputs; the item rows' own gradients are the same numbers
   * @returns rows [V], unique, and gradients [V, D]
   */
  featureGradients(
    items: Int32Array,
    features: ItemFeatures,
    gradients: Float32Array
  ): { rows: Int32Array; gradients: Float32Array } {
    const d = this.#items.dimensions
    if (this.#slots.length < this.#features.rows) this.#slots = new Int32Array(2 * this.#features.rows)
    const slots = this.#slots
    const rows: number[] = []
    for (const row of features.rows) if (row !== 0 && slots[row] === 0) slots[row] = rows.push(row)
    const sums = new Float32Array(rows.length * d)
    for (let u = 0; u + 1 < features.start.length; u++) {
      const from = features.start[u]!
      const to = features.start[u + 1]!
      if (to === from) continue
      const share = this.#shareOf(items[u]!) / (to - from)
      for (let f = from; f < to; f++) {
        const slot = slots[features.rows[f]!]! - 1
        if (slot < 0) continue
        for (let i = 0; i < d; i++) sums[slot * d + i]! += share * gradients[u * d + i]!
      }
    }
    for (const row of rows) slots[row] = 0
    return { rows: Int32Array.from(rows), gradients: sums }
  }

  /** @param row 0: an item without one */
  #shareOf(row: number): number {
    return this.#model.featureShare(row === 0 ? 0 : this.#items.count(row))
  }
}
