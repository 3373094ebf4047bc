// Test, then learn: a model trained from a stream, a batch at a time, touching only the rows that the batch touches.
//
// B examples, K interests, D dimensions, N items with a row, U rows touched.

import type { ModelOptions, TrainOptions as TrainSettings } from '../core/config/config.ts'
import { ConfigError, CorruptError, DivergedError } from '../core/errors.ts'
import type { NamedArrays } from '../core/namedArrays.ts'
import type { OffsetRanges } from '../core/offsets.ts'
import { own } from '../core/own.ts'
import { Rng } from '../core/rng.ts'
import { type Architecture, createModel, differences, type Model, modelToJson, modelVersionOf } from '../model/model.ts'
import { type Checkpoint, type CheckpointPart, named } from '../model/replica/checkpoint.ts'
import { checkWeights, mapShapes, type Weights } from '../model/weights.ts'
import { type CatalogueItem, featureKeys } from '../records/catalogueItem.ts'
import type { Example } from '../records/example.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { ModelUpdate } from '../records/modelUpdate.ts'
import { BatchAssembler } from './batch/batchAssembler.ts'
import { CandidateSampler } from './batch/candidateSampler.ts'
import type { Extent } from './batch/changedRows.ts'
import { FeatureRows } from './batch/featureRows.ts'
import { FloodGuard } from './batch/floodGuard.ts'
import { ItemTable } from './batch/itemTable.ts'
import type { MiniBatch } from './batch/miniBatch.ts'
import { Reservoir } from './batch/reservoir.ts'
import type { TrainingWindow } from './batch/trainingWindow.ts'
import type { WindowBatch } from './batch/windowBatch.ts'
import { ItemInputs } from './itemInputs.ts'
import { Adam } from './step/adam.ts'
import { dropoutMask } from './step/dropout.ts'
import { updateRows } from './step/rowAdagrad.ts'
import { stepGradients } from './step/stepGradients.ts'
import { TargetRanker } from './targetRanker.ts'
import type { EvaluationReport, StepReport, Trainer } from './trainer.ts'

const trainLimits = {
  /** Row-wise Adagrad, for item and feature rows. From .025 to .1 results differ little: vectors are scaled to length 1. */
  rowLearningRate: 0.05,
  /** Gradients are scaled down to this norm; 0: never. */
  gradientNormMax: 5,
  /** An item this long unseen, by event time, loses its row. */
  itemIdleMaxMs: 365 * 86_400_000,
  /** Newest learned examples, of which no user and no item may have more than its share. */
  guardExamples: 10_000
}

/** The settings; a limit is given by tests and by offline evaluation alone. */
export type TrainOptions = TrainSettings & Partial<typeof trainLimits>

export interface IncrementalTrainerOptions {
  readonly model: ModelOptions
  readonly train: TrainOptions
  /** Newest steps of a history that the model reads. */
  readonly historyMax: number
  readonly seed: number
  /** Name of the model version: goes into every commit. Default: the model's name and shape, as in `mtmi-4x64`. */
  readonly modelVersion?: string
}

const formatVersion = 2

/** Parts that a checkpoint tells anew each time, however much of them has changed. */
const wholeParts: ReadonlySet<string> = new Set(['weights', 'adam', 'sampler', 'assembler', 'guard'])

/** Rows of features (`field=value`) at most; a catalogue has thousands. */
const featuresMax = 1_000_000

/**
 * Standard deviation of a new row's numbers, in units of 1/√D. Vectors are scaled to length 1 anyway, so a short row is
 * a row that turns fast: the first steps of Adagrad, whose length does not depend on it, decide where a new item
 * points, not chance.
 */
const initialRowLength = 0.1

/** Batches between looks for items long unseen: the look is O(items) only when some are old. */
const expireEvery = 256

export class IncrementalTrainer implements Trainer {
  readonly #options: IncrementalTrainerOptions & { readonly train: TrainSettings & typeof trainLimits }
  readonly #model: Model
  #modelVersion: string
  readonly items: ItemTable
  readonly features: ItemTable
  readonly #sampler: CandidateSampler
  readonly #assembler: BatchAssembler
  /** Draws no negatives: ranking needs none, and must not shift what learning draws. */
  readonly #evaluationAssembler: BatchAssembler
  readonly #reservoir: Reservoir
  readonly #guard: FloodGuard
  readonly #featureRows: FeatureRows
  readonly #ranker: TargetRanker
  readonly #inputs: ItemInputs
  readonly #adam: Adam
  /** `field=value` of an item: of the catalogue that was given, or else of `learnCatalogue`. */
  #featuresOf: (itemId: ItemId) => readonly string[]
  readonly #own = new Map<ItemId, readonly string[]>()
  #weights: Weights
  #dropoutRng: Rng
  #step = 0
  #batches = 0
  #newestMs = 0
  #rateScale = 1
  #copies = 0

  constructor(options: IncrementalTrainerOptions) {
    const { model, historyMax } = options
    const train = { ...trainLimits, ...options.train }
    this.#options = { ...options, train }
    this.#model = createModel(model, historyMax)
    const rng = new Rng(options.seed)
    this.#modelVersion = options.modelVersion ?? modelVersionOf(model)
    const hashSeed = rng.uint32()
    const dimensions = this.#model.rowWidth
    const initialScale = initialRowLength / Math.sqrt(dimensions)
    this.items = new ItemTable({
      dimensions,
      itemsMax: train.itemsMax,
      admissionMin: train.admissionMin,
      rng: rng.fork('items'),
      initialScale
    })
    this.features = new ItemTable({
      dimensions,
      itemsMax: featuresMax,
      admissionMin: 1,
      rng: rng.fork('features'),
      initialScale
    })
    this.#sampler = new CandidateSampler({ items: this.items })
    this.#featuresOf = (itemId) => this.#own.get(itemId) ?? []
    const featuresOf = (itemId: ItemId) => this.#featuresOf(itemId)
    const assembler = { items: this.items, features: this.features, sampler: this.#sampler, historyMax, featuresOf }
    this.#assembler = new BatchAssembler({ ...assembler, negatives: train.negatives, rng: rng.fork('negatives') })
    this.#evaluationAssembler = new BatchAssembler({ ...assembler, negatives: 0, rng: rng.fork('unused') })
    this.#reservoir = new Reservoir({
      items: this.items,
      examplesMax: train.reservoirMax,
      historyMax,
      rng: rng.fork('reservoir')
    })
    const { guardExamples, userShareMax, itemShareMax } = train
    this.#guard = new FloodGuard({ examplesMax: guardExamples, userShareMax, itemShareMax })
    this.#featureRows = new FeatureRows(this.items, this.features, featuresOf)
    this.#inputs = new ItemInputs(this.items, this.features, this.#model)
    const ranked = { items: this.items, featureRows: this.#featureRows, inputs: this.#inputs }
    this.#ranker = new TargetRanker({ model: this.#model, options: model, train, ...ranked }, hashSeed)
    this.#weights = this.#model.initialWeights(rng.fork('weights'))
    this.#dropoutRng = rng.fork('dropout')
    this.#adam = new Adam({ learningRate: train.denseLearningRate })
  }

  /** Steps learned; a dropped one does not count. */
  get learnedSteps(): number {
    return this.#step
  }

  /** N: items that have a row. */
  get itemCount(): number {
    return this.items.size
  }

  /** Name of the model version, as it goes into commits. */
  get modelVersion(): string {
    return this.#modelVersion
  }

  /**
   * From here on vectors belong to another model version: the next `takeUpdates` sends every row. Not part of a checkpoint, nor
   * changed by going back to one.
   */
  beginVersion(modelVersion: string): void {
    this.#modelVersion = modelVersion
    this.resendAll()
  }

  /** The model version that was begun before a restart. */
  restoreVersion(modelVersion: string): void {
    this.#modelVersion = modelVersion
  }

  /** Uses a catalogue that others use, too: whoever changes it calls `featuresChanged`. Not part of a checkpoint. */
  useCatalogue(featuresOf: (itemId: ItemId) => readonly string[]): void {
    this.#featuresOf = featuresOf
  }

  /** The item's features differ from those of the batch before. */
  featuresChanged(itemId: ItemId): void {
    this.#assembler.forgetFeatures(itemId)
    this.#evaluationAssembler.forgetFeatures(itemId)
    this.#featureRows.forget(this.items.rowOf(itemId))
  }

  /** A catalogue of its own, where nobody else needs one: features count from the next batch on. */
  learnCatalogue(items: Iterable<CatalogueItem>): void {
    for (const item of items) {
      this.#own.set(item.itemId, featureKeys(item))
      this.featuresChanged(item.itemId)
    }
  }

  /** Evaluates, observes, replays and learns: one batch of the stream. @throws DivergedError as `learnExamples` does */
  step(examples: readonly Example[], ranges: OffsetRanges): { evaluation: EvaluationReport; report: StepReport } {
    const { evaluation, batch } = this.evaluateExamples(examples, ranges)
    return { evaluation, report: this.learnExamples(examples, batch) }
  }

  /** Ranks the targets before anything is known of them: an item first seen here counts as a miss. */
  evaluateExamples(
    examples: readonly Example[],
    ranges: OffsetRanges
  ): { evaluation: EvaluationReport; batch: MiniBatch } {
    this.items.releaseFreed()
    this.features.releaseFreed()
    const batch = this.#evaluationAssembler.assemble(examples, ranges)
    return { evaluation: this.evaluate(batch), batch }
  }

  /**
   * Counts and admits the targets, adds replayed examples, learns, and keeps the examples for replay. Examples of which
   * one user or one item has too many (see FloodGuard) are left out of all of it.
   *
   * @param evaluated what `evaluateExamples` returned for them: its ranges are passed on
   * @throws DivergedError if the loss or a gradient is not finite. Then no weight, row or optimizer state has changed
   *   and nothing was kept for replay, but
   *   the targets have been counted and admitted and the random streams have moved on: so the same stream from the same
   *   checkpoint does the same again.
   */
  learnExamples(examples: readonly Example[], evaluated: MiniBatch): StepReport {
    const { replayRatio, itemIdleMaxMs } = this.#options.train
    for (const { target } of examples) if (target.eventTimeMs > this.#newestMs) this.#newestMs = target.eventTimeMs
    if (++this.#batches % expireEvery === 0) this.items.expire(this.#newestMs - itemIdleMaxMs)
    const admitted = this.#guard.admit(examples)
    this.#assembler.observe(admitted)
    const replayed = this.#reservoir.draw(Math.round(replayRatio * admitted.length))
    const all = replayed.length === 0 ? admitted : [...admitted, ...replayed]
    const report = this.learn(this.#assembler.assemble(all, evaluated.ranges), admitted.length)
    for (const example of admitted) this.#reservoir.add(example)
    return { ...report, refused: examples.length - admitted.length }
  }

  /** Counts and admits the targets without learning them, as `learnExamples` does first. */
  observe(examples: readonly Pick<Example, 'target' | 'history'>[]): void {
    for (const { target } of examples) if (target.eventTimeMs > this.#newestMs) this.#newestMs = target.eventTimeMs
    this.#assembler.observe(examples)
  }

  /** Numbers that learning may change: those of the towers, and a row for every item and feature. */
  get parameters(): number {
    const dense = Object.values(this.#weights).reduce((sum, values) => sum + values.length, 0)
    return dense + (this.items.size + this.features.size) * this.#model.rowWidth
  }

  /**
   * Learns positions that share their users' windows, in one pass (see WindowBatch): several times as fast as one by
   * one where windows have many. The targets were observed before; nothing is counted, admitted, drawn for replay or
   * kept.
   *
   * @param replayed learned beside them, as those that were learned before
   * @throws DivergedError as `learn` does
   */
  learnWindows(
    windows: readonly TrainingWindow[],
    ranges: OffsetRanges,
    replayed: readonly TrainingWindow[] = []
  ): StepReport {
    const fresh = windows.reduce((sum, { targets }) => sum + targets.length, 0)
    return this.learn(
      this.#assembler.assembleWindows(replayed.length === 0 ? windows : [...windows, ...replayed], ranges),
      fresh
    )
  }

  evaluate(batch: MiniBatch): EvaluationReport {
    return this.#ranker.evaluate(batch, this.#weights)
  }

  /** @param fresh so many examples, the first ones, are learned for the first time; the others are replayed */
  learn(batch: MiniBatch | WindowBatch, fresh = batch.size): StepReport {
    const { model, train } = this.#options
    const outcomes = freshOutcomes(batch, fresh)
    if (!batch.weight.some((weight) => weight > 0))
      return { step: this.#step, loss: 0, gradientNorm: 0, touchedRows: 0, examples: 0, fresh: outcomes }
    const inputs = this.#inputs.gather(batch.items, batch.features)
    const mask = model.dropout === 0 ? undefined : dropoutMask(inputs.length, model.dropout, this.#dropoutRng)
    const gradients = stepGradients(batch, inputs, mask, this.#weights, {
      model: this.#model,
      loss: model,
      logQ: model.logQ
    })
    const ofFeatures = this.#inputs.featureGradients(batch.items, batch.features, gradients.inputs)
    let squares = sumOfSquares(gradients.inputs) + sumOfSquares(ofFeatures.gradients)
    for (const gradient of Object.values(gradients.dense)) squares += sumOfSquares(gradient)
    const gradientNorm = Math.sqrt(squares)
    if (!Number.isFinite(gradients.loss) || !Number.isFinite(gradientNorm)) {
      throw new DivergedError(
        `step ${this.#step + 1}: the loss is ${gradients.loss} and the norm of its gradient ${gradientNorm}; nothing was changed. ` +
          'If it happens again lower train.denseLearningRate'
      )
    }
    const scale =
      train.gradientNormMax > 0 && gradientNorm > train.gradientNormMax ? train.gradientNormMax / gradientNorm : 1
    const rowRate = train.rowLearningRate * this.#rateScale
    this.#adam.update(this.#weights, gradients.dense, scale, this.#rateScale)
    const touchedRows =
      updateRows(this.items, batch.items, gradients.inputs, scale, rowRate) +
      updateRows(this.features, ofFeatures.rows, ofFeatures.gradients, scale, rowRate)
    this.#step++
    return {
      step: this.#step,
      loss: gradients.loss,
      gradientNorm,
      touchedRows,
      examples: batch.weight.filter((weight) => weight > 0).length,
      fresh: outcomes,
      ...splitLosses(gradients.losses, batch.weight, fresh)
    }
  }

  /** Multiplies both learning rates from now on; stays in checkpoints taken afterwards. @param factor above 0 */
  slowDown(factor: number): void {
    if (!(factor > 0 && Number.isFinite(factor)))
      throw new RangeError(`slowDown: the factor must be above 0, not ${factor}`)
    this.#rateScale *= factor
  }

  /**
   * Erases a user from what is kept for replay, and from whose examples were learned lately. @returns how many examples
   * that were
   */
  forgetUser(userId: UserId): number {
    this.#guard.remove(userId)
    return this.#reservoir.remove(userId)
  }

  /**
   * What changed since the last call: rows of items and features, expired items, the dense weights if asked for, and
   * the commit that closes it.
   *
   * @param withWeights whether dense weights travel; the first time they must
   */
  takeUpdates(withWeights: boolean, nowMs: number): ModelUpdate[] {
    const updates: ModelUpdate[] = []
    // An item that lost its row and got one again is among the dirty rows, not here.
    for (const itemId of this.items.takeExpired()) updates.push({ kind: 'item-row', itemId, row: null, count: 0 })
    this.features.takeExpired()
    for (const row of this.items.takeDirty())
      updates.push({
        kind: 'item-row',
        itemId: this.items.idOf(row),
        row: this.items.values(row).slice(),
        count: this.items.count(row)
      })
    for (const row of this.features.takeDirty())
      updates.push({ kind: 'feature-row', feature: this.features.idOf(row), row: this.features.values(row).slice() })
    if (withWeights) {
      for (const [name, shape] of Object.entries(this.#model.shapes))
        updates.push({ kind: 'weights', name, shape, values: own(this.#weights, name)!.slice() })
    }
    const { modelVersion } = this
    const model = modelToJson(this.#options.model, this.#model.historyMax)
    updates.push({
      kind: 'commit',
      step: this.#step,
      modelVersion,
      model,
      weightsChanged: withWeights,
      committedAtMs: nowMs
    })
    return updates
  }

  /**
   * The next `takeUpdates` sends every row: after going back to a checkpoint that later updates were already sent from.
   */
  resendAll(): void {
    for (const table of [this.items, this.features]) for (const row of table.admitted()) table.markDirty(row)
  }

  /** All of it at once, in memory that is the receiver's. */
  checkpoint(): Checkpoint {
    const { header, parts } = this.beginCheckpoint('whole')
    return { header, parts: [...parts] }
  }

  /**
   * The trainer as it is at this moment. Its parts are made when they are fetched, while learning goes on: what a step
   * is about to change is set aside for them first. To be fetched to the end before the next checkpoint begins.
   *
   * @param extent `changed`: of rows and examples only those that changed since the last checkpoint was begun, or
   *   restored. With its parts after those of that one it is whole
   */
  beginCheckpoint(extent: Extent): Checkpoint {
    this.#copies++
    const weights = mapShapes(this.#model.shapes, (name) => own(this.#weights, name)!.slice())
    const adam = this.#adam.state()
    const items = this.items.copy(extent)
    const features = this.features.copy(extent)
    const sampler = this.#sampler.state()
    const assembler = this.#assembler.state()
    const reservoir = this.#reservoir.copy(extent)
    const guard = this.#guard.copy()
    const header = {
      formatVersion,
      modelVersion: this.modelVersion,
      ...this.#ranker.state(),
      architecture: this.#model.architecture,
      step: this.#step,
      batches: this.#batches,
      newestMs: this.#newestMs,
      rateScale: this.#rateScale,
      dropoutRng: this.#dropoutRng.state(),
      adamStep: this.#adam.step
    }
    const parts = function* (): Iterable<CheckpointPart> {
      yield { name: 'weights', arrays: new Map(Object.entries(weights)) }
      yield { name: 'adam', arrays: adam }
      yield* named('items', items)
      yield* named('features', features)
      yield { name: 'sampler', arrays: sampler }
      yield { name: 'assembler', arrays: assembler }
      yield* named('reservoir', reservoir)
      yield { name: 'guard', arrays: guard() }
    }
    return { header, parts: parts() }
  }

  /** Checkpoints begun, whoever asked for them, and restored: one of changes builds on the last of these. */
  get copies(): number {
    return this.#copies
  }

  /** Blocks of some megabyte each that learning has set aside for the checkpoint under way. */
  get waitingBlocks(): number {
    return this.items.waitingBlocks + this.features.waitingBlocks + this.#reservoir.waitingBlocks
  }

  /**
   * @param others gets the parts that somebody else has put beside the trainer's, in their order
   * @throws ConfigError if the checkpoint is of another model, CorruptError if it is not a whole one; the trainer is
   *   then not to be used
   */
  restore(checkpoint: Checkpoint, others: (part: CheckpointPart) => void = () => {}): void {
    const header = checkpoint.header as Partial<ReturnType<IncrementalTrainer['checkpoint']>['header']> &
      Record<string, unknown>
    if (header.formatVersion !== formatVersion)
      throw new CorruptError(
        `the checkpoint has format version ${String(header.formatVersion)}; this program reads ${formatVersion}`
      )
    const problems = differences(this.#model.architecture, header.architecture as Architecture)
    if (problems.length > 0) throw new ConfigError(problems)
    this.#copies++
    const inParts = { items: this.items, features: this.features, reservoir: this.#reservoir }
    for (const part of Object.values(inParts)) part.beginRestore()
    // Of these the last one counts.
    const whole = new Map<string, NamedArrays>()
    for (const part of checkpoint.parts) {
      const { name, arrays } = part
      if (Object.hasOwn(inParts, name)) inParts[name as keyof typeof inParts].restorePart(arrays)
      else if (wholeParts.has(name)) whole.set(name, arrays)
      else others(part)
    }
    for (const part of Object.values(inParts)) part.endRestore()
    const of = (name: string) => whole.get(name) ?? new Map()
    const weights = checkWeights(Object.fromEntries(of('weights')) as Record<string, Float32Array>, this.#model.shapes)
    this.#weights = mapShapes(this.#model.shapes, (name) => own(weights, name)!.slice())
    this.#adam.restore(header.adamStep as number, of('adam'))
    this.#sampler.restore(of('sampler'))
    this.#assembler.restore(of('assembler'))
    this.#evaluationAssembler.restore(of('assembler'))
    this.#guard.restore(of('guard'))
    this.#featureRows.clear()
    this.#step = header.step as number
    this.#ranker.restore({ hashSeed: header.hashSeed as number, evaluations: header.evaluations as number })
    this.#batches = header.batches as number
    this.#newestMs = header.newestMs as number
    this.#rateScale = header.rateScale as number
    this.#dropoutRng = Rng.from(header.dropoutRng as number[])
  }
}

/** @param losses [B] @param weight [B] */
function splitLosses(
  losses: Float32Array,
  weight: Float32Array,
  fresh: number
): Pick<StepReport, 'freshLosses' | 'replayedLoss'> {
  let sum = 0
  let replayed = 0
  for (let b = fresh; b < losses.length; b++) {
    if (!(weight[b]! > 0)) continue
    sum += losses[b]!
    replayed++
  }
  const freshLosses = losses.slice(0, fresh).filter((_, b) => weight[b]! > 0)
  return replayed === 0 ? { freshLosses } : { freshLosses, replayedLoss: sum / replayed }
}

/** Of the first `fresh` of a batch. Without a weight is whose target has no row, or else whose history has none. */
function freshOutcomes({ weight, target }: Pick<MiniBatch, 'weight' | 'target'>, fresh: number): StepReport['fresh'] {
  const outcomes = { learned: 0, unknownItem: 0, unknownHistory: 0 }
  for (let b = 0; b < fresh; b++)
    outcomes[weight[b]! > 0 ? 'learned' : target[b] === 0 ? 'unknownItem' : 'unknownHistory']++
  return outcomes
}

function sumOfSquares(values: Float32Array): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!
  return sum
}
