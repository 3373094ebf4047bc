// Adam (Kingma & Ba 2015) for the dense weights, keyed by name, so that its state can be checkpointed: tfjs keeps its
// moments by position in a list.

import type { NamedArrays } from '../../core/namedArrays.ts'
import { own } from '../../core/own.ts'

interface AdamOptions {
  readonly learningRate: number
  /** Decay of the mean of gradients. Default .9 */
  readonly beta1?: number
  /**
   * Decay of the mean of squares. Default .99: a memory of 100 steps follows a changing stream sooner than the usual
   * 1,000.
   */
  readonly beta2?: number
}

interface Moments {
  readonly mean: Float32Array
  readonly square: Float32Array
}

export class Adam {
  readonly #learningRate: number
  readonly #beta1: number
  readonly #beta2: number
  readonly #moments = new Map<string, Moments>()
  #step = 0

  constructor(options: AdamOptions) {
    this.#learningRate = options.learningRate
    this.#beta1 = options.beta1 ?? 0.9
    this.#beta2 = options.beta2 ?? 0.99
  }

  /**
   * One step, in place: θ −= η·m̂ / (√v̂ + 1e-8), with m̂ and v̂ corrected for starting at 0.
   *
   * @param scale the gradients are multiplied by this first (clipping)
   * @param rateScale multiplies η
   */
  update(
    weights: Readonly<Record<string, Float32Array>>,
    gradients: Readonly<Record<string, Float32Array>>,
    scale: number,
    rateScale = 1
  ): void {
    this.#step++
    const correction1 = 1 - this.#beta1 ** this.#step
    const correction2 = 1 - this.#beta2 ** this.#step
    const rate = (this.#learningRate * rateScale * Math.sqrt(correction2)) / correction1
    // In the corrected scale of v̂, so that the floor means the same at every step.
    const floor = 1e-8 * Math.sqrt(correction2)
    for (const [name, gradient] of Object.entries(gradients)) {
      const values = own(weights, name)!
      const { mean, square } = this.#momentsOf(name, values.length)
      const b1 = this.#beta1
      const b2 = this.#beta2
      for (let i = 0; i < values.length; i++) {
        const g = gradient[i]! * scale
        const m = b1 * mean[i]! + (1 - b1) * g
        const v = b2 * square[i]! + (1 - b2) * g * g
        mean[i] = m
        square[i] = v
        values[i]! -= (rate * m) / (Math.sqrt(v) + floor)
      }
    }
  }

  get step(): number {
    return this.#step
  }

  /** `mean.<name>` and `square.<name>`, copied. */
  state(): Map<string, Float32Array> {
    const arrays = new Map<string, Float32Array>()
    for (const [name, { mean, square }] of this.#moments) {
      arrays.set(`mean.${name}`, mean.slice())
      arrays.set(`square.${name}`, square.slice())
    }
    return arrays
  }

  /** @param step as `step` was when `state` was taken */
  restore(step: number, arrays: NamedArrays): void {
    this.#step = step
    this.#moments.clear()
    for (const [key, mean] of arrays) {
      if (!key.startsWith('mean.')) continue
      const name = key.slice('mean.'.length)
      const square = arrays.get(`square.${name}`)
      if (mean instanceof Float32Array && square instanceof Float32Array)
        this.#moments.set(name, { mean: mean.slice(), square: square.slice() })
    }
  }

  #momentsOf(name: string, length: number): Moments {
    let moments = this.#moments.get(name)
    if (moments === undefined) {
      moments = { mean: new Float32Array(length), square: new Float32Array(length) }
      this.#moments.set(name, moments)
    }
    return moments
  }
}
