// Time as an argument: domain code never reads the machine's time, and loops wait by their clock only.

import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  nowMs(): number
}

/** The clock of a stage's loop. A test that replaces it decides when the loop continues (test/simulate). */
export interface StageClock extends Clock {
  /**
   * Resolves after `ms`, or as soon as the signal aborts; never rejects. 0: at the next turn of the event loop, after
   * all I/O that is ready.
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/**
 * The wall clock without steps back: where it is set back, time continues at half speed until the wall clock has caught
 * up, so that waiting for an interval takes twice as long at most.
 *
 * @param wallMs milliseconds since the Unix epoch @param monotonicMs milliseconds since anything
 */
export function steadyClock(wallMs: () => number, monotonicMs: () => number): () => number {
  let lastMs = Number.NEGATIVE_INFINITY
  let lastMonotonicMs = 0
  return () => {
    const nowMonotonicMs = monotonicMs()
    lastMs = Math.max(wallMs(), lastMs + (nowMonotonicMs - lastMonotonicMs) / 2)
    lastMonotonicMs = nowMonotonicMs
    return Math.floor(lastMs)
  }
}

export const systemClock: StageClock = {
  nowMs: steadyClock(
    () => Date.now(),
    () => performance.now()
  ),
  sleep: (ms, signal) => (ms === 0 ? nextTurn() : pause(ms, undefined, { signal }).catch(() => {})) // rejects only when `signal` is aborted, which ends the wait
}

/** A clock that only the test moves; waiting takes real time. */
export class ManualClock implements StageClock {
  #nowMs: number
  constructor(startMs = 0) {
    this.#nowMs = startMs
  }
  nowMs(): number {
    return this.#nowMs
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return systemClock.sleep(ms, signal)
  }
  advance(byMs: number): void {
    this.#nowMs += byMs
  }
}
