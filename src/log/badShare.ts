// Whether most records of a topic are bad: then the schema or the mapping is wrong, and the stage must stop before the
// whole stream is dead-lettered.

/** How many of the newest records the share is taken over: enough that a few dozen bad ones in a row stop nothing. */
export const badWindow = 1000

export class BadShare {
  readonly #max: number
  readonly #recent = new Uint8Array(badWindow)
  #at = 0
  #seen = 0
  #bad = 0

  /** @param max share of bad records in a full window above which `exceeded` is true; 1 is never */
  constructor(max: number) {
    this.#max = max
  }

  note(bad: boolean): void {
    this.#bad += Number(bad) - this.#recent[this.#at]!
    this.#recent[this.#at] = Number(bad)
    this.#at = (this.#at + 1) % badWindow
    if (this.#seen < badWindow) this.#seen++
  }

  /** Of the last `badWindow` records. */
  get bad(): number {
    return this.#bad
  }

  get exceeded(): boolean {
    return this.#seen === badWindow && this.#bad / badWindow > this.#max
  }
}
