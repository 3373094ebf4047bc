// Training of one model of an offline evaluation: epoch after epoch, stopped early, the best weights kept. Killed, it
// resumes after its last epoch.

import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { systemClock } from '../../core/clock.ts'
import type { ModelOptions } from '../../core/config/config.ts'
import { DivergedError } from '../../core/errors.ts'
import { openStateFile, type StateKind, z } from '../../core/stateFile.ts'
import { ExactRanks } from '../../index/exactRanks.ts'
import { interestScoreOf } from '../../index/interestScore.ts'
import { peakTensorBytes } from '../../model/backend.ts'
import { ModelReplica } from '../../model/replica/modelReplica.ts'
import type { ItemId } from '../../records/interaction.ts'
import { CheckpointFiles } from '../../train/checkpoint/checkpointFiles.ts'
import type { LabConfig } from '../labOptions.ts'
import { encoderLists } from './encoderLists.ts'
import { failureSignatures } from './failureSignatures.ts'
import { type LabMemory, MemoryLists } from './memoryLists.ts'
import { listLength, offlineMetrics } from './offlineMetrics.ts'
import type { EpochReport } from './offlineResult.ts'
import type { OfflineRunOptions } from './offlineRun.ts'
import { lastFifth, type OfflineCase, type OfflineSplit } from './offlineSplit.ts'
import { OfflineTrainer } from './offlineTrainer.ts'
import { simpleMethod } from './simpleMethods.ts'

/** How often an epoch is repeated at half the learning rate before the run fails. */
const divergedMax = 5

interface Progress {
  readonly curve: readonly EpochReport[]
  readonly trainSeconds: number
  readonly examples: number
  readonly diverged: number
  /** Of the first step. */
  readonly stepBytes?: number
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

/** The run was interrupted; the same run resumes after its last epoch. */
export class InterruptedRun extends Error {}

interface TrainingOptions extends OfflineRunOptions {
  /** Of the training users. */
  readonly memory: LabMemory
}

/** @param among items that may be in lists */
export async function trainAndScore(
  options: TrainingOptions,
  split: OfflineSplit,
  folder: string,
  among: ReadonlySet<ItemId>
) {
  const training = new OfflineTraining(options, split, folder, among)
  try {
    await training.resume()
    while (training.hasNextEpoch) await training.epoch()
    return await training.score()
  } catch (error) {
    training.dispose()
    throw error
  }
}

class OfflineTraining {
  readonly #options: TrainingOptions
  readonly #split: OfflineSplit
  readonly #among: ReadonlySet<ItemId>
  readonly #trainer: OfflineTrainer
  readonly #best: CheckpointFiles
  readonly #last: CheckpointFiles
  readonly #progressFile: ReturnType<typeof openStateFile<Progress>>
  readonly #replica = new ModelReplica()
  readonly #top: ExactRanks
  /** Training users who are evaluated as the validation users are. */
  readonly #trainingCases: readonly OfflineCase[]
  #progress: Progress = { curve: [], trainSeconds: 0, examples: 0, diverged: 0 }

  constructor(options: TrainingOptions, split: OfflineSplit, folder: string, among: ReadonlySet<ItemId>) {
    const { config, seed } = options
    const model = modelOptionsOf(config, options.model)
    this.#options = options
    this.#split = split
    this.#among = among
    const { historyMax } = config.evaluate
    const parts = { model, train: trainOptions(config), historyMax, seed }
    this.#trainer = new OfflineTrainer(split.train, options.data.catalogue, parts)
    this.#trainer.give()
    this.#best = new CheckpointFiles({ directory: path.join(folder, 'best'), keep: 1 })
    this.#last = new CheckpointFiles({ directory: path.join(folder, 'last'), keep: 1 })
    this.#progressFile = openStateFile(path.join(folder, 'progress.json'), progressKind)
    this.#top = new ExactRanks(config.model.dimensions, interestScoreOf(model))
    this.#trainingCases = trainingCases(split, seed)
  }

  dispose(): void {
    this.#replica.dispose()
  }

  /** Restores the last epoch of an interrupted run, if there is one. */
  async resume(): Promise<void> {
    const { config, fresh, onNews } = this.#options
    const earlier = fresh === true ? undefined : await this.#last.latest()
    // A run that has gone further than the budget allows would have its best epoch from there.
    const written = earlier === undefined ? undefined : this.#progressFile.load()
    if (earlier === undefined || written === undefined || earlier.step > config.evaluate.epochsMax) {
      this.#trainer.observe()
      return
    }
    this.#trainer.restore(earlier.checkpoint)
    this.#progress = { ...written, curve: written.curve.slice(0, this.#trainer.epochs) }
    onNews(`resumes after epoch ${this.#trainer.epochs}`)
  }

  get hasNextEpoch(): boolean {
    return !this.#stopsEarly && this.#trainer.epochs < this.#options.config.evaluate.epochsMax
  }

  get #stopsEarly(): boolean {
    const { epochs } = this.#trainer
    const { patience } = this.#options.config.evaluate
    return epochs > 0 && epochs >= bestEpochOf(this.#progress.curve) + patience && this.#split.validation.length > 0
  }

  /** Trains an epoch, evaluates it and saves it; or halves the learning rate, if the epoch diverged. */
  async epoch(): Promise<void> {
    const trainer = this.#trainer
    const before = trainer.checkpoint()
    try {
      this.#progress = await trainEpoch(trainer, this.#progress, this.#options)
    } catch (error) {
      const { diverged } = this.#progress
      if (!(error instanceof DivergedError) || diverged >= divergedMax) throw error
      trainer.restore(before)
      trainer.slowDown(0.5)
      this.#progress = { ...this.#progress, diverged: diverged + 1 }
      return
    }
    const report = this.#evaluate()
    this.#progress = { ...this.#progress, curve: [...this.#progress.curve.slice(0, -1), report] }
    this.#options.onNews(describe(report, this.#progress))
    // Without validation users it is not known which epoch is best: the last one counts.
    const isBest = bestEpochOf(this.#progress.curve) === trainer.epochs || this.#split.validation.length === 0
    const checkpoint = trainer.checkpoint()
    if (isBest) await this.#best.save(trainer.epochs, checkpoint)
    await this.#last.save(trainer.epochs, checkpoint)
    this.#progressFile.save(this.#progress)
  }

  #evaluate(): EpochReport {
    const { validation } = this.#split
    const cases = [...validation, ...this.#trainingCases]
    const found = this.#lists(this.#trainer.publish(this.#replica), cases)
    return {
      epoch: this.#trainer.epochs,
      loss: this.#progress.curve.at(-1)!.loss,
      validationRecall: recallOf(validation, found.lists.slice(0, validation.length)),
      trainRecall: offlineMetrics(this.#trainingCases, found.lists.slice(validation.length))['recall@50'],
      intraUserCosine: found.intraUserCosine
    }
  }

  #lists(encoder: ReturnType<OfflineTrainer['publish']>, cases: readonly OfflineCase[]) {
    return encoderLists(encoder, this.#trainer.candidates(this.#among), cases, this.#top)
  }

  /** Lists of the test users by the best weights, and what is known of the training. */
  async score() {
    const trainer = this.#trainer
    const { validation, train, test } = this.#split
    const stoppedEarly = this.#stopsEarly
    const kept = await this.#best.latest()
    if (kept !== undefined && kept.step !== trainer.epochs) trainer.restore(kept.checkpoint)
    const scoringMs = systemClock.nowMs()
    const encoder = trainer.publish(this.#replica)
    const scored = this.#lists(encoder, test)
    const scoreSeconds = (systemClock.nowMs() - scoringMs) / 1000
    const popular = simpleMethod('most-popular', train)
    const popularLists = validation.map((one) => popular(one.history, listLength(one)))
    const bestEpoch = kept?.step ?? trainer.epochs
    const { trainSeconds, examples, curve, diverged, stepBytes } = this.#progress
    const { wins, intraUserCosine, effectiveInterests } = scored
    const findings = failureSignatures({
      ...{ interestCount: wins.length, intraUserCosine, wins, diverged, stoppedEarly, curve, bestEpoch },
      popularRecall: recallOf(validation, popularLists)
    })
    return {
      lists: scored.lists,
      listsOf: (cases: readonly OfflineCase[]) => this.#lists(encoder, cases).lists,
      memory: this.#memoryLists(encoder),
      dispose: () => this.dispose(),
      intraUserCosine,
      trainSeconds,
      examplesPerSecond: trainSeconds === 0 ? 0 : examples / trainSeconds,
      parameters: trainer.parameters,
      details: {
        bestEpoch,
        curve,
        wins,
        effectiveInterests,
        scoreSeconds,
        ...(stepBytes === undefined ? {} : { stepBytes }),
        findings
      }
    }
  }

  /** undefined: the result is without the memory. */
  #memoryLists(encoder: ReturnType<OfflineTrainer['publish']>): MemoryLists | undefined {
    const { config, model } = this.#options
    if (!config.evaluate.memory) return undefined
    const scoring = interestScoreOf(modelOptionsOf(config, model))
    return new MemoryLists(encoder, this.#trainer.candidates(this.#among), this.#options.memory, scoring)
  }
}

/** Recall@50; null without users. */
function recallOf(cases: readonly OfflineCase[], lists: readonly (readonly ItemId[])[]): number | null {
  return cases.length === 0 ? null : offlineMetrics(cases, lists)['recall@50']
}

async function trainEpoch(trainer: OfflineTrainer, progress: Progress, options: OfflineRunOptions): Promise<Progress> {
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
  // What is not known yet is filled in when the epoch has been evaluated.
  const unevaluated: EpochReport = {
    epoch: trainer.epochs,
    loss,
    validationRecall: null,
    trainRecall: 0,
    intraUserCosine: null
  }
  return {
    ...progress,
    curve: [...progress.curve, unevaluated],
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

/** As many training users as there are validation users, at most 1,000, with targets chosen as for those. */
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
