// `mtmi sequence`, `train`, `publish`, `serve`: one stage a process, on the configured parts. They meet in the log and
// the index, never in memory.

import { setTimeout as pause } from 'node:timers/promises'
import { type AccountNumbers, accountText } from '../src/core/account.ts'
import { BackgroundTasks } from '../src/core/backgroundTasks.ts'
import type { Config } from '../src/core/config/config.ts'
import type { Offsets } from '../src/core/offsets.ts'
import { handledLater } from '../src/core/promises.ts'
import type { RunDirectory } from '../src/core/runDirectory.ts'
import { interestScoreOf } from '../src/index/interestScore.ts'
import type { IndexState } from '../src/index/vectorIndex.ts'
import { ignoredLines } from '../src/lab/evaluation/accountReport.ts'
import { CatalogueReader } from '../src/log/catalogueReader.ts'
import type { StageIo } from '../src/log/stageIo.ts'
import { AccountMeter } from '../src/monitor/accountMetrics.ts'
import { DriftWatch, driftStore } from '../src/monitor/driftWatch.ts'
import type { MetricsReport, TaskName } from '../src/monitor/metrics.ts'
import { createMetrics } from '../src/monitor/metricsRegistry.ts'
import { openOwnedSequences, ownedDisk } from '../src/sequence/ownedSequences.ts'
import { SequenceStage } from '../src/sequence/sequenceStage.ts'
import type { BoundPort } from '../src/serve/http/boundPort.ts'
import { Recommender } from '../src/serve/recommender.ts'
import { heldDetail } from './heldText.ts'
import { bindServe, startHttpService } from './http.ts'
import { untilInterrupted } from './interrupt.ts'
import { type Journal, openJournal } from './journal.ts'
import { bindOps, startOpsServer } from './opsServer.ts'
import { offsetsFromJson, openIndex, openSequenceStore, openStageIo } from './parts.ts'
import { progressiveMetrics } from './progressiveMetrics.ts'
import { beginRun, runToBegin } from './runs.ts'
import { startModelThread } from './thread/client.ts'
import type { PublishStatus, TrainStatus } from './thread/messages.ts'
import { versionNumbers } from './versionsReport.ts'

const pollMs = 50
const watchMs = 1000

type StageName = 'sequence' | 'train' | 'publish' | 'serve'

export interface StageRunOptions {
  /** End when everything in the log has been processed. */
  readonly once: boolean
  /** Absolute; null: there is none. */
  readonly configFile?: string | null
}

/** What a stage begins with: its run, locked, and its ports, bound. */
interface Begun {
  readonly io: StageIo
  readonly run: RunDirectory
  /** Of this process among those of its role. */
  readonly place: string
  readonly once: boolean
  readonly journal: Journal
  readonly opsPort: BoundPort | undefined
  readonly servePort: BoundPort | undefined
  /** Everything that could keep the stage from starting is open. */
  readonly begun: () => void
}

export async function runStage(
  stage: StageName,
  config: Config,
  { once, configFile = null }: StageRunOptions
): Promise<void> {
  const run = runToBegin(config, configFile)
  const shared = config.log === 'kafka' && (stage === 'sequence' || stage === 'publish')
  const takeLock = () =>
    shared
      ? run.lockPlace(`mtmi ${stage}`, stage)
      : { place: stage, ...run.lock(`mtmi ${stage}`, stage === 'serve' ? [] : [stage]) }
  const journal = openJournal(config, stage, !once)
  const servePort = stage === 'serve' ? await bindServe(config, false, journal.say) : undefined
  const opsPort = await bindOps(config)
  try {
    await beginRun(run, { configFile }, takeLock, async ({ place }, begun) => {
      const io = await openStageIo(config, run)
      const parts: Begun = { io, run, place, once, journal, opsPort, servePort, begun }
      try {
        if (stage === 'sequence') await sequence(parts)
        else if (stage === 'serve') await serve(parts)
        else await model(stage, parts)
      } finally {
        await io.log.close()
      }
    })
  } finally {
    await servePort?.close()
    await opsPort?.close()
  }
}

async function sequence({ io, run, place, once, journal, opsPort, begun }: Begun): Promise<void> {
  const { say } = journal
  const stop = new AbortController()
  const look = async () => {
    const consumed = stage.consumed()
    const ends = await io.log.ends(io.config.topics.interactions)
    ops.metrics.users.set(stage.status().users)
    measure(catalogueMeter.entries(catalogue.account()))
    // Another member of the group reads the other partitions.
    return {
      consumed,
      ends: new Map([...ends].filter(([partition]) => consumed.has(partition))),
      takenAtMs: stage.takenAtMs
    }
  }
  const accounts = () => [stage.status().account, catalogue.account()]
  const ops = await startOpsServer({ port: opsPort, io, watched: { stage: 'sequence', look }, accounts, say })
  const measure = (report: MetricsReport) => ops.metrics.apply(report)
  const catalogue = new CatalogueReader(io, { stage: 'sequence', measure })
  const catalogueMeter = new AccountMeter(catalogue.account())
  const stage = new SequenceStage({
    ...io,
    openStore: (partition) =>
      io.config.log === 'kafka'
        ? openOwnedSequences(
            { io, disk: ownedDisk(run.path(place)), onRestored: (report) => sayRestored(report, journal) },
            partition
          )
        : openSequenceStore(run, partition),
    measure,
    ...journal.forStages,
    catalogue,
    drift: new DriftWatch({
      options: io.config.drift,
      clock: io.clock,
      catalogue: catalogue.catalogue,
      measure,
      store: driftStore(run)
    })
  })
  begun()
  const running = handledLater(stage.run(stop.signal))
  say(`sequencing ${io.config.topics.interactions} in ${run.root}`)
  const settled = async () => {
    const { consumed, ends } = await look()
    return consumed.size > 0 && isAt(consumed, ends) && stage.committed
  }
  // What is counted at the end is what is committed.
  if (once) stage.hurry(true)
  await Promise.race([running, untilInterrupted(), ...(once ? [until(settled)] : [])])
  const { account, ignoredTypes, users } = stage.status()
  stop.abort()
  await running.finally(() => ops.close())
  say(`sequenced: ${accountText(account)}; ${users} users have a history`)
  for (const line of ignoredLines({ ignoredTypes, typeWeights: io.config.events.types, run: run.name })) say(line)
}

async function model(
  stage: 'train' | 'publish',
  { io, run, place, once, journal, opsPort, begun }: Begun
): Promise<void> {
  const { config, log } = io
  const { say, warn, style } = journal
  let train: TrainStatus | undefined
  let publish: PublishStatus | undefined
  const look = async () => {
    const status = stage === 'train' ? train : publish
    if (status === undefined) return undefined
    const { consumed, takenAtMs } = status
    return { consumed: offsetsFromJson(consumed), ends: await log.ends(config.topics.userSequences), takenAtMs }
  }
  const ready = () =>
    publish?.outage === undefined
      ? { ready: true, detail: `${stage} keeps up${heldDetail(publish)}` }
      : { ready: false, detail: publish.outage }
  const accounts = (): AccountNumbers[] => [
    ...(train === undefined ? [] : [train.account, train.catalogue]),
    ...(publish?.accounts ?? [])
  ]
  const ops = await startOpsServer({ port: opsPort, io, watched: { stage, look }, ready, accounts, say })
  const thread = await startModelThread(
    { config, dataDir: config.dataDir, run: run.name, place, stages: [stage], logStyle: style },
    (message) => {
      if (message.kind === 'train') {
        train = message.status
        ops.metrics.apply(progressiveMetrics(train.progressive))
      } else if (message.kind === 'publish') publish = message.status
      else if (message.kind === 'metrics') ops.metrics.apply(message.report)
      else if (message.kind === 'problem') warn(message.message)
    }
  )
  begun()
  ops.backend(thread.backend)
  for (const problem of thread.backend.problems) warn(problem)
  say(
    `${stage === 'train' ? 'training on' : 'publishing from'} ${config.topics.userSequences} in ${run.root}; backend ${thread.backend.backend}`
  )
  if (once) thread.hurry(true)
  const settled = async () => {
    const sequences = await log.ends(config.topics.userSequences)
    if (stage === 'train') return train?.updatesSent === true && isAt(offsetsFromJson(train.consumed), sequences)
    if (publish === undefined || !isAt(offsetsFromJson(publish.consumed), sequences)) return false
    if (!isAt(offsetsFromJson(publish.counted), await log.ends(config.topics.interactions))) return false
    const updates = await log.ends(config.topics.modelUpdates)
    return (
      isAt(new Map([[0, BigInt(publish.model)]]), updates) && publish.waitingItems === 0 && publish.waitingUsers === 0
    )
  }
  await Promise.race([thread.ended, untilInterrupted(), ...(once ? [until(settled)] : [])])
  await thread.stop().finally(() => ops.close())
  if (train !== undefined) {
    const loss = Number.isFinite(train.loss) ? `, loss ${train.loss.toFixed(3)}` : ''
    say(`trained: ${train.batches} batches${loss}; ${accountText(train.account)}`)
  }
  if (publish !== undefined)
    say(`published: index version ${publish.indexVersion}, step ${publish.step}; ${accountText(publish.accounts[0])}`)
}

async function serve({ io, run, journal, opsPort, servePort, begun }: Begun): Promise<void> {
  const { say, warn, style } = journal
  const metrics = createMetrics({ clock: io.clock })
  const { clock } = io
  const tasks = new BackgroundTasks<TaskName>({
    clock,
    onProblem: warn,
    onFailure: (task) => metrics.taskFailures.inc({ task })
  })
  const index = await openIndex(io.config, run, {
    searchThread: true,
    measure: (report) => metrics.apply(report),
    onProblem: warn
  })
  try {
    let live: IndexState | undefined
    tasks.every('index', 'reading what is live in the index', { intervalMs: watchMs, required: true }, async () => {
      live = await index.live()
      metrics.indexPoints.set({ role: 'item' }, live?.items ?? 0)
      metrics.indexPoints.set({ role: 'user' }, live?.users ?? 0)
    })
    const readiness = () =>
      tasks.readiness(
        live === undefined
          ? { ready: false, detail: 'nothing is published yet' }
          : { ready: true, detail: `index version ${live.indexVersion}, step ${live.step}` }
      )
    const { sessions } = io.config.serve
    const thread = sessions
      ? await startModelThread(
          { config: io.config, dataDir: io.config.dataDir, run: run.name, stages: ['encode'], logStyle: style },
          (message) => {
            if (message.kind === 'metrics') metrics.apply(message.report)
            else if (message.kind === 'problem') warn(message.message)
          }
        )
      : undefined
    const service = await startHttpService(
      {
        io,
        metrics,
        recommender: new Recommender({
          index,
          clock: io.clock,
          options: io.config.recommend,
          scoring: interestScoreOf(io.config.model)
        }),
        ...(thread === undefined ? {} : { sessions: thread }),
        readiness,
        lookup: { index, versions: () => versionNumbers(io.config, run, index) }
      },
      servePort!
    )
    begun()
    const ops = await startOpsServer({ port: opsPort, io, metrics, ready: readiness, say })
    say(`serving ${run.root} on ${service.url}`)
    try {
      // A process that no longer answers sessions ends: whoever supervises it starts another.
      await Promise.race([untilInterrupted(), ...(thread === undefined ? [] : [thread.ended])])
    } finally {
      await service.close()
      await ops.close()
    }
    await thread?.stop()
  } finally {
    await tasks.stop()
    await index.close()
  }
}

function sayRestored(
  report: { partition: number; changes: number; users: number; durationMs: number },
  { logger }: Journal
): void {
  const { partition, changes, users, durationMs } = report
  const rate = Math.round((changes * 1000) / Math.max(1, durationMs))
  logger.info(
    { partition, changes, users, durationMs },
    `partition ${partition}: ${changes} histories read from the log in ${durationMs} ms (${rate}/s), ${users} users`
  )
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await pause(pollMs)
}

function isAt(consumed: Offsets, ends: Offsets): boolean {
  return [...ends].every(([partition, end]) => (consumed.get(partition) ?? 0n) >= end)
}
