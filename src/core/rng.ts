// Randomness as an argument: seeded, and its state fits into a checkpoint.

/**
 * sfc32 (Chris Doty-Humphrey's Small Fast Counting generator, 128 bits of state): passes PractRand, and is a few
 * integer operations a number.
 */
export class Rng {
  #a: number
  #b: number
  #c: number
  #counter: number

  constructor(seed: number) {
    // The seed fills the state as splitmix32 would; the first outputs are thrown away so that near seeds do not give
    // near streams.
    let s = seed | 0
    const split = () => {
      s = (s + 0x9e3779b9) | 0
      let z = s ^ (s >>> 16)
      z = Math.imul(z, 0x21f0aaad)
      z ^= z >>> 15
      z = Math.imul(z, 0x735a2d97)
      return z ^ (z >>> 15)
    }
    this.#a = split()
    this.#b = split()
    this.#c = split()
    this.#counter = 1
    for (let i = 0; i < 12; i++) this.uint32()
  }

  /** Uniform over 0 … 2³² − 1. */
  uint32(): number {
    const t = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (this.#c << 21) | (this.#c >>> 11)
    this.#c = (this.#c + t) | 0
    return t >>> 0
  }

  /** Uniform over [0, 1), 32 bits. */
  uniform(): number {
    return this.uint32() / 4294967296
  }

  /** Uniform over 0 … below − 1. @param below 1 … 2³²; the bias is below `below` / 2³² */
  integer(below: number): number {
    return Math.floor(this.uniform() * below)
  }

  /** Standard normal (Box–Muller, one of the pair). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  /** Every order of the elements is equally likely (Fisher–Yates). @param elements changed in place */
  shuffle<T>(elements: { readonly length: number; [index: number]: T }): void {
    for (let i = elements.length - 1; i > 0; i--) {
      const j = this.integer(i + 1)
      const swapped = elements[i]!
      elements[i] = elements[j]!
      elements[j] = swapped
    }
  }

  /** An independent stream for one purpose, so that drawing more in one place does not shift another. */
  fork(purpose: string): Rng {
    let h = this.uint32()
    for (let i = 0; i < purpose.length; i++) h = Math.imul(h ^ purpose.charCodeAt(i), 0x01000193)
    return new Rng(h)
  }

  state(): [number, number, number, number] {
    return [this.#a, this.#b, this.#c, this.#counter]
  }

  static from(state: readonly number[]): Rng {
    const rng = new Rng(0)
    ;[rng.#a, rng.#b, rng.#c, rng.#counter] = state as [number, number, number, number]
    return rng
  }
}
