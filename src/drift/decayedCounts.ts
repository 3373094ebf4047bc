// How often each of any number of keys has occurred lately, in fixed memory: a count-min sketch whose counts fade.
//
// Cormode & Muthukrishnan, An improved data stream summary (2005); fading by growing increments: Cormode et al., Forward Decay (ICDE 2009).

import { hashKey } from './hashKey.ts'

const width = 1 << 14
const mask = width - 1
/** Increments grow; before they leave what float32 can hold all counts are brought back. */
const weightMax = 2 ** 40

export interface DecayedCountsState {
  /** Cells that are not 0, as [index, value relative to one occurrence now]. */
  readonly cells: readonly (readonly [number, number])[]
}

/** Two rows of 16,384 cells, 128 KiB. With a half-life of H occurrences a count is too large by about 1.44 H / 16,384 in either row, and the smaller one is taken. */
export class DecayedCounts {
  readonly #cells = new Float32Array(2 * width) // [2, width]
  readonly #growth: number
  #weight = 1

  /** @param halfLife in occurrences, of all keys together */
  constructor(halfLife: number) {
    if (!(halfLife > 0)) throw new RangeError(`decayed counts: the half-life must be above 0, not ${halfLife}`)
    this.#growth = 2 ** (1 / halfLife)
  }

  /** Counts one occurrence. @returns the key's count before it, faded to now, never too small */
  add(key: string): number {
    const a = hashKey(key)
    const b = width + (Math.imul(a ^ (a >>> 15), 0x2c1b3c6d) >>> 18)
    const first = a & mask
    const cells = this.#cells
    const before = Math.min(cells[first]!, cells[b]!)
    this.#weight *= this.#growth
    const count = before / this.#weight
    // Conservative update: a cell that another key has raised already is not raised again.
    const after = before + this.#weight
    if (cells[first]! < after) cells[first] = after
    if (cells[b]! < after) cells[b] = after
    if (this.#weight > weightMax) this.#rescale()
    return count
  }

  #rescale(): void {
    for (let i = 0; i < this.#cells.length; i++) this.#cells[i]! /= this.#weight
    this.#weight = 1
  }

  state(): DecayedCountsState {
    const cells: [number, number][] = []
    this.#cells.forEach((value, index) => {
      const relative = value / this.#weight
      // Below a thousandth of an occurrence nobody can tell it from none.
      if (relative >= 1e-3) cells.push([index, Number(relative.toPrecision(4))])
    })
    return { cells }
  }

  restore({ cells }: DecayedCountsState): void {
    this.#cells.fill(0)
    this.#weight = 1
    for (const [index, value] of cells) this.#cells[index] = value
  }
}
