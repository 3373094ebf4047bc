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

interface CandidateSamplerOptions {
  /** Whose rows are drawn; freed rows leave the ring at once. */
  readonly items: ItemTable
  /**
   * M: recent targets remembered. Default 100,000: the frequency of an item with a share of 1 in 1,000 is then known
   * within 10% (one standard deviation).
   */
  readonly targetsMax?: number
  /** u, above 0. Default .05: tail items are drawn now and then, and Q is nowhere 0. */
  readonly uniformShare?: number
}

export class CandidateSampler {
  readonly #items: ItemTable
  readonly #uniformShare: number
  readonly #targetsMax: number
  /** The ring, and the generation of each row when it was added: an entry is live while the two agree. */
  readonly #ring: Int32Array
  readonly #generations: Int32Array
  /** Entry to write next; entries written. */
  #next = 0
  #filled = 0
  /** c by row, of live entries. */
  readonly #counts = new Map<number, number>()
  #live = 0

  constructor({ items, targetsMax = 100_000, uniformShare = 0.05 }: CandidateSamplerOptions) {
    this.#items = items
    this.#targetsMax = targetsMax
    this.#uniformShare = uniformShare
    this.#ring = new Int32Array(targetsMax)
    this.#generations = new Int32Array(targetsMax)
    this.#items.onFreed((row) => this.#forget(row))
  }

  /** m: live entries of the ring. */
  get targets(): number {
    return this.#live
  }

  /** Remembers a target. O(1). @param row of an admitted item; 0 is ignored */
  observe(row: number): void {
    if (row === 0) return
    if (this.#filled < this.#targetsMax) this.#filled++
    else if (this.#isLive(this.#next)) this.#discount(this.#ring[this.#next]!)
    this.#ring[this.#next] = row
    this.#generations[this.#next] = this.#items.generation(row)
    this.#next = (this.#next + 1) % this.#targetsMax
    this.#count(row)
  }

  /** One row, by q. O(1) on average: at most half of the ring is dead. @returns 0 if no item is admitted */
  draw(rng: Rng): number {
    const { size } = this.#items
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

  /** q(i): the probability that one draw is this row; over all admitted items they sum to 1. */
  probability(row: number): number {
    const { size } = this.#items
    if (size === 0 || !this.#items.isAdmitted(row)) return 0
    if (this.#live === 0) return 1 / size
    return (1 - this.#uniformShare) * this.targetShare(row) + this.#uniformShare / size
  }

  /** ln Q(i), see above. @param positives B @param draws N, B + N > 0 @returns 0 for rows that are no candidates */
  logQ(row: number, positives: number, draws: number): number {
    const q = this.probability(row)
    if (q === 0) return 0
    // Without draws an item may have p = 0 and still be a positive: then q, which is small but not 0, is used.
    const mixed = (positives * this.targetShare(row) + draws * q) / (positives + draws)
    return Math.log(mixed > 0 ? mixed : q)
  }

  /** Exact. */
  state(): NamedArrays {
    return new Map<string, Int32Array>([
      ['ring', this.#ring.slice(0, this.#filled)],
      ['generations', this.#generations.slice(0, this.#filled)],
      ['next', Int32Array.of(this.#next)]
    ])
  }

  /** After the item table. @throws CorruptError if an array is missing or does not fit */
  restore(arrays: NamedArrays): void {
    const ring = namedArray(arrays, 'ring', Int32Array)
    const [next] = namedArray(arrays, 'next', Int32Array, 1)
    const generations = namedArray(arrays, 'generations', Int32Array, ring.length)
    if (!(ring.length <= this.#targetsMax && next! >= 0 && next! < this.#targetsMax))
      throw new CorruptError(
        `state: ${ring.length} recent targets, the next at ${next}, in a ring of ${this.#targetsMax}`
      )
    const beyond = ring.find((row) => !(row > 0 && row < this.#items.rows))
    if (beyond !== undefined)
      throw new CorruptError(`state: recent target in row ${beyond} of an item table of ${this.#items.rows} rows`)
    this.#ring.fill(0)
    this.#ring.set(ring)
    this.#generations.set(generations)
    this.#next = next!
    this.#filled = ring.length
    this.#counts.clear()
    this.#live = 0
    for (let entry = 0; entry < this.#filled; entry++) if (this.#isLive(entry)) this.#count(ring[entry]!)
  }

  #isLive(entry: number): boolean {
    const row = this.#ring[entry]!
    return row !== 0 && this.#generations[entry] === this.#items.generation(row)
  }

  #count(row: number): void {
    this.#counts.set(row, (this.#counts.get(row) ?? 0) + 1)
    this.#live++
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

  /** Closes the gaps of dead entries, oldest first: O(M), after M/2 entries have died. */
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
