// The thread that owns tfjs: it trains, publishes and encodes sessions, so that the main thread can sequence and answer
// HTTP meanwhile.

import { rmSync } from 'node:fs'
import path from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { Account } from '../../src/core/account.ts'
import { BackgroundTasks, runTogether, withinMs } from '../../src/core/backgroundTasks.ts'
import { systemClock } from '../../src/core/clock.ts'
import { MtmiError } from '../../src/core/errors.ts'
import { lmdbFault } from '../../src/core/lmdbTurns.ts'
import { offsetsToJson } from '../../src/core/offsets.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { CatalogueReader } from '../../src/log/catalogueReader.ts'
import type { StageIo } from '../../src/log/stageIo.ts'
import { compareTopics, knownTopics } from '../../src/log/topicIdentity.ts'
import { needsLab } from '../../src/model/model.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { AccountMeter } from '../../src/monitor/accountMetrics.ts'
import type { MetricsEntry, MetricsReport, TaskName } from '../../src/monitor/metrics.ts'
import type { StageLogger } from '../../src/monitor/stageLogger.ts'
import { gateHistory } from '../../src/publish/modelGate.ts'
import { keptPopularity } from '../../src/publish/popularityWatch.ts'
import { userDisk, usersFolder } from '../../src/publish/publishedUsers.ts'
import { heldPromotionState } from '../../src/publish/publisherReport.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import { EncodeStage } from '../../src/serve/encodeStage.ts'
import { BatchingSessionEncoder } from '../../src/serve/sessions.ts'
import { BatchLedgerFile } from '../../src/train/checkpoint/batchLedger.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import { TrainedAudit } from '../../src/train/checkpoint/trainedAudit.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import type { BatchReport } from '../../src/train/trainer.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { loadConfiguredBackend } from '../configuredBackend.ts'
import { openStageLogger } from '../logger.ts'
import { modelControlFile } from '../modelControlFile.ts'
import { openIndex, openStageIo, wholePlace } from '../parts.ts'
import type { FromModelThread, ModelThreadTask, PublishStatus, ToModelThread, TrainStatus } from './messages.ts'

/** How often status goes to the main thread: as often as a progress bar is drawn. */
const statusIntervalMs = 200
/** How long files and connections get to close. */
const closeMaxMs = 10_000

const post = (message: FromModelThread) => parentPort?.postMessage(message)

/** What the stages of the thread share. */
interface Context {
  readonly task: ModelThreadTask
  readonly run: RunDirectory
  readonly io: StageIo
  readonly catalogue: CatalogueReader
  readonly measure: (report: MetricsReport) => void
  readonly onProblem: (message: string) => void
  logger(stage: string): { readonly logger?: StageLogger }
}

/** A stage that runs in this thread. */
interface RunningStage {
  run(signal: AbortSignal): Promise<void>
  status?(): FromModelThread
  metrics(): readonly MetricsEntry[]
  drain?(on: boolean): void
  close(): Promise<void> | void
}

// A failed commit also rejects promises inside lmdb-js, in any order: without this the thread would end with an error
// that has lost its reason.
process.on('uncaughtException', (error) => {
  void postFailure(workerData as ModelThreadTask, error).then(() => setImmediate(() => process.exit(1)))
})

try {
  await main(workerData as ModelThreadTask)
} catch (error) {
  await postFailure(workerData as ModelThreadTask, error)
} finally {
  parentPort?.close()
}

/** Before anything is closed: that may take long where a dependency does not answer. */
async function postFailure({ dataDir, run }: ModelThreadTask, error: unknown): Promise<void> {
  // The code of a system error is lost between threads.
  const known = await lmdbFault(error, path.join(dataDir, run))
  const { message, stack } = known as Error
  post({ kind: 'failed', code: known instanceof MtmiError ? known.code : undefined, message, stack })
  process.exitCode = 1
}

async function main(task: ModelThreadTask): Promise<void> {
  const { config } = task
  const run = new RunDirectory(task.dataDir, task.run)
  const backend = await loadConfiguredBackend()
  if (needsLab(config.model)) await import('../../src/lab/models/comparisonModels.ts')
  const entries: MetricsEntry[] = []
  const measure = (report: MetricsReport) => void entries.push(...report)
  const has = (stage: (typeof task.stages)[number]) => task.stages.includes(stage)
  const stage = has('train') ? 'train' : has('publish') ? 'publish' : 'serve'
  const io = await openStageIo(config, run, task.stages.length > 1 ? wholePlace : (task.place ?? stage))
  const catalogue = new CatalogueReader(io, { stage, measure })
  const catalogueMeter = new AccountMeter(new Account('catalogue').numbers())
  const stop = new AbortController()
  const onProblem = (message: string) => post({ kind: 'problem', message })
  const onFailure = (task: TaskName) => measure([{ metric: 'taskFailures', labels: { task }, value: 1 }])
  const tasks = new BackgroundTasks<TaskName>({ clock: systemClock, onProblem, onFailure })
  const context: Context = {
    ...{ task, run, io, catalogue, measure, onProblem },
    logger: (stage) => (task.logStyle === 'json' ? { logger: openStageLogger(config, stage, 'json') } : {})
  }
  const publishing = has('publish') ? await publish(context) : undefined
  const encoding = has('encode') ? await encode(context) : undefined
  const training = has('train') ? await train(context, publishing?.stage) : undefined
  const stages = [publishing, encoding, training].filter((stage): stage is RunningStage => stage !== undefined)
  const sessions = encoding?.sessions ?? publishing?.sessions

  const report = () => {
    for (const { status } of stages) if (status !== undefined) post(status())
    entries.push(...(io.health?.takeReport() ?? []), ...catalogueMeter.entries(catalogue.account()))
    for (const { metrics } of stages) entries.push(...metrics())
    post({ kind: 'metrics', report: entries.splice(0), problem: io.health?.problem() })
  }
  parentPort?.on('message', (message: ToModelThread) => {
    if (message.kind === 'stop') stop.abort()
    else if (message.kind === 'drain') for (const { drain } of stages) drain?.(message.on)
    else void encodeSession(sessions, message)
  })
  post({ kind: 'ready', backend })
  tasks.every('report', 'the report of the model thread', { intervalMs: statusIntervalMs, required: true }, report)
  const loops = { publishing, encoding, training }
  const running = Object.entries(loops).flatMap(([name, stage]) => (stage === undefined ? [] : [[name, stage.run]]))
  try {
    await runTogether({ signal: stop.signal, clock: systemClock }, Object.fromEntries(running))
    report()
  } catch (error) {
    await postFailure(task, error)
  } finally {
    await tasks.stop()
    const close = async () => {
      for (const { close } of stages.reverse()) await close()
      await io.log.close()
    }
    await withinMs(systemClock, closeMaxMs, close())
  }
}

async function encodeSession(
  sessions: BatchingSessionEncoder | undefined,
  { id, history }: Extract<ToModelThread, { kind: 'encode' }>
): Promise<void> {
  try {
    post({ kind: 'encoded', id, session: await sessions?.encode(history) })
  } catch (error) {
    post({ kind: 'encoded', id, problem: (error as Error).message })
  }
}

async function publish(
  context: Context
): Promise<RunningStage & { readonly stage: PublishStage; readonly sessions: BatchingSessionEncoder }> {
  const { task, run, io, catalogue, measure, onProblem } = context
  // Each member of a group of publishers has files of its own.
  const suffix = /-\d+$/.test(task.place ?? '') ? `-${task.place}` : ''
  const promotion = run.state(heldPromotionState, `promotion${suffix}.json`)
  await publishNewTopics(context, suffix)
  const index = await openIndex(task.config, run, { searchThread: false, measure, onProblem })
  const replica = new ModelReplica({ gated: true })
  const stage = new PublishStage({
    ...io,
    ...{ replica, catalogue, index, measure, onProblem },
    users: userDisk(run.path(`${usersFolder}${suffix}`)),
    liveModel: new CheckpointFiles({ directory: run.path(`published-model${suffix}`), keep: 1 }),
    gates: run.state(gateHistory, `gates${suffix}.json`),
    popularity: run.state(keptPopularity, `popularity${suffix}.json`),
    onHeldPromotion: (held) => promotion.save({ held: held ?? null }),
    onVerdict: ({ outcome, step, reasons }) => {
      if (outcome === 'refused')
        onProblem(`weights of step ${step} are not published: ${reasons.map(({ text }) => text).join('; ')}`)
    },
    ...context.logger('publish'),
    onPublished: ({ users }) => {
      if (users !== undefined && users.agesMs.length > 0) post({ kind: 'freshness', agesMs: users.agesMs })
    }
  })
  const status = (): PublishStatus => {
    const { sequences, interactions, model } = stage.consumed()
    const { items, users } = stage.waiting()
    return {
      consumed: offsetsToJson(sequences),
      counted: offsetsToJson(interactions),
      model: String(model),
      takenAtMs: stage.takenAtMs,
      accounts: [...stage.accounts(), ...(task.stages.includes('train') ? [] : [catalogue.account()])],
      waitingItems: items,
      waitingUsers: users,
      step: replica.step,
      indexVersion: replica.modelVersion,
      ...(stage.rejected === undefined ? {} : { held: stage.rejected }),
      ...(stage.heldPromotion === undefined ? {} : { heldPromotion: stage.heldPromotion }),
      ...(stage.outage === undefined ? {} : { outage: stage.outage })
    }
  }
  return {
    stage,
    sessions: new BatchingSessionEncoder(replica, () => replica.ready),
    run: (signal) => stage.run(signal),
    status: () => ({ kind: 'publish', status: status() }),
    metrics: () => {
      const { items, users } = stage.waiting()
      return [
        ...stage.accountEntries(),
        { metric: 'waiting', labels: { role: 'item' }, value: items },
        { metric: 'waiting', labels: { role: 'user' }, value: users }
      ]
    },
    drain: (on) => stage.drain(on),
    close: () => index.close()
  }
}

async function encode({
  task,
  run,
  io,
  catalogue,
  measure,
  onProblem
}: Context): Promise<RunningStage & { readonly sessions: BatchingSessionEncoder }> {
  const index = await openIndex(task.config, run, { searchThread: false })
  const replica = new ModelReplica({ gated: true })
  const stage = new EncodeStage({ ...io, replica, catalogue, index, measure, onProblem })
  const meter = new AccountMeter(new Account('model').numbers())
  return {
    sessions: new BatchingSessionEncoder(replica, () => stage.ready),
    run: (signal) => stage.run(signal),
    status: () => ({ kind: 'encode', accounts: [catalogue.account(), stage.account()], ready: stage.ready }),
    metrics: () => meter.entries(stage.account()),
    close: () => index.close()
  }
}

/**
 * What is stored of topics that were created again is given up: the stage reads the new ones from the beginning. The
 * stores of users look after themselves.
 */
async function publishNewTopics({ task, run, io }: Context, suffix: string): Promise<void> {
  const { userSequences, modelUpdates, interactions } = task.config.topics
  const store = run.state(knownTopics, `topics-publish${suffix}.json`)
  const topics = { userSequences, modelUpdates, interactions }
  const { changed, save } = await compareTopics(io.log, store, topics, task.acceptNewTopic === true)
  if (changed.has('modelUpdates')) rmSync(run.path(`published-model${suffix}`), { recursive: true, force: true })
  const popularity = run.state(keptPopularity, `popularity${suffix}.json`)
  const counted = changed.has('interactions') ? popularity.load() : undefined
  if (counted !== undefined) popularity.save({ ...counted, offsets: {} })
  save()
}

async function train(
  { task, run, io, catalogue, measure, logger }: Context,
  publishing: PublishStage | undefined
): Promise<RunningStage> {
  const { config } = task
  const { userSequences, modelUpdates } = config.topics
  const store = run.state(knownTopics, 'topics-train.json')
  const topics = { userSequences, modelUpdates }
  const { changed, save } = await compareTopics(io.log, store, topics, task.acceptNewTopic === true)
  if (changed.size === 0) save()
  const { model, train, sequence, progressive, seed } = config
  const { checkpointKeep: keep, versionKeep, auditFile } = train
  const ledger = new BatchLedgerFile({ file: run.path('checkpoints', 'batches.ledger') })
  const trainer = new IncrementalTrainer({
    ...{ model, train, historyMax: sequence.historyMax, seed },
    rankedShare: progressive.share
  })
  const audit = auditFile === null ? undefined : new TrainedAudit(auditFile)
  let trainMs = 0
  let examplesThisRun = 0
  const stage = new TrainStage({
    ...io,
    ...{ trainer, catalogue, ledger, measure },
    // The publisher gets its turn after every batch: both work on this thread.
    ...(publishing === undefined ? {} : { betweenBatches: () => publishing.catchUp() }),
    checkpoints: new CheckpointFiles({ directory: run.path('checkpoints'), keep, versionKeep }),
    control: modelControlFile(run),
    ...(changed.size === 0
      ? {}
      : {
          newTopics: {
            userSequences: changed.has('userSequences'),
            modelUpdates: changed.has('modelUpdates'),
            onApplied: save
          }
        }),
    ...logger('train'),
    onBatch: (batch) => {
      trainMs += batch.evaluateMs + batch.learnMs
      examplesThisRun += batch.step?.fresh.trained ?? 0
      measure(batchMetrics(batch))
    },
    ...(audit === undefined ? {} : { onTrained: (batch, examples) => audit.append(batch, examples) })
  })
  const status = (): TrainStatus => ({
    ...stage.figures,
    consumed: offsetsToJson(stage.consumed()),
    batches: stage.batch,
    examplesTrained: stage.examplesTrained,
    account: stage.account(),
    catalogue: catalogue.account(),
    examplesThisRun,
    trainSeconds: trainMs / 1000,
    progressive: stage.evaluator.report(),
    detections: stage.drift.detections,
    updatesSent: stage.updatesSent
  })
  return {
    run: (signal) => stage.run(signal),
    status: () => ({ kind: 'train', status: status() }),
    metrics: () => [
      { metric: 'rows', labels: { table: 'item' }, value: trainer.items.size },
      { metric: 'rows', labels: { table: 'feature' }, value: trainer.features.size }
    ],
    drain: (on) => stage.drain(on),
    close: () => {
      audit?.close()
      ledger.close()
    }
  }
}

function batchMetrics({ evaluation, step, evaluateMs, learnMs }: BatchReport): MetricsEntry[] {
  const entries: MetricsEntry[] = [
    { metric: 'evaluateSeconds', value: evaluateMs / 1000 },
    { metric: 'stepSeconds', value: learnMs / 1000 },
    { metric: 'intraUserCosine', value: evaluation.intraUserCosine }
  ]
  for (const [k, value] of evaluation.wins.entries())
    entries.push({ metric: 'towerWins', labels: { tower: String(k) as '0' }, value })
  if (step === undefined) return [...entries, { metric: 'diverged', value: 1 }]
  if (step.examples === 0) return entries // no example had an embedding row, so there was no step
  return [
    ...entries,
    { metric: 'step', value: step.step },
    { metric: 'batchExamples', value: step.examples },
    { metric: 'loss', value: step.loss },
    { metric: 'gradientNorm', value: step.gradientNorm },
    { metric: 'replayedExamples', value: step.examples - step.fresh.trained }
  ]
}
