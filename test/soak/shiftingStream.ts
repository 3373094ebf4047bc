// A stream that never ends and never grows: a fixed number of users, and items that keep coming while as many are
// forgotten.

import { Rng } from '../../src/core/rng.ts'
import type { Example } from '../../src/records/example.ts'
import type { SequenceStep } from '../../src/records/userSequence.ts'

export interface ShiftingStreamOptions {
  readonly users: number
  /** Items that are taken at one time. */
  readonly items: number
  readonly historyMax: number
  readonly seed: number
}

/** Clicks after which the oldest item is gone and a new one has come. */
const clicksPerItem = 50

export class ShiftingStream {
  readonly #options: ShiftingStreamOptions
  readonly #rng: Rng
  readonly #windows: SequenceStep[][]
  #clicks = 0

  constructor(options: ShiftingStreamOptions) {
    this.#options = options
    this.#rng = new Rng(options.seed)
    this.#windows = Array.from({ length: options.users }, () => [])
  }

  /** So many examples: users by chance, items by N^u (u uniform) among those there are. */
  next(count: number): Example[] {
    const { users, items, historyMax } = this.#options
    const examples: Example[] = []
    while (examples.length < count) {
      const user = this.#rng.integer(users)
      const newest = Math.floor(this.#clicks / clicksPerItem) + items
      const item = newest - Math.floor(items ** this.#rng.uniform())
      const target = { itemId: `item-${item}`, type: 'click', eventTimeMs: 1e12 + 1000 * this.#clicks++ }
      const window = this.#windows[user]!
      if (window.length > 0)
        examples.push({
          userId: `user-${user}`,
          history: [...window],
          target,
          source: { partition: 0, offset: BigInt(this.#clicks) },
          weight: 1
        })
      window.push(target)
      if (window.length > historyMax) window.shift()
    }
    return examples
  }
}
