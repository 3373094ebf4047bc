/** The `size` best of many rows by score, of equal scores the lower row: a heap with the worst on top. */
export class TopRows {
  readonly #size: number
  readonly #rows: Int32Array
  readonly #scores: Float64Array
  readonly #least: number
  #held = 0

  /** @param least scores that are not greater are not kept */
  constructor(size: number, least = Number.NEGATIVE_INFINITY) {
    this.#size = size
    this.#least = least
    this.#rows = new Int32Array(size)
    this.#scores = new Float64Array(size)
  }

  /** Only a greater score can be kept, if rows are offered in ascending order. */
  get threshold(): number {
    if (this.#held < this.#size) return this.#least
    return this.#held === 0 ? Number.POSITIVE_INFINITY : this.#scores[0]!
  }

  /** @param score greater than `threshold` */
  offer(row: number, score: number): void {
    let at: number
    if (this.#held < this.#size) {
      at = this.#held++
      for (let parent = (at - 1) >> 1; at > 0 && this.#isWorse(row, score, parent); parent = (at - 1) >> 1) {
        this.#put(this.#rows[parent]!, this.#scores[parent]!, at)
        at = parent
      }
    } else {
      at = 0
      for (let child = 1; child < this.#held; child = 2 * at + 1) {
        const other = child + 1
        if (other < this.#held && this.#isWorse(this.#rows[other]!, this.#scores[other]!, child)) child = other
        if (this.#isWorse(row, score, child)) break
        this.#put(this.#rows[child]!, this.#scores[child]!, at)
        at = child
      }
    }
    this.#put(row, score, at)
  }

  /** Best first. */
  sorted<T>(make: (row: number, score: number) => T): T[] {
    const order = Array.from({ length: this.#held }, (_, i) => i)
    order.sort((a, b) => this.#scores[b]! - this.#scores[a]! || this.#rows[a]! - this.#rows[b]!)
    return order.map((i) => make(this.#rows[i]!, this.#scores[i]!))
  }

  #isWorse(row: number, score: number, than: number): boolean {
    return score < this.#scores[than]! || (score === this.#scores[than]! && row > this.#rows[than]!)
  }

  #put(row: number, score: number, at: number): void {
    this.#rows[at] = row
    this.#scores[at] = score
  }
}
