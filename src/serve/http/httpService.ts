// Recommendations, similar items and events over HTTP, with health, metrics and a description of the service.
//
// Search and training run on other threads: a handler here checks, queries, and answers.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ServeOptions } from '../../core/config/config.ts'
import { httpRoutes, type MetricsReport } from '../../monitor/metrics.ts'
import { idBytesMax } from '../../records/admission.ts'
import { Attribution, noAttribution } from '../attribution/attribution.ts'
import { Access, checkExposure } from './access.ts'
import { addAttributionRoute } from './attributionRoutes.ts'
import { addBatchRoute } from './batchRoute.ts'
import { BoundPort } from './boundPort.ts'
import { addConsolePage, loadConsoleFiles } from './consolePage.ts'
import { addDeadLetterRoutes, type DeadLetterParts } from './deadLetterRoutes.ts'
import { addEventRoutes, type EventParts, PostedAccount } from './eventRoutes.ts'
import { addGuard } from './guard.ts'
import { createHttpApp } from './httpApp.ts'
import { addItemChangeRoutes, type ItemParts } from './itemRoutes.ts'
import { addListRoutes, type ListParts, listMaking } from './listRoutes.ts'
import { ListTimes } from './listTimes.ts'
import { addLookupRoutes, type LookupParts } from './lookupRoutes.ts'
import { addProbeRoutes, type Readiness } from './probeRoutes.ts'
import { addDescription, addDescriptionRoute } from './route.ts'

/** Satisfied by a pino logger. */
interface ServiceLogger {
  error(fields: Readonly<Record<string, unknown>>, message: string): void
}

export interface HttpServiceParts
  extends ListParts,
    EventParts,
    Partial<Pick<ItemParts, 'changeItems' | 'currentItem'>> {
  readonly readiness: () => Readiness
  /** Counts lists and clicks; without it lists are counted, and no clicks. */
  readonly attribution?: Attribution
  readonly options: ServeOptions
  readonly logger?: ServiceLogger
  /** With it, unless `options.console` is off, there are routes to inspect users and items, and the console at `/`. */
  readonly lookup?: LookupParts
  /** With it, there are routes for records that could not be used. */
  readonly deadLetters?: DeadLetterParts
  /** Of the program. */
  readonly version?: string
  /**
   * How long `close` waits for requests that are being answered. Default 10 s: within the 30 s that supervisors wait
   * before they kill.
   */
  readonly drainMaxMs?: number
  /** How long the body of a request may take to arrive. Default 10 s: a megabyte at 100 kB/s. */
  readonly arrivalMaxMs?: number
  /** Requests of each kind (reads, event posts, administration) that are answered at a time. Default 1,000. */
  readonly activeMax?: number
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
  /** Stops accepting, lets running requests finish within `drainMaxMs`, then aborts them. */
  close(): Promise<void>
}

/** For a request to arrive, and to be answered: after that its client has long gone. */
const timeoutMs = 30_000
/** Of the body of a request: an event has about 200 bytes. */
const bodyMaxBytes = 1024 * 1024
/** Each byte of an id may be `%XX` in the path. */
const pathIdLengthMax = idBytesMax * 3

/** @throws UnavailableError if the port is taken, ConfigError if the address cannot be used */
export async function bindServePort(address: Pick<ServeOptions, 'host' | 'port'>): Promise<BoundPort> {
  return servePort(address).bind()
}

function servePort({ host, port }: Pick<ServeOptions, 'host' | 'port'>): BoundPort {
  return new BoundPort({ host, port, section: 'serve', requestTimeoutMs: timeoutMs })
}

export function createHttpService(parts: HttpServiceParts): HttpService {
  const { metrics, options, logger, version = '0.0.0', drainMaxMs = 10_000 } = parts
  const { arrivalMaxMs = 10_000, activeMax = 1000 } = parts
  const port = parts.port ?? servePort(options)
  const access = new Access(options)
  const times = new ListTimes()
  const account = new PostedAccount(metrics)
  const attribution = parts.attribution ?? uncounted(parts)
  let closing = false

  const { app, start } = createHttpApp({
    ...{ port, timeoutMs, bodyMaxBytes, paramLengthMax: pathIdLengthMax },
    onInternalError: (error, request) =>
      logger?.error(
        { err: error, requestId: request.id, method: request.method, route: routeOf(request) },
        'a request failed'
      )
  })
  app.addHook('onSend', async (_request, reply) => {
    if (closing) reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (request, reply) => {
    // 304, the only answer between 300 and 400, is a success.
    const status = reply.statusCode < 400 ? '2xx' : reply.statusCode < 500 ? '4xx' : '5xx'
    const route = routeOf(request)
    metrics.http.observe({ route, status }, reply.elapsedTime / 1000)
    if (listRoutes.has(route) && reply.statusCode < 300) times.add(reply.elapsedTime)
  })
  const readiness = (): Readiness => {
    if (closing) return { ready: false, detail: 'shutting down' }
    const { accounts = [], ...rest } = parts.readiness()
    return { ...rest, accounts: [...accounts, account.numbers(), attribution.account()] }
  }
  addDescription(app, { version, tokens: access.on })
  addGuard(app, { access, options, clock: parts.clock, activeMax, metrics, arrivalMaxMs })
  app.register(async (routes) => {
    const onListError = (error: unknown) => logger?.error({ err: error }, 'a list of a batch failed')
    const lists = listMaking({ ...parts, onListError }, attribution)
    addListRoutes(routes, lists)
    addBatchRoute(routes, lists)
    addEventRoutes(routes, parts, account)
    const { changeItems, currentItem, clock } = parts
    if (changeItems !== undefined)
      addItemChangeRoutes(routes, { changeItems, ...(currentItem === undefined ? {} : { currentItem }), clock })
    if (options.console && parts.lookup !== undefined) {
      const answers = () => ({ ...times.numbers(), events: account.numbers().outcomes.accepted })
      addLookupRoutes(routes, parts.lookup, {
        ...{ readiness, answers, clock: parts.clock, version }
      })
      if (parts.deadLetters !== undefined) addDeadLetterRoutes(routes, parts.deadLetters)
      addAttributionRoute(routes, attribution, parts.recommender.variants)
      const files = loadConsoleFiles()
      if (files !== undefined) addConsolePage(routes, files)
    }
    addProbeRoutes(routes, { readiness, metrics })
    addDescriptionRoute(routes)
  })

  return {
    app,
    async listen(): Promise<string> {
      checkExposure(options)
      await port.bind()
      await start()
      return port.url
    },
    async close(): Promise<void> {
      closing = true
      const abort = setTimeout(() => app.server.closeAllConnections(), drainMaxMs)
      try {
        await Promise.all([port.close(), app.close()])
      } finally {
        clearTimeout(abort)
      }
    }
  }
}

/** Lists alone: their ids belong to no counts. */
function uncounted({ clock, metrics }: HttpServiceParts): Attribution {
  const measure = (report: MetricsReport) => metrics.apply(report)
  return new Attribution({ clock, measure, isCounted: () => true, state: noAttribution(0, clock.nowMs()) })
}

type Route = (typeof httpRoutes)[number]

const listRoutes: ReadonlySet<Route> = new Set([
  '/v1/users/:id/recommendations',
  '/v1/items/:id/similar',
  '/v1/recommendations',
  '/v1/popular'
])

/** The pattern, never the path: a label per user would be a series per user. */
function routeOf(request: FastifyRequest): Route {
  const url = request.routeOptions?.url
  return httpRoutes.find((route) => route === url) ?? 'unmatched'
}
