// What went wrong with a request, as application/problem+json (RFC 9457).

import { MtmiError } from '../../core/errors.ts'

export const problemContentType = 'application/problem+json; charset=utf-8'

export interface Problem {
  /** Names the kind for machines; stable. */
  readonly type: string
  /** The same for every problem of a type. */
  readonly title: string
  readonly status: number
  /** What was wrong this time: with which value, and what to do. */
  readonly detail: string
  /** Path of the request. */
  readonly instance?: string
  /** Everything that was wrong, where it may be more than one thing. */
  readonly problems?: readonly string[]
  /** Finds the log line of an internal error. */
  readonly requestId?: string
}

export const problemKinds = {
  400: ['bad-request', 'The request cannot be understood'],
  401: ['unauthenticated', 'Who asks is not known'],
  403: ['forbidden', 'Who asks may not do this'],
  404: ['not-found', 'There is no such thing'],
  405: ['method-not-allowed', 'The method is not for this resource'],
  408: ['timeout', 'The request took too long to arrive'],
  413: ['too-large', 'The request is too large'],
  415: ['unsupported-media-type', 'The body is not JSON'],
  421: ['misdirected', 'This host name is not answered'],
  431: ['headers-too-large', 'The headers or the address are too large'],
  500: ['internal', 'Something went wrong on our side'],
  503: ['unavailable', 'The service cannot answer now']
} as const

export type ProblemStatus = keyof typeof problemKinds

/** Thrown by a handler to answer with a problem. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly status: ProblemStatus
  readonly problems: readonly string[] | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: ProblemStatus,
    detail: string,
    options: { readonly problems?: readonly string[]; readonly headers?: Readonly<Record<string, string>> } = {}
  ) {
    super(detail)
    this.status = status
    this.problems = options.problems
    this.headers = options.headers ?? {}
  }
}

/** Of a framework's message, which may repeat the whole address. */
const detailMax = 300

/** Seconds after which a caller may try again: an index or a log that restarts is back within a few. */
const retryAfterSeconds = '2'

/**
 * The problem that an error is to its caller. `internal`: it is our bug or nobody's fault of theirs, and belongs into
 * the log.
 */
export function problemOf(error: unknown): { error: ProblemError; internal: boolean } {
  if (error instanceof ProblemError) return { error, internal: false }
  if (error instanceof MtmiError) {
    if (error.code === 'UNAVAILABLE') {
      return {
        error: new ProblemError(503, error.message, { headers: { 'retry-after': retryAfterSeconds } }),
        internal: false
      }
    }
    if (error.code === 'BAD_EVENT') return { error: new ProblemError(400, error.message), internal: false }
  }
  const {
    statusCode = 500,
    message = '',
    code
  } = (error ?? {}) as { statusCode?: number; message?: string; code?: string }
  if (code === 'FST_ERR_HANDLER_TIMEOUT')
    return {
      error: new ProblemError(503, 'The answer took too long', { headers: { 'retry-after': retryAfterSeconds } }),
      internal: false
    }
  if (statusCode >= 400 && statusCode < 500)
    return {
      error: new ProblemError(
        statusCode in problemKinds ? (statusCode as ProblemStatus) : 400,
        message.slice(0, detailMax)
      ),
      internal: false
    }
  return { error: new ProblemError(500, 'The request failed; the log says why'), internal: true }
}

export function problemBody(
  { status, message, problems }: ProblemError,
  where: { instance?: string; requestId?: string } = {}
): Problem {
  const [kind, title] = problemKinds[status]
  return {
    type: `urn:mtmi:problem:${kind}`,
    title,
    status,
    detail: message,
    ...where,
    ...(problems === undefined ? {} : { problems })
  }
}

/** A value as it may be repeated to who sent it: short, and with its type visible. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text =
    typeof value === 'object' && value !== null
      ? Array.isArray(value)
        ? 'a list'
        : 'an object'
      : (JSON.stringify(value) ?? String(value))
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}
