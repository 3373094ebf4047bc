// A client of the HTTP API, for Node and browsers: `import { MtmiClient } from 'mtmi-stream/client'`. Nothing is imported
// at run time. Its methods are named after the operations of `/openapi.json`, and their types are those of the routes.

import type { z } from 'zod'
import type {
  ItemProfile,
  Items,
  Problem,
  Recommendations,
  readySchema,
  ServiceStatus,
  SessionRecommendations,
  Shape,
  SimilarItems,
  UserProfile,
  Users,
  VersionNumbers
} from './answers.ts'
import type { attributionSchema } from './attribution/attributionReport.ts'
import type { batchSchema, listsSchema } from './http/batchRoute.ts'
import type { deadLetterQuery, deadLettersSchema, replayedSchema, replaySchema } from './http/deadLetterRoutes.ts'
import type { acceptedSchema, eventSchema } from './http/eventRoutes.ts'
import type { changedSchema, contentSchema, patchSchema, postedItemSchema } from './http/itemRoutes.ts'
import type { listSchema, popularSchema, requestSchema, similarSchema } from './http/listSchemas.ts'
import type { itemQuery, itemsQuery, userQuery, usersQuery } from './http/lookupRoutes.ts'
import type { ProblemKind } from './http/problem.ts'

type Query<S extends z.ZodType> = Readonly<z.input<S>>
type Event = z.input<typeof eventSchema>

export interface MtmiClientOptions {
  /** Such as `http://127.0.0.1:8080`. */
  readonly url: string
  readonly token?: string
  /** Requests sent again after 503, 429, or no answer. Default 3. */
  readonly retries?: number
  /** For one attempt. Default 10 s. */
  readonly timeoutMs?: number
  readonly fetch?: typeof fetch
  /** Waits before a request is sent again. */
  readonly pause?: (ms: number) => Promise<void>
}

interface Request {
  readonly query?: object
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** What the service answered instead of a result. */
export class MtmiApiError extends Error {
  override readonly name = 'MtmiApiError'
  readonly problem: Problem
  readonly retryAfterSeconds: number | undefined

  constructor(problem: Problem, retryAfterSeconds?: number) {
    super(`${problem.title}: ${problem.detail}`)
    this.problem = problem
    this.retryAfterSeconds = retryAfterSeconds
  }

  get status(): number {
    return this.problem.status
  }

  /** `not-found` of `urn:mtmi:problem:not-found`; undefined: what answered was not this service. */
  get kind(): ProblemKind | undefined {
    return /^urn:mtmi:problem:([a-z-]+)$/.exec(this.problem.type)?.[1] as ProblemKind | undefined
  }
}

/** Longest pause before a request is sent again, whatever the service says. */
const pauseMaxMs = 30_000
const firstPauseMs = 200

export class MtmiClient {
  readonly #options: Required<Omit<MtmiClientOptions, 'token'>> & Pick<MtmiClientOptions, 'token'>

  constructor(options: MtmiClientOptions) {
    this.#options = {
      ...{ retries: 3, timeoutMs: 10_000, fetch: globalThis.fetch.bind(globalThis) },
      pause: (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)),
      ...options
    }
  }

  recommend(userId: string, query: Query<typeof listSchema> = {}): Promise<Recommendations> {
    return this.#json('GET', `/v1/users/${encodeURIComponent(userId)}/recommendations`, { query })
  }

  popular(query: Query<typeof popularSchema> = {}): Promise<SessionRecommendations> {
    return this.#json('GET', '/v1/popular', { query })
  }

  similar(itemId: string, query: Query<typeof similarSchema> = {}): Promise<SimilarItems> {
    return this.#json('GET', `/v1/items/${encodeURIComponent(itemId)}/similar`, { query })
  }

  recommendByBody(body: Query<typeof requestSchema>): Promise<SessionRecommendations> {
    return this.#json('POST', '/v1/recommendations', { body })
  }

  recommendBatch(body: Query<typeof batchSchema>): Promise<Shape<typeof listsSchema>> {
    return this.#json('POST', '/v1/recommendations/batch', { body })
  }

  /** Each event counts once, also where the request had to be sent again. @param idempotencyKey default: a random one */
  postEvents(
    body: Event | readonly Event[],
    idempotencyKey: string = crypto.randomUUID()
  ): Promise<Shape<typeof acceptedSchema>> {
    return this.#json('POST', '/v1/events', { body, headers: { 'idempotency-key': idempotencyKey } })
  }

  erase(userId: string): Promise<{ readonly userId: string }> {
    return this.#json('DELETE', `/v1/users/${encodeURIComponent(userId)}`)
  }

  putItem(itemId: string, body: Query<typeof contentSchema>): Promise<Shape<typeof changedSchema>> {
    return this.#json('PUT', `/v1/items/${encodeURIComponent(itemId)}`, { body })
  }

  patchItem(itemId: string, body: Query<typeof patchSchema>): Promise<Shape<typeof changedSchema>> {
    return this.#json('PATCH', `/v1/items/${encodeURIComponent(itemId)}`, { body })
  }

  postItems(body: readonly Query<typeof postedItemSchema>[]): Promise<Shape<typeof changedSchema>> {
    return this.#json('POST', '/v1/items', { body })
  }

  deleteItem(itemId: string): Promise<Shape<typeof changedSchema>> {
    return this.#json('DELETE', `/v1/items/${encodeURIComponent(itemId)}`)
  }

  users(query: Query<typeof usersQuery> = {}): Promise<Users> {
    return this.#json('GET', '/v1/users', { query })
  }

  user(userId: string, query: Query<typeof userQuery> = {}): Promise<UserProfile> {
    return this.#json('GET', `/v1/users/${encodeURIComponent(userId)}`, { query })
  }

  items(query: Query<typeof itemsQuery> = {}): Promise<Items> {
    return this.#json('GET', '/v1/items', { query })
  }

  item(itemId: string, query: Query<typeof itemQuery> = {}): Promise<ItemProfile> {
    return this.#json('GET', `/v1/items/${encodeURIComponent(itemId)}`, { query })
  }

  attribution(query: { readonly variant?: string } = {}): Promise<Shape<typeof attributionSchema>> {
    return this.#json('GET', '/v1/attribution', { query })
  }

  deadLetters(query: Query<typeof deadLetterQuery> = {}): Promise<Shape<typeof deadLettersSchema>> {
    return this.#json('GET', '/v1/dead-letters', { query })
  }

  replayDeadLetters(body: Query<typeof replaySchema>): Promise<Shape<typeof replayedSchema>> {
    return this.#json('POST', '/v1/dead-letters', { body })
  }

  status(): Promise<ServiceStatus> {
    return this.#json('GET', '/v1/status')
  }

  versions(): Promise<VersionNumbers> {
    return this.#json('GET', '/v1/versions')
  }

  live(): Promise<{ readonly live: true }> {
    return this.#json('GET', '/livez')
  }

  /** @throws MtmiApiError 503 while it is not ready, without sending the request again */
  async ready(): Promise<Shape<typeof readySchema>> {
    return (await this.#send('GET', '/readyz', {}, 0)).json() as Promise<Shape<typeof readySchema>>
  }

  /** Metrics for Prometheus, as text. */
  async metrics(): Promise<string> {
    return (await this.#send('GET', '/metrics', {})).text()
  }

  openApi(): Promise<Readonly<Record<string, unknown>>> {
    return this.#json('GET', '/openapi.json')
  }

  async #json<T>(method: string, path: string, request: Request = {}): Promise<T> {
    return (await this.#send(method, path, request)).json() as Promise<T>
  }

  /** @throws MtmiApiError for a problem, the error of `fetch` where there was no answer, each after the last attempt */
  async #send(method: string, path: string, request: Request, retries = this.#options.retries): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      let failure: unknown
      let waitMs = firstPauseMs * 2 ** attempt
      try {
        const response = await this.#attempt(method, path, request)
        if (response.ok) return response
        const error = await errorOf(response)
        if (error.status !== 503 && error.status !== 429) throw error
        failure = error
        if (error.retryAfterSeconds !== undefined) waitMs = error.retryAfterSeconds * 1000
      } catch (error) {
        // Every request of this API may be sent again: see `postEvents`.
        if (error instanceof MtmiApiError) throw error
        failure = error
      }
      if (attempt >= retries) throw failure
      await this.#options.pause(Math.min(waitMs, pauseMaxMs))
    }
  }

  #attempt(method: string, path: string, { query, body, headers }: Request): Promise<Response> {
    const { url, token, timeoutMs, fetch } = this.#options
    return fetch(`${url.replace(/\/$/, '')}${path}${queryText(query)}`, {
      ...{ method, signal: AbortSignal.timeout(timeoutMs) },
      headers: {
        ...headers,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' })
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) })
    })
  }
}

async function errorOf(response: Response): Promise<MtmiApiError> {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  const text = await response.text()
  let problem: Problem = {
    ...{ type: 'about:blank', title: response.statusText || 'No success', status: response.status },
    detail: text.slice(0, 300)
  }
  if (response.headers.get('content-type')?.startsWith('application/problem+json') === true) problem = JSON.parse(text)
  return new MtmiApiError(problem, Number.isFinite(seconds) ? seconds : undefined)
}

/** A list is a parameter for each value, an object one for each field: `filter.genre=Comedy`. */
function queryText(query: object = {}): string {
  const parameters = new URLSearchParams()
  const add = (name: string, value: unknown): void => {
    if (value === undefined) return
    if (Array.isArray(value)) for (const one of value) add(name, one)
    else if (typeof value === 'object' && value !== null)
      for (const [field, one] of Object.entries(value)) add(`${name}.${field}`, one)
    else parameters.append(name, String(value))
  }
  for (const [name, value] of Object.entries(query)) add(name, value)
  const text = parameters.toString()
  return text === '' ? '' : `?${text}`
}
