// One GET of a server: its answer, and how far its clock is from ours.

import type { Clock } from '../../../src/core/clock.ts'
import { UnavailableError } from '../../../src/core/errors.ts'

interface HttpProbe {
  readonly status: number
  /** Parsed; undefined where it is not JSON. */
  readonly body: unknown
  /**
   * How far the server's clock is ahead of ours, milliseconds: its `Date` header, which knows whole seconds, against
   * the middle of the request. Good to about a second and half of how long the answer took. undefined: it does not say.
   */
  readonly clockAheadMs: number | undefined
}

/** @throws UnavailableError with the address and the reason if there is no answer within `timeoutMs` */
export async function httpProbe(
  url: string,
  { clock, timeoutMs, headers = {} }: { clock: Clock; timeoutMs: number; headers?: Readonly<Record<string, string>> }
): Promise<HttpProbe> {
  const timeout = AbortSignal.timeout(timeoutMs)
  const beganMs = clock.nowMs()
  try {
    const response = await fetch(url, { headers, signal: timeout, redirect: 'manual' })
    const middleMs = (beganMs + clock.nowMs()) / 2
    const text = await response.text()
    const date = Date.parse(response.headers.get('date') ?? '')
    let body: unknown
    try {
      body = JSON.parse(text)
    } catch {
      // Not JSON: the caller sees that there is none.
    }
    // The header is cut to the second: on average the server's clock was half a second further.
    return { status: response.status, body, clockAheadMs: Number.isNaN(date) ? undefined : date + 500 - middleMs }
  } catch (error) {
    const { cause, message } = error as Error & { cause?: { code?: string; message?: string } }
    const why = timeout.aborted ? `no answer within ${timeoutMs} ms` : (cause?.code ?? cause?.message ?? message)
    throw new UnavailableError(`${new URL(url).origin} does not answer: ${why}`, { cause: error })
  }
}
