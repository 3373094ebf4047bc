// One model, one data set, one seed: learn, stop early, keep the best weights, score. Killed, it goes on from its last
// epoch.

import { createHash } from 'node:crypto'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { systemClock } from '../../core/clock.ts'
import type { ModelOptions } from '../../core/config/config.ts'
import { DivergedError } from '../../core/errors.ts'
import { makeFolder } from '../../core/files.ts'
import { openStateFile, type StateKind, z } from '../../core/stateFile.ts'
import { ExactRanks } from '../../index/exactRanks.ts'
import { interestScoreOf } from '../../index/interestScore.ts'
import { peakTensorBytes } from '../../model/backend.ts'
import { ModelReplica } from '../../model/replica/modelReplica.ts'
import type { ItemId } from '../../records/interaction.ts'
import { CheckpointFiles } from '../../train/checkpoint/checkpointFiles.ts'
import type { LabConfig } from '../labOptions.ts'
import { historyLengths, historyPoint, itemPoints, shortened } from './coldStart.ts'
import { encoderLists } from './encoderLists.ts'
import { failureSignatures } from './failureSignatures.ts'
import { labMemory, MemoryLists } from './memoryLists.ts'
import type { OfflineData } from './offlineData.ts'
import { coverage, listLength, offlineMetrics } from './offlineMetrics.ts'
import type { EpochReport, OfflineResult, WithMemory } from './offlineResult.ts'
import {
  coreFilter,
  lastFifth,
  type OfflineCase,
  type OfflineProtocol,
  type OfflineSplit,
  splitOffline,
  type UserSteps
} from './offlineSplit.ts'
import { OfflineTrainer } from './offlineTrainer.ts'
import { isSimpleMethod, simpleMethod } from './simpleMethods.ts'

export interface OfflineRunOptions {
  readonly config: LabConfig
  readonly data: OfflineData
  /** A name of model.name, or a simple method. */
  readonly model: string
  readonly protocol: OfflineProtocol
  readonly seed: number
  /** Engine and version, for the result. */
  readonly backend: string
  /** How far it is: one line, often. */
  readonly onProgress: (line: string) => void
  /** What will not be said again: an epoch is done. */
  readonly onNews: (line: string) => void
  /** Asked between batches: ends the run with its last epoch kept. */
  readonly interrupted: () => boolean
  /** Who is asked in the end. Default: the test users. */
  readonly judge?: 'test' | 'validation'
  /** Learn anew what was learned before. */
  readonly fresh?: boolean
}

/** Raised when a change to this code makes earlier results another thing than those of today. */
const methodVersion = 3

/** Test users who are asked again with less of their history: enough for ± .013. */
const shortenedUsersMax = 1000

/** How often an epoch is begun again at half the rate before it is given up. */
const divergedMax = 5

interface Progress {
  readonly curve: readonly EpochReport[]
  readonly trainSeconds: number
  readonly examples: number
  readonly diverged: number
  /** Of the first step. */
  readonly stepBytes?: number
}

export class InterruptedRun extends Error {}

/** Where a run keeps its state: the same for the same data, model, settings and seed. */
export function runFolder({ config, data, model, protocol, seed }: OfflineRunOptions): string {
  const {
    interactionsMin,
    historyMax,
    batchSize,
    negatives,
    denseLearningRate,
    rowLearningRate,
    dropout,
    temperature,
    featuresHalveAt
  } = config.evaluate
  // The model's own share of features is for one pass, and not used.
  const { featuresHalveAt: _, ...ownModel } = config.model
  const filter = { interactionsMin }
  const settings = isSimpleMethod(model)
    ? filter
    : // `unmet` tells these runs from earlier ones, in which no item was a candidate that was never met.
      {
        ...filter,
        ...(data.catalogue.length === 0 ? {} : { unmet: true, featuresHalveAt }),
        historyMax,
        batchSize,
        negatives,
        denseLearningRate,
        rowLearningRate,
        dropout,
        temperature,
        model: ownModel
      }
  const key = JSON.stringify({ methodVersion, data: data.fingerprint, model, protocol, seed, settings })
  const digest = createHash('sha256').update(key).digest('hex').slice(0, 12)
  return path.resolve(
    config.dataDir,
    'evaluations',
    `${data.name}-${model}-${protocol}-${seed}-${digest}`.replace(/[^\w.-]/g, '_')
  )
}

/** Of one budget: with a larger one the same run goes on. */
export function resultFile(options: OfflineRunOptions): string {
  const { epochsMax, patience } = options.config.evaluate
  const what = options.judge === 'validation' ? 'validation' : options.config.evaluate.memory ? 'memory' : 'result'
  return path.join(
    runFolder(options),
    isSimpleMethod(options.model) ? 'result.json' : `${what}-${epochsMax}-${patience}.json`
  )
}

/** Best Recall@50 on the validation users, within the epochs allowed. The test users are not asked. */
export async function validate(options: OfflineRunOptions): Promise<number> {
  const { details } = await runOffline({ ...options, judge: 'validation' })
  return Math.max(0, ...details.curve.map(({ validationRecall }) => validationRecall ?? 0))
}

/** Those who take part. */
export function filteredUsers(data: OfflineData, config: LabConfig): UserSteps[] {
  return coreFilter(data.users, config.evaluate.interactionsMin)
}

const resultKind: StateKind<OfflineResult> = {
  file: 'result.json',
  version: 1,
  schema: z.looseObject({}),
  removed: 'the model is trained and evaluated again'
}

const progressKind: StateKind<Progress> = {
  file: 'progress.json',
  version: 1,
  schema: z.looseObject({
    curve: z.array(z.looseObject({})),
    trainSeconds: z.number(),
    examples: z.number(),
    diverged: z.number()
  }),
  removed: 'training begins again'
}

/** @throws ConfigError if there is too little data, InterruptedRun if asked to end */
export async function runOffline(options: OfflineRunOptions): Promise<OfflineResult> {
  const folder = runFolder(options)
  const file = resultFile(options)
  const known = options.fresh === true ? undefined : openStateFile(file, resultKind).load()
  if (known !== undefined) return known
  const users = filteredUsers(options.data, options.config)
  const whole = splitOffline(users, options.protocol, options.seed)
  const split = options.judge === 'validation' ? { ...whole, test: whole.validation } : whole
  const items = new Set(users.flatMap(({ steps }) => steps.map(({ itemId }) => itemId)))
  const counts = {
    model: options.model,
    data: options.data.name,
    protocol: options.protocol,
    seed: options.seed,
    users: users.length,
    items: items.size,
    interactions: users.reduce((sum, { steps }) => sum + steps.length, 0)
  }
  makeFolder(folder)
  const found = isSimpleMethod(options.model)
    ? scoreSimple(options, split)
    : await learnAndScore(options, split, folder, items)
  const { lists, listsOf, dispose, memory: _, ...measured } = found
  const few = split.test.slice(0, shortenedUsersMax)
  const counted = new Map<string, number>()
  for (const { steps } of split.train)
    for (const { itemId } of steps) counted.set(itemId, (counted.get(itemId) ?? 0) + 1)
  const withHistory = offlineMetrics(split.test, lists)
  const without = offlineMetrics(split.test, lists, true)
  const result: OfflineResult = {
    ...counts,
    metrics: metricsOnly(withHistory),
    withoutHistory: metricsOnly(without),
    ...(found.memory === undefined ? {} : { withMemory: withMemory(found.memory, split, items.size, counted) }),
    intraUserCosine: measured.intraUserCosine,
    coverage: coverage(lists, items.size),
    trainSeconds: measured.trainSeconds,
    examplesPerSecond: measured.examplesPerSecond,
    epochs: measured.details.curve.length,
    parameters: measured.parameters,
    details: {
      ...measured.details,
      trainUsers: split.train.length,
      validationUsers: split.validation.length,
      testUsers: withHistory.users,
      testUsersWithoutHistory: without.users,
      byHistoryLength: historyLengths.map((length) => {
        const cases = shortened(few, length)
        return historyPoint(length, cases, listsOf(cases))
      }),
      byItemCount: itemPoints(split.test, lists, (itemId) => counted.get(itemId) ?? 0),
      backend: options.backend
    }
  }
  dispose()
  openStateFile(file, resultKind).save(result)
  return result
}

/** The test users with the memory, by λ and ρ of the validation users. */
function withMemory(
  lists: MemoryLists,
  { validation, test }: OfflineSplit,
  items: number,
  counted: ReadonlyMap<ItemId, number>
): WithMemory {
  const choice = lists.choose(validation)
  const found = lists.listsOf(test, choice)
  return {
    ...choice,
    metrics: metricsOnly(offlineMetrics(test, found)),
    withoutHistory: metricsOnly(offlineMetrics(test, found, true)),
    coverage: coverage(found, items),
    byItemCount: itemPoints(test, found, (itemId) => counted.get(itemId) ?? 0)
  }
}

function metricsOnly({ users: _, ...metrics }: ReturnType<typeof offlineMetrics>) {
  return metrics
}

function scoreSimple({ model }: OfflineRunOptions, split: OfflineSplit) {
  const startedMs = systemClock.nowMs()
  const recommend = simpleMethod(model as Parameters<typeof simpleMethod>[0], split.train, split.validation)
  const trainSeconds = (systemClock.nowMs() - startedMs) / 1000
  const scoringMs = systemClock.nowMs()
  const listsOf = (cases: readonly OfflineCase[]) => cases.map((one) => recommend(one.history, listLength(one)))
  const lists = listsOf(split.test)
  const positions = split.train.reduce((sum, { steps }) => sum + steps.length, 0)
  return {
    lists,
    listsOf,
    memory: undefined,
    dispose: () => {},
    intraUserCosine: null,
    trainSeconds,
    examplesPerSecond: positions / Math.max(trainSeconds, 0.001),
    parameters: 0,
    details: { bestEpoch: 0, curve: [], wins: [], scoreSeconds: (systemClock.nowMs() - scoringMs) / 1000, findings: [] }
  }
}

async function learnAndScore(
  options: OfflineRunOptions,
  split: OfflineSplit,
  folder: string,
  among: ReadonlySet<ItemId>
) {
  const { config, model, seed, onNews } = options
  const modelOptions = modelOptionsOf(config, model)
  const trainer = new OfflineTrainer(split.train, options.data.catalogue, {
    model: modelOptions,
    train: trainOptions(config),
    historyMax: config.evaluate.historyMax,
    seed
  })
  trainer.give()
  const best = new CheckpointFiles({ directory: path.join(folder, 'best'), keep: 1 })
  const last = new CheckpointFiles({ directory: path.join(folder, 'last'), keep: 1 })
  const progressFile = openStateFile(path.join(folder, 'progress.json'), progressKind)
  let progress: Progress = { curve: [], trainSeconds: 0, examples: 0, diverged: 0 }
  const earlier = options.fresh === true ? undefined : await last.latest()
  // A run that has gone further than it may go now would have its best epoch from there.
  const written = earlier === undefined ? undefined : progressFile.load()
  if (earlier !== undefined && written !== undefined && earlier.step <= config.evaluate.epochsMax) {
    trainer.restore(earlier.checkpoint)
    progress = { ...written, curve: written.curve.slice(0, trainer.epochs) }
    onNews(`goes on after epoch ${trainer.epochs}`)
  } else trainer.observe()

  const replica = new ModelReplica()
  const top = new ExactRanks(config.model.dimensions, interestScoreOf(modelOptions))
  const asked = trainingCases(split, options.seed)
  const { epochsMax, patience } = config.evaluate
  let stoppedEarly = false
  try {
    for (;;) {
      if (trainer.epochs > 0 && trainer.epochs >= bestEpochOf(progress.curve) + patience && split.validation.length > 0)
        stoppedEarly = true
      if (stoppedEarly || trainer.epochs >= epochsMax) break
      const before = trainer.checkpoint()
      try {
        progress = await learnEpoch(trainer, progress, options)
      } catch (error) {
        if (!(error instanceof DivergedError) || progress.diverged >= divergedMax) throw error
        trainer.restore(before)
        trainer.slowDown(0.5)
        progress = { ...progress, diverged: progress.diverged + 1 }
        continue
      }
      const judged = encoderLists(
        trainer.publish(replica),
        trainer.candidates(among),
        [...split.validation, ...asked],
        top
      )
      const ofValidation = judged.lists.slice(0, split.validation.length)
      const ofTraining = judged.lists.slice(split.validation.length)
      const report: EpochReport = {
        epoch: trainer.epochs,
        loss: progress.curve.at(-1)!.loss,
        validationRecall:
          split.validation.length === 0 ? null : offlineMetrics(split.validation, ofValidation)['recall@50'],
        trainRecall: offlineMetrics(asked, ofTraining)['recall@50'],
        intraUserCosine: judged.intraUserCosine
      }
      progress = { ...progress, curve: [...progress.curve.slice(0, -1), report] }
      onNews(describe(report, progress))
      // Without validation users nothing tells which is best: the last one counts.
      const isBest = bestEpochOf(progress.curve) === trainer.epochs || split.validation.length === 0
      const checkpoint = trainer.checkpoint()
      if (isBest) await best.save(trainer.epochs, checkpoint)
      await last.save(trainer.epochs, checkpoint)
      progressFile.save(progress)
    }
    const kept = await best.latest()
    if (kept !== undefined && kept.step !== trainer.epochs) trainer.restore(kept.checkpoint)
    const scoringMs = systemClock.nowMs()
    const encoder = trainer.publish(replica)
    const items = trainer.candidates(among)
    const scored = encoderLists(encoder, items, split.test, top)
    const scoreSeconds = (systemClock.nowMs() - scoringMs) / 1000
    const popular = simpleMethod('most-popular', split.train)
    const popularLists = split.validation.map((one) => popular(one.history, listLength(one)))
    const bestEpoch = kept?.step ?? trainer.epochs
    const { trainSeconds, examples, curve, diverged, stepBytes } = progress
    return {
      lists: scored.lists,
      listsOf: (cases: readonly OfflineCase[]) => encoderLists(encoder, items, cases, top).lists,
      memory:
        config.evaluate.memory && options.judge !== 'validation'
          ? new MemoryLists(encoder, items, labMemory(split.train), interestScoreOf(modelOptions))
          : undefined,
      dispose: () => replica.dispose(),
      intraUserCosine: scored.intraUserCosine,
      trainSeconds,
      examplesPerSecond: trainSeconds === 0 ? 0 : examples / trainSeconds,
      parameters: trainer.parameters,
      details: {
        bestEpoch,
        curve,
        wins: scored.wins,
        scoreSeconds,
        ...(stepBytes === undefined ? {} : { stepBytes }),
        findings: failureSignatures({
          interestCount: scored.wins.length,
          intraUserCosine: scored.intraUserCosine,
          wins: scored.wins,
          diverged,
          stoppedEarly,
          curve,
          popularRecall:
            split.validation.length === 0 ? null : offlineMetrics(split.validation, popularLists)['recall@50'],
          bestEpoch
        })
      }
    }
  } catch (error) {
    replica.dispose()
    throw error
  }
}

async function learnEpoch(trainer: OfflineTrainer, progress: Progress, options: OfflineRunOptions): Promise<Progress> {
  const startedMs = systemClock.nowMs()
  const batches = trainer.epoch()
  const next = () => batches.next()
  let { stepBytes } = progress
  let loss = 0
  for (;;) {
    let batch: ReturnType<typeof next>
    if (stepBytes === undefined) ({ result: batch, bytes: stepBytes } = await peakTensorBytes(next))
    else batch = next()
    if (batch.done === true) break
    const { done, total, loss: mean } = batch.value
    loss = mean
    const seconds = (systemClock.nowMs() - startedMs) / 1000
    options.onProgress(
      `epoch ${trainer.epochs + 1}, ${Math.floor((100 * done) / total)}%, loss ${mean.toFixed(3)}, ${Math.round(done / Math.max(seconds, 0.001))} examples/s`
    )
    await nextTurn()
    if (options.interrupted()) throw new InterruptedRun(`stopped within epoch ${trainer.epochs + 1}`)
  }
  // What is not known yet is filled in when the epoch has been judged.
  const unjudged: EpochReport = {
    epoch: trainer.epochs,
    loss,
    validationRecall: null,
    trainRecall: 0,
    intraUserCosine: null
  }
  return {
    ...progress,
    curve: [...progress.curve, unjudged],
    trainSeconds: progress.trainSeconds + (systemClock.nowMs() - startedMs) / 1000,
    examples: progress.examples + trainer.positions,
    ...(stepBytes === undefined ? {} : { stepBytes })
  }
}

/** The settings of the stream, with those of an evaluation in their place. */
export function trainOptions({ train, evaluate }: LabConfig) {
  const { batchSize, negatives, denseLearningRate, rowLearningRate } = evaluate
  return { ...train, batchSize, negatives, denseLearningRate, rowLearningRate, admissionMin: 1 }
}

/** What is configured of the model, but for what is other over many epochs. */
export function modelOptionsOf({ model, evaluate }: LabConfig, name: string): ModelOptions {
  const { dropout, temperature, featuresHalveAt } = evaluate
  return { ...model, name, dropout, temperature, featuresHalveAt } as ModelOptions
}

/** As many training users as there are validation users, at most 1,000, asked as those are. */
function trainingCases({ train, validation }: OfflineSplit, seed: number): OfflineCase[] {
  const count = Math.min(train.length, 1000, Math.max(validation.length, 100))
  const step = Math.max(1, Math.floor(train.length / count))
  const cases: OfflineCase[] = []
  for (let at = seed % step; at < train.length && cases.length < count; at += step) {
    const one = lastFifth(train[at]!)
    if (one !== undefined) cases.push(one)
  }
  return cases
}

/** From 1; 0 before the first. */
function bestEpochOf(curve: readonly EpochReport[]): number {
  let best = 0
  for (const [i, { validationRecall }] of curve.entries())
    if (best === 0 || (validationRecall ?? 0) > (curve[best - 1]!.validationRecall ?? 0)) best = i + 1
  return best
}

function describe(
  { epoch, loss, validationRecall, trainRecall, intraUserCosine }: EpochReport,
  { trainSeconds, examples }: Progress
): string {
  const validation =
    validationRecall === null
      ? 'no validation users'
      : `Recall@50 ${validationRecall.toFixed(4)} (training users ${trainRecall.toFixed(3)})`
  const cosine = intraUserCosine === null ? '' : `, cosine of interests ${intraUserCosine.toFixed(2)}`
  return `epoch ${epoch} done: loss ${loss.toFixed(3)}, ${validation}${cosine}, ${Math.round(examples / Math.max(trainSeconds, 0.001))} examples/s`
}
