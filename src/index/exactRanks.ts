// Exact ranks and lists by one model's vectors, in memory.
//
// N items, D dimensions, K interests of a user. Items are compared by a value that orders them as their score does
// (interestScore.ts): the greatest cosine, or Σ_k e^((cos_k − 1)/τ), whose logarithm the mixture is.

import { TopRows } from '../core/topRows.ts'
import { type InterestScore, mixtureShare, nearestInterest } from './interestScore.ts'
import { blockRows, groupSize, ItemTable } from './itemTable.ts'

/** Scores nearer than this are equal: float32 rounding of sums over hundreds of numbers up to 1. */
const tie = 1e-6

/** What the memory adds to scores: of `rows`, each once; 0 of all others. */
export interface RowVotes {
  readonly rows: Iterable<number>
  sum(row: number): number
}

const noVotes: RowVotes = { rows: [], sum: () => 0 }

export class ExactRanks {
  readonly #dimensions: number
  readonly #scoring: InterestScore
  readonly #table: ItemTable
  readonly #values = new Float64Array(blockRows)
  readonly #thresholds = new Float32Array(groupSize)
  /** K of the query. */
  #interests = 0
  #items = 0

  constructor(dimensions: number, scoring: InterestScore = nearestInterest) {
    this.#dimensions = dimensions
    this.#scoring = scoring
    this.#table = new ItemTable(dimensions)
  }

  /** N. Rows are numbered from 0 in the order in which they were added. */
  get items(): number {
    return this.#items
  }

  /** @param vector [D] */
  add(vector: Float32Array): void {
    this.#table.write(this.#items++, vector)
  }

  /** Replaces the items. @param vectors [N, D] */
  load(vectors: Float32Array): void {
    this.#items = 0
    for (let at = 0; at < vectors.length; at += this.#dimensions) this.add(vectors.subarray(at, at + this.#dimensions))
  }

  /**
   * How many items score at least as well as the target. Items with the same score count as better: a model that finds
   * all items alike finds nothing.
   *
   * @param interests [K, D] @param excluded rows of the history, each once, without the target
   * @param votes what the memory adds to the scores of some rows
   * @returns 0 for the best of all; ∞ if the target's score is not a number
   */
  rank(interests: Float32Array, target: number, excluded: Iterable<number>, votes: RowVotes = noVotes): number {
    this.#setQuery(interests)
    const left = new Set(excluded)
    const value = this.#withVotes(this.#valueOf(target), votes.sum(target))
    if (!(value > this.#none)) return Number.POSITIVE_INFINITY
    const least = this.#isMixture ? value * Math.exp(-tie / this.#scoring.temperature) : value - tie
    let above = -1 // the target itself
    for (let from = 0; from < this.#items; from += blockRows) {
      const to = Math.min(this.#items, from + blockRows)
      const values = this.#valuesOf(from, to, least)
      for (let row = 0; row < to - from; row++) if (values[row]! > least) above++
    }
    for (const row of left) if (this.#valueOf(row) > least) above--
    for (const row of votes.rows) {
      if (row === target || left.has(row)) continue
      const before = this.#valueOf(row)
      if (!(before > least) && this.#withVotes(before, votes.sum(row)) > least) above++
    }
    // The target was counted only if it is above without its votes.
    return this.#valueOf(target) > least ? above : above + 1
  }

  /**
   * Rows of the `limit` best items, best first, of equal scores the lower row. @param interests [K, D], K at most 64
   */
  list(interests: Float32Array, limit: number, excluded?: ReadonlySet<number>, votes: RowVotes = noVotes): number[] {
    this.#setQuery(interests)
    const top = new TopRows(Math.min(limit, this.#items), this.#none)
    for (let from = 0; from < this.#items; from += blockRows) {
      const to = Math.min(this.#items, from + blockRows)
      let { threshold } = top
      const values = this.#valuesOf(from, to, threshold)
      for (let row = from; row < to; row++) {
        if (!(values[row - from]! > threshold) || excluded?.has(row) === true || votes.sum(row) > 0) continue
        top.offer(row, values[row - from]!)
        threshold = top.threshold
      }
    }
    for (const row of votes.rows) {
      const value = excluded?.has(row) === true ? this.#none : this.#withVotes(this.#valueOf(row), votes.sum(row))
      if (value > top.threshold) top.offer(row, value)
    }
    return top.sorted((row) => row)
  }

  #valueOf(row: number): number {
    return this.#valuesOf(row, row + 1, Number.NEGATIVE_INFINITY)[0]!
  }

  /** A score of 1 + τ · ln(value / K) rises by the votes where the value is multiplied by e^(votes / τ). */
  #withVotes(value: number, sum: number): number {
    if (sum === 0) return value
    return this.#isMixture ? value * Math.exp(sum / this.#scoring.temperature) : value + sum
  }

  #setQuery(interests: Float32Array): void {
    this.#interests = interests.length / this.#dimensions
    this.#table.setQuery(interests, this.#interests)
  }

  get #isMixture(): boolean {
    return this.#scoring.form === 'mixture' && this.#interests > 1
  }

  /** The value of an item without a finite cosine. */
  get #none(): number {
    return this.#isMixture ? 0 : Number.NEGATIVE_INFINITY
  }

  /**
   * Values of rows `from` … `to` − 1, within one block. A row of a value up to `least` may have a lower one.
   *
   * @returns [to − from], overwritten by the next call
   */
  #valuesOf(from: number, to: number, least: number): Float64Array {
    const K = this.#interests
    const isMixture = this.#isMixture
    const { temperature } = this.#scoring
    const values = this.#values.fill(this.#none, 0, to - from)
    // A row with a value above `least` has a cosine above this; of several groups any may hold it.
    const threshold = !isMixture
      ? least
      : K > groupSize
        ? Number.NEGATIVE_INFINITY
        : 1 + temperature * Math.log(Math.max(0, least) / K)
    for (let first = 0; first < K; first += groupSize) {
      const lanes = Math.min(groupSize, K - first)
      this.#thresholds.fill(threshold, 0, lanes).fill(Number.POSITIVE_INFINITY, lanes) // lanes without an interest score 0
      const found = this.#table.scan(from, to, first / groupSize, this.#thresholds)
      const { foundRows, foundScores } = this.#table
      for (let i = 0; i < found; i++) {
        const place = foundRows[i]! - from
        for (let lane = 0; lane < lanes; lane++) {
          const cosine = foundScores[i * groupSize + lane]!
          if (isMixture) values[place]! += mixtureShare(cosine, temperature)
          else if (cosine > values[place]!) values[place] = cosine
        }
      }
    }
    return values
  }
}
