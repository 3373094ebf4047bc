// The best items for every user, exactly, scored as when they are served.
//
// N items, B users, K interests, D dimensions.

import { BlockScores } from '../../index/blockScores.ts'
import { blockRows, type ItemTable, JavaScriptTable } from '../../index/dotKernel.ts'
import { type InterestScore, nearestInterest } from '../../index/interestScore.ts'
import { wasmTable } from '../../index/wasmKernel.ts'

export class ExactTop {
  readonly #table: ItemTable
  readonly #scores: BlockScores
  readonly #dimensions: number
  #rows = 0

  constructor(dimensions: number, scoring: InterestScore = nearestInterest) {
    this.#dimensions = dimensions
    this.#table = wasmTable(dimensions) ?? new JavaScriptTable(dimensions)
    this.#scores = new BlockScores(this.#table, scoring)
  }

  /** Replaces the items. @param vectors [N, D] */
  load(vectors: Float32Array): void {
    const D = this.#dimensions
    this.#rows = vectors.length / D
    for (let row = 0; row < this.#rows; row++) this.#table.write(row, vectors.subarray(row * D, (row + 1) * D))
  }

  /**
   * The `limit` items with the greatest score, best first, equal ones by row; fewer if there are fewer.
   *
   * @param interests [K, D], K at most 64
   * @returns rows
   */
  top(interests: Float32Array, limit: number): Int32Array {
    this.#scores.setQuery(interests, interests.length / this.#dimensions)
    const kept = new Lowest(Math.min(limit, this.#rows), this.#scores.none)
    for (let from = 0; from < this.#rows; from += blockRows) {
      const to = Math.min(this.#rows, from + blockRows)
      let { least } = kept
      const values = this.#scores.values(from, to, least)
      for (let place = 0; place < to - from; place++) {
        if (!(values[place]! > least)) continue
        kept.add(values[place]!, from + place)
        least = kept.least
      }
    }
    return kept.take()
  }
}

/** A heap of the greatest scores so far, the least of them on top. */
class Lowest {
  readonly #max: number
  readonly #none: number
  readonly #scores: Float64Array
  readonly #rows: Int32Array
  #size = 0

  /** @param none what is not above it is never kept */
  constructor(max: number, none: number) {
    this.#max = max
    this.#none = none
    this.#scores = new Float64Array(max)
    this.#rows = new Int32Array(max)
  }

  /** A row must score above it to be kept. */
  get least(): number {
    if (this.#max === 0) return Number.POSITIVE_INFINITY
    return this.#size < this.#max ? this.#none : this.#scores[0]!
  }

  /** Rows come in ascending order: an equal score that comes later is worse. */
  add(score: number, row: number): void {
    if (this.#size < this.#max) {
      let at = this.#size++
      while (at > 0) {
        const parent = (at - 1) >> 1
        if (!this.#worse(score, row, parent)) break
        this.#copy(parent, at)
        at = parent
      }
      this.#put(score, row, at)
      return
    }
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= this.#size) break
      if (child + 1 < this.#size && this.#worse(this.#scores[child + 1]!, this.#rows[child + 1]!, child)) child++
      if (this.#worse(score, row, child)) break
      this.#copy(child, at)
      at = child
    }
    this.#put(score, row, at)
  }

  take(): Int32Array {
    const order = Array.from({ length: this.#size }, (_, i) => i)
    order.sort((a, b) => this.#scores[b]! - this.#scores[a]! || this.#rows[a]! - this.#rows[b]!)
    return Int32Array.from(order, (i) => this.#rows[i]!)
  }

  #worse(score: number, row: number, than: number): boolean {
    return score < this.#scores[than]! || (score === this.#scores[than]! && row > this.#rows[than]!)
  }

  #copy(from: number, to: number): void {
    this.#put(this.#scores[from]!, this.#rows[from]!, to)
  }

  #put(score: number, row: number, at: number): void {
    this.#scores[at] = score
    this.#rows[at] = row
  }
}
