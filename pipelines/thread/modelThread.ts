// The thread that owns tfjs: training and publishing, away from the threads that read the log for others and answer HTTP.

import { parentPort, workerData } from 'node:worker_threads'
import { type Config, environmentVariable } from '../../src/base/config.ts'
import { MtmiError } from '../../src/base/errors.ts'
import { BatchLedgerFile } from '../../src/io/batchLedger.ts'
import { CheckpointFiles } from '../../src/io/checkpointFiles.ts'
import { LearnedAudit } from '../../src/io/learnedAudit.ts'
import type { MetricsEntry } from '../../src/io/metrics.ts'
import { type BackendName, loadBackend } from '../../src/model/backend.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { ModelReplica } from '../../src/train/modelReplica.ts'
import { offsetsFromJson, offsetsToJson, openIndex, openWire, RunDirectory } from '../parts.ts'
import { PublishStage } from '../stages/publishStage.ts'
import { type BatchReport, TrainStage } from '../stages/trainStage.ts'
import type { FromModelThread, ModelThreadTask, PublishStatus, ToModelThread, TrainStatus } from './messages.ts'

/** How often status goes to the main thread: as often as a progress bar moves. */
const statusIntervalMs = 200

const post = (message: FromModelThread) => parentPort?.postMessage(message)

try {
  await main(workerData as ModelThreadTask)
  post({ kind: 'done' })
} catch (error) {
  const { message, stack } = error as Error
  post({ kind: 'failed', code: error instanceof MtmiError ? error.code : undefined, message, stack })
  process.exitCode = 1
} finally {
  parentPort?.close()
}

async function main(task: ModelThreadTask): Promise<void> {
  const { config } = task
  const run = new RunDirectory(task.dataDir, task.run)
  const backend = await loadBackend(environmentVariable('MTMI_BACKEND') as BackendName | undefined)
  const wire = await openWire(config, run)
  const stop = new AbortController()
  const gathered: MetricsEntry[] = []
  const runs: Promise<void>[] = []
  const closers: (() => Promise<void> | void)[] = [() => wire.log.close()]
  const statuses: (() => FromModelThread)[] = []
  const hurries: ((on: boolean) => void)[] = []

  let publishing: PublishStage | undefined

  if (task.stages.includes('publish')) {
    const index = await openIndex(run, { searchThread: false })
    const replica = new ModelReplica()
    publishing = new PublishStage({
      ...wire,
      replica,
      index,
      offsets: {
        load: () => offsetsFromJson(run.readJson('published.json') ?? {}),
        save: (offsets) => run.writeJson('published.json', offsetsToJson(offsets))
      },
      onPublished: ({ items, users }) => {
        if (users !== undefined && users.agesMs.length > 0) post({ kind: 'freshness', agesMs: users.agesMs })
        for (const [role, report] of [
          ['item', items],
          ['user', users]
        ] as const) {
          if (report === undefined) continue
          const labelled = (outcome: 'written' | 'stale' | 'unknown' | 'refused' | 'removed', value: number): MetricsEntry => ({
            metric: 'published',
            labels: { role, outcome },
            value
          })
          for (const outcome of ['written', 'stale', 'unknown', 'refused', 'removed'] as const)
            if (report[outcome] > 0) gathered.push(labelled(outcome, report[outcome]))
        }
        if (users !== undefined) gathered.push({ metric: 'freshness', values: users.agesMs.map((ms) => ms / 1000) })
      },
      onProblem: (problem) => post({ kind: 'problem', message: problem.message })
    })
    const stage = publishing
    const status = (): PublishStatus => {
      const consumed = stage.consumed()
      const waiting = stage.waiting()
      return {
        consumed: offsetsToJson(consumed.sequences),
        model: String(consumed.model),
        waitingItems: waiting.items,
        waitingUsers: waiting.users,
        step: replica.step,
        space: replica.space
      }
    }
    statuses.push(() => ({ kind: 'publish', status: status() }))
    hurries.push((on) => stage.hurry(on))
    runs.push(stage.run(stop.signal))
    closers.push(() => index.close())
  }

  if (task.stages.includes('train')) {
    const checkpoints = new CheckpointFiles({ directory: run.path('checkpoints'), keep: config.train.checkpointKeep })
    const ledger = new BatchLedgerFile({ file: run.path('checkpoints', 'batches.ledger') })
    const trainer = new IncrementalTrainer({
      model: config.model,
      train: config.train,
      historyMax: config.sequence.historyMax,
      seed: config.seed,
      space: spaceOf(config)
    })
    const audit = config.train.auditFile === null ? undefined : new LearnedAudit(config.train.auditFile)
    let trainMs = 0
    let examplesThisRun = 0
    const stage = new TrainStage({
      ...wire,
      ...(publishing === undefined ? {} : { betweenBatches: () => publishing!.catchUp() }),
      trainer,
      checkpoints,
      ledger,
      onBatch: (batch) => {
        trainMs += batch.durationMs
        examplesThisRun += batch.examples
        gathered.push(...batchMetrics(batch))
      },
      ...(audit === undefined ? {} : { onLearned: (batch, examples) => audit.append(batch, examples) })
    })
    const status = (): TrainStatus => ({
      consumed: offsetsToJson(stage.consumed()),
      batches: stage.batch,
      examplesLearned: stage.examplesLearned,
      examplesThisRun,
      batchesDropped: stage.batchesDropped,
      rollbacks: stage.rollbacks,
      items: trainer.items.size,
      loss: stage.loss,
      intraUserCosine: stage.intraUserCosine,
      progressive: stage.evaluator.report(),
      updatesSent: stage.updatesSent,
      trainSeconds: trainMs / 1000
    })
    statuses.push(() => ({ kind: 'train', status: status() }))
    hurries.push((on) => stage.hurry(on))
    runs.push(stage.run(stop.signal))
    closers.push(() => ledger.close())
    closers.push(() => audit?.close())
  }

  const report = () => {
    for (const status of statuses) post(status())
    if (gathered.length > 0) post({ kind: 'metrics', report: gathered.splice(0) })
  }
  const ticking = setInterval(report, statusIntervalMs)
  parentPort?.on('message', (message: ToModelThread) => {
    if (message.kind === 'stop') stop.abort()
    else for (const hurry of hurries) hurry(message.on)
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

function batchMetrics({ examples, evaluation, step, durationMs }: BatchReport): MetricsEntry[] {
  const entries: MetricsEntry[] = [
    { metric: 'batchExamples', value: examples },
    { metric: 'stepSeconds', value: durationMs / 1000 },
    { metric: 'intraUserCosine', value: evaluation.intraUserCosine }
  ]
  if (step === undefined) return [...entries, { metric: 'diverged', value: 1 }]
  return [
    ...entries,
    { metric: 'step', value: step.step },
    { metric: 'loss', value: step.loss },
    { metric: 'gradientNorm', value: step.gradientNorm },
    { metric: 'examples', labels: { outcome: 'learned' }, value: examples }
  ]
}

/** Vectors of models with other shapes cannot be compared: so each shape has a space of its own. */
function spaceOf({ model }: Config): string {
  return `${model.name}-${model.interestCount}x${model.dimensions}`
}
