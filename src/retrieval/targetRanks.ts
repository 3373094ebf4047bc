// Exact ranks and lists by one model's vectors, in memory.
//
// N items, D dimensions, K interests of a user.

import { type InterestScore, mixtureShare, nearestInterest } from '../model/interestScore.ts'
import { blockRows, groupSize, type ItemTable, JavaScriptTable } from './dotKernel.ts'
import { wasmTable } from './wasmKernel.ts'

/** Two scores nearer than this are equal: what float32 makes of sums over hundreds of numbers up to 1. */
const tie = 1e-6

export class TargetRanks {
  readonly #dimensions: number
  readonly #scoring: InterestScore
  readonly #table: ItemTable
  readonly #thresholds = new Float32Array(groupSize)
  /** Of each row of a block the greatest cosine, or the sum of the mixture's shares: they rank as the scores do. */
  readonly #block = new Float64Array(blockRows)
  #items = 0

  constructor(dimensions: number, scoring: InterestScore = nearestInterest) {
    this.#dimensions = dimensions
    this.#scoring = scoring
    this.#table = wasmTable(dimensions) ?? new JavaScriptTable(dimensions)
  }

  /** N. Rows are numbered from 0 in the order in which they were added. */
  get items(): number {
    return this.#items
  }

  /** @param vector [D] */
  add(vector: Float32Array): void {
    this.#table.write(this.#items++, vector)
  }

  /**
   * How many items score at least as well as the target. Items that score the same count as better: a model that finds everything alike finds nothing.
   *
   * @param interests [K, D] @param excluded rows of the history, each once, without the target
   * @returns 0 for the best of all; ∞ where the target's score is not a number
   */
  rank(interests: Float32Array, target: number, excluded: Iterable<number>): number {
    const K = this.#setQuery(interests)
    const least = this.#just(this.#scoreRows(target, target + 1, K, Number.NEGATIVE_INFINITY)[0]!, K)
    if (Number.isNaN(least)) return Number.POSITIVE_INFINITY
    const cosine = this.#leastCosine(least, K)
    let above = -1 // the target itself
    for (let from = 0; from < this.#items; from += blockRows) {
      const to = Math.min(this.#items, from + blockRows)
      const block = this.#scoreRows(from, to, K, cosine)
      for (let row = 0; row < to - from; row++) if (block[row]! > least) above++
    }
    for (const row of excluded) if (this.#scoreRows(row, row + 1, K, cosine)[0]! > least) above--
    return above
  }

  /** Rows of the `limit` best items, best first. */
  list(interests: Float32Array, limit: number, excluded: ReadonlySet<number>): number[] {
    const K = this.#setQuery(interests)
    const list: { readonly row: number; readonly score: number }[] = []
    for (let from = 0; from < this.#items; from += blockRows) {
      const to = Math.min(this.#items, from + blockRows)
      const worst = () => (list.length < limit ? Number.NEGATIVE_INFINITY : list.at(-1)!.score)
      const block = this.#scoreRows(from, to, K, this.#leastCosine(worst(), K))
      for (let row = from; row < to; row++) {
        const score = block[row - from]!
        if (!(score > worst()) || excluded.has(row)) continue
        const at = list.findIndex((other) => score > other.score)
        list.splice(at < 0 ? list.length : at, 0, { row, score })
        if (list.length > limit) list.pop()
      }
    }
    return list.map(({ row }) => row)
  }

  #setQuery(interests: Float32Array): number {
    const K = interests.length / this.#dimensions
    this.#table.setQuery(interests, K)
    return K
  }

  #mixed(K: number): boolean {
    return this.#scoring.form === 'mixture' && K > 1
  }

  /** Scores of rows within one block, [to − from]; −∞ or 0 where no cosine is above `cosine`. NaN where one is not a number. */
  #scoreRows(from: number, to: number, K: number, cosine: number): Float64Array {
    const mixed = this.#mixed(K)
    const { temperature } = this.#scoring
    const block = this.#block.fill(mixed ? 0 : Number.NEGATIVE_INFINITY, 0, to - from)
    // Another group may hold the greatest cosine of a row, and a mixture needs them all.
    const threshold = mixed && K > groupSize ? Number.NEGATIVE_INFINITY : cosine
    for (let first = 0; first < K; first += groupSize) {
      const lanes = Math.min(groupSize, K - first)
      // A group that is not full is scored with zeros in the rest, which must not count.
      for (let lane = 0; lane < groupSize; lane++) this.#thresholds[lane] = lane < lanes ? threshold : Number.POSITIVE_INFINITY
      const found = this.#table.scan(from, to, first / groupSize, this.#thresholds)
      for (let i = 0; i < found; i++) {
        const place = this.#table.foundRows[i]! - from
        for (let lane = 0; lane < lanes; lane++) {
          const own = this.#table.foundScores[i * groupSize + lane]!
          block[place] = mixed ? block[place]! + mixtureShare(own, temperature) : Math.max(block[place]!, own)
        }
      }
    }
    return block
  }

  /** Just below a score, so that equal ones are above it. NaN for one that was never found: none of its cosines is a number. */
  #just(score: number, K: number): number {
    if (score === (this.#mixed(K) ? 0 : Number.NEGATIVE_INFINITY)) return Number.NaN
    return this.#mixed(K) ? score * Math.exp(-tie / this.#scoring.temperature) : score - tie
  }

  /** No row whose cosines are all at most this scores above `score`. */
  #leastCosine(score: number, K: number): number {
    return this.#mixed(K) ? 1 + this.#scoring.temperature * Math.log(Math.max(0, score) / K) : score
  }
}
