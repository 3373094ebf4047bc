// Recommendations, similar items and events over HTTP; health, metrics and a description of itself beside them.
//
// Searching and learning happen on other threads: a handler here checks, asks, and answers. Every error is
// application/problem+json.

import { randomUUID } from 'node:crypto'
import { type RequestListener, STATUS_CODES } from 'node:http'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { Account, type Outcome } from '../../core/account.ts'
import type { Clock } from '../../core/clock.ts'
import type { ServeOptions } from '../../core/config/config.ts'
import { AccountMeter } from '../../monitor/accountMetrics.ts'
import { type httpRequestKinds, httpRoutes } from '../../monitor/metrics.ts'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import { idBytesMax } from '../../records/admission.ts'
import type { Interaction, UserId } from '../../records/interaction.ts'
import { noKnownItem, type Recommender } from '../recommender.ts'
import type { SessionEncoder } from '../sessionEncoder.ts'
import { Access, checkExposure, neededRole } from './access.ts'
import { BoundPort } from './boundPort.ts'
import { loadConsoleFiles } from './consoleFiles.ts'
import { addConsoleRoutes, addLookupRoutes, type LookupParts } from './consoleRoutes.ts'
import { AnswerCount } from './consoleStatus.ts'
import { limitMax, listQuery, pathId, postedEvents, postedHistory } from './httpServiceInput.ts'
import { openApi } from './openapi.ts'
import { Origins } from './origins.ts'
import { addProbeRoutes } from './probeRoutes.ts'
import { ProblemError, problemBody, problemContentType, problemOf } from './problem.ts'
import type { Readiness } from './readiness.ts'

/** pino's way round. */
export interface ServiceLogger {
  error(fields: Readonly<Record<string, unknown>>, message: string): void
}

/** Of a request's body: an event has about 200 bytes. */
const bodyMaxBytes = 1024 * 1024

export interface HttpServiceParts {
  readonly recommender: Pick<Recommender, 'recommend' | 'similar' | 'recommendFor' | 'popular'>
  /**
   * Resolves when the interactions are durable. `traceparent`: the request's header, as it came. @throws
   * UnavailableError if they cannot be made so now
   */
  readonly accept: (interactions: readonly Interaction[], traceparent: string | undefined) => Promise<void>
  /**
   * Resolves when it is durable that the user is to be erased. @throws UnavailableError if that cannot be made so now
   */
  readonly erase: (userId: UserId) => Promise<void>
  readonly readiness: () => Readiness
  readonly metrics: Metrics
  readonly options: ServeOptions
  readonly clock: Clock
  /**
   * What an event without a time of its own is dated by: the stream's clock, where a recorded stream is replayed.
   * Default: `clock`.
   */
  readonly eventClock?: Clock
  readonly logger?: ServiceLogger
  readonly newEventId?: () => string
  /** `events.futureMaxMs`: an event further ahead is refused here, where its producer sees it. */
  readonly futureMaxMs?: number
  /** With it, sessions that are not stored are answered: `POST /v1/recommendations`. */
  readonly sessions?: SessionEncoder
  /**
   * With it, users, items and the state of the flow can be looked at, and there is a page for people at `/`; unless
   * `options.console` is off.
   */
  readonly lookup?: LookupParts
  /** Of the program. */
  readonly version?: string
  /**
   * How long `close` waits for requests that are being answered. Default 10 s: within the 30 s that supervisors wait
   * before they kill.
   */
  readonly drainMaxMs?: number
  /** How long the body of a request may take to arrive. Default 10 s: a megabyte at 100 kB/s. */
  readonly arrivalMaxMs?: number
  /** Bound already; default: `listen` binds `options.host` and `options.port`. */
  readonly port?: BoundPort
}

export interface HttpService {
  readonly app: FastifyInstance
  /**
   * Answers on the port. @returns its URL @throws UnavailableError if the port is taken, ConfigError if the address
   * cannot be used
   */
  listen(): Promise<string>
  /** Stops accepting, lets running requests finish within `drainMaxMs`, then cuts them. */
  close(): Promise<void>
}

/** For a request to arrive, and to be answered: after that its caller has long gone. */
const timeoutMs = 30_000
/** Characters of the path that an answer repeats. */
const instanceMax = 512
/** Each byte of an id may be `%XX` in the path. */
const pathIdLengthMax = idBytesMax * 3

/** @throws UnavailableError if the port is taken, ConfigError if the address cannot be used */
export async function bindServePort({ host, port }: Pick<ServeOptions, 'host' | 'port'>): Promise<BoundPort> {
  return servePort({ host, port }).bind()
}

function servePort({ host, port }: Pick<ServeOptions, 'host' | 'port'>): BoundPort {
  return new BoundPort({ host, port, section: 'serve', requestTimeoutMs: timeoutMs })
}

export function createHttpService(parts: HttpServiceParts): HttpService {
  const { recommender, metrics, options, clock, eventClock = clock, sessions, logger, version = '0.0.0' } = parts
  const { drainMaxMs = 10_000, arrivalMaxMs = 10_000 } = parts
  const { activeMax } = options
  const access = new Access(options)
  const lookup = options.console ? parts.lookup : undefined
  const consoleFiles = lookup === undefined ? undefined : loadConsoleFiles()
  const described = {
    tokens: access.on,
    historyRoute: sessions !== undefined,
    lookups: lookup !== undefined,
    console: consoleFiles !== undefined
  }
  const description = JSON.stringify(openApi({ limitMax, version, ...described }))
  const answers = new AnswerCount()
  const origins = new Origins(options, access.on)
  const active = new Map<RequestKind, number>()
  const posted = new Account('serve')
  const postedMeter = new AccountMeter(posted.numbers())
  let postedWaiting = 0
  /** @param outcome undefined: they have come in */
  const notePosted = (count: number, outcome?: Outcome<'serve'>) => {
    if (outcome === undefined) posted.read(count)
    else posted.add(outcome, count)
    postedWaiting += outcome === undefined ? count : -count
    metrics.apply(postedMeter.entries(posted.numbers(postedWaiting)))
  }
  let closing = false
  const port = parts.port ?? servePort(options)
  let handler: RequestListener | undefined

  const app = fastify({
    serverFactory: (own) => {
      handler = own
      return port.server
    },
    bodyLimit: bodyMaxBytes,
    routerOptions: { maxParamLength: pathIdLengthMax },
    requestTimeout: timeoutMs,
    handlerTimeout: timeoutMs,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    frameworkErrors: (error, request, reply) => {
      answer(error, request, reply)
    },
    clientErrorHandler(error, socket) {
      if (error.code === 'ECONNRESET' || !socket.writable) return
      const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400
      const body = JSON.stringify(
        problemBody(new ProblemError(status, 'This is not a request that HTTP/1.1 allows, or it took too long'))
      )
      const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: ${problemContentType}\r\n`
      socket.end(`${head}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`)
    }
  })
  // A body that claims to be text would be taken as such, and be sent by any web page without asking.
  app.removeContentTypeParser('text/plain')

  function answer(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const { error: problem, internal } = problemOf(error)
    if (internal)
      logger?.error(
        { err: error, requestId: request.id, method: request.method, route: routeOf(request) },
        'a request failed'
      )
    const where = {
      instance: request.url.split('?', 1)[0]!.slice(0, instanceMax),
      ...(internal ? { requestId: request.id } : {})
    }
    return reply
      .code(problem.status)
      .headers(problem.headers)
      .type(problemContentType)
      .send(JSON.stringify(problemBody(problem, where)))
  }

  app.setErrorHandler((error, request, reply) => answer(error, request, reply))
  app.setNotFoundHandler((request, reply) => answer(noSuchRoute(request, routes), request, reply))
  app.addHook('onRequest', async (request, reply) => {
    const role = neededRole(request.routeOptions.url ?? '')
    takeSlot(reply, role ?? 'other')
    const { method, headers } = request
    refusing('host', () => origins.checkHost(headers.host))
    // Now, not by the handler of unknown routes: that one runs when the body has been read, and says what is wrong with
    // the body.
    if (request.is404) throw noSuchRoute(request, routes)
    reply.headers(origins.answerHeaders(role, headers.origin))
    // A browser sends a preflight without the token, and a program has no use for one.
    if (method === 'OPTIONS') return
    refusing('origin', () => origins.checkOrigin(method, role, headers))
    // Before the body is read: nobody sends a megabyte to be told to go.
    if (role !== undefined) refusing('token', () => access.check(role, headers.authorization))
    expectBody(request, reply)
  })

  /** @throws ProblemError 503 where all slots of this kind are taken */
  function takeSlot(reply: FastifyReply, kind: RequestKind): void {
    const count = (by: number) => {
      const now = (active.get(kind) ?? 0) + by
      active.set(kind, now)
      metrics.httpActive.set({ kind }, now)
      return now
    }
    const now = count(1)
    // Emitted after an answer and after an abort alike, once.
    reply.raw.once('close', () => count(-1))
    if (now > activeMax && kind !== 'other')
      throw new ProblemError(503, `${activeMax} requests of this kind are being answered already; try again`, {
        headers: { 'retry-after': '1' }
      })
  }

  /** Counts what `check` refuses. */
  function refusing(what: 'host' | 'origin' | 'token', check: () => void): void {
    try {
      check()
    } catch (error) {
      if (error instanceof ProblemError)
        metrics.denied.inc({ reason: what !== 'token' ? what : error.status === 403 ? 'forbidden' : 'unauthenticated' })
      throw error
    }
  }

  /**
   * Answers 408 where the body does not arrive in time, so that a client that stops in the middle of one frees its
   * slot.
   */
  function expectBody({ raw, headers }: FastifyRequest, reply: FastifyReply): void {
    if (headers['transfer-encoding'] === undefined && !(Number(headers['content-length']) > 0)) return
    const timer = setTimeout(() => {
      if (raw.complete || reply.sent) return
      reply
        .header('connection', 'close')
        .send(new ProblemError(408, `the body did not arrive within ${arrivalMaxMs / 1000} s`))
    }, arrivalMaxMs)
    reply.raw.once('close', () => clearTimeout(timer))
  }

  app.addHook('onSend', async (_request, reply) => {
    reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store')
    if (closing) reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (request, reply) => {
    const status = `${Math.floor(reply.statusCode / 100)}xx` as '2xx'
    const route = routeOf(request)
    metrics.http.observe({ route, status }, reply.elapsedTime / 1000)
    if (listRoutes.has(route) && reply.statusCode < 300) answers.list(reply.elapsedTime)
  })

  const routes = new Map<string, string[]>()
  app.addHook('onRoute', ({ url, method }) => {
    const role = neededRole(url)
    const first = !routes.has(url)
    routes.set(url, [...(routes.get(url) ?? []), ...[method].flat()])
    if (!first || !origins.crossOrigin(role)) return
    app.options(url, async ({ headers }, reply) =>
      reply
        .code(204)
        .headers(origins.preflightHeaders(routes.get(url)!, role, headers.origin))
        .send()
    )
  })

  app.get<{ Params: { id: string } }>('/v1/users/:id/recommendations', async ({ params, query }) => {
    const list = await recommender.recommend({ ...listQuery(query, limitMax), userId: pathId(params.id) })
    metrics.served.inc({ source: list.coldStart ?? 'vectors' })
    return list
  })

  app.get<{ Params: { id: string } }>('/v1/items/:id/similar', async ({ params, query }) => {
    const { limit, filter = {} } = listQuery(query, limitMax, ['limit', 'filter'])
    const itemId = pathId(params.id)
    const list = await recommender.similar({ itemId, limit, filter })
    if (list === undefined)
      throw new ProblemError(
        404,
        `item ${JSON.stringify(itemId)} is not in the index: it is unknown, or not published yet`
      )
    metrics.served.inc({ source: 'similar' })
    return list
  })

  app.post('/v1/events', async ({ body, headers }, reply) => {
    const count = Array.isArray(body) ? body.length : 1
    const { newEventId = randomUUID, futureMaxMs = Number.POSITIVE_INFINITY } = parts
    notePosted(count)
    let interactions: Interaction[]
    try {
      interactions = postedEvents(body, { nowMs: eventClock.nowMs(), futureMaxMs, newEventId })
    } catch (error) {
      notePosted(count, 'refused')
      throw error
    }
    try {
      await parts.accept(interactions, typeof headers.traceparent === 'string' ? headers.traceparent : undefined)
    } catch (error) {
      notePosted(count, 'failed')
      throw error
    }
    notePosted(count, 'accepted')
    answers.events(count)
    return reply.code(202).send({ accepted: interactions.length, eventIds: interactions.map(({ eventId }) => eventId) })
  })

  app.delete<{ Params: { id: string } }>('/v1/users/:id', async ({ params, body }, reply) => {
    if (body !== undefined) throw new ProblemError(400, 'erasing a user takes no body')
    const userId = pathId(params.id)
    await parts.erase(userId)
    return reply.code(202).send({ userId })
  })

  if (sessions !== undefined) {
    app.post('/v1/recommendations', async ({ body }) => {
      const { history, list: request } = postedHistory(body, limitMax, clock.nowMs())
      const newestFirst = [...new Set([...history].reverse().map(({ itemId }) => itemId))]
      const encoded = await sessions.encode(history)
      const list =
        encoded === undefined
          ? await recommender.popular({ ...request, history: newestFirst }, noKnownItem)
          : await recommender.recommendFor({ ...request, ...encoded, history: newestFirst })
      metrics.served.inc({ source: list.coldStart ?? 'vectors' })
      return list
    })
  }

  const readiness = (): Readiness => {
    if (closing) return { ready: false, detail: 'shutting down' }
    const { accounts = [], ...rest } = parts.readiness()
    return { ...rest, accounts: [...accounts, posted.numbers(postedWaiting)] }
  }
  if (lookup !== undefined) addLookupRoutes(app, lookup, { readiness, answers, clock, limitMax, version })
  if (consoleFiles !== undefined) addConsoleRoutes(app, consoleFiles)

  addProbeRoutes(app, { readiness, metrics })

  app.get('/openapi.json', async (_request, reply) => reply.type('application/json').send(description))

  return {
    app,
    async listen(): Promise<string> {
      checkExposure(options)
      await port.bind()
      await app.ready()
      port.handle(handler!)
      return port.url
    },
    async close(): Promise<void> {
      closing = true
      const cut = setTimeout(() => app.server.closeAllConnections(), drainMaxMs)
      try {
        await Promise.all([port.close(), app.close()])
      } finally {
        clearTimeout(cut)
      }
    }
  }
}

type Route = (typeof httpRoutes)[number]
type RequestKind = (typeof httpRequestKinds)[number]

const listRoutes: ReadonlySet<Route> = new Set([
  '/v1/users/:id/recommendations',
  '/v1/items/:id/similar',
  '/v1/recommendations'
])

/** The pattern, never the path: a label per user would be a series per user. */
function routeOf(request: FastifyRequest): Route {
  const url = request.routeOptions?.url
  return httpRoutes.find((route) => route === url) ?? 'unmatched'
}

/** 405 where the path exists with other methods, 404 otherwise. */
function noSuchRoute(request: FastifyRequest, routes: ReadonlyMap<string, readonly string[]>): ProblemError {
  const path = request.url.split('?', 1)[0]!
  for (const [pattern, methods] of routes) {
    if (!new RegExp(`^${pattern.replaceAll('.', '\\.').replace(/:[a-z]+/g, '[^/]+')}$`).test(path)) continue
    const allow = methods.join(', ')
    return new ProblemError(405, `${request.method} is not for ${pattern}; allowed: ${allow}`, { headers: { allow } })
  }
  return new ProblemError(404, `there is nothing at ${path.slice(0, 200)}; /openapi.json lists what there is`)
}
