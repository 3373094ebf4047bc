// What a trainer does about a change that was noticed: it learns faster for a while, and replays what is new, then goes back to what it did.
//
//     the rates are multiplied by 1 + (rate − 1) · left / examples        left: examples until it is over, from `examples` down to 0
//
// A false alarm costs little: what it raises falls off at once, a second alarm within the response changes nothing, and after it as many examples are learned in
// quiet before the next.

export interface DriftResponseOptions {
  /** Of rows, at its height; 1: none. */
  readonly rowRate: number
  /** Of the towers, at its height; 1: none. */
  readonly denseRate: number
  /** While it lasts, only examples that came after the change are replayed, and so many before them; 0: all, as ever. */
  readonly replayNewest: number
  /** How long it lasts. */
  readonly examples: number
}

export interface DriftResponseState {
  readonly left: number
  /** Examples since it began. */
  readonly since: number
}

export class DriftResponse {
  readonly #options: DriftResponseOptions
  #left = 0
  #since = Number.POSITIVE_INFINITY

  constructor(options: DriftResponseOptions) {
    this.#options = options
  }

  /** Whether it would change anything. */
  get isOn(): boolean {
    const { rowRate, denseRate, replayNewest } = this.#options
    return rowRate !== 1 || denseRate !== 1 || replayNewest > 0
  }

  /** @returns whether a response begins: not while one lasts, nor for as long after it */
  begin(): boolean {
    const { examples } = this.#options
    if (!this.isOn || this.#since < 2 * examples) return false
    this.#left = examples
    this.#since = 0
    return true
  }

  get rowRate(): number {
    return this.#raised(this.#options.rowRate)
  }

  get denseRate(): number {
    return this.#raised(this.#options.denseRate)
  }

  /** How many of the newest examples are replayed; undefined: all that are kept. */
  get replayed(): number | undefined {
    const { replayNewest } = this.#options
    return this.#left > 0 && replayNewest > 0 ? replayNewest + this.#since : undefined
  }

  /** @param examples learned for the first time */
  learned(examples: number): void {
    this.#left = Math.max(0, this.#left - examples)
    this.#since += examples
  }

  state(): DriftResponseState {
    return { left: this.#left, since: Number.isFinite(this.#since) ? this.#since : -1 }
  }

  restore({ left, since }: DriftResponseState): void {
    this.#left = Math.min(left, this.#options.examples)
    this.#since = since < 0 ? Number.POSITIVE_INFINITY : since
  }

  #raised(rate: number): number {
    return 1 + (rate - 1) * (this.#left / this.#options.examples)
  }
}
