// Counts by names from outside, of which there may be any number: bounded, with an exact total.

/** JSON-able. */
export interface TopCountsState {
  /**
   * Most frequent first; ties in the order of their names. A name that had to make room once has more than its count.
   */
  readonly named: readonly (readonly [name: string, count: number])[]
  /** Of all others. */
  readonly other: number
}

export const noTopCounts: TopCountsState = { named: [], other: 0 }

export class TopCounts {
  readonly #max: number
  readonly #counts: Map<string, number>
  #other: number

  /**
   * @param max names that are kept: the least frequent one makes room for a new one, and its count goes to the others
   */
  constructor(max: number, from: TopCountsState = noTopCounts) {
    this.#max = max
    this.#counts = new Map(from.named)
    this.#other = from.other
  }

  add(name: string, count = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + count)
    if (this.#counts.size <= this.#max) return
    let least: string | undefined
    for (const [other, value] of this.#counts)
      if (other !== name && (least === undefined || value < this.#counts.get(least)!)) least = other
    if (least === undefined) return
    this.#other += this.#counts.get(least)!
    this.#counts.delete(least)
  }

  merge({ named, other }: TopCountsState): void {
    for (const [name, count] of named) this.add(name, count)
    this.#other += other
  }

  state(): TopCountsState {
    return { named: [...this.#counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)), other: this.#other }
  }
}
