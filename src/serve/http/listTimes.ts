// Counts the lists that a process answered, with the times of the newest ones.

import type { AnswerNumbers } from '../answers.ts'

/** Newest lists that the quantiles are taken of: p99 is then the tenth slowest. */
const timesMax = 1000

export class ListTimes {
  readonly #times = new Float64Array(timesMax) // a ring
  #lists = 0

  add(ms: number): void {
    this.#times[this.#lists++ % timesMax] = ms
  }

  numbers(): Omit<AnswerNumbers, 'events'> {
    if (this.#lists === 0) return { lists: 0 }
    const sorted = this.#times.slice(0, Math.min(this.#lists, timesMax)).sort()
    const quantile = (q: number) =>
      Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]! * 100) / 100
    return { lists: this.#lists, p50Ms: quantile(0.5), p99Ms: quantile(0.99) }
  }
}
