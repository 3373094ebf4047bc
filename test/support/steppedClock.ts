// A clock whose waits end when the test moves it: a minute of waiting takes no time.

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { StageClock } from '../../src/core/clock.ts'

export class SteppedClock implements StageClock {
  #nowMs: number
  readonly #waiting = new Set<{ readonly atMs: number; readonly wake: () => void }>()

  constructor(startMs = 0) {
    this.#nowMs = startMs
  }

  nowMs(): number {
    return this.#nowMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = () => {
        signal?.removeEventListener('abort', wake)
        this.#waiting.delete(wait)
        resolve()
      }
      const wait = { atMs: this.#nowMs + ms, wake }
      this.#waiting.add(wait)
      signal?.addEventListener('abort', wake)
    })
  }

  /**
   * Moves on by `ms`; every wait that ends on the way ends at its own time, and what follows from it is done before the
   * next.
   */
  async pass(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms
    for (;;) {
      for (let i = 0; i < 3; i++) await nextTurn()
      const next = [...this.#waiting].sort((a, b) => a.atMs - b.atMs)[0]
      if (next === undefined || next.atMs > untilMs) break
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.wake()
    }
    this.#nowMs = untilMs
  }
}
