// A set of small integers that is emptied in constant time: one is needed for every ranked target.

export class ItemSet {
  #stamps = new Int32Array(1024)
  #stamp = 1

  /** Makes room for items 0 … size − 1. */
  grow(size: number): void {
    if (size <= this.#stamps.length) return
    const grown = new Int32Array(Math.max(size, 2 * this.#stamps.length))
    grown.set(this.#stamps)
    this.#stamps = grown
  }

  clear(): void {
    if (this.#stamp === 0x7fffffff) {
      this.#stamps.fill(0)
      this.#stamp = 0
    }
    this.#stamp++
  }

  add(item: number): void {
    this.#stamps[item] = this.#stamp
  }

  has(item: number): boolean {
    return this.#stamps[item] === this.#stamp
  }
}
