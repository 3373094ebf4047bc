// The best items for every user, exactly: an item's score is that of the user's nearest interest, as when it is served.
//
// N items, B users, K interests, D dimensions.

import { blockRows, groupSize, type ItemTable, JavaScriptTable } from '../retrieval/dotKernel.ts'
import { wasmTable } from '../retrieval/wasmKernel.ts'

export class ExactTop {
  readonly #table: ItemTable
  readonly #dimensions: number
  #rows = 0
  readonly #best = new Float32Array(blockRows)
  readonly #thresholds = new Float32Array(groupSize)

  constructor(dimensions: number) {
    this.#dimensions = dimensions
    this.#table = wasmTable(dimensions) ?? new JavaScriptTable(dimensions)
  }

  /** Replaces the items. @param vectors [N, D] */
  load(vectors: Float32Array): void {
    const D = this.#dimensions
    this.#rows = vectors.length / D
    for (let row = 0; row < this.#rows; row++) this.#table.write(row, vectors.subarray(row * D, (row + 1) * D))
  }

  /**
   * The `limit` items with the greatest max over k of ⟨interest k, item⟩, best first, equal ones by row; fewer if there are fewer.
   *
   * @param interests [K, D], K at most 64
   * @returns rows
   */
  top(interests: Float32Array, limit: number): Int32Array {
    const K = interests.length / this.#dimensions
    const groups = Math.ceil(K / groupSize)
    const kept = new Lowest(Math.min(limit, this.#rows))
    this.#table.setQuery(interests, K)
    for (let from = 0; from < this.#rows; from += blockRows) {
      const to = Math.min(this.#rows, from + blockRows)
      const best = this.#best.fill(Number.NEGATIVE_INFINITY, 0, to - from)
      for (let group = 0; group < groups; group++) {
        const own = Math.min(groupSize, K - group * groupSize)
        // Lanes without an interest score 0 and must never count.
        for (let lane = 0; lane < groupSize; lane++) this.#thresholds[lane] = lane < own ? kept.least : Number.POSITIVE_INFINITY
        const found = this.#table.scan(from, to, group, this.#thresholds)
        const { foundRows, foundScores } = this.#table
        for (let i = 0; i < found; i++) {
          const place = foundRows[i]! - from
          for (let lane = 0; lane < own; lane++) {
            const score = foundScores[i * groupSize + lane]!
            if (score > best[place]!) best[place] = score
          }
        }
      }
      let { least } = kept
      for (let place = 0; place < to - from; place++) {
        if (!(best[place]! > least)) continue
        kept.add(best[place]!, from + place)
        least = kept.least
      }
    }
    return kept.take()
  }
}

/** A heap of the greatest scores so far, the least of them on top. */
class Lowest {
  readonly #max: number
  readonly #scores: Float64Array
  readonly #rows: Int32Array
  #size = 0

  constructor(max: number) {
    this.#max = max
    this.#scores = new Float64Array(max)
    this.#rows = new Int32Array(max)
  }

  /** A row must score above it to be kept. */
  get least(): number {
    if (this.#max === 0) return Number.POSITIVE_INFINITY
    return this.#size < this.#max ? Number.NEGATIVE_INFINITY : this.#scores[0]!
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
