// The most frequent names of a stream in bounded memory, each with a number of its own.
//
// Space-Saving: Metwally, Agrawal & El Abbadi, Efficient Computation of Frequent and Top-k Elements in Data Streams
// (ICDT 2005).

export interface HeavyHittersState {
  readonly entries: readonly (readonly [name: string, slot: number, count: number, error: number])[]
}

interface Entry {
  readonly slot: number
  count: number
  /** The count is too large by at most this. */
  readonly error: number
}

/**
 * A name with more than total/capacity occurrences is always among the followed ones; its count is too large by at most
 * total/capacity.
 */
export class HeavyHitters {
  readonly #capacity: number
  #entries = new Map<string, Entry>()

  /** @param capacity names followed at a time */
  constructor(capacity: number) {
    if (!(Number.isInteger(capacity) && capacity > 0))
      throw new RangeError(`heavy hitters: the capacity must be at least 1, not ${capacity}`)
    this.#capacity = capacity
  }

  /** @returns 0 … capacity − 1, or undefined for a name that is not followed */
  slotOf(name: string): number | undefined {
    return this.#entries.get(name)?.slot
  }

  /**
   * Counts one occurrence.
   *
   * @returns the slot of the name, and whether another name had to give it up. O(capacity) then, O(1) for a name that
   *   is followed
   */
  add(name: string): { slot: number; evicted: boolean } {
    const known = this.#entries.get(name)
    if (known !== undefined) {
      known.count++
      return { slot: known.slot, evicted: false }
    }
    if (this.#entries.size < this.#capacity) {
      const slot = this.#entries.size
      this.#entries.set(name, { slot, count: 1, error: 0 })
      return { slot, evicted: false }
    }
    let leastName = ''
    let least: Entry | undefined
    for (const [other, entry] of this.#entries) {
      if (least !== undefined && entry.count >= least.count) continue
      leastName = other
      least = entry
    }
    this.#entries.delete(leastName)
    this.#entries.set(name, { slot: least!.slot, count: least!.count + 1, error: least!.count })
    return { slot: least!.slot, evicted: true }
  }

  state(): HeavyHittersState {
    return {
      entries: [...this.#entries].map(([name, { slot, count, error }]) => [name, slot, count, error] as const)
    }
  }

  restore({ entries }: HeavyHittersState): void {
    this.#entries = new Map(entries.map(([name, slot, count, error]) => [name, { slot, count, error }]))
  }
}
