// Draws from a fixed discrete distribution in constant time (Walker's alias method, in Vose's form).

import type { Rng } from '../../core/rng.ts'

export class SimulationDraw {
  readonly #threshold: Float64Array
  readonly #alias: Int32Array

  /** @param weights at least one, each > 0; need not sum to 1 */
  constructor(weights: Float64Array) {
    const size = weights.length
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    if (size === 0 || !weights.every((weight) => weight > 0 && weight < Number.POSITIVE_INFINITY)) {
      throw new RangeError(
        `cannot draw from ${size} weights (${weights.slice(0, 8).join(', ')} …): give at least one, each finite and above 0`
      )
    }
    this.#threshold = new Float64Array(size).fill(1)
    this.#alias = Int32Array.from({ length: size }, (_, i) => i)
    const scaled = weights.map((weight) => (weight / total) * size)
    const small: number[] = []
    const large: number[] = []
    for (let i = 0; i < size; i++) (scaled[i]! < 1 ? small : large).push(i)
    while (small.length > 0 && large.length > 0) {
      const below = small.pop()!
      const above = large.at(-1)!
      this.#threshold[below] = scaled[below]!
      this.#alias[below] = above
      scaled[above] = scaled[above]! - (1 - scaled[below]!)
      if (scaled[above]! < 1) small.push(large.pop()!)
    }
    // What is left differs from 1 by rounding alone, and keeps its column to itself.
  }

  /** @returns an index, with probability proportional to its weight */
  next(rng: Rng): number {
    const column = rng.integer(this.#alias.length)
    return rng.uniform() < this.#threshold[column]! ? column : this.#alias[column]!
  }
}

/** Weights 1/(rank + 1)^exponent of `size` ranks. */
export function zipf(size: number, exponent: number): Float64Array {
  return Float64Array.from({ length: size }, (_, rank) => (rank + 1) ** -exponent)
}
