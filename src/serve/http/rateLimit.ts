// A limit on the requests of each token: a bucket that is filled at a constant rate, from which every request takes one.

import type { Clock } from '../../core/clock.ts'
import { ProblemError } from './problem.ts'

/** A full bucket holds the requests of so many seconds: a page that asks for several lists at once is no abuse. */
const burstSeconds = 10

interface Bucket {
  level: number
  atMs: number
}

export class RateLimit {
  readonly #perSecond: number
  readonly #clock: Clock
  /** As many as there are tokens. */
  readonly #buckets = new Map<string, Bucket>()

  /** @param perSecond 0: no limit */
  constructor(perSecond: number, clock: Clock) {
    this.#perSecond = perSecond
    this.#clock = clock
  }

  /** @param client name of a token @throws ProblemError 429 where its bucket is empty */
  take(client: string): void {
    if (this.#perSecond === 0) return
    const full = Math.max(1, this.#perSecond * burstSeconds)
    const nowMs = this.#clock.nowMs()
    const { level, atMs } = this.#buckets.get(client) ?? { level: full, atMs: nowMs }
    // A clock that was set back fills no bucket, and empties none.
    const filled = Math.min(full, level + (Math.max(0, nowMs - atMs) / 1000) * this.#perSecond)
    this.#buckets.set(client, { level: filled >= 1 ? filled - 1 : filled, atMs: nowMs })
    if (filled >= 1) return
    const seconds = Math.ceil((1 - filled) / this.#perSecond)
    throw new ProblemError(
      429,
      `more than ${this.#perSecond} requests a second with this token (serve.requestsPerSecond); try again in ${seconds} s`,
      { headers: { 'retry-after': `${seconds}` } }
    )
  }
}
