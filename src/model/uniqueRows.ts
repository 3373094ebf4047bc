// Row → position among the unique rows of one batch: an open-addressing table that fits the processor's cache.

export class UniqueRows {
  #keys = new Int32Array(0)
  #positions = new Int32Array(0)
  #shift = 32
  #rows = new Int32Array(0)
  #count = 1

  /** Clears it; position 0 is the padding row 0. @param most rows that may be added, row 0 included */
  reset(most: number): void {
    // At most half full.
    const bits = Math.max(4, Math.ceil(Math.log2(2 * most)))
    if (this.#keys.length !== 1 << bits) {
      this.#keys = new Int32Array(1 << bits)
      this.#positions = new Int32Array(1 << bits)
      this.#shift = 32 - bits
    } else this.#keys.fill(0)
    if (this.#rows.length < most) this.#rows = new Int32Array(most)
    this.#rows[0] = 0
    this.#count = 1
  }

  /** The row's position; rows are numbered in order of their first call. */
  position(row: number): number {
    if (row === 0) return 0
    const keys = this.#keys
    const mask = keys.length - 1
    // Fibonacci hashing: rows that follow each other spread.
    let slot = Math.imul(row, 0x9e3779b1) >>> this.#shift
    for (;;) {
      const key = keys[slot]!
      if (key === row) return this.#positions[slot]!
      if (key === 0) {
        keys[slot] = row
        this.#rows[this.#count] = row
        this.#positions[slot] = this.#count
        return this.#count++
      }
      slot = (slot + 1) & mask
    }
  }

  /** [U] by position; owned by the receiver. */
  take(): Int32Array {
    return this.#rows.slice(0, this.#count)
  }
}
