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
    const rows = this.#rows
    const scores = this.#scores
    let at = 0
    if (this.#held < this.#size) {
      at = this.#held++
      while (at > 0) {
        const parent = (at - 1) >> 1
        const other = scores[parent]!
        if (other < score || (other === score && rows[parent]! > row)) break // the parent is worse
        scores[at] = other
        rows[at] = rows[parent]!
        at = parent
      }
    } else {
      const held = this.#held
      for (;;) {
        let child = 2 * at + 1
        if (child >= held) break
        if (child + 1 < held) {
          const [left, right] = [scores[child]!, scores[child + 1]!]
          if (right < left || (right === left && rows[child + 1]! > rows[child]!)) child++
        }
        const other = scores[child]!
        if (score < other || (score === other && row > rows[child]!)) break // the child is better
        scores[at] = other
        rows[at] = rows[child]!
        at = child
      }
    }
    scores[at] = score
    rows[at] = row
  }

  /** Best first. */
  sorted<T>(make: (row: number, score: number) => T): T[] {
    const order = Array.from({ length: this.#held }, (_, i) => i)
    order.sort((a, b) => this.#scores[b]! - this.#scores[a]! || this.#rows[a]! - this.#rows[b]!)
    return order.map((i) => make(this.#rows[i]!, this.#scores[i]!))
  }
}
