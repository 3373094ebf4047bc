// Opens the configured parts: the log, the registry, the index and the stores of a run. The clients of Kafka and Qdrant
// are loaded only where they are used.

import { existsSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { BackgroundTasks } from '../src/core/backgroundTasks.ts'
import { systemClock } from '../src/core/clock.ts'
import type { Config } from '../src/core/config/config.ts'
import { UnavailableError } from '../src/core/errors.ts'
import { Rng } from '../src/core/rng.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { note } from '../src/core/terminal.ts'
import { EmbeddedIndex } from '../src/index/embedded/embeddedIndex.ts'
import type { QdrantIndex } from '../src/index/qdrant/qdrantIndex.ts'
import type { QdrantOptions } from '../src/index/qdrant/qdrantOptions.ts'
import type { IndexState, VectorIndex } from '../src/index/vectorIndex.ts'
import { LocalLog } from '../src/log/local/localLog.ts'
import { LogHealth } from '../src/log/logHealth.ts'
import type { StageIo } from '../src/log/stageIo.ts'
import type { MetricsReport, TaskName } from '../src/monitor/metrics.ts'
import type { Metrics } from '../src/monitor/metricsRegistry.ts'
import { createCodecs } from '../src/records/avro/avroCodecs.ts'
import { HttpRegistry } from '../src/records/registry/httpRegistry.ts'
import { LocalRegistry } from '../src/records/registry/localRegistry.ts'
import type { SchemaRegistry } from '../src/records/registry/schemaRegistry.ts'
import { type OwnedDisk, ownedDisk } from '../src/sequence/ownedSequences.ts'

const watchMs = 1000
/** Readers need the newest record of a key only; the lag keeps a reader in progress from meeting a gap. */
const modelUpdatesLagMs = 60_000

/** The place of a process with all stages: `mtmi up`. */
export const wholePlace = 'all'

/** Confluent's registry where one is configured, otherwise the embedded one. */
function openRegistry(config: Config, run: RunDirectory): SchemaRegistry {
  return config.registry.url === '' ? new LocalRegistry(run.path('schemas')) : openHttpRegistry(config)
}

/** @param retryMaxMs how long a registry that does not answer is waited for, where that is not as for a stage */
export function openHttpRegistry(config: Config, retryMaxMs?: number): HttpRegistry {
  const onProblem = (problem: string) => note(`warning: ${problem}`)
  // A seed for each process: processes that lose the registry together do not retry together.
  const waits = retryMaxMs === undefined ? {} : { retryMaxMs }
  return new HttpRegistry(config.registry, { clock: systemClock, rng: new Rng(process.pid), onProblem, ...waits })
}

/**
 * @param place which process of the run this is, such as `sequence-0`: part of its client ID on Kafka; absent: a
 * command
 */
export async function openStageIo(config: Config, run: RunDirectory, place?: string): Promise<StageIo> {
  const { topics } = config
  const clock = systemClock
  const registry = openRegistry(config, run)
  const codecs = await createCodecs(registry, topics)
  const partitioned = new Set([topics.interactions, topics.userSequences])
  const compactionLags = new Map([
    [topics.items, topics.minCompactionLagMs],
    [topics.userSequences, topics.minCompactionLagMs], // each record is an example that a trainer may not have read yet
    [topics.modelUpdates, modelUpdatesLagMs]
  ])
  if (config.log === 'kafka') {
    const { KafkaLog } = await import('../src/log/kafka/kafkaLog.ts')
    const clientId = [config.kafka.clientId, run.name, ...(place === undefined ? [] : [place])].join('-')
    const health = new LogHealth(clock, (problem) => note(`warning: ${problem}`))
    const log = await KafkaLog.open(config.kafka, clock, { health, run: run.name, clientId })
    return { config, clock, log, registry, codecs, health, maintain: async () => {} }
  }
  const log = await LocalLog.open(run.path('log'), {
    partitions: (topic) => (partitioned.has(topic) ? topics.partitions : 1),
    compactionLagMs: (topic) => compactionLags.get(topic),
    keepsTombstones: (topic) => topic === topics.items,
    retentionMs: topics.retentionMs,
    clock
  })
  const maintain = async () => {
    while ((await log.maintain()).more) await nextTurn()
  }
  return { config, clock, log, registry, codecs, maintain }
}

/** Whether there can be an index: a server is queried in any case. */
export function hasIndex(config: Config, run: RunDirectory): boolean {
  return config.index === 'qdrant' || existsSync(run.path('index'))
}

/** For commands that only read: creates nothing. @throws UnavailableError if the run has no index yet */
export async function readIndex<T>(
  config: Config,
  run: RunDirectory,
  read: (index: VectorIndex) => Promise<T>
): Promise<T> {
  if (!hasIndex(config, run))
    throw new UnavailableError(
      `nothing has been published in ${run.root} yet: run \`mtmi start\`, \`mtmi replay --data PATH\` or \`mtmi up\` first, or choose another --data-dir`
    )
  const index = await openIndex(config, run, { searchThread: false })
  try {
    return await read(index)
  } finally {
    await index.close()
  }
}

interface IndexUse {
  /** The embedded index searches on a thread of its own. */
  readonly searchThread: boolean
  /** They supervise that thread. */
  readonly tasks?: BackgroundTasks<TaskName>
  /** Requests to Qdrant that failed and are retried. */
  readonly onProblem?: (message: string) => void
  readonly measure?: (report: MetricsReport) => void
}

export async function openIndex(config: Config, run: RunDirectory, use: IndexUse): Promise<VectorIndex> {
  return config.index === 'qdrant' ? openQdrantIndex(config, run.name, use) : EmbeddedIndex.open(run.path('index'), use)
}

export async function openQdrantIndex(
  config: Pick<Config, 'sequence'> & { readonly qdrant: QdrantOptions },
  run: string,
  { onProblem, measure }: Omit<IndexUse, 'searchThread'> = {}
): Promise<QdrantIndex> {
  const { QdrantIndex } = await import('../src/index/qdrant/qdrantIndex.ts')
  const { qdrant, sequence } = config
  // A seed for each process, as above.
  const rng = new Rng(process.pid)
  return new QdrantIndex(qdrant, { clock: systemClock, rng, run, historyMax: sequence.historyMax, onProblem, measure })
}

/** On Kafka each process that sequences has a folder of its own. */
export function sequenceDisk(run: RunDirectory, { log }: Pick<Config, 'log'>, place: string): OwnedDisk {
  return ownedDisk(run.path(log === 'kafka' ? place : 'sequences'))
}

/** Reads once a second what is served, for readiness and metrics. */
export function watchIndex(
  index: Pick<VectorIndex, 'live'>,
  { tasks, metrics }: { readonly tasks: BackgroundTasks<TaskName>; readonly metrics: Metrics }
): { live(): IndexState | undefined } {
  let live: IndexState | undefined
  tasks.every('index', 'reading what is live in the index', { intervalMs: watchMs, required: true }, async () => {
    live = await index.live()
    metrics.indexPoints.set({ role: 'item' }, live?.items ?? 0)
    metrics.indexPoints.set({ role: 'user' }, live?.users ?? 0)
  })
  return { live: () => live }
}
