// Negatives by recent popularity, with the exact probability of every draw.
//
// m live entries in the ring of recent targets, c(i) of them item i's; S admitted items; u the uniform share.
//
//     p(i) = c(i) / m                          a target drawn from the ring is i
//     q(i) = (1 − u)·p(i) + u / S              a draw is i: every admitted item can be drawn
//     Q(i) = (B·p(i) + N·q(i)) / (B + N)       a candidate of a step, drawn from its B in-batch positives and N draws, is i
//
// ln Q(i) is the correction of Yi et al. 2019 for candidates drawn with replacement, where each copy counts in the
// softmax: the expected number of copies of i is (B + N)·Q(i), and the factor B + N, the same for all, cancels. (Unique
// candidates would need 1 − (1 − p)^B·(1 − q)^N instead.) p of the in-batch positives is estimated by the ring: exact
// for targets drawn independently from what was popular lately.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArrays, namedArray } from '../../core/namedArrays.ts'
import type { Rng } from '../../core/rng.ts'
import type { ItemTable } from './itemTable.ts'

export interface CandidateSamplerOptions {
  /** Whose rows are drawn; rows that stop being their item's leave the ring at once. */
  readonly items: ItemTable
  /**
   * M: recent targets remembered. Default 100,000: the frequency of an item with a share of 1 in 1,000 is then known
   * within 10% (one standard deviation).
   */
  readonly targetsMax?: number
  /** u, above 0. Default .05: a tail item is drawn now and then, and Q is nowhere 0. */
  readonly uniformShare?: number
}

export class CandidateSampler {
  readonly #items: ItemTable
  readonly #uniformShare: number
  readonly #targetsMax: number
  /** The ring: rows, some of them no longer their item's. `#next` is written next; `#filled` entries have been. */
  #ring: Int32Array
  #next = 0
  #filled = 0
  /** c by row, of live entries. */
  #counts = new Map<number, number>()
  #live = 0
  /** Generation of the row in an entry: tells a dead entry from the row's next item. */
  #generations: Int32Array

  constructor(options: CandidateSamplerOptions) {
    this.#items = options.items
    this.#targetsMax = options.targetsMax ?? 100_000
    this.#uniformShare = options.uniformShare ?? 0.05
    if (!(Number.isInteger(this.#targetsMax) && this.#targetsMax > 0)) {
      throw new RangeError(`targetsMax must be a whole number above 0, not ${this.#targetsMax}`)
    }
    if (!(this.#uniformShare > 0 && this.#uniformShare <= 1)) {
      throw new RangeError(`uniformShare must be above 0 and at most 1, not ${this.#uniformShare}`)
    }
    this.#ring = new Int32Array(this.#targetsMax)
    this.#generations = new Int32Array(this.#targetsMax)
    this.#items.onFreed((row) => this.#forget(row))
  }

  /** m: live entries of the ring. */
  get targets(): number {
    return this.#live
  }

  /** Remembers a target. O(1). @param row of an admitted item; 0 is ignored */
  observe(row: number): void {
    if (row === 0) return
    if (this.#filled === this.#targetsMax) {
      const old = this.#ring[this.#next]!
      if (this.#isLive(this.#next)) this.#discount(old)
    } else this.#filled++
    this.#ring[this.#next] = row
    this.#generations[this.#next] = this.#items.generation(row) | 0
    this.#next = (this.#next + 1) % this.#targetsMax
    this.#counts.set(row, (this.#counts.get(row) ?? 0) + 1)
    this.#live++
  }

  /** One row, by q. O(1) on average: at most half of the ring is dead. @returns 0 if no item is admitted */
  draw(rng: Rng): number {
    const size = this.#items.size
    if (size === 0) return 0
    if (this.#live === 0 || rng.uniform() < this.#uniformShare) return this.#items.admittedRow(rng.integer(size))
    for (;;) {
      const entry = rng.integer(this.#filled)
      if (this.#isLive(entry)) return this.#ring[entry]!
    }
  }

  /** p(i): the share of recent targets. */
  targetShare(row: number): number {
    return this.#live === 0 ? 0 : (this.#counts.get(row) ?? 0) / this.#live
  }

  /** q(i): the probability that one draw is this row; the rows of admitted items add up to 1. */
  probability(row: number): number {
    const size = this.#items.size
    if (size === 0 || !this.#items.isAdmitted(row)) return 0
    if (this.#live === 0) return 1 / size
    return (1 - this.#uniformShare) * this.targetShare(row) + this.#uniformShare / size
  }

  /**
   * ln Q(i), see above. @param positives B @param draws N, B + N > 0 @returns 0 for row 0 and rows that are nobody's:
   * they are no candidates
   */
  logQ(row: number, positives: number, draws: number): number {
    if (!this.#items.isAdmitted(row)) return 0
    const size = this.#items.size
    const p = this.targetShare(row)
    const q = this.#live === 0 ? 1 / size : (1 - this.#uniformShare) * p + this.#uniformShare / size
    // Without draws an item may have p = 0 and still be a positive: then q, which is small but not 0, stands in.
    const mixed = (positives * p + draws * q) / (positives + draws)
    return Math.log(mixed > 0 ? mixed : q)
  }

  /** Exact; `restore` it after the item table. */
  state(): NamedArrays {
    return new Map<string, Int32Array>([
      ['ring', this.#ring.slice(0, this.#filled)],
      ['generations', this.#generations.slice(0, this.#filled)],
      ['where', Int32Array.of(this.#next, this.#filled, this.#targetsMax)]
    ])
  }

  /** @throws CorruptError if an array is missing or does not fit */
  restore(arrays: NamedArrays): void {
    const [next, filled, targetsMax] = namedArray(arrays, 'where', Int32Array, 3)
    const ring = namedArray(arrays, 'ring', Int32Array, filled)
    const generations = namedArray(arrays, 'generations', Int32Array, filled)
    this.#counts.clear()
    this.#live = 0
    this.#next = 0
    this.#filled = 0
    if (!(filled! <= targetsMax! && next! >= 0 && next! < targetsMax!)) {
      throw new CorruptError(
        `state: a ring of ${targetsMax} targets cannot have ${filled} of them, the next at ${next}`
      )
    }
    if (targetsMax !== this.#targetsMax) {
      // Another length is in force now: the newest targets move over.
      const oldest = filled! === targetsMax! ? next! : 0
      for (let i = 0; i < filled!; i++) {
        const entry = (oldest + i) % filled!
        const row = ring[entry]!
        if (this.#items.isAdmitted(row) && (this.#items.generation(row) | 0) === generations[entry]) this.observe(row)
      }
      return
    }
    this.#ring = new Int32Array(this.#targetsMax)
    this.#ring.set(ring)
    this.#generations = new Int32Array(this.#targetsMax)
    this.#generations.set(generations)
    this.#next = next!
    this.#filled = filled!
    for (let entry = 0; entry < this.#filled; entry++) {
      if (!(this.#ring[entry]! > 0 && this.#ring[entry]! < this.#items.rows)) {
        throw new CorruptError(
          `state: recent target in row ${this.#ring[entry]!} of an item table of ${this.#items.rows} rows`
        )
      }
      if (!this.#isLive(entry)) continue
      const row = this.#ring[entry]!
      this.#counts.set(row, (this.#counts.get(row) ?? 0) + 1)
      this.#live++
    }
  }

  #isLive(entry: number): boolean {
    const row = this.#ring[entry]!
    return row !== 0 && this.#generations[entry] === (this.#items.generation(row) | 0)
  }

  #discount(row: number): void {
    const count = this.#counts.get(row)!
    if (count === 1) this.#counts.delete(row)
    else this.#counts.set(row, count - 1)
    this.#live--
  }

  #forget(row: number): void {
    const count = this.#counts.get(row)
    if (count === undefined) return
    this.#counts.delete(row)
    this.#live -= count
    if (2 * this.#live < this.#filled) this.#compact(row)
  }

  /** Closes the gaps that dead entries left, oldest first: O(M), after M/2 entries have died. */
  #compact(dying: number): void {
    const rows = new Int32Array(this.#live)
    const generations = new Int32Array(this.#live)
    let n = 0
    for (let i = 0; i < this.#filled; i++) {
      const entry = (this.#next - this.#filled + i + this.#targetsMax) % this.#targetsMax
      if (this.#ring[entry] === dying || !this.#isLive(entry)) continue
      rows[n] = this.#ring[entry]!
      generations[n++] = this.#generations[entry]!
    }
    this.#ring.fill(0)
    this.#ring.set(rows)
    this.#generations.set(generations)
    this.#filled = n
    this.#next = n % this.#targetsMax
  }
}
