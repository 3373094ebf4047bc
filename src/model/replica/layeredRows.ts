// Rows as they would be after some changes, without applying them: the live rows stay unchanged while a candidate is
// evaluated.

import { RowStore, type Rows } from './rowStore.ts'

/** Rows below by even numbers, changed ones by odd numbers. Neither layer may change while this is read. */
export class LayeredRows implements Rows {
  readonly dimensions: number
  readonly size: number
  readonly #below: Rows
  readonly #changed: RowStore
  readonly #gone = new Set<string>()

  /** @param changes by id, row null: it is no more */
  constructor(
    below: Rows,
    changes: Iterable<readonly [string, { readonly row: Float32Array | null; readonly count: number }]>
  ) {
    this.dimensions = below.dimensions
    this.#below = below
    this.#changed = new RowStore(below.dimensions)
    let size = below.size
    for (const [id, { row, count }] of changes) {
      const was = below.find(id) !== 0
      if (row === null) {
        this.#gone.add(id)
        if (was) size--
      } else {
        this.#changed.set(id, row, count)
        if (!was) size++
      }
    }
    this.size = size
  }

  get rows(): number {
    return 2 * Math.max(this.#below.rows, this.#changed.rows)
  }

  find(id: string): number {
    const changed = this.#changed.find(id)
    if (changed !== 0) return 2 * changed - 1
    return this.#gone.has(id) ? 0 : 2 * this.#below.find(id)
  }

  idOf(row: number): string {
    return row % 2 === 1 ? this.#changed.idOf((row + 1) / 2) : this.#below.idOf(row / 2)
  }

  count(row: number): number {
    return row % 2 === 1 ? this.#changed.count((row + 1) / 2) : this.#below.count(row / 2)
  }

  add(row: number, scale: number, out: Float32Array, at: number): void {
    if (row % 2 === 1) this.#changed.add((row + 1) / 2, scale, out, at)
    else this.#below.add(row / 2, scale, out, at)
  }
}
