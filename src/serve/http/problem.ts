// Errors as application/problem+json (RFC 9457).

import { MtmiError } from '../../core/errors.ts'
import type { Problem } from '../answers.ts'

export const problemContentType = 'application/problem+json; charset=utf-8'

const problemKinds = {
  400: ['bad-request', 'The request cannot be understood'],
  401: ['unauthenticated', 'The client is not authenticated'],
  403: ['forbidden', 'The client may not do this'],
  404: ['not-found', 'The resource does not exist'],
  405: ['method-not-allowed', 'The resource does not support the method'],
  408: ['timeout', 'The request took too long to arrive'],
  413: ['too-large', 'The request is too large'],
  415: ['unsupported-media-type', 'The body is not JSON'],
  421: ['misdirected', 'The host name is not accepted'],
  429: ['too-many-requests', 'The client sends too many requests'],
  431: ['headers-too-large', 'The headers or the address are too large'],
  500: ['internal', 'The service failed'],
  503: ['unavailable', 'The service cannot answer now']
} as const

type ProblemStatus = keyof typeof problemKinds
/** `not-found` of `urn:mtmi:problem:not-found`. */
export type ProblemKind = (typeof problemKinds)[ProblemStatus][0]

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

/** Characters of a framework's message, which may repeat the whole address. */
const detailMax = 300

/** An index or a log that restarts is back within a few seconds. */
const retryLater = { headers: { 'retry-after': '2' } }

/** The answer to an error. `internal`: it is a bug or a fault of the service, and belongs in the log. */
export function problemOf(error: unknown): { error: ProblemError; internal: boolean } {
  const problem = clientProblem(error)
  if (problem !== undefined) return { error: problem, internal: false }
  return { error: new ProblemError(500, 'The request failed; the log has the reason'), internal: true }
}

function clientProblem(error: unknown): ProblemError | undefined {
  if (error instanceof ProblemError) return error
  if (error instanceof MtmiError && error.code === 'UNAVAILABLE')
    return new ProblemError(503, error.message, retryLater)
  if (error instanceof MtmiError && error.code === 'BAD_EVENT') return new ProblemError(400, error.message)
  // Errors of fastify.
  const {
    statusCode = 500,
    message = '',
    code
  } = (error ?? {}) as Partial<Record<'message' | 'code', string>> & {
    statusCode?: number
  }
  if (code === 'FST_ERR_HANDLER_TIMEOUT') return new ProblemError(503, 'The answer took too long', retryLater)
  if (statusCode < 400 || statusCode >= 500) return undefined
  return new ProblemError(statusCode in problemKinds ? (statusCode as ProblemStatus) : 400, message.slice(0, detailMax))
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

/** A value as an error repeats it: short, and with its type visible. */
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
