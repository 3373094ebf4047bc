// Requests to Qdrant with bounded concurrency, retries, and errors in the product's terms.
//
// Any request may be sent twice: writes are idempotent, because they carry their step.

import { setTimeout as pause } from 'node:timers/promises'
import { QdrantClient } from '@qdrant/js-client-rest'
import type { Clock } from '../../core/clock.ts'
import { ConfigError, MtmiError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'
import type { Rng } from '../../core/rng.ts'
import type { MetricsReport } from '../../monitor/metrics.ts'
import { type QdrantOptions, withLimits } from './qdrantOptions.ts'

export interface QdrantParts {
  readonly clock: Clock
  /** Spreads the retries of many processes. */
  readonly rng: Rng
  /** Called with each failed attempt that is followed by another. */
  readonly onProblem?: ((message: string) => void) | undefined
  readonly measure?: ((report: MetricsReport) => void) | undefined
}

/** The server has no such collection, or not the point that a query starts from. */
export class NotInQdrantError extends MtmiError {
  override readonly name = 'NotInQdrantError'
  constructor(message: string) {
    super('UNAVAILABLE', message)
  }
}

const retryFirstMs = 100
const retryLongestMs = 5000
/** The oldest server with `update_filter`. An older one ignores it, and old writes would replace new ones. */
const versionMin: readonly [number, number] = [1, 16]

type Kind = 'read' | 'write'

export class QdrantRequests {
  readonly #options: Required<QdrantOptions>
  readonly #parts: QdrantParts
  readonly #clients: Readonly<Record<Kind, QdrantClient>>
  readonly #closed = new AbortController()
  readonly #waiting: (() => void)[] = []
  #writing = 0
  #version: Promise<string> | undefined
  #open = 0
  #onQuiet: (() => void) | undefined

  constructor(options: QdrantOptions, parts: QdrantParts) {
    this.#options = withLimits(options)
    this.#parts = parts
    const { url, apiKey, timeoutMs, searchTimeoutMs, connectionsMax } = this.#options
    const { port, protocol, pathname } = new URL(url)
    // identity: answers in gzip cost a stall of some 44 ms each.
    const headers = { 'accept-encoding': 'identity', ...(apiKey === '' ? {} : { 'api-key': apiKey }) }
    const client = (timeout: number) =>
      new QdrantClient({
        url: url.replace(/\/+$/, ''),
        port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
        ...(pathname === '/' ? {} : { prefix: pathname }),
        timeout,
        headers,
        maxConnections: connectionsMax,
        checkCompatibility: false
      })
    this.#clients = { read: client(searchTimeoutMs), write: client(timeoutMs) }
  }

  /** A query with a client waiting. @throws NotInQdrantError; UnavailableError after `searchRetryMs`; ConfigError */
  read<T>(what: string, request: (client: QdrantClient) => Promise<T>): Promise<T> {
    return this.#attempts('read', what, request)
  }

  /** A write, or a query that may be retried as long. At most `concurrency` at a time, in order. */
  async write<T>(what: string, request: (client: QdrantClient) => Promise<T>): Promise<T> {
    while (this.#writing >= this.#options.concurrency) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#writing++
    try {
      return await this.#attempts('write', what, request)
    } finally {
      this.#writing--
      this.#waiting.shift()?.()
    }
  }

  /** The server's version. @throws ConfigError if it is too old */
  version(): Promise<string> {
    this.#version ??= handledLater(
      this.write('ask for the version', (client) => client.versionInfo()).then(({ version }) => {
        const [major = 0, minor = 0] = version.split('.').map(Number)
        if (major < versionMin[0] || (major === versionMin[0] && minor < versionMin[1])) {
          throw new ConfigError([
            `Qdrant at ${this.#options.url} is version ${version}; ${versionMin.join('.')} or later is needed: an older one ignores conditions on writes`
          ])
        }
        return version
      })
    )
    // The caller gets the error; the next caller tries again.
    this.#version.catch(() => {
      this.#version = undefined
    })
    return this.#version
  }

  /** Waits for requests that were sent; those that wait for another attempt fail. */
  async close(): Promise<void> {
    this.#closed.abort()
    if (this.#open > 0) await new Promise<void>((resolve) => (this.#onQuiet = resolve))
  }

  async #attempts<T>(kind: Kind, what: string, request: (client: QdrantClient) => Promise<T>): Promise<T> {
    const { clock, rng, onProblem } = this.#parts
    const { url, retryMs, searchRetryMs } = this.#options
    const longestMs = kind === 'read' ? searchRetryMs : retryMs
    const beganMs = clock.nowMs()
    this.#open++
    try {
      for (let attempt = 0; ; attempt++) {
        if (this.#closed.signal.aborted) throw new UnavailableError(`${what}: the index is closed`)
        const startedMs = clock.nowMs()
        try {
          const answer = await request(this.#clients[kind])
          this.#measured(kind, 'done', clock.nowMs() - startedMs)
          return answer
        } catch (error) {
          const failure = failureOf(error)
          if (!failure.again) {
            this.#measured(kind, 'refused', clock.nowMs() - startedMs)
            throw this.#refusal(what, failure)
          }
          const backoffMs =
            Math.min(retryLongestMs, retryFirstMs * 2 ** Math.min(attempt, 20)) * (0.5 + rng.uniform() / 2)
          const waitMs = Math.max(backoffMs, failure.waitMs ?? 0)
          const problem = `Qdrant at ${url} does not ${what}: ${failure.message}`
          const spentMs = clock.nowMs() - beganMs
          if (this.#closed.signal.aborted || spentMs + waitMs > longestMs) {
            this.#measured(kind, 'failed', clock.nowMs() - startedMs)
            throw new UnavailableError(
              `${problem} (${attempt + 1} attempts in ${Math.round(spentMs)} ms). Check that the server runs, and qdrant.url`,
              {
                cause: error
              }
            )
          }
          this.#measured(kind, 'retried', clock.nowMs() - startedMs)
          onProblem?.(`${problem}; trying again in ${Math.round(waitMs)} ms`)
          await pause(waitMs, undefined, { signal: this.#closed.signal }).catch(() => {}) // the next attempt sees that it is closed
        }
      }
    } finally {
      this.#open--
      if (this.#open === 0) this.#onQuiet?.()
    }
  }

  #refusal(what: string, { status, message }: Failure): Error {
    const { url } = this.#options
    if (status === 404) return new NotInQdrantError(`Qdrant at ${url} does not ${what}: ${message}`)
    if (status === 401 || status === 403) {
      return new ConfigError([`Qdrant at ${url} does not let us ${what} (${status}: ${message}): check qdrant.apiKey`])
    }
    return new ConfigError([`Qdrant at ${url} refuses to ${what} (${status ?? 'no status'}: ${message})`])
  }

  #measured(kind: Kind, outcome: 'done' | 'retried' | 'refused' | 'failed', tookMs: number): void {
    this.#parts.measure?.([
      { metric: 'indexRequests', labels: { kind, outcome }, value: 1 },
      { metric: 'indexRequestSeconds', labels: { kind }, values: [tookMs / 1000] }
    ])
  }
}

interface Failure {
  readonly again: boolean
  readonly status: number | undefined
  readonly message: string
  /** Requested by the server. */
  readonly waitMs?: number | undefined
}

/** Retried: connection lost or refused, timeout, too many requests, server error. Not retried: a refusal. */
function failureOf(error: unknown): Failure {
  const { name, message, status, data, retry_after, cause } = error as Error & {
    status?: number
    data?: { status?: { error?: string } }
    retry_after?: number
    cause?: { code?: string; message?: string }
  }
  if (name === 'QdrantClientTimeoutError') return { again: true, status: undefined, message: 'no answer in time' }
  if (name === 'QdrantClientResourceExhaustedError') {
    return { again: true, status: 429, message: 'too many requests', waitMs: (retry_after ?? 0) * 1000 }
  }
  if (typeof status === 'number') {
    const reason = data?.status?.error ?? message
    return { again: status === 408 || status === 429 || status >= 500, status, message: `${status}: ${reason}` }
  }
  // fetch gives the cause of a lost connection; an answer that is not JSON comes from a proxy.
  if (name === 'SyntaxError' || cause !== undefined) {
    return { again: true, status: undefined, message: cause?.code ?? cause?.message ?? message }
  }
  throw error
}
