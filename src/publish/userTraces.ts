// Traces of users whose vectors are still to be made, until they are: bounded, for a user whose items the model never
// learns is never answered.

import type { UserId } from '../records/interaction.ts'
import { mergeTraces, type Traces } from '../records/traceContext.ts'

/** Users; beyond, the one that was noted first is forgotten. */
const usersMax = 10_000

export interface WaitingTrace {
  readonly traces: Traces
  /** When the oldest of its records was read, milliseconds. */
  readonly startMs: number
}

export class UserTraces {
  readonly #waiting = new Map<UserId, WaitingTrace>()

  note(userId: UserId, traces: Traces, nowMs: number): void {
    const before = this.#waiting.get(userId)
    const merged = before === undefined ? traces : mergeTraces([before.traces, traces])!
    this.#waiting.set(userId, { traces: merged, startMs: before?.startMs ?? nowMs })
    if (this.#waiting.size > usersMax) this.#waiting.delete(this.#waiting.keys().next().value!)
  }

  /** undefined: none of the events that the user's vectors answer was traced. */
  take(userId: UserId): WaitingTrace | undefined {
    const waiting = this.#waiting.get(userId)
    this.#waiting.delete(userId)
    return waiting
  }

  get size(): number {
    return this.#waiting.size
  }
}
