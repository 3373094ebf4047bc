// What the items of one block are worth to the K interests of a user, in numbers that rank as their scores do: what
// exact lists and ranks are made of.
//
//     nearest   the greatest cosine
//     mixture   Σ_k e^((cos_k − 1)/τ), of which the score is the logarithm (see interestScore.ts)

import { blockRows, groupSize, type ItemTable } from './dotKernel.ts'
import { type InterestScore, mixtureShare } from './interestScore.ts'

export class BlockScores {
  readonly #table: ItemTable
  readonly #scoring: InterestScore
  readonly #values = new Float64Array(blockRows)
  readonly #thresholds = new Float32Array(groupSize)
  #interests = 0

  constructor(table: ItemTable, scoring: InterestScore) {
    this.#table = table
    this.#scoring = scoring
  }

  /** Below this, or at it, is nothing: no cosine of the item is a number, or none is as great as was asked. */
  get none(): number {
    return this.#mixed ? 0 : Number.NEGATIVE_INFINITY
  }

  /** @param interests [K, D] @param count K, at most 64 */
  setQuery(interests: Float32Array, count: number): void {
    this.#interests = count
    this.#table.setQuery(interests, count)
  }

  /**
   * Values of rows `from` … `to` − 1, within one block; `none`, or less than its own, for a row that is worth no more
   * than `least`.
   *
   * @returns [to − from], overwritten by the next call
   */
  values(from: number, to: number, least: number): Float64Array {
    const K = this.#interests
    const mixed = this.#mixed
    const { temperature } = this.#scoring
    const values = this.#values.fill(this.none, 0, to - from)
    // A mixture is no greater than its greatest cosine; but another group may hold that, and it needs them all.
    const threshold = mixed && K > groupSize ? Number.NEGATIVE_INFINITY : this.#cosineOf(least)
    for (let first = 0; first < K; first += groupSize) {
      const lanes = Math.min(groupSize, K - first)
      // Lanes without an interest score 0 and must never count.
      for (let lane = 0; lane < groupSize; lane++)
        this.#thresholds[lane] = lane < lanes ? threshold : Number.POSITIVE_INFINITY
      const found = this.#table.scan(from, to, first / groupSize, this.#thresholds)
      const { foundRows, foundScores } = this.#table
      for (let i = 0; i < found; i++) {
        const place = foundRows[i]! - from
        for (let lane = 0; lane < lanes; lane++) {
          const cosine = foundScores[i * groupSize + lane]!
          if (mixed) values[place]! += mixtureShare(cosine, temperature)
          else if (cosine > values[place]!) values[place] = cosine
        }
      }
    }
    return values
  }

  /** Just below a value: what scores less by no more than `tie` is above it. NaN for an item that is worth nothing. */
  justBelow(value: number, tie: number): number {
    if (!(value > this.none)) return Number.NaN
    return this.#mixed ? value * Math.exp(-tie / this.#scoring.temperature) : value - tie
  }

  get #mixed(): boolean {
    return this.#scoring.form === 'mixture' && this.#interests > 1
  }

  /** No row whose cosines are all at most this is worth more than `value`. */
  #cosineOf(value: number): number {
    return this.#mixed ? 1 + this.#scoring.temperature * Math.log(Math.max(0, value) / this.#interests) : value
  }
}
