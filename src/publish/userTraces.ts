// Traces of the events that a user's next vectors answer, until they are written. Bounded: a user whose items the model
// never learns gets none.

import type { StageLogger } from '../monitor/stageLogger.ts'
import { goOnTracing } from '../monitor/tracing.ts'
import type { UserId } from '../records/interaction.ts'
import { mergeTraces, type Traces } from '../records/traceContext.ts'
import type { UserReport } from './publisherReport.ts'

/** Users. Beyond it the one that was noted first is dropped. */
const usersMax = 10_000

interface WaitingTrace {
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

  /**
   * Ends the traces of users that were written. @param isWaiting a user who has acted again: which of the events these
   * vectors answer is then unknown
   */
  end(
    { answeredIds, indexVersion, step }: UserReport,
    isWaiting: (userId: UserId) => boolean,
    config: Parameters<typeof goOnTracing>[0],
    logger: StageLogger | undefined
  ): void {
    if (this.size === 0) return
    for (const userId of answeredIds) {
      const waiting = isWaiting(userId) ? undefined : this.take(userId)
      if (waiting === undefined) continue
      const attributes = { indexVersion, step }
      const span = goOnTracing(config, 'mtmi publish', { kind: 'consumer', ...waiting, attributes })
      span.end()
      logger?.info({ model: `${indexVersion}@${step}`, ...span.fields }, 'vectors published')
    }
  }
}
