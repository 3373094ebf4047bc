// Time as an argument: domain code never asks the machine what time it is, and a loop never waits but by its clock.

import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  nowMs(): number
}

/** What the loop of a stage runs by. A test that replaces it decides when the loop goes on (test/simulate). */
export interface StageClock extends Clock {
  /** Resolves after `ms`, or as soon as the signal aborts; never rejects. 0: at the next turn of the event loop, after all I/O that is ready. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: StageClock = {
  nowMs: () => Date.now(),
  sleep: (ms, signal) => (ms === 0 ? nextTurn() : pause(ms, undefined, { signal }).catch(() => {}))
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
