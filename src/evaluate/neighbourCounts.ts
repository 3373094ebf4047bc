// How often one item was seen with another: decayed counts, a bounded number of neighbours per item.

/** Single-precision counts stay well inside their range. */
const scaleMax = 2 ** 60

export class NeighbourCounts {
  readonly slots: number
  readonly #growth: number
  #weight = 1
  #ids: Int32Array // [items, slots]  −1: free
  #counts: Float32Array // [items, slots]
  #totals: Float64Array // [items]  of everything ever added, whether or not its slot is still there

  /**
   * @param slots neighbours kept per item. A newcomer to a full item takes the place of the weakest if it is at least as strong, and otherwise wears
   *   it down by its own count: what keeps coming gets in, what came once goes.
   * @param halfLife in steps (see `age`); Infinity: nothing fades
   */
  constructor(slots: number, halfLife: number) {
    this.slots = slots
    this.#growth = 2 ** (1 / halfLife)
    this.#ids = new Int32Array(64 * slots).fill(-1)
    this.#counts = new Float32Array(64 * slots)
    this.#totals = new Float64Array(64)
  }

  /** Makes room for items 0 … size − 1. */
  grow(size: number): void {
    if (size <= this.#totals.length) return
    const capacity = Math.max(size, 2 * this.#totals.length)
    const ids = new Int32Array(capacity * this.slots).fill(-1)
    ids.set(this.#ids)
    const counts = new Float32Array(capacity * this.slots)
    counts.set(this.#counts)
    const totals = new Float64Array(capacity)
    totals.set(this.#totals)
    this.#ids = ids
    this.#counts = counts
    this.#totals = totals
  }

  /** One step passes: what was counted before it weighs a little less. */
  age(): void {
    this.#weight *= this.#growth
    if (this.#weight <= scaleMax) return
    for (let i = 0; i < this.#counts.length; i++) this.#counts[i] = this.#counts[i]! / this.#weight
    for (let i = 0; i < this.#totals.length; i++) this.#totals[i] = this.#totals[i]! / this.#weight
    this.#weight = 1
  }

  /** @param amount > 0 */
  add(item: number, neighbour: number, amount: number): void {
    const gained = amount * this.#weight
    this.#totals[item] = this.#totals[item]! + gained
    const ids = this.#ids
    const counts = this.#counts
    const start = item * this.slots
    const end = start + this.slots
    let weakest = start
    for (let i = start; i < end; i++) {
      const id = ids[i]!
      if (id === neighbour) {
        counts[i] = counts[i]! + gained
        return
      }
      if (id === -1) {
        ids[i] = neighbour
        counts[i] = gained
        return
      }
      if (counts[i]! < counts[weakest]!) weakest = i
    }
    if (gained < counts[weakest]!) counts[weakest] = counts[weakest]! - gained
    else {
      ids[weakest] = neighbour
      counts[weakest] = gained
    }
  }

  /** Index of the item's first slot in `ids` and `counts`; its last is `slots − 1` later, or before the first free one. */
  start(item: number): number {
    return item * this.slots
  }

  /** Neighbours by slot, −1 free. Valid until the next call of `grow`. */
  get ids(): Int32Array {
    return this.#ids
  }

  /** Counts by slot, in a unit that is common to all items at one time. */
  get counts(): Float32Array {
    return this.#counts
  }

  /** What one step counted now would add to `counts`. */
  get unit(): number {
    return this.#weight
  }

  /** Of all that was ever counted for the item, in the unit of `counts`. */
  total(item: number): number {
    return this.#totals[item]!
  }

  /** Of one neighbour, in steps' worth as of now; 0 where it is not kept. */
  countOf(item: number, neighbour: number): number {
    const start = item * this.slots
    for (let i = start; i < start + this.slots; i++) {
      if (this.#ids[i] === neighbour) return this.#counts[i]! / this.#weight
    }
    return 0
  }

  /** Only the slots in use: most items have few neighbours. */
  save(size: number): SavedNeighbours {
    const used = new Int32Array(size)
    let sum = 0
    for (let item = 0; item < size; item++) {
      const free = this.#ids.subarray(item * this.slots, (item + 1) * this.slots).indexOf(-1)
      used[item] = free < 0 ? this.slots : free
      sum += used[item]!
    }
    const ids = new Int32Array(sum)
    const counts = new Float32Array(sum)
    for (let item = 0, at = 0; item < size; at += used[item]!, item++) {
      ids.set(this.#ids.subarray(item * this.slots, item * this.slots + used[item]!), at)
      counts.set(this.#counts.subarray(item * this.slots, item * this.slots + used[item]!), at)
    }
    return { used, ids, counts, totals: this.#totals.slice(0, size), weight: this.#weight }
  }

  load(saved: SavedNeighbours): void {
    const size = Math.max(64, saved.used.length)
    this.#ids = new Int32Array(size * this.slots).fill(-1)
    this.#counts = new Float32Array(size * this.slots)
    for (let item = 0, at = 0; item < saved.used.length; at += saved.used[item]!, item++) {
      this.#ids.set(saved.ids.subarray(at, at + saved.used[item]!), item * this.slots)
      this.#counts.set(saved.counts.subarray(at, at + saved.used[item]!), item * this.slots)
    }
    this.#totals = new Float64Array(size)
    this.#totals.set(saved.totals)
    this.#weight = saved.weight
  }
}

export interface SavedNeighbours {
  /** Slots in use by item; `ids` and `counts` hold one item's after the other's. */
  readonly used: Int32Array
  readonly ids: Int32Array
  readonly counts: Float32Array
  readonly totals: Float64Array
  readonly weight: number
}
