// How often one item was seen with another: decayed counts, a bounded number of neighbours per item.

/** Single-precision counts stay well inside their range. */
const scaleMax = 2 ** 60

/** Items of one chunk: growth copies nothing. */
const chunkShift = 8
const chunkItems = 1 << chunkShift
const chunkMask = chunkItems - 1

interface Chunk {
  readonly ids: Int32Array // [256, slots]  −1: free
  readonly counts: Float32Array // [256, slots]
  readonly totals: Float64Array // [256]  of everything ever added, whether or not its slot is still there
}

export class NeighbourCounts {
  readonly slots: number
  readonly #growth: number
  readonly #beforeAll: () => void
  #weight = 1
  readonly #chunks: Chunk[] = []

  /**
   * @param slots neighbours kept per item. A newcomer to a full item takes the place of the weakest if it is at least
   *   as strong, and otherwise wears
   *   it down by its own count: what keeps coming gets in, what came once goes.
   * @param halfLife in steps (see `age`); Infinity: nothing fades
   * @param beforeAll called before the counts of all items change at once: now and then the scale is moved
   */
  constructor(slots: number, halfLife: number, beforeAll: () => void = () => {}) {
    this.slots = slots
    this.#growth = 2 ** (1 / halfLife)
    this.#beforeAll = beforeAll
    this.grow(1)
  }

  /** Makes room for items 0 … size − 1. */
  grow(size: number): void {
    while (this.#chunks.length << chunkShift < size) {
      const numbers = chunkItems * this.slots
      this.#chunks.push({
        ids: new Int32Array(numbers).fill(-1),
        counts: new Float32Array(numbers),
        totals: new Float64Array(chunkItems)
      })
    }
  }

  /** One step passes: what was counted before it weighs a little less. */
  age(): void {
    this.#weight *= this.#growth
    if (this.#weight <= scaleMax) return
    this.#beforeAll()
    for (const { counts, totals } of this.#chunks) {
      for (let i = 0; i < counts.length; i++) counts[i] = counts[i]! / this.#weight
      for (let i = 0; i < totals.length; i++) totals[i] = totals[i]! / this.#weight
    }
    this.#weight = 1
  }

  /** @param amount > 0 */
  add(item: number, neighbour: number, amount: number): void {
    const gained = amount * this.#weight
    const { ids, counts, totals } = this.#chunks[item >>> chunkShift]!
    totals[item & chunkMask] = totals[item & chunkMask]! + gained
    const start = this.start(item)
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

  /**
   * Index of the item's first slot in its `ids` and `counts`; its last is `slots − 1` later, or before the first free
   * one.
   */
  start(item: number): number {
    return (item & chunkMask) * this.slots
  }

  /** Neighbours of the item, and of others, by slot, −1 free. */
  ids(item: number): Int32Array {
    return this.#chunks[item >>> chunkShift]!.ids
  }

  /** Counts by slot, in a unit that is common to all items at one time. */
  counts(item: number): Float32Array {
    return this.#chunks[item >>> chunkShift]!.counts
  }

  /** What one step counted now would add to `counts`. */
  get unit(): number {
    return this.#weight
  }

  /** Of what is restored. */
  set unit(unit: number) {
    this.#weight = unit
  }

  /** Of all that was ever counted for the item, in the unit of `counts`. */
  total(item: number): number {
    return this.#chunks[item >>> chunkShift]!.totals[item & chunkMask]!
  }

  /** Of one neighbour, in steps' worth as of now; 0 where it is not kept. */
  countOf(item: number, neighbour: number): number {
    const { ids, counts } = this.#chunks[item >>> chunkShift]!
    const start = this.start(item)
    for (let i = start; i < start + this.slots; i++) {
      if (ids[i] === neighbour) return counts[i]! / this.#weight
    }
    return 0
  }

  /** Slots of the item that are in use: most items have few neighbours. */
  used(item: number): number {
    const ids = this.ids(item)
    const start = this.start(item)
    let used = 0
    while (used < this.slots && ids[start + used]! >= 0) used++
    return used
  }

  /**
   * Sets an item, for which there is room, to what was read of it: the first numbers of `ids` and `counts` from `at`
   * on.
   */
  restore(
    item: number,
    total: number,
    saved: { ids: Int32Array; counts: Float32Array; at: number; used: number }
  ): void {
    const { ids, counts, totals } = this.#chunks[item >>> chunkShift]!
    const { at, used } = saved
    const start = this.start(item)
    ids.set(saved.ids.subarray(at, at + used), start)
    ids.fill(-1, start + used, start + this.slots)
    counts.set(saved.counts.subarray(at, at + used), start)
    counts.fill(0, start + used, start + this.slots)
    totals[item & chunkMask] = total
  }

  /** As it was when nothing had been counted, but for the unit. */
  clear(unit: number): void {
    this.#chunks.length = 0
    this.grow(1)
    this.#weight = unit
  }
}
