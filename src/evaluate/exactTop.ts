// The best items for every user, exactly, scored as when they are served.
//
// N items, B users, K interests, D dimensions.

import { type InterestScore, mixtureScore, mixtureShare, nearestInterest } from '../model/interestScore.ts'
import { blockRows, groupSize, type ItemTable, JavaScriptTable } from '../retrieval/dotKernel.ts'
import { wasmTable } from '../retrieval/wasmKernel.ts'

export class ExactTop {
  readonly #table: ItemTable
  readonly #dimensions: number
  #rows = 0
  readonly #score: InterestScore
  /** Of each row of a block the greatest cosine, or the sum of the mixture's shares. */
  readonly #best = new Float64Array(blockRows)
  readonly #thresholds = new Float32Array(groupSize)

  constructor(dimensions: number, score: InterestScore = nearestInterest) {
    this.#dimensions = dimensions
    this.#score = score
    this.#table = wasmTable(dimensions) ?? new JavaScriptTable(dimensions)
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
    const K = interests.length / this.#dimensions
    const groups = Math.ceil(K / groupSize)
    const kept = new Lowest(Math.min(limit, this.#rows))
    this.#table.setQuery(interests, K)
    const { form, temperature } = this.#score
    const mixed = form === 'mixture' && K > 1
    for (let from = 0; from < this.#rows; from += blockRows) {
      const to = Math.min(this.#rows, from + blockRows)
      const best = this.#best.fill(mixed ? 0 : Number.NEGATIVE_INFINITY, 0, to - from)
      for (let group = 0; group < groups; group++) {
        const own = Math.min(groupSize, K - group * groupSize)
        // A mixture is no greater than its greatest cosine, so a row whose cosines are all too small may be passed over; not where another group holds the rest of them.
        const least = mixed && groups > 1 ? Number.NEGATIVE_INFINITY : kept.least
        // Lanes without an interest score 0 and must never count.
        for (let lane = 0; lane < groupSize; lane++) this.#thresholds[lane] = lane < own ? least : Number.POSITIVE_INFINITY
        const found = this.#table.scan(from, to, group, this.#thresholds)
        const { foundRows, foundScores } = this.#table
        for (let i = 0; i < found; i++) {
          const place = foundRows[i]! - from
          for (let lane = 0; lane < own; lane++) {
            const cosine = foundScores[i * groupSize + lane]!
            if (mixed) best[place]! += mixtureShare(cosine, temperature)
            else if (cosine > best[place]!) best[place] = cosine
          }
        }
      }
      // In what the block holds, so that only what is kept costs a logarithm.
      const floor = () => (mixed ? K * mixtureShare(kept.least, temperature) : kept.least)
      let least = floor()
      for (let place = 0; place < to - from; place++) {
        if (!(best[place]! > least)) continue
        kept.add(mixed ? mixtureScore(best[place]!, K, temperature) : best[place]!, from + place)
        least = floor()
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
