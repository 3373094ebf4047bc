// `mtmi ingest`: the topics of `sources` → interactions and items. On Kafka several processes share the partitions.

import { type AccountNumbers, accountText, sumAccounts } from '../src/core/account.ts'
import { untilAborted } from '../src/core/backgroundTasks.ts'
import type { Config } from '../src/core/config/config.ts'
import { ConfigError } from '../src/core/errors.ts'
import { print } from '../src/core/terminal.ts'
import { IngestStage } from '../src/ingest/ingestStage.ts'
import { openSource } from '../src/ingest/sourceMapper.ts'
import type { EventLog } from '../src/log/eventLog.ts'
import { fileOffsets } from './ingestOffsets.ts'
import { startOpsServer } from './opsServer.ts'
import type { StageProgress } from './progressWatch.ts'
import { type StageContext, untilDone } from './stageProcess.ts'

/** How often a process that runs until it is stopped reports its account. */
const reportMs = 60_000

/** @throws ConfigError */
export function checkSources({ sources }: Config): void {
  if (sources.length === 0)
    throw new ConfigError([
      'sources is empty: name at least one topic to read in the configuration (README: "From your Kafka topic to recommendations")'
    ])
}

export async function ingest(context: StageContext, { json }: { readonly json: boolean }): Promise<void> {
  const { io, run, once, acceptNewTopic, logger, metrics, measure, tasks, opsPort, begun } = context
  const { config, log } = io
  const sources = config.sources.map((source) => openSource(source, io))
  const look = () => progressOf(stage, log)
  const accounts = () => [sumAccounts('ingest', stage.accounts().values())]
  const watched = { stage: 'ingest', look } as const
  const offsets = fileOffsets(run)
  const stage = new IngestStage({ ...io, ...logger.forStages, sources, offsets, acceptNewTopic, measure })
  const ops = await startOpsServer({ port: opsPort, io, metrics, tasks, watched, accounts, say: logger.info })
  begun()
  let isAtEnd = false
  tasks.keep('ingest', 'ingest', { restarts: false }, async ({ signal }) => {
    await stage.run(signal, { untilEnd: once })
    isAtEnd = once
    if (isAtEnd) await untilAborted(signal)
  })
  const topics = config.sources.map(({ topic }) => topic).join(', ')
  logger.info(`ingesting ${topics} into ${config.topics.interactions} in ${run.root}`)
  const summarize = () => {
    for (const [topic, account] of stage.accounts()) logger.info(`${topic}: ${accountText(account)}`)
  }
  tasks.every('report', 'the summary', { intervalMs: reportMs, required: false }, summarize)
  try {
    await untilDone(tasks, once ? async () => isAtEnd : undefined)
  } finally {
    io.registry.close?.()
    await tasks.stop().finally(() => ops.close())
  }
  summarize()
  const accountsBySource: Record<string, AccountNumbers> = Object.fromEntries(stage.accounts())
  if (json) print(`${JSON.stringify({ run: run.name, sources: accountsBySource })}\n`)
}

/** The partitions of all sources that this process reads, numbered through: those of other members are not its lag. */
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
