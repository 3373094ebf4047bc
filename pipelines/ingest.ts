// `mtmi ingest`: one process that reads every source of the configuration. On Kafka several share the partitions.

import { setInterval } from 'node:timers'
import { type AccountNumbers, accountText, sumAccounts } from '../src/core/account.ts'
import type { Config } from '../src/core/config/config.ts'
import { ConfigError } from '../src/core/errors.ts'
import { handledLater } from '../src/core/promises.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { type StateKind, z } from '../src/core/stateFile.ts'
import { print } from '../src/core/terminal.ts'
import { type IngestOffsets, IngestStage } from '../src/ingest/ingestStage.ts'
import { openSource } from '../src/ingest/sourceMapper.ts'
import type { EventLog } from '../src/log/eventLog.ts'
import type { MetricsReport } from '../src/monitor/metrics.ts'
import type { BoundPort } from '../src/serve/http/boundPort.ts'
import { untilInterrupted } from './interrupt.ts'
import { openJournal } from './journal.ts'
import { bindOps, type StageProgress, startOpsServer } from './opsServer.ts'
import { openStageIo } from './parts.ts'
import { beginRun, runToBegin } from './runs.ts'

/** How often a process that follows says how far it is. */
const reportMs = 60_000

export interface IngestCommand {
  readonly once: boolean
  /** Absolute; null: there is none. */
  readonly configFile?: string | null
  readonly json?: boolean
}

export async function ingest(config: Config, { once, configFile = null, json }: IngestCommand): Promise<void> {
  if (config.sources.length === 0)
    throw new ConfigError([
      'sources is empty: name at least one topic to read in the configuration (README: "From your Kafka topic to recommendations")'
    ])
  const run = runToBegin(config, configFile)
  const port = await bindOps(config)
  try {
    // The local log has no groups: two processes would both read everything.
    const takeLock = () => run.lock('mtmi ingest', config.log === 'local' ? ['ingest'] : [])
    await beginRun(run, { configFile }, takeLock, async (_lock, begun) => {
      const accounts = await ingestInto(config, run, { once, port, begun })
      if (json === true) print(`${JSON.stringify({ run: run.name, sources: Object.fromEntries(accounts) })}\n`)
    })
  } finally {
    await port?.close()
  }
}

async function ingestInto(
  config: Config,
  run: RunDirectory,
  { once, port, begun }: { once: boolean; port: BoundPort | undefined; begun: () => void }
): Promise<ReturnType<IngestStage['accounts']>> {
  const io = await openStageIo(config, run)
  try {
    const { say, forStages } = openJournal(config, 'ingest', !once)
    const sources = config.sources.map((source) => openSource(source, io))
    const look = () => progressOf(stage, io.log)
    const accounts = () => [sumAccounts('ingest', stage.accounts().values())]
    const ops = await startOpsServer({ port, io, watched: { stage: 'ingest', look }, accounts, say })
    const measure = (report: MetricsReport) => ops.metrics.apply(report)
    const stage = new IngestStage({ ...io, ...forStages, sources, offsets: fileOffsets(run), measure })
    begun()
    const stop = new AbortController()
    const running = handledLater(stage.run(stop.signal, { untilEnd: once }))
    say(
      `ingesting ${config.sources.map(({ topic }) => topic).join(', ')} into ${config.topics.interactions} in ${run.root}`
    )
    const reporting = setInterval(() => say(summary(stage.accounts())), reportMs)
    try {
      await Promise.race([running, untilInterrupted()])
    } finally {
      clearInterval(reporting)
      stop.abort()
      io.registry.close?.()
    }
    await running.finally(() => ops.close())
    say(summary(stage.accounts()))
    return stage.accounts()
  } finally {
    await io.log.close()
  }
}

/**
 * Partitions of all sources under numbers of their own, and only those that are this process's: what other members read
 * is not its lag.
 */
export async function progressOf(
  stage: Pick<IngestStage, 'consumed' | 'takenAtMs'>,
  log: Pick<EventLog, 'ends'>
): Promise<StageProgress> {
  const progress = { consumed: new Map<number, bigint>(), ends: new Map<number, bigint>(), takenAtMs: stage.takenAtMs }
  for (const [topic, partitions] of stage.consumed()) {
    const owned = new Map(partitions)
    const ends = await log.ends(topic)
    for (const [partition, next] of owned) {
      const number = progress.consumed.size
      progress.consumed.set(number, next)
      progress.ends.set(number, ends.get(partition) ?? next)
    }
  }
  return progress
}

export const ingestOffset: StateKind<{ readonly next: string }> = {
  file: 'ingest.json',
  version: 1,
  schema: z.strictObject({ next: z.string().regex(/^\d+$/) }),
  removed: 'the partition is read again from the offset that the consumer group committed, or from its beginning'
}

/**
 * A file for each partition, so that processes which share a folder, and hand partitions on, do not overwrite each
 * other's.
 */
export function fileOffsets(run: RunDirectory): IngestOffsets {
  const file = (topic: string, partition: number) => run.state(ingestOffset, `ingest/${topic}/${partition}.json`)
  return {
    load: (topic, partition) => {
      const saved = file(topic, partition).load()
      return saved === undefined ? undefined : BigInt(saved.next)
    },
    save: (topic, partition, next) => file(topic, partition).save({ next: String(next) })
  }
}

function summary(accounts: ReadonlyMap<string, AccountNumbers<'ingest'>>): string {
  return [...accounts].map(([topic, account]) => `${topic}: ${accountText(account)}`).join('\n')
}
