// The HTTP service on the parts of a process.

import type { BackgroundTasks } from '../src/core/backgroundTasks.ts'
import type { Clock } from '../src/core/clock.ts'
import type { Config } from '../src/core/config/config.ts'
import { MtmiError, UnavailableError } from '../src/core/errors.ts'
import { own } from '../src/core/own.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { version } from '../src/core/version.ts'
import { CatalogueReader } from '../src/log/catalogueReader.ts'
import { erasureEvent } from '../src/log/erasure.ts'
import type { StageIo } from '../src/log/stageIo.ts'
import type { TaskName } from '../src/monitor/metrics.ts'
import type { Metrics } from '../src/monitor/metricsRegistry.ts'
import { beginTrace, tracesFrom } from '../src/monitor/tracing.ts'
import type { Interaction } from '../src/records/interaction.ts'
import { AttributionWatch } from '../src/serve/attribution/attributionWatch.ts'
import { checkExposure } from '../src/serve/http/access.ts'
import type { BoundPort } from '../src/serve/http/boundPort.ts'
import { bindServePort, createHttpService } from '../src/serve/http/httpService.ts'
import type { LookupParts } from '../src/serve/http/lookupRoutes.ts'
import type { Readiness } from '../src/serve/http/probeRoutes.ts'
import type { Recommender } from '../src/serve/recommender.ts'
import type { SessionEncoder } from '../src/serve/sessions.ts'
import { deadLetterParts } from './deadLetterReport.ts'
import { openStageLogger } from './logger.ts'

interface ServedParts {
  readonly io: StageIo
  readonly metrics: Metrics
  readonly recommender: Recommender
  /** With it, sessions that are not stored are answered. */
  readonly sessions?: SessionEncoder
  readonly tasks: Pick<BackgroundTasks<TaskName>, 'keep'>
  readonly run: RunDirectory
  /** Counts of lists and clicks are kept here. */
  readonly attribution: ConstructorParameters<typeof AttributionWatch>[1]
  readonly readiness: () => Readiness
  readonly lookup: Omit<LookupParts, 'eventTypes'>
  /** Clock of the stream, where a recorded one is replayed: events without a time belong to its present. */
  readonly eventClock?: Clock
}

export interface RunningService {
  readonly url: string
  close(): Promise<void>
}

const text = new TextEncoder()

/**
 * Comes before any other work, so that a port in use, or an address that is exposed without a token, is reported first.
 * @param anyPort whether another free port may be used instead of the configured one
 */
export async function bindServe(
  { serve }: Pick<Config, 'serve'>,
  anyPort: boolean,
  say: (text: string) => void
): Promise<BoundPort> {
  checkExposure(serve)
  try {
    return await bindServePort(serve)
  } catch (error) {
    if (!(anyPort && error instanceof MtmiError && error.code === 'UNAVAILABLE')) throw error
    const port = await bindServePort({ ...serve, port: 0 })
    say(`port ${serve.port} is taken; serving on ${port.url} instead (--port chooses)`)
    return port
  }
}

/** @param port bound */
export async function startHttpService(
  { io, metrics, recommender, sessions, tasks, run, attribution, readiness, lookup, eventClock }: ServedParts,
  port: BoundPort
): Promise<RunningService> {
  const { config, clock } = io
  const stop = new AbortController()
  // Read when an item is first changed in part: most services never need it.
  const catalogue = new CatalogueReader(io, { stage: 'serve', measure: (report) => metrics.apply(report) })
  const watch = new AttributionWatch(io, attribution, (report) => metrics.apply(report))
  const options = { restarts: true, required: false }
  tasks.keep('attribution', 'counting clicks on lists', options, ({ signal, up }) => watch.run(signal, up))
  const service = createHttpService({
    attribution: watch.attribution,
    deadLetters: deadLetterParts(io, run, stop.signal),
    recommender,
    ...(sessions === undefined ? {} : { sessions }),
    metrics,
    readiness,
    lookup: { ...lookup, eventTypes: countedTypes(config.events.types) },
    accept: (interactions, traceparent) => append(io, interactions, traceparent),
    changeItems: (changes) =>
      io.log.append(
        config.topics.items,
        changes.map(({ itemId, item }) => ({
          key: text.encode(itemId),
          value: item === null ? null : io.codecs.item.encode(item)
        }))
      ),
    currentItem: async (itemId) => {
      await catalogue.readToEnd(stop.signal)
      if (stop.signal.aborted) throw new UnavailableError('the service is shutting down')
      return catalogue.catalogue.get(itemId)
    },
    erase: (userId) => io.log.append(config.topics.interactions, [erasureEvent(userId)]),
    options: config.serve,
    port,
    clock,
    ...(eventClock === undefined ? {} : { eventClock }),
    logger: openStageLogger(config, 'serve', 'json'),
    futureMaxMs: config.events.futureMaxMs,
    version
  })
  const closed = () => {
    stop.abort()
    watch.save()
  }
  try {
    const url = await service.listen()
    return { url, close: () => service.close().finally(() => closed()) }
  } catch (error) {
    await service.close()
    throw error
  }
}

/** The types that are trained on, a click first. */
export function countedTypes(types: Readonly<Record<string, number>>): string[] {
  const names = Object.keys(types).filter((type) => own(types, type)! > 0)
  return [...names.filter((type) => type === 'click'), ...names.filter((type) => type !== 'click')]
}

/** Resolves when they are durable. */
async function append(
  { log, codecs, config }: StageIo,
  interactions: readonly Interaction[],
  traceparent: string | undefined
): Promise<void> {
  const span = beginTrace(config, 'mtmi accept', {
    kind: 'server',
    traces: tracesFrom(traceparent),
    attributes: { events: interactions.length }
  })
  try {
    await log.append(
      config.topics.interactions,
      interactions.map((interaction) => ({
        key: text.encode(interaction.userId),
        value: codecs.interaction.encode(interaction),
        ...span.carried
      }))
    )
    span.end()
  } catch (error) {
    span.end(error as Error)
    throw error
  }
}
