// How much the memory counts in a list, chosen from a few weights by how well each ranks targets before they are
// trained on. A wrong weight must not hurt: 0 is always among them, and is where it starts and where it returns.

import { gainOf } from '../progressive/rankingMetrics.ts'

/** λ: see itemMemory.ts and rankTargets.ts. On data sets 20 was best, sometimes 40. */
export const memoryWeights = [0, 5, 10, 20, 40] as const

/**
 * Examples after which a target is worth half. A ranked target stands for 1 / its probability examples: otherwise the
 * beginning of a stream, which is ranked in full, would outweigh what is sampled later.
 */
const halfLife = 8000
/** Ranked targets, in what they are worth now, before the memory is used. */
const targetsMin = 200
/** A weight replaces the one in effect when it is ahead by so many standard errors of the paired difference. */
const errorsMin = 2

export interface MemoryWeightState {
  /** Index of the weight in effect. */
  readonly chosen: number
  /** Σw and Σw² of the ranked targets, fading. */
  readonly targets: number
  readonly targetSquares: number
  /** Gain (NDCG@20) of each weight, fading sums. */
  readonly gains: readonly number[]
  /** Σ (gain of i − gain of j)², fading, by i and j. */
  readonly squares: readonly number[]
}

const count = memoryWeights.length

export class MemoryWeight {
  #chosen = 0
  #targets = 0
  #targetSquares = 0
  #gains = new Float64Array(count)
  #squares = new Float64Array(count * count)

  /** λ in effect. */
  get weight(): number {
    return memoryWeights[this.#chosen]!
  }

  /** Its index among `memoryWeights`. */
  get chosen(): number {
    return this.#chosen
  }

  /** Notes the ranks of one target by every weight, in the order of `memoryWeights`. @param w examples it stands for */
  note(ranks: readonly number[], w = 1): void {
    const fade = 2 ** (-w / halfLife)
    const gains = ranks.map(gainOf)
    this.#targets = this.#targets * fade + w
    this.#targetSquares = this.#targetSquares * fade * fade + w * w
    for (let i = 0; i < count; i++) {
      this.#gains[i] = this.#gains[i]! * fade + w * gains[i]!
      for (let j = 0; j < count; j++) {
        const at = i * count + j
        this.#squares[at] = this.#squares[at]! * fade + w * (gains[i]! - gains[j]!) ** 2
      }
    }
  }

  /** Chooses after a batch. @returns whether another weight is in effect now */
  choose(): boolean {
    const before = this.#chosen
    let best = 0
    for (let i = 1; i < count; i++) if (this.#gains[i]! > this.#gains[best]!) best = i
    if (this.#effective >= targetsMin && this.#ahead(best, before)) this.#chosen = best
    // What is not better than nothing goes at once; what comes must have been shown to be.
    else if (this.#gains[before]! < this.#gains[0]!) this.#chosen = 0
    return this.#chosen !== before
  }

  /** Effective sample size: as many targets of equal weight give the same standard error. */
  get #effective(): number {
    return this.#targetSquares === 0 ? 0 : this.#targets ** 2 / this.#targetSquares
  }

  /** Whether the gain of `i` is above that of `j` by more than chance makes it. */
  #ahead(i: number, j: number): boolean {
    const n = this.#targets
    const mean = (this.#gains[i]! - this.#gains[j]!) / n
    const variance = Math.max(0, this.#squares[i * count + j]! / n - mean * mean)
    return mean > 0 && mean > errorsMin * Math.sqrt(variance / this.#effective)
  }

  state(): MemoryWeightState {
    return {
      chosen: this.#chosen,
      targets: this.#targets,
      targetSquares: this.#targetSquares,
      gains: [...this.#gains],
      squares: [...this.#squares]
    }
  }

  restore({ chosen, targets, targetSquares, gains, squares }: MemoryWeightState): void {
    this.#chosen = chosen
    this.#targets = targets
    this.#targetSquares = targetSquares
    this.#gains = Float64Array.from(gains)
    this.#squares = Float64Array.from(squares)
  }
}
