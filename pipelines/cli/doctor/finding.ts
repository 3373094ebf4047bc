// What a look at one part came to.

import { setTimeout as after } from 'node:timers'
import { type ErrorCode, MtmiError, UnavailableError } from '../../../src/core/errors.ts'
import { handledLater } from '../../../src/core/promises.ts'

export interface Finding {
  readonly what: string
  readonly verdict: 'ok' | 'warning' | 'failed'
  readonly detail: string
  /** What to do about it. */
  readonly advice?: string
  /** Of a failure: who must act, as errors have it. Absent: UNAVAILABLE. */
  readonly code?: ErrorCode
}

export const fine = (what: string, detail: string): Finding => ({ what, verdict: 'ok', detail })
export const doubtful = (what: string, detail: string, advice: string): Finding => ({
  what,
  verdict: 'warning',
  detail,
  advice
})
export const failed = (what: string, detail: string, advice: string, code: ErrorCode = 'UNAVAILABLE'): Finding => ({
  ...{ what, verdict: 'failed', detail, advice, code }
})

/** What a part says when it cannot be looked at. Errors of ours name the value and the way out themselves. */
export function failure(what: string, error: unknown, advice: string): Finding {
  const code = error instanceof MtmiError ? error.code : 'UNAVAILABLE'
  return failed(what, (error as Error).message, advice, code)
}

/**
 * The findings of `look`, or one that says that they did not come in time: a doctor must not hang where a part does.
 */
export async function inTime(
  what: string,
  limitMs: number,
  advice: string,
  look: () => Promise<Finding[]>
): Promise<Finding[]> {
  let timer: NodeJS.Timeout | undefined
  const late = handledLater(
    new Promise<never>((_, reject) => {
      timer = after(() => reject(new UnavailableError(`no answer within ${limitMs / 1000} s`)), limitMs)
    })
  )
  try {
    const looking = handledLater(look())
    return await Promise.race([looking, late])
  } catch (error) {
    return [failure(what, error, advice)]
  } finally {
    clearTimeout(timer)
  }
}
