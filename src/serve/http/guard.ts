// What a request must pass before its route answers: a free slot, a known host name and origin, a token with
// requests left, and a body that arrives in time. In this order, before the body is read.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../../core/clock.ts'
import type { ServeOptions } from '../../core/config/config.ts'
import type { httpRequestKinds } from '../../monitor/metrics.ts'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import { type Access, neededRole } from './access.ts'
import { pathOf } from './httpApp.ts'
import { Origins } from './origins.ts'
import { ProblemError } from './problem.ts'
import { RateLimit } from './rateLimit.ts'
import { overloaded } from './workLimit.ts'

interface GuardParts {
  readonly access: Access
  readonly options: Pick<ServeOptions, 'hosts' | 'corsOrigins' | 'requestsPerSecond'>
  readonly clock: Clock
  /** Requests of each kind that are answered at a time. */
  readonly activeMax: number
  readonly metrics: Metrics
  /** How long a body may take to arrive. */
  readonly arrivalMaxMs: number
}

/** By the status of what is wrong with a token. */
const reasons: Partial<Record<number, 'forbidden' | 'rate'>> = { 403: 'forbidden', 429: 'rate' }

type RequestKind = (typeof httpRequestKinds)[number]

/** Must come before the routes. */
export function addGuard(
  app: FastifyInstance,
  { access, options, clock, activeMax, metrics, arrivalMaxMs }: GuardParts
): void {
  const origins = new Origins(options, access.on)
  const routes = addPreflights(app, origins)
  const slots = new Slots(activeMax, metrics)
  const limit = new RateLimit(options.requestsPerSecond, clock)

  app.setNotFoundHandler((request) => {
    throw noSuchRoute(request, routes)
  })
  app.addHook('onRequest', async (request, reply) => {
    const role = neededRole(request.routeOptions.url ?? '')
    slots.take(reply, role ?? 'other')
    const { method, headers } = request
    counted('host', () => origins.checkHost(headers.host))
    // Here, because the handler of unknown routes runs after the body has been read, and its errors would come first.
    if (request.is404) throw noSuchRoute(request, routes)
    reply.headers(origins.answerHeaders(role, headers.origin))
    // A browser sends a preflight without the token.
    if (method === 'OPTIONS') return
    counted('origin', () => origins.checkOrigin(method, role, headers))
    if (role !== undefined) counted('token', () => limit.take(access.check(role, headers.authorization)))
    expectBody(request, reply, arrivalMaxMs)
  })

  /** Counts what `check` rejects. */
  function counted(what: 'host' | 'origin' | 'token', check: () => void): void {
    try {
      check()
    } catch (error) {
      if (error instanceof ProblemError)
        metrics.denied.inc({ reason: what === 'token' ? (reasons[error.status] ?? 'unauthenticated') : what })
      throw error
    }
  }
}

/** Limits the requests of each kind that are answered at a time, bodies that still arrive included: for memory. */
class Slots {
  readonly #active = new Map<RequestKind, number>()
  readonly #max: number
  readonly #metrics: Metrics

  constructor(max: number, metrics: Metrics) {
    this.#max = max
    this.#metrics = metrics
  }

  /** Until the answer is sent, or the client is gone. @throws ProblemError 503 where all slots of the kind are taken */
  take(reply: FastifyReply, kind: RequestKind): void {
    this.#add(kind, 1)
    // Emitted once, after an answer and after an abort.
    reply.raw.once('close', () => this.#add(kind, -1))
    if (kind === 'other' || this.#active.get(kind)! <= this.#max) return
    this.#metrics.shed.inc({ kind })
    throw overloaded(`${this.#max} requests of this kind are being answered already`)
  }

  #add(kind: RequestKind, by: number): void {
    const active = (this.#active.get(kind) ?? 0) + by
    this.#active.set(kind, active)
    this.#metrics.httpActive.set({ kind }, active)
  }
}

/**
 * Answers preflight requests for every route that pages of other origins may use.
 * @returns the methods of each route, filled as routes are added
 */
function addPreflights(app: FastifyInstance, origins: Origins): ReadonlyMap<string, readonly string[]> {
  const routes = new Map<string, string[]>()
  app.addHook('onRoute', ({ url, method }) => {
    const role = neededRole(url)
    const isFirst = !routes.has(url)
    routes.set(url, [...(routes.get(url) ?? []), ...[method].flat()])
    if (!isFirst || !origins.crossOrigin(role)) return
    app.options(url, { schema: { hide: true } }, async ({ headers }, reply) =>
      reply
        .code(204)
        .headers(origins.preflightHeaders(routes.get(url)!, role, headers.origin))
        .send()
    )
  })
  return routes
}

/** Answers 408 where the body does not arrive in time, so that a client that stops half-way frees its slot. */
function expectBody({ raw, headers }: FastifyRequest, reply: FastifyReply, arrivalMaxMs: number): void {
  if (headers['transfer-encoding'] === undefined && !(Number(headers['content-length']) > 0)) return
  const timer = setTimeout(() => {
    if (raw.complete || reply.sent) return
    reply
      .header('connection', 'close')
      .send(new ProblemError(408, `the body did not arrive within ${arrivalMaxMs / 1000} s`))
  }, arrivalMaxMs)
  reply.raw.once('close', () => clearTimeout(timer))
}

/** 405 where the path exists with other methods, 404 otherwise. */
function noSuchRoute(request: FastifyRequest, routes: ReadonlyMap<string, readonly string[]>): ProblemError {
  const path = pathOf(request)
  for (const [pattern, methods] of routes) {
    if (!new RegExp(`^${pattern.replaceAll('.', '\\.').replace(/:[a-z]+/g, '[^/]+')}$`).test(path)) continue
    const allow = methods.join(', ')
    return new ProblemError(405, `${request.method} is not for ${pattern}; allowed: ${allow}`, { headers: { allow } })
  }
  return new ProblemError(404, `there is nothing at ${path.slice(0, 200)}; /openapi.json lists what there is`)
}
