// Page–Hinkley: adds up how much worse than usual a number is, and fires when the sum has risen far above its lowest point.
//
// Page, Continuous inspection schemes (Biometrika 1954); as a test on streams: Gama et al., A survey on concept drift adaptation (ACM 2014), § 3.2.

export interface PageHinkleyOptions {
  /** Which change is for the worse. */
  readonly worse: 'higher' | 'lower'
  /** δ: a change of the mean smaller than this is borne. */
  readonly tolerance: number
  /** λ: fires when the sum is this far above its minimum. For values that spread with variance v the chance of a false alarm falls as exp(−2 δ λ / v). */
  readonly threshold: number
  /** What is usual: the mean over about this many values. */
  readonly memory: number
  /** Values before it may fire. */
  readonly warmup: number
}

export interface PageHinkleyState {
  readonly count: number
  readonly mean: number
  readonly sum: number
  readonly least: number
}

export class PageHinkley {
  readonly #options: PageHinkleyOptions
  #count = 0
  #mean = 0
  #sum = 0
  #least = 0

  constructor(options: PageHinkleyOptions) {
    this.#options = options
    for (const name of ['threshold', 'memory'] as const) {
      if (!(options[name] > 0)) throw new RangeError(`Page-Hinkley's ${name} must be above 0, not ${options[name]}`)
    }
  }

  /** What is usual now; NaN before the first value. */
  get mean(): number {
    return this.#count === 0 ? Number.NaN : this.#mean
  }

  /** How near it is to firing, 0 … 1. */
  get nearness(): number {
    return Math.min(1, (this.#sum - this.#least) / this.#options.threshold)
  }

  /** @param value not-finite ones are left out @returns whether it fires; it then begins anew, with what comes as the usual */
  add(value: number): boolean {
    if (!Number.isFinite(value)) return false
    const { worse, tolerance, threshold, memory, warmup } = this.#options
    this.#count++
    this.#mean += (value - this.#mean) / Math.min(this.#count, memory)
    this.#sum += (worse === 'higher' ? value - this.#mean : this.#mean - value) - tolerance
    if (this.#sum < this.#least || this.#count <= warmup) this.#least = this.#sum
    if (this.#sum - this.#least <= threshold) return false
    this.restore({ count: 0, mean: 0, sum: 0, least: 0 })
    return true
  }

  state(): PageHinkleyState {
    return { count: this.#count, mean: this.#mean, sum: this.#sum, least: this.#least }
  }

  restore({ count, mean, sum, least }: PageHinkleyState): void {
    this.#count = count
    this.#mean = mean
    this.#sum = sum
    this.#least = least
  }
}
