// ADWIN: a window that grows while its values look alike and drops its old part when they do not.
//
// Bifet & Gavaldà, Learning from Time-Changing Data with Adaptive Windowing (SDM 2007), the version with exponential
// buckets (ADWIN2): O(log n) memory for a window of n values.

interface AdwinOptions {
  /**
   * δ: bound on the chance of a false alarm at any one moment, for independent values in 0 … 1. Values of a stream hang
   * together, so give less than you can bear.
   */
  readonly confidence: number
  /** Values between two looks for a cut: each costs as many comparisons as there are buckets. */
  readonly checkEvery: number
  /** Values that each side of a cut holds at least. */
  readonly sideMin: number
  /**
   * Values that the window holds at most, older ones are dropped: so that old times cannot outvote a slow decline for
   * ever.
   */
  readonly lengthMax: number
}

const adwinDefaults: AdwinOptions = { confidence: 0.002, checkEvery: 32, sideMin: 5, lengthMax: 1_000_000 }

/** The window was cut: the mean of what was dropped, and of what is left. */
interface Cut {
  readonly before: number
  readonly after: number
}

export interface AdwinState {
  /** Sums, sums of squared deviations and sizes of the buckets, oldest first. */
  readonly sums: readonly number[]
  readonly deviations: readonly number[]
  readonly sizes: readonly number[]
  readonly sinceCheck: number
}

/** Buckets of one size before two of them become one of the next (M in the paper). */
const bucketsPerSize = 5

export class Adwin {
  readonly #options: AdwinOptions
  // Oldest first; sizes are powers of two and never ascend.
  #sums: number[] = []
  #deviations: number[] = []
  #sizes: number[] = []
  #length = 0
  #sum = 0
  #sinceCheck = 0

  constructor(options: Partial<AdwinOptions> = {}) {
    this.#options = { ...adwinDefaults, ...options }
    const { confidence } = this.#options
    if (!(confidence > 0 && confidence < 1))
      throw new RangeError(`ADWIN's confidence must be between 0 and 1, not ${confidence}`)
  }

  /** Values in the window. */
  get length(): number {
    return this.#length
  }

  /** Of the window; NaN while it is empty. */
  get mean(): number {
    return this.#length === 0 ? Number.NaN : this.#sum / this.#length
  }

  get buckets(): number {
    return this.#sizes.length
  }

  /**
   * @param value 0 … 1, clipped to it; not-finite ones are left out
   * @returns the cut, where this value made the old part of the window differ from the new one
   */
  add(value: number): Cut | undefined {
    if (!Number.isFinite(value)) return undefined
    const x = Math.min(1, Math.max(0, value))
    this.#sums.push(x)
    this.#deviations.push(0)
    this.#sizes.push(1)
    this.#length++
    this.#sum += x
    this.#compress()
    while (this.#length > this.#options.lengthMax) this.#dropOldest()
    if (++this.#sinceCheck < this.#options.checkEvery) return undefined
    this.#sinceCheck = 0
    return this.#cut()
  }

  /** Joins the two oldest buckets of a size that has too many of them; that may make too many of the next. */
  #compress(): void {
    let newest = this.#sizes.length - 1
    while (newest >= 0) {
      const size = this.#sizes[newest]!
      let oldest = newest
      while (oldest > 0 && this.#sizes[oldest - 1] === size) oldest--
      if (newest - oldest < bucketsPerSize) return
      const a = this.#sums[oldest]!
      const b = this.#sums[oldest + 1]!
      // Chan's rule: the squared deviations of two sets of n values with sums a and b, around their common mean.
      this.#deviations[oldest]! += this.#deviations[oldest + 1]! + (a - b) ** 2 / (2 * size)
      this.#sums[oldest] = a + b
      this.#sizes[oldest] = 2 * size
      this.#sums.splice(oldest + 1, 1)
      this.#deviations.splice(oldest + 1, 1)
      this.#sizes.splice(oldest + 1, 1)
      newest = oldest
    }
  }

  #cut(): Cut | undefined {
    const lengthBefore = this.#length
    const sumBefore = this.#sum
    // Oldest bucket first, until no two parts of what is left differ.
    while (this.#differs()) this.#dropOldest()
    const dropped = lengthBefore - this.#length
    return dropped === 0 ? undefined : { before: (sumBefore - this.#sum) / dropped, after: this.mean }
  }

  /** Whether at some cut the means of the two parts are further apart than chance allows. */
  #differs(): boolean {
    const n = this.#length
    const { confidence, sideMin } = this.#options
    if (n < 2 * sideMin) return false
    const variance = this.#variance()
    // ln(2/δ') with δ' = δ / ln n: as in the authors' own program, since the tests at neighbouring cuts hang together.
    const strictness = Math.log((2 * Math.log(n)) / confidence)
    let sum = 0
    let size = 0
    for (let i = 0; i < this.#sizes.length - 1; i++) {
      sum += this.#sums[i]!
      size += this.#sizes[i]!
      const rest = n - size
      if (size < sideMin) continue
      if (rest < sideMin) return false
      const inverse = 1 / size + 1 / rest // 1/m, the harmonic mean's
      const epsilon = Math.sqrt(2 * inverse * variance * strictness) + (2 / 3) * inverse * strictness
      if (Math.abs(sum / size - (this.#sum - sum) / rest) > epsilon) return true
    }
    return false
  }

  #variance(): number {
    const mean = this.#sum / this.#length
    let squares = 0
    for (let i = 0; i < this.#sizes.length; i++) {
      squares += this.#deviations[i]! + this.#sizes[i]! * (this.#sums[i]! / this.#sizes[i]! - mean) ** 2
    }
    return squares / this.#length
  }

  #dropOldest(): void {
    this.#length -= this.#sizes.shift()!
    this.#sum -= this.#sums.shift()!
    this.#deviations.shift()
  }

  state(): AdwinState {
    return {
      sums: [...this.#sums],
      deviations: [...this.#deviations],
      sizes: [...this.#sizes],
      sinceCheck: this.#sinceCheck
    }
  }

  restore({ sums, deviations, sizes, sinceCheck }: AdwinState): void {
    this.#sums = [...sums]
    this.#deviations = [...deviations]
    this.#sizes = [...sizes]
    this.#sinceCheck = sinceCheck
    this.#length = sizes.reduce((total, size) => total + size, 0)
    this.#sum = sums.reduce((total, sum) => total + sum, 0)
  }
}
