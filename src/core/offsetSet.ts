// Which offsets of a partition have been dealt with, where that is not simply all below one.

/** Half-open, ascending, neither touching nor overlapping. */
type Range = [from: bigint, to: bigint]

export class OffsetSet {
  readonly #ranges: Range[]

  constructor(ranges: readonly (readonly [from: bigint, to: bigint])[] = []) {
    this.#ranges = ranges.map(([from, to]) => [from, to])
  }

  has(offset: bigint): boolean {
    const range = this.#ranges[this.#after(offset) - 1]
    return range !== undefined && offset < range[1]
  }

  add(offset: bigint): void {
    const at = this.#after(offset)
    const before = this.#ranges[at - 1]
    const next = this.#ranges[at]
    if (before !== undefined && offset < before[1]) return
    const joinsBefore = before?.[1] === offset
    const joinsNext = next?.[0] === offset + 1n
    if (joinsBefore && joinsNext) {
      before[1] = next[1]
      this.#ranges.splice(at, 1)
    } else if (joinsBefore) before[1] = offset + 1n
    else if (joinsNext) next[0] = offset
    else this.#ranges.splice(at, 0, [offset, offset + 1n])
  }

  get size(): number {
    return this.#ranges.reduce((sum, [from, to]) => sum + Number(to - from), 0)
  }

  ranges(): readonly (readonly [from: bigint, to: bigint])[] {
    return this.#ranges
  }

  /** How many ranges begin at or before the offset. */
  #after(offset: bigint): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#ranges[middle]![0] <= offset) low = middle + 1
      else high = middle
    }
    return low
  }
}
