// A stage as a process: `mtmi ingest`, `sequence`, `train`, `publish`, `serve`. Its run, ports and log are opened here,
// in one order for all of them; stages meet in the log and the index only.

import { setTimeout as pause } from 'node:timers/promises'
import { BackgroundTasks, withinMs } from '../src/core/backgroundTasks.ts'
import { systemClock } from '../src/core/clock.ts'
import type { Config } from '../src/core/config/config.ts'
import { recordsBehind } from '../src/core/offsets.ts'
import type { RunDirectory, WriterRole } from '../src/core/runDirectory.ts'
import type { StageIo } from '../src/log/stageIo.ts'
import type { MetricsReport, TaskName } from '../src/monitor/metrics.ts'
import { createMetrics, type Metrics } from '../src/monitor/metricsRegistry.ts'
import type { BoundPort } from '../src/serve/http/boundPort.ts'
import { bindServe } from './http.ts'
import { untilInterrupted } from './interrupt.ts'
import { logStyle, openLogger, type ProcessLogger } from './logger.ts'
import { bindOps } from './opsServer.ts'
import { openStageIo } from './parts.ts'
import { beginRun, checkLog, runToBegin } from './runs.ts'
import type { PublishStatus, TrainStatus } from './thread/messages.ts'

/** Appends under way are finished; what was acknowledged is in the log already. */
export const closeMaxMs = 30_000

export type StageName = 'ingest' | 'sequence' | 'train' | 'publish' | 'serve'

export interface StageProcessOptions {
  /** End when everything in the log has been processed. */
  readonly once: boolean
  /** Read a topic that was created again from its beginning. */
  readonly acceptNewTopic?: boolean
  /** Absolute; null: there is none. */
  readonly configFile: string | null
}

/** What a stage begins with: its run, locked, its log, open, and its ports, bound. */
export interface StageContext {
  readonly io: StageIo
  readonly run: RunDirectory
  /** Which of the processes of its role this one is: `sequence-1`; the role itself where it is the only one. */
  readonly place: string
  readonly once: boolean
  readonly acceptNewTopic: boolean
  readonly logger: ProcessLogger
  readonly metrics: Metrics
  readonly measure: (report: MetricsReport) => void
  /** Supervise everything in the background, and are stopped by `untilDone`. */
  readonly tasks: BackgroundTasks<TaskName>
  readonly opsPort: BoundPort | undefined
  readonly servePort: BoundPort | undefined
  /** To be called when everything that can fail at the start is open. */
  readonly begun: () => void
}

export async function runStageProcess(
  stage: StageName,
  config: Config,
  { once, acceptNewTopic = false, configFile }: StageProcessOptions,
  body: (context: StageContext) => Promise<void>
): Promise<void> {
  const run = runToBegin(config, configFile)
  checkLog(config, run)
  const logger = openLogger(config, stage, logStyle(config, !once))
  // Ports first: one that is taken is reported before any other work.
  const servePort = stage === 'serve' ? await bindServe(config, false, logger.info) : undefined
  const opsPort = await bindOps(config)
  const lock = () => lockOf(stage, config, run)
  try {
    await beginRun(run, { configFile }, lock, async ({ place }, begun) => {
      const io = await openStageIo(config, run, place)
      const metrics = createMetrics({ clock: io.clock })
      const measure = (report: MetricsReport) => metrics.apply(report)
      const tasks = processTasks(metrics, logger.warn)
      try {
        await body({ io, run, place, once, acceptNewTopic, logger, metrics, measure, tasks, opsPort, servePort, begun })
      } finally {
        await tasks.stop().catch(() => {}) // the body has thrown it
        // Brokers that do not answer must not keep a process alive that has failed.
        await withinMs(systemClock, closeMaxMs, io.log.close())
      }
    })
  } finally {
    await servePort?.close()
    await opsPort?.close()
  }
}

/** Of a process: failures and restarts are counted, and reported once each. */
export function processTasks(metrics: Metrics, onProblem: (text: string) => void): BackgroundTasks<TaskName> {
  return new BackgroundTasks<TaskName>({
    ...{ clock: systemClock, onProblem },
    onFailure: (task) => metrics.taskFailures.inc({ task }),
    onRestart: (task) => metrics.taskRestarts.inc({ task })
  })
}

/** On Kafka several processes of a consumer group share a stage. The local log has no groups, so one process has it. */
function lockOf(stage: StageName, { log }: Config, run: RunDirectory) {
  const name = `mtmi ${stage}`
  if (stage === 'serve' || (log === 'kafka' && (stage === 'sequence' || stage === 'publish')))
    return run.lockPlace(name, stage)
  const roles: WriterRole[] = stage === 'ingest' && log === 'kafka' ? [] : [stage]
  return { place: stage, ...run.lock(name, roles) }
}

/** Until the process is interrupted or, where it is given, `settled` holds. @throws the error of a task that has ended */
export async function untilDone(tasks: BackgroundTasks<TaskName>, settled?: () => Promise<boolean>): Promise<void> {
  await Promise.race([tasks.failed, untilInterrupted(), ...(settled === undefined ? [] : [poll(settled)])])
}

const pollMs = 50

async function poll(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await pause(pollMs)
}

/** Whether the trainer has trained on everything in the log, and sent its updates. */
export async function isTrained(
  train: Pick<TrainStatus, 'consumed' | 'updatesSent'> | undefined,
  { log, config: { topics } }: StageIo
): Promise<boolean> {
  if (train?.updatesSent !== true) return false
  return recordsBehind(train.consumed, await log.ends(topics.userSequences)) === 0
}

/** Whether the publisher has published everything in the log. */
export async function isPublished(publish: PublishStatus | undefined, { log, config }: StageIo): Promise<boolean> {
  if (publish === undefined || publish.waitingItems > 0 || publish.waitingUsers > 0) return false
  const { interactions, userSequences, modelUpdates } = config.topics
  return (
    recordsBehind(publish.consumed, await log.ends(userSequences)) === 0 &&
    recordsBehind(publish.counted, await log.ends(interactions)) === 0 &&
    recordsBehind({ 0: publish.model }, await log.ends(modelUpdates)) === 0
  )
}
