// What happens next among many things that are under way.

/** A binary heap: `pop` gives the entry with the least time; equal times leave in the order in which they came. */
export class SimulationHeap<T> {
  readonly #entries: { timeMs: number; serial: number; value: T }[] = []
  #serial = 0

  get size(): number {
    return this.#entries.length
  }

  /** Time of the next entry; Infinity for an empty heap. */
  get nextMs(): number {
    return this.#entries[0]?.timeMs ?? Number.POSITIVE_INFINITY
  }

  push(timeMs: number, value: T): void {
    const entries = this.#entries
    const entry = { timeMs, serial: this.#serial++, value }
    let at = entries.length
    entries.push(entry)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(entry, entries[parent]!)) break
      entries[at] = entries[parent]!
      at = parent
    }
    entries[at] = entry
  }

  pop(): T | undefined {
    const entries = this.#entries
    const top = entries[0]
    const last = entries.pop()
    if (top === undefined || last === undefined || entries.length === 0) return top?.value
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= entries.length) break
      if (child + 1 < entries.length && before(entries[child + 1]!, entries[child]!)) child++
      if (!before(entries[child]!, last)) break
      entries[at] = entries[child]!
      at = child
    }
    entries[at] = last
    return top.value
  }
}

function before(a: { timeMs: number; serial: number }, b: { timeMs: number; serial: number }): boolean {
  return a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.serial < b.serial)
}
