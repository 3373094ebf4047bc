// Counts by bin of what is recent, and of what it is compared with. Both are made of blocks, so that they can slide without remembering single values.

export interface ReferenceWindowOptions {
  readonly bins: number
  /** Blocks that the window and the reference are made of. */
  readonly windowBlocks: number
  readonly referenceBlocks: number
  /**
   * `pinned`: the reference is the first blocks (or those that `pin` chose) for ever: today against then. `rolled`: the blocks just before the window:
   * sees what changes suddenly, and gets used to it.
   */
  readonly reference: 'pinned' | 'rolled'
}

export interface ReferenceWindowState {
  readonly open: readonly number[]
  /** Oldest first. */
  readonly window: readonly (readonly number[])[]
  readonly reference: readonly (readonly number[])[]
}

/**
 * Blocks move from `open` through the window into the reference, and out of it:
 *
 *     add → open → window (the newest) → reference → forgotten           rolled; pinned: a full reference takes no more, what leaves the window is forgotten
 */
export class ReferenceWindow {
  readonly #options: ReferenceWindowOptions
  #open: Float64Array
  #window: Float64Array[] = []
  #reference: Float64Array[] = []

  constructor(options: ReferenceWindowOptions) {
    for (const name of ['bins', 'windowBlocks', 'referenceBlocks'] as const) {
      if (!(Number.isInteger(options[name]) && options[name] > 0)) {
        throw new RangeError(`a reference window's ${name} must be a whole number above 0, not ${options[name]}`)
      }
    }
    this.#options = options
    this.#open = new Float64Array(options.bins)
  }

  /** @param bin 0 … bins − 1 */
  add(bin: number): void {
    this.#open[bin]!++
  }

  /** Both are full: a comparison is meant. */
  get full(): boolean {
    return this.#window.length === this.#options.windowBlocks && this.#reference.length === this.#options.referenceBlocks
  }

  /** Ends the block: what was added since the last call now counts. */
  closeBlock(): void {
    const { windowBlocks, referenceBlocks, reference } = this.#options
    this.#window.push(this.#open)
    this.#open = new Float64Array(this.#options.bins)
    while (this.#window.length > windowBlocks) {
      const leaving = this.#window.shift()!
      if (reference === 'rolled' || this.#reference.length < referenceBlocks) this.#reference.push(leaving)
      if (this.#reference.length > referenceBlocks) this.#reference.shift()
    }
  }

  /** Begins anew: the next blocks become the reference. The way to say "this is the new normal". */
  pin(): void {
    this.#window = []
    this.#reference = []
  }

  /** Counts of one bin go to another: a name that is no longer followed on its own. */
  merge(from: number, into: number): void {
    for (const block of [this.#open, ...this.#window, ...this.#reference]) {
      block[into]! += block[from]!
      block[from] = 0
    }
  }

  /** Counts by bin. */
  reference(): Float64Array {
    return total(this.#reference, this.#options.bins)
  }

  window(): Float64Array {
    return total(this.#window, this.#options.bins)
  }

  state(): ReferenceWindowState {
    return {
      open: [...this.#open],
      window: this.#window.map((block) => [...block]),
      reference: this.#reference.map((block) => [...block])
    }
  }

  /** @returns false, and stays as it is, if the state has other bins; more blocks than now are let go of, the oldest first */
  restore({ open, window, reference }: ReferenceWindowState): boolean {
    const { bins, windowBlocks, referenceBlocks } = this.#options
    if ([open, ...window, ...reference].some((block) => block.length !== bins)) return false
    this.#open = Float64Array.from(open)
    this.#window = window.slice(-windowBlocks).map((block) => Float64Array.from(block))
    this.#reference = reference.slice(-referenceBlocks).map((block) => Float64Array.from(block))
    return true
  }
}

function total(blocks: readonly Float64Array[], bins: number): Float64Array {
  const sums = new Float64Array(bins)
  for (const block of blocks) for (let i = 0; i < bins; i++) sums[i]! += block[i]!
  return sums
}
