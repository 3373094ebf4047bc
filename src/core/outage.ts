// Retry with backoff of something that a loop depends on: one message when an outage begins, and one when it ends.

import type { StageClock } from './clock.ts'
import { MtmiError } from './errors.ts'

/** Between two attempts: the first wait and the longest. */
const waitMs = { first: 200, max: 10_000 }

interface OutageParts {
  /** What fails while it lasts, as a noun phrase: `writing to the index`. */
  readonly what: string
  readonly clock: StageClock
  /** Called when an outage begins, and when it ends. */
  readonly onProblem?: ((text: string) => void) | undefined
  /** Every failed attempt. */
  readonly onFailure?: (() => void) | undefined
}

export class Outage {
  readonly #parts: OutageParts
  #current: { readonly sinceMs: number; failures: number; message: string } | undefined

  constructor(parts: OutageParts) {
    this.#parts = parts
  }

  /** What fails, since when and why; undefined: no outage. */
  get text(): string | undefined {
    const { what } = this.#parts
    const current = this.#current
    return current && `${what} fails since ${new Date(current.sinceMs).toISOString()}: ${current.message}`
  }

  /** @returns milliseconds to wait before the next attempt: doubled each time, up to 10 s */
  failed(error: unknown): number {
    const { what, clock, onProblem, onFailure } = this.#parts
    const message = error instanceof Error ? error.message : String(error)
    onFailure?.()
    if (this.#current === undefined) {
      this.#current = { sinceMs: clock.nowMs(), failures: 0, message }
      onProblem?.(`${what} fails and is tried again: ${message}`)
    }
    this.#current.message = message
    return Math.min(waitMs.max, waitMs.first * 2 ** Math.min(this.#current.failures++, 10))
  }

  /** An attempt succeeded. */
  ended(): void {
    const { what, clock, onProblem } = this.#parts
    if (this.#current === undefined) return
    const { sinceMs, failures } = this.#current
    this.#current = undefined
    onProblem?.(
      `${what} works again after ${Math.round((clock.nowMs() - sinceMs) / 1000)} s and ${failures} failed attempts`
    )
  }

  /** Repeats `attempt` until it succeeds. @returns undefined if aborted before @throws what cannot be retried */
  async retry<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    while (!signal.aborted) {
      try {
        const answer = await attempt()
        this.ended()
        return answer
      } catch (error) {
        if (!(error instanceof MtmiError && error.canRetry)) throw error
        await this.#parts.clock.sleep(this.failed(error), signal)
      }
    }
    return undefined
  }
}
