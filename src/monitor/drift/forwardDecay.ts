// How often each key has occurred lately, an occurrence counting half after every half-life, in bounded memory.
//
// Forward decay: Cormode, Shkapenyuk, Srivastava & Xu, Forward Decay (ICDE 2009). H half-life, t event times.
//
//     level(key) = log2 Σ_j weight_j · 2^(t_j / H)          faded count at time t = 2^(level − t / H)
//
// As time passes all faded counts shrink by the same factor, so levels change only when something occurs: their order
// is right at any time without touching the others, and events may come in any order. By logarithms, because 2^(t / H)
// itself would not fit into a number.

/** Faded counts below this are nothing: an item must have been quiet for seven half-lives after a single occurrence. */
const tinyCount = 2 ** -7
/** Keys beyond `keysMax` before the least are dropped: so that a sort is paid for by a quarter of it in additions. */
const slack = 1.25

export interface ForwardDecayState {
  readonly halfLifeMs: number
  readonly newestMs: number
  readonly levels: readonly (readonly [key: string, level: number])[]
}

export class ForwardDecay {
  readonly #halfLifeMs: number
  readonly #keysMax: number
  readonly #levels = new Map<string, number>()
  #newestMs = 0

  /** @param keysMax kept for certain: those with the greatest levels */
  constructor({ halfLifeMs, keysMax }: { readonly halfLifeMs: number; readonly keysMax: number }) {
    if (!(halfLifeMs > 0)) throw new RangeError(`forward decay: the half-life must be above 0, not ${halfLifeMs}`)
    if (!(Number.isInteger(keysMax) && keysMax > 0))
      throw new RangeError(`forward decay: keysMax must be at least 1, not ${keysMax}`)
    this.#halfLifeMs = halfLifeMs
    this.#keysMax = keysMax
  }

  get size(): number {
    return this.#levels.size
  }

  /** Newest event time seen, milliseconds. */
  get newestMs(): number {
    return this.#newestMs
  }

  keys(): Iterable<string> {
    return this.#levels.keys()
  }

  /** undefined: never, or too long ago to count. */
  level(key: string): number | undefined {
    return this.#levels.get(key)
  }

  /** Faded count at the newest event time. */
  count(key: string): number {
    return 2 ** ((this.#levels.get(key) ?? Number.NEGATIVE_INFINITY) - this.#newestMs / this.#halfLifeMs)
  }

  /** Constant time, but for a sort once in `keysMax` / 4 new keys. @param weight above 0 */
  add(key: string, timeMs: number, weight = 1): void {
    if (timeMs > this.#newestMs) this.#newestMs = timeMs
    const before = this.#levels.get(key)
    const level = timeMs / this.#halfLifeMs + Math.log2(weight)
    this.#levels.set(
      key,
      before === undefined ? level : Math.max(before, level) + Math.log2(1 + 2 ** -Math.abs(before - level))
    )
    if (before === undefined && this.#levels.size > this.#keysMax * slack) this.dropLeast()
  }

  /** Drops what is tiny by now, and the least beyond `keysMax`. */
  dropLeast(): void {
    const tiny = this.#newestMs / this.#halfLifeMs + Math.log2(tinyCount)
    for (const [key, level] of this.#levels) if (level < tiny) this.#levels.delete(key)
    if (this.#levels.size <= this.#keysMax) return
    const byLevel = [...this.#levels].sort((a, b) => b[1] - a[1])
    for (const [key] of byLevel.slice(this.#keysMax)) this.#levels.delete(key)
  }

  state(): ForwardDecayState {
    this.dropLeast()
    return { halfLifeMs: this.#halfLifeMs, newestMs: this.#newestMs, levels: [...this.#levels] }
  }

  /** Faded counts stay what they are where the half-life has been changed. */
  restore({ halfLifeMs, newestMs, levels }: ForwardDecayState): void {
    this.#newestMs = newestMs
    this.#levels.clear()
    const shift = newestMs / this.#halfLifeMs - newestMs / halfLifeMs
    for (const [key, level] of levels) this.#levels.set(key, level + shift)
    this.dropLeast()
  }
}
