// Exact ranks and lists by one model's vectors, in memory.
//
// N items, D dimensions, K interests of a user.

import { blockRows, groupSize, type ItemTable, JavaScriptTable } from './dotKernel.ts'
import { wasmTable } from './wasmKernel.ts'

/** Two scores nearer than this are equal: what float32 makes of sums over hundreds of numbers up to 1. */
const tie = 1e-6

export class TargetRanks {
  readonly #dimensions: number
  readonly #table: ItemTable
  readonly #thresholds = new Float32Array(groupSize)
  readonly #marked = new Uint8Array(blockRows)
  #best = new Float32Array(blockRows)
  #items = 0

  constructor(dimensions: number) {
    this.#dimensions = dimensions
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
   * How many items score at least as well as the target, for the interest that scores each best. Items that score the same count as better: a model that
   * finds everything alike finds nothing.
   *
   * @param interests [K, D] @param excluded rows of the history, each once, without the target
   * @returns 0 for the best of all; ∞ where the target's score is not a number
   */
  rank(interests: Float32Array, target: number, excluded: Iterable<number>): number {
    const K = this.#setQuery(interests)
    const threshold = this.#score(target, K) - tie
    if (Number.isNaN(threshold)) return Number.POSITIVE_INFINITY
    let above = -1 // the target itself
    for (let from = 0; from < this.#items; from += blockRows) {
      const to = Math.min(this.#items, from + blockRows)
      let groups = 0
      for (let first = 0; first < K; first += groupSize, groups++) {
        const found = this.#scan(from, to, first, K, threshold)
        if (K <= groupSize) above += found
        else for (let i = 0; i < found; i++) this.#marked[this.#table.foundRows[i]! - from] = 1
      }
      if (groups === 1) continue
      for (let row = 0; row < to - from; row++) above += this.#marked[row]!
      this.#marked.fill(0)
    }
    for (const row of excluded) if (this.#score(row, K) > threshold) above--
    return above
  }

  /** Rows of the `limit` best items, best first. */
  list(interests: Float32Array, limit: number, excluded: ReadonlySet<number>): number[] {
    const K = this.#setQuery(interests)
    if (this.#best.length < this.#items) this.#best = new Float32Array(Math.ceil(1.5 * this.#items))
    const best = this.#best.fill(Number.NEGATIVE_INFINITY, 0, this.#items)
    for (let from = 0; from < this.#items; from += blockRows) {
      for (let first = 0; first < K; first += groupSize) {
        const found = this.#scan(from, Math.min(this.#items, from + blockRows), first, K, Number.NEGATIVE_INFINITY)
        const lanes = Math.min(groupSize, K - first)
        for (let i = 0; i < found; i++) {
          const row = this.#table.foundRows[i]!
          for (let lane = 0; lane < lanes; lane++) best[row] = Math.max(best[row]!, this.#table.foundScores[i * groupSize + lane]!)
        }
      }
    }
    const list: number[] = []
    for (let row = 0; row < this.#items; row++) {
      const worst = list.length < limit ? Number.NEGATIVE_INFINITY : best[list.at(-1)!]!
      if (!(best[row]! > worst) || excluded.has(row)) continue
      const at = list.findIndex((other) => best[row]! > best[other]!)
      list.splice(at < 0 ? list.length : at, 0, row)
      if (list.length > limit) list.pop()
    }
    return list
  }

  #setQuery(interests: Float32Array): number {
    const K = interests.length / this.#dimensions
    this.#table.setQuery(interests, K)
    return K
  }

  /** Best over the interests. */
  #score(row: number, K: number): number {
    let score = Number.NEGATIVE_INFINITY
    for (let first = 0; first < K; first += groupSize) {
      const found = this.#scan(row, row + 1, first, K, Number.NEGATIVE_INFINITY)
      if (found === 0) return Number.NaN
      for (let lane = 0; lane < Math.min(groupSize, K - first); lane++) score = Math.max(score, this.#table.foundScores[lane]!)
    }
    return score
  }

  /** A group that is not full is scored with zeros in the rest, which must not count. */
  #scan(from: number, to: number, first: number, K: number, threshold: number): number {
    for (let lane = 0; lane < groupSize; lane++) this.#thresholds[lane] = first + lane < K ? threshold : Number.POSITIVE_INFINITY
    return this.#table.scan(from, to, first / groupSize, this.#thresholds)
  }
}
