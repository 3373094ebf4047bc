// Counts by bin of the newest window and of the windows before it, the reference. Both are made of blocks, so that they
// slide without single values being kept.

interface ReferenceWindowOptions {
  readonly bins: number
  /** Blocks in a window. */
  readonly windowBlocks: number
  /** Windows in the reference. */
  readonly referenceWindows: number
}

/** Counts by bin of the closed blocks, oldest first: the open block is not kept. */
export type ReferenceWindowState = readonly (readonly number[])[]

/**
 * `add` counts into the open block; `closeBlock` makes it the newest of the window, and the oldest block of a full
 * reference is dropped.
 */
export class ReferenceWindow {
  readonly #options: ReferenceWindowOptions
  #open: Float64Array
  #blocks: Float64Array[] = []

  constructor(options: ReferenceWindowOptions) {
    for (const name of ['bins', 'windowBlocks', 'referenceWindows'] as const) {
      if (!(Number.isInteger(options[name]) && options[name] > 0)) {
        throw new RangeError(`a reference window's ${name} must be a whole number above 0, not ${options[name]}`)
      }
    }
    this.#options = options
    this.#open = new Float64Array(options.bins)
  }

  get #blocksMax(): number {
    return this.#options.windowBlocks * (this.#options.referenceWindows + 1)
  }

  /** @param bin 0 … bins − 1 */
  add(bin: number, weight = 1): void {
    this.#open[bin]! += weight
  }

  /** Whether window and reference hold all their blocks. */
  get full(): boolean {
    return this.#blocks.length === this.#blocksMax
  }

  closeBlock(): void {
    this.#blocks.push(this.#open)
    this.#open = new Float64Array(this.#options.bins)
    if (this.#blocks.length > this.#blocksMax) this.#blocks.shift()
  }

  /** Counts of one bin go to another: a name that is no longer followed on its own. */
  merge(from: number, into: number): void {
    for (const block of [this.#open, ...this.#blocks]) {
      block[into]! += block[from]!
      block[from] = 0
    }
  }

  /** Counts by bin of the newest window. [bins] */
  window(): Float64Array {
    return this.#sum(-this.#options.windowBlocks)
  }

  /** Counts by bin of each window of the reference, oldest first. [referenceWindows][bins]; meaningful once `full` */
  referenceWindows(): Float64Array[] {
    const { windowBlocks, referenceWindows } = this.#options
    return Array.from({ length: referenceWindows }, (_, i) => this.#sum(i * windowBlocks, (i + 1) * windowBlocks))
  }

  #sum(from: number, to?: number): Float64Array {
    const sums = new Float64Array(this.#options.bins)
    for (const block of this.#blocks.slice(from, to)) for (let i = 0; i < sums.length; i++) sums[i]! += block[i]!
    return sums
  }

  state(): ReferenceWindowState {
    return this.#blocks.map((block) => [...block])
  }

  /** @returns false, and stays as it is, if the state has other bins; of more blocks than now the newest are kept */
  restore(blocks: ReferenceWindowState): boolean {
    if (blocks.some((block) => block.length !== this.#options.bins)) return false
    this.#blocks = blocks.slice(-this.#blocksMax).map((block) => Float64Array.from(block))
    return true
  }
}
