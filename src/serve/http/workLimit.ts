// Limits the lists that are made at a time, so that overload is rejected at once instead of queued.
//
// Lists wait for the same cores: the more are in work, the longer each takes. The limit follows measured times like the
// window of TCP: a list that took too long lowers it by a fifth, once per round of lists; one that was in time while
// the limit was nearly reached raises it by one per round. What is too long follows the time that a list takes with few
// others beside it, so that a far index, which answers late and many at a time, is not mistaken for overload.

import type { Metrics } from '../../monitor/metricsRegistry.ts'
import { ProblemError } from './problem.ts'

/**
 * Time within which a list should be made, or twice the time of a list with few beside it if that is longer. Lists in
 * work when the limit is lowered may take up to twice as long.
 */
const inTimeMs = 50
/** Lists in work with which none of them waits for long. */
const few = 4
/** Weight of a new time in the mean of the times with few lists in work. */
const newest = 0.1
/** Lists in work that are always allowed, even if each one alone takes longer than that. */
const limitMin = 16
/** Before anything is measured. */
const limitStart = 64
const limitMax = 1000
const lowered = 0.8

export class WorkLimit {
  readonly #metrics: Pick<Metrics, 'shed'>
  readonly #nowMs: () => number
  #limit = limitStart
  #active = 0
  /** Mean time of a list that began with few in work; 0: none has ended. */
  #unloadedMs = 0
  #loweredAtMs = Number.NEGATIVE_INFINITY

  /** @param nowMs monotonic clock */
  constructor(metrics: Pick<Metrics, 'shed'>, nowMs: () => number = () => performance.now()) {
    this.#metrics = metrics
    this.#nowMs = nowMs
  }

  /**
   * @param lists made at a time by this work; the time of several is not measured
   * @throws ProblemError 503 without starting the work, where the limit is reached
   */
  async run<T>(work: () => Promise<T>, lists = 1): Promise<T> {
    if (this.#active + lists > this.#limit) {
      this.#metrics.shed.inc({ kind: 'read' })
      throw overloaded(`${this.#active} lists are being made already; more would delay all of them`)
    }
    this.#active += lists
    const [startedMs, active] = [this.#nowMs(), this.#active]
    try {
      return await work()
    } finally {
      this.#active -= lists
      if (lists === 1) this.#measure(startedMs, active)
    }
  }

  #measure(startedMs: number, active: number): void {
    const nowMs = this.#nowMs()
    const tookMs = nowMs - startedMs
    if (active <= few) this.#unloadedMs += (tookMs - this.#unloadedMs) * (this.#unloadedMs === 0 ? 1 : newest)
    if (tookMs <= Math.max(inTimeMs, 2 * this.#unloadedMs)) {
      if (active * 2 > this.#limit) this.#limit = Math.min(limitMax, this.#limit + 1 / this.#limit)
    } else if (startedMs > this.#loweredAtMs) {
      this.#limit = Math.max(limitMin, Math.floor(this.#limit * lowered))
      this.#loweredAtMs = nowMs
    }
  }
}

/** @param why text of the problem */
export function overloaded(why: string): ProblemError {
  return new ProblemError(503, `${why}; try again`, { headers: { 'retry-after': '1' } })
}
