// A slow copy of the dense weights: an exponential mean over the steps, which forgets later than the weights themselves.
//
//     copy ← copy + r (weights − copy)        r = 1 − 2^(−1 / halfLife), at first 1, 1/2, 1/3, …: the mean of all steps so far
//
// Source: the mean teacher of Tarvainen & Valpola (NIPS 2017). Rows are not copied: the copy reads those of today, and a table is not held twice.

import { mapShapes, type WeightShapes, type Weights } from '../../model/weights.ts'

export class SlowCopy {
  readonly #shapes: WeightShapes
  readonly #rate: number
  #weights: Weights | undefined
  #steps = 0

  /** @param halfLife in steps */
  constructor(shapes: WeightShapes, halfLife: number) {
    this.#shapes = shapes
    this.#rate = 1 - 2 ** (-1 / halfLife)
  }

  /** Undefined before the first step; the receiver must not write into it. */
  get weights(): Weights | undefined {
    return this.#weights
  }

  /** Takes note of a step. O(weights). @param weights after it */
  follow(weights: Weights): void {
    this.#steps++
    if (this.#weights === undefined) {
      this.#weights = mapShapes(this.#shapes, (name) => weights[name]!.slice())
      return
    }
    const rate = Math.max(this.#rate, 1 / this.#steps)
    for (const name of Object.keys(this.#shapes)) {
      const copy = this.#weights[name]!
      const now = weights[name]!
      for (let i = 0; i < copy.length; i++) copy[i]! += rate * (now[i]! - copy[i]!)
    }
  }

  get steps(): number {
    return this.#steps
  }

  /** By name, copied; empty before the first step. */
  state(): Map<string, Float32Array> {
    return new Map(Object.entries(this.#weights ?? {}).map(([name, values]) => [name, values.slice()]))
  }

  /** @param weights undefined, with 0 steps: as before the first one. Copied */
  restore(steps: number, weights: Weights | undefined): void {
    this.#steps = weights === undefined ? 0 : steps
    this.#weights = weights === undefined ? undefined : mapShapes(this.#shapes, (name) => weights[name]!.slice())
  }
}
