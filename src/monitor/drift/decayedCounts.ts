// How often each of any number of keys has occurred lately, in fixed memory: a count-min sketch whose counts fade.
//
// Cormode & Muthukrishnan, An improved data stream summary (2005); fading by growing increments: Cormode et al.,
// Forward Decay (ICDE 2009).

import { hashKey } from '../../core/hashKey.ts'

const width = 1 << 14
const mask = width - 1
/** Increments grow; before they leave what float32 can hold all counts are brought back. */
const weightMax = 2 ** 40

export interface DecayedCountsState {
  /** Cells that are not 0, as [index, value relative to one occurrence now]. */
  readonly cells: readonly (readonly [number, number])[]
  readonly total: number
  /** Hashes of the occurrences that are not counted yet, oldest first. */
  readonly waiting: readonly number[]
}

/**
 * Two rows of 16,384 cells, 128 KiB. With a half-life of H occurrences a count is too large by about 1.44 H / 16,384 in
 * either row, and the smaller one is taken.
 */
export class DecayedCounts {
  readonly #cells = new Float32Array(2 * width) // [2, width]
  readonly #growth: number
  #weight = 1
  /** Of all occurrences, in the unit of the cells. */
  #total = 0
  /** A ring of hashes; `#next` is the oldest once it is full. */
  readonly #waiting: Int32Array
  #next = 0
  #held = 0

  /**
   * @param halfLife in occurrences, of all keys together @param lag an occurrence counts only after so many others: 0,
   *   at once
   */
  constructor(halfLife: number, lag = 0) {
    if (!(halfLife > 0)) throw new RangeError(`decayed counts: the half-life must be above 0, not ${halfLife}`)
    this.#growth = 2 ** (1 / halfLife)
    this.#waiting = new Int32Array(lag)
  }

  /**
   * Takes one occurrence. @returns the key's share of all occurrences up to `lag` ago, older ones faded: 0 … 1, never
   * too small; 0 while there are none
   */
  add(key: string): number {
    const h = hashKey(key) | 0
    const share = this.#total === 0 ? 0 : Math.min(this.#cells[h & mask]!, this.#cells[secondCell(h)]!) / this.#total
    const lag = this.#waiting.length
    if (lag === 0) this.#count(h)
    else {
      if (this.#held === lag) this.#count(this.#waiting[this.#next]!)
      else this.#held++
      this.#waiting[this.#next] = h
      this.#next = (this.#next + 1) % lag
    }
    return share
  }

  #count(h: number): void {
    const cells = this.#cells
    const first = h & mask
    const second = secondCell(h)
    this.#weight *= this.#growth
    this.#total += this.#weight
    // Conservative update: a cell that another key has raised already is not raised again.
    const after = Math.min(cells[first]!, cells[second]!) + this.#weight
    if (cells[first]! < after) cells[first] = after
    if (cells[second]! < after) cells[second] = after
    if (this.#weight > weightMax) this.#rescale()
  }

  #rescale(): void {
    for (let i = 0; i < this.#cells.length; i++) this.#cells[i]! /= this.#weight
    this.#total /= this.#weight
    this.#weight = 1
  }

  state(): DecayedCountsState {
    const cells: [number, number][] = []
    this.#cells.forEach((value, index) => {
      const relative = value / this.#weight
      // Below a thousandth of an occurrence it is as good as none.
      if (relative >= 1e-3) cells.push([index, Number(relative.toPrecision(4))])
    })
    const lag = this.#waiting.length
    const oldest = this.#held < lag ? 0 : this.#next
    return {
      cells,
      total: this.#total / this.#weight,
      waiting: Array.from({ length: this.#held }, (_, i) => this.#waiting[(oldest + i) % lag]!)
    }
  }

  restore({ cells, total, waiting }: DecayedCountsState): void {
    this.#cells.fill(0)
    this.#weight = 1
    this.#total = total
    for (const [index, value] of cells) this.#cells[index] = value
    const lag = this.#waiting.length
    const kept = lag === 0 ? [] : waiting.slice(-lag)
    this.#waiting.set(kept)
    this.#held = kept.length
    this.#next = lag === 0 ? 0 : kept.length % lag
  }
}

/** A cell of the second row, by other bits than the first. */
function secondCell(h: number): number {
  return width + (Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) >>> 18)
}
