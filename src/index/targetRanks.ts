// Exact ranks and lists by one model's vectors, in memory.
//
// N items, D dimensions, K interests of a user.

import { BlockScores } from './blockScores.ts'
import { blockRows, type ItemTable, JavaScriptTable } from './dotKernel.ts'
import { type InterestScore, nearestInterest } from './interestScore.ts'
import { wasmTable } from './wasmKernel.ts'

/** Two scores nearer than this are equal: what float32 makes of sums over hundreds of numbers up to 1. */
const tie = 1e-6

export class TargetRanks {
  readonly #dimensions: number
  readonly #table: ItemTable
  readonly #scores: BlockScores
  #items = 0

  constructor(dimensions: number, scoring: InterestScore = nearestInterest) {
    this.#dimensions = dimensions
    this.#table = wasmTable(dimensions) ?? new JavaScriptTable(dimensions)
    this.#scores = new BlockScores(this.#table, scoring)
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
   * How many items score at least as well as the target. Items that score the same count as better: a model that finds
   * everything alike finds nothing.
   *
   * @param interests [K, D] @param excluded rows of the history, each once, without the target
   * @returns 0 for the best of all; ∞ where the target's score is not a number
   */
  rank(interests: Float32Array, target: number, excluded: Iterable<number>): number {
    this.#scores.setQuery(interests, interests.length / this.#dimensions)
    const least = this.#scores.justBelow(this.#scores.values(target, target + 1, Number.NEGATIVE_INFINITY)[0]!, tie)
    if (Number.isNaN(least)) return Number.POSITIVE_INFINITY
    let above = -1 // the target itself
    for (let from = 0; from < this.#items; from += blockRows) {
      const to = Math.min(this.#items, from + blockRows)
      const values = this.#scores.values(from, to, least)
      for (let row = 0; row < to - from; row++) if (values[row]! > least) above++
    }
    for (const row of excluded) if (this.#scores.values(row, row + 1, least)[0]! > least) above--
    return above
  }

  /** Rows of the `limit` best items, best first. */
  list(interests: Float32Array, limit: number, excluded: ReadonlySet<number>): number[] {
    this.#scores.setQuery(interests, interests.length / this.#dimensions)
    const list: { readonly row: number; readonly value: number }[] = []
    const worst = () => (list.length < limit ? this.#scores.none : list.at(-1)!.value)
    for (let from = 0; from < this.#items; from += blockRows) {
      const to = Math.min(this.#items, from + blockRows)
      const values = this.#scores.values(from, to, worst())
      for (let row = from; row < to; row++) {
        const value = values[row - from]!
        if (!(value > worst()) || excluded.has(row)) continue
        const at = list.findIndex((other) => value > other.value)
        list.splice(at < 0 ? list.length : at, 0, { row, value })
        if (list.length > limit) list.pop()
      }
    }
    return list.map(({ row }) => row)
  }
}
