// The thread that owns tfjs: training and publishing, away from the threads that read the log for others and answer
// HTTP.

import path from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { Account } from '../../src/core/account.ts'
import { MtmiError } from '../../src/core/errors.ts'
import { lmdbFault } from '../../src/core/lmdbTurns.ts'
import { handledLater } from '../../src/core/promises.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { CatalogueReader } from '../../src/log/catalogueReader.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { AccountMeter } from '../../src/monitor/accountMetrics.ts'
import type { MetricsEntry, MetricsReport } from '../../src/monitor/metrics.ts'
import { gateHistory } from '../../src/publish/modelGate.ts'
import { keptPopularity } from '../../src/publish/popularityWatch.ts'
import { heldPromotionState } from '../../src/publish/publisherReport.ts'
import { PublishStage, publishedOffsets } from '../../src/publish/publishStage.ts'
import { EncodeStage } from '../../src/serve/encodeStage.ts'
import { SessionEncoding } from '../../src/serve/sessionEncoding.ts'
import { BatchLedgerFile } from '../../src/train/checkpoint/batchLedger.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import { LearnedAudit } from '../../src/train/checkpoint/learnedAudit.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { type BatchReport, TrainStage } from '../../src/train/trainStage.ts'
import { loadConfiguredBackend } from '../configuredBackend.ts'
import { openStageLogger } from '../journal.ts'
import { modelControlFile } from '../modelControlFile.ts'
import { codecEntries, offsetsFromJson, offsetsToJson, openIndex, openStageIo } from '../parts.ts'
import type { FromModelThread, ModelThreadTask, PublishStatus, ToModelThread, TrainStatus } from './messages.ts'

/** How often status goes to the main thread: as often as a progress bar moves. */
const statusIntervalMs = 200

const post = (message: FromModelThread) => parentPort?.postMessage(message)

try {
  await main(workerData as ModelThreadTask)
  post({ kind: 'done' })
} catch (error) {
  const { dataDir, run } = workerData as ModelThreadTask
  // A code of the operating system does not cross to another thread.
  const known = await lmdbFault(error, path.join(dataDir, run))
  const { message, stack } = known as Error
  post({ kind: 'failed', code: known instanceof MtmiError ? known.code : undefined, message, stack })
  process.exitCode = 1
} finally {
  parentPort?.close()
}

async function main(task: ModelThreadTask): Promise<void> {
  const { config } = task
  const run = new RunDirectory(task.dataDir, task.run)
  const backend = await loadConfiguredBackend()
  if (config.model.name !== 'mtmi') await import('../../src/lab/models/comparisonModels.ts')
  const io = await openStageIo(config, run)
  const stop = new AbortController()
  const gathered: MetricsEntry[] = []
  const reading = task.stages.includes('train') ? 'train' : task.stages.includes('publish') ? 'publish' : 'serve'
  const catalogue = new CatalogueReader(io, { stage: reading, measure: (report) => gathered.push(...report) })
  const runs: Promise<void>[] = []
  const closers: (() => Promise<void> | void)[] = [() => io.log.close()]
  const statuses: (() => FromModelThread)[] = []
  const measures: (() => MetricsEntry[])[] = [() => codecEntries(io.codecs)]
  const catalogueMeter = new AccountMeter(new Account('catalogue').numbers())
  measures.push(() => [...catalogueMeter.entries(catalogue.account())])
  const hurries: ((on: boolean) => void)[] = []

  const loggerFor = (stage: string) =>
    task.logStyle === 'json' ? { logger: openStageLogger(config, stage, 'json') } : {}
  let publishing: PublishStage | undefined
  let sessions: SessionEncoding | undefined

  if (task.stages.includes('publish')) {
    const suffix = /-\d+$/.test(task.place ?? '') ? `-${task.place}` : ''
    const published = run.state(publishedOffsets, `published${suffix}.json`)
    const promotion = run.state(heldPromotionState, `promotion${suffix}.json`)
    const liveModel = new CheckpointFiles({ directory: run.path(`published-model${suffix}`), keep: 1 })
    const index = await openIndex(config, run, {
      searchThread: false,
      measure: (report) => gathered.push(...report),
      onProblem: (message) => post({ kind: 'problem', message })
    })
    const replica = new ModelReplica({ gated: true })
    sessions = new SessionEncoding(replica, () => replica.ready)
    publishing = new PublishStage({
      ...io,
      replica,
      catalogue,
      index,
      offsets: {
        load: () => offsetsFromJson(published.load() ?? {}),
        save: (offsets) => published.save(offsetsToJson(offsets))
      },
      liveModel,
      gates: run.state(gateHistory, `gates${suffix}.json`),
      popularity: run.state(keptPopularity, `popularity${suffix}.json`),
      onHeldPromotion: (held) => promotion.save({ held: held ?? null }),
      onVerdict: ({ outcome, step, reasons }) => {
        if (outcome === 'refused')
          post({
            kind: 'problem',
            message: `weights of step ${step} are not published: ${reasons.map(({ text }) => text).join('; ')}`
          })
      },
      measure: (report) => gathered.push(...report),
      ...loggerFor('publish'),
      onPublished: ({ users }) => {
        if (users !== undefined && users.agesMs.length > 0) post({ kind: 'freshness', agesMs: users.agesMs })
      },
      onProblem: (message) => post({ kind: 'problem', message })
    })
    const stage = publishing
    const status = (): PublishStatus => {
      const consumed = stage.consumed()
      const waiting = stage.waiting()
      return {
        consumed: offsetsToJson(consumed.sequences),
        counted: offsetsToJson(consumed.interactions),
        takenAtMs: stage.takenAtMs,
        accounts: [...stage.accounts(), ...(task.stages.includes('train') ? [] : [catalogue.account()])],
        model: String(consumed.model),
        waitingItems: waiting.items,
        waitingUsers: waiting.users,
        step: replica.step,
        indexVersion: replica.modelVersion,
        ...(stage.held === undefined ? {} : { held: stage.held }),
        ...(stage.heldPromotion === undefined ? {} : { heldPromotion: stage.heldPromotion }),
        ...(stage.outage === undefined ? {} : { outage: stage.outage })
      }
    }
    statuses.push(() => ({ kind: 'publish', status: status() }))
    measures.push(() => {
      const { items, users } = stage.waiting()
      return [
        ...stage.accountEntries(),
        { metric: 'waiting', labels: { role: 'item' }, value: items },
        { metric: 'waiting', labels: { role: 'user' }, value: users }
      ]
    })
    hurries.push((on) => stage.hurry(on))
    runs.push(handledLater(stage.run(stop.signal)))
    closers.push(() => index.close())
  }

  if (task.stages.includes('encode')) {
    const index = await openIndex(config, run, { searchThread: false })
    const replica = new ModelReplica({ gated: true })
    const measure = (report: MetricsReport) => gathered.push(...report)
    const onProblem = (message: string) => post({ kind: 'problem', message })
    const stage = new EncodeStage({ ...io, replica, catalogue, index, measure, onProblem })
    const meter = new AccountMeter(new Account('model').numbers())
    measures.push(() => [...meter.entries(stage.account())])
    sessions = new SessionEncoding(replica, () => stage.ready)
    runs.push(handledLater(stage.run(stop.signal)))
    closers.push(() => index.close())
  }

  if (task.stages.includes('train')) {
    const checkpoints = new CheckpointFiles({
      directory: run.path('checkpoints'),
      keep: config.train.checkpointKeep,
      versionKeep: config.train.versionKeep
    })
    const ledger = new BatchLedgerFile({ file: run.path('checkpoints', 'batches.ledger') })
    const trainer = new IncrementalTrainer({
      model: config.model,
      train: config.train,
      historyMax: config.sequence.historyMax,
      seed: config.seed
    })
    const audit = config.train.auditFile === null ? undefined : new LearnedAudit(config.train.auditFile)
    let trainMs = 0
    let examplesThisRun = 0
    const stage = new TrainStage({
      ...io,
      ...(publishing === undefined ? {} : { betweenBatches: () => publishing!.catchUp() }),
      trainer,
      catalogue,
      checkpoints,
      ledger,
      control: modelControlFile(run),
      measure: (report) => gathered.push(...report),
      ...loggerFor('train'),
      onBatch: (batch) => {
        trainMs += batch.evaluateMs + batch.learnMs
        examplesThisRun += batch.step?.fresh.learned ?? 0
        gathered.push(...batchMetrics(batch))
      },
      ...(audit === undefined ? {} : { onLearned: (batch, examples) => audit.append(batch, examples) })
    })
    const status = (): TrainStatus => ({
      consumed: offsetsToJson(stage.consumed()),
      takenAtMs: stage.takenAtMs,
      batches: stage.batch,
      examplesLearned: stage.examplesLearned,
      account: stage.account(),
      catalogue: catalogue.account(),
      examplesUndone: stage.examplesUndone,
      untrainedTargets: stage.untrainedTargets,
      examplesThisRun,
      batchesDropped: stage.batchesDropped,
      rollbacks: stage.rollbacks,
      items: trainer.items.size,
      loss: stage.loss,
      intraUserCosine: stage.intraUserCosine,
      progressive: stage.evaluator.report(),
      detections: stage.drift.detections,
      updatesSent: stage.updatesSent,
      trainSeconds: trainMs / 1000
    })
    statuses.push(() => ({ kind: 'train', status: status() }))
    measures.push(() => [
      { metric: 'rows', labels: { table: 'item' }, value: trainer.items.size },
      { metric: 'rows', labels: { table: 'feature' }, value: trainer.features.size }
    ])
    hurries.push((on) => stage.hurry(on))
    runs.push(handledLater(stage.run(stop.signal)))
    closers.push(() => ledger.close())
    closers.push(() => audit?.close())
  }

  const report = () => {
    for (const status of statuses) post(status())
    for (const gauges of measures) gathered.push(...gauges())
    if (gathered.length > 0) post({ kind: 'metrics', report: gathered.splice(0) })
  }
  const ticking = setInterval(report, statusIntervalMs)
  parentPort?.on('message', (message: ToModelThread) => {
    if (message.kind === 'stop') stop.abort()
    else if (message.kind === 'encode') {
      const { id, history } = message
      void sessions?.encode(history).then(
        (session) => post({ kind: 'encoded', id, session }),
        (error: Error) => post({ kind: 'encoded', id, problem: error.message })
      )
    } else for (const hurry of hurries) hurry(message.on)
  })
  post({ kind: 'ready', backend })
  try {
    // One that fails ends the other: half a pipeline must not look alive.
    const results = await Promise.allSettled(runs.map((stage) => stage.finally(() => stop.abort())))
    for (const result of results) if (result.status === 'rejected') throw result.reason
    report()
  } finally {
    clearInterval(ticking)
    for (const close of closers.reverse()) await close()
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
  if (step.examples === 0) return entries // nothing in it had a row: no step was made
  return [
    ...entries,
    { metric: 'step', value: step.step },
    { metric: 'batchExamples', value: step.examples },
    { metric: 'loss', value: step.loss },
    { metric: 'gradientNorm', value: step.gradientNorm },
    { metric: 'replayedExamples', value: step.examples - step.fresh.learned }
  ]
}
