// Test, then learn: a model trained from a stream, a batch at a time, changing only the rows that the batch touches.
//
// B examples, K interests, D dimensions, N items with a row, U rows touched.

import { ConfigError, CorruptError, DivergedError } from '../core/errors.ts'
import type { NamedArrays } from '../core/namedArrays.ts'
import type { OffsetRanges } from '../core/offsets.ts'
import { own } from '../core/own.ts'
import { Rng } from '../core/rng.ts'
import { type Architecture, createModel, differences, type Model, modelToJson, modelVersionOf } from '../model/model.ts'
import { type Checkpoint, type CheckpointPart, named } from '../model/replica/checkpoint.ts'
import { checkWeights, mapShapes, type Weights } from '../model/weights.ts'
import type { Example } from '../records/example.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { ModelUpdate } from '../records/modelUpdate.ts'
import { BatchAssembler } from './batch/batchAssembler.ts'
import { CandidateSampler } from './batch/candidateSampler.ts'
import type { Extent } from './batch/changedRows.ts'
import { FloodGuard } from './batch/floodGuard.ts'
import { ItemTable } from './batch/itemTable.ts'
import type { MiniBatch, WindowBatch } from './batch/miniBatch.ts'
import { Reservoir } from './batch/reservoir.ts'
import { examplesByRow } from './batch/storedExample.ts'
import { ItemInputs } from './itemInputs.ts'
import { ItemMemory } from './memory/itemMemory.ts'
import { TargetRanker, type TargetRankerState } from './progressive/targetRanker.ts'
import { Adam } from './step/adam.ts'
import { eagerStep } from './step/eagerStep.ts'
import { graphStep, hasGraph } from './step/graphStep.ts'
import { updateRows } from './step/rowAdagrad.ts'
import { dropoutMask, gradientOfInputs, stepArrays } from './step/stepArrays.ts'
import { takeChanges } from './takeChanges.ts'
import { type EvaluationReport, freshOutcomes, type StepReport, splitLosses } from './trainer.ts'
import { type IncrementalTrainerOptions, type TrainOptions, trainLimits } from './trainerOptions.ts'

const formatVersion = 4

/** Parts that every checkpoint holds in full, however much of them has changed. */
const wholeParts: ReadonlySet<string> = new Set(['weights', 'adam', 'sampler', 'assembler', 'guard'])

/** Rows of features (`field=value`) at most; a catalogue has thousands. */
const featuresMax = 1_000_000

/**
 * Standard deviation of a new row's numbers, in units of 1/√D. Vectors are scaled to length 1 anyway, so a short row
 * turns fast: the first steps of Adagrad, whose length does not depend on it, decide where a new item points, not
 * chance.
 */
const initialRowLength = 0.1

/** Batches between checks for items long unseen: a check is O(items) only when some are old. */
const expireEvery = 256

export class IncrementalTrainer {
  readonly #options: IncrementalTrainerOptions & { readonly train: Required<TrainOptions> }
  readonly model: Model
  #modelVersion: string
  readonly items: ItemTable
  readonly features: ItemTable
  readonly memory: ItemMemory
  readonly assembler: BatchAssembler
  readonly #sampler: CandidateSampler
  readonly #reservoir: Reservoir
  readonly #guard: FloodGuard
  readonly #ranker: TargetRanker
  readonly #inputs: ItemInputs
  readonly #adam: Adam
  /** `field=value` of an item. */
  #featuresOf: (itemId: ItemId) => readonly string[] = () => []
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
    this.model = createModel(model, historyMax)
    const rng = new Rng(options.seed)
    this.#modelVersion = options.modelVersion ?? modelVersionOf(model)
    const hashSeed = rng.uint32()
    const { dimensions } = model
    const table = { dimensions, initialScale: initialRowLength / Math.sqrt(dimensions) }
    const { itemsMax, admissionMin } = train
    this.items = new ItemTable({ ...table, itemsMax, admissionMin, rng: rng.fork('items') })
    this.features = new ItemTable({ ...table, itemsMax: featuresMax, admissionMin: 1, rng: rng.fork('features') })
    const { items, features } = this
    this.memory = new ItemMemory(items)
    this.#sampler = new CandidateSampler({ items })
    this.assembler = new BatchAssembler({
      ...{ items, features, sampler: this.#sampler, historyMax },
      negatives: train.negatives,
      rng: rng.fork('negatives'),
      featuresOf: (itemId) => this.#featuresOf(itemId)
    })
    rng.uint32() // one draw is unused, so that seeds give the streams that the figures in results/ were measured with
    const { reservoirMax: examplesMax, guardExamples, userShareMax, itemShareMax } = train
    this.#reservoir = new Reservoir({ items, examplesMax, historyMax, rng: rng.fork('reservoir') })
    this.#guard = new FloodGuard({ examplesMax: guardExamples, userShareMax, itemShareMax })
    this.#inputs = new ItemInputs(items, features, this.model)
    const ranked = {
      items,
      memory: this.memory,
      assembler: this.assembler,
      inputs: this.#inputs,
      share: options.rankedShare ?? 1
    }
    this.#ranker = new TargetRanker({ model: this.model, options: model, train, ...ranked }, hashSeed)
    this.#weights = this.model.initialWeights(rng.fork('weights'))
    this.#dropoutRng = rng.fork('dropout')
    this.#adam = new Adam({ learningRate: train.denseLearningRate })
  }

  /** Steps trained; a dropped one does not count. */
  get trainedSteps(): number {
    return this.#step
  }

  /** Model version, as it goes into commits. */
  get modelVersion(): string {
    return this.#modelVersion
  }

  /**
   * From here on vectors belong to another model version: the next `takeUpdates` sends every row. Not part of a
   * checkpoint, nor changed by going back to one.
   */
  beginVersion(modelVersion: string): void {
    this.#modelVersion = modelVersion
    this.resendAll()
  }

  /** The model version begun before a restart. */
  restoreVersion(modelVersion: string): void {
    this.#modelVersion = modelVersion
  }

  /** Where features of items are looked up. Changes are announced by `featuresChanged`. Not part of a checkpoint. */
  useCatalogue(featuresOf: (itemId: ItemId) => readonly string[]): void {
    this.#featuresOf = featuresOf
    this.assembler.featureRows.clear()
  }

  /** The item's features differ from those of the batch before. */
  featuresChanged(itemId: ItemId): void {
    this.assembler.featureRows.forget(this.items.rowOf(itemId))
  }

  /** Evaluates and trains on one batch of the stream. @throws DivergedError as `learnExamples` does */
  step(examples: readonly Example[], ranges: OffsetRanges): { evaluation: EvaluationReport; report: StepReport } {
    const evaluation = this.evaluateExamples(examples)
    return { evaluation, report: this.learnExamples(examples, ranges) }
  }

  /** Ranks the targets, or a sample of them, before they are observed: an item seen here for the first time counts as a miss. */
  evaluateExamples(examples: readonly Example[]): EvaluationReport {
    this.items.releaseFreed()
    this.features.releaseFreed()
    return this.#ranker.evaluate(examples, this.#weights)
  }

  /**
   * Counts and admits the targets, adds replayed examples, trains, and keeps the examples for replay. Examples of which
   * one user or one item has too many (see FloodGuard) are left out of all of it.
   *
   * @param ranges the records that the examples were cut from
   * @throws DivergedError if the loss or a gradient is not finite. Then no weight, row or optimizer state has changed
   *   and nothing was kept for replay, but the targets have been counted and admitted and the random streams have moved
   *   on: so the same stream from the same checkpoint does the same again.
   */
  learnExamples(examples: readonly Example[], ranges: OffsetRanges): StepReport {
    const { replayRatio, itemIdleMaxMs } = this.#options.train
    for (const { target } of examples) if (target.eventTimeMs > this.#newestMs) this.#newestMs = target.eventTimeMs
    if (++this.#batches % expireEvery === 0) this.items.expire(this.#newestMs - itemIdleMaxMs)
    const admitted = this.#guard.admit(examples)
    this.assembler.observe(admitted)
    this.memory.learn(admitted)
    const replayed = this.#reservoir.draw(Math.round(replayRatio * admitted.length))
    const fresh = examplesByRow(this.items, admitted, this.model.historyMax)
    const batch = this.assembler.assemble([...fresh, ...replayed], ranges)
    const report = this.learn(batch, admitted.length)
    for (const example of fresh) this.#reservoir.add(example)
    return { ...report, refused: examples.length - admitted.length }
  }

  /** Counts and admits the targets without training on them, as `learnExamples` does first. */
  observe(examples: readonly Pick<Example, 'target'>[]): void {
    for (const { target } of examples) if (target.eventTimeMs > this.#newestMs) this.#newestMs = target.eventTimeMs
    this.assembler.observe(examples)
  }

  /** Numbers that training may change: those of the towers, and an embedding for every item and feature. */
  get parameters(): number {
    const dense = Object.values(this.#weights).reduce((sum, values) => sum + values.length, 0)
    return dense + (this.items.size + this.features.size) * this.model.dimensions
  }

  /** @param fresh the first so many examples are trained on for the first time; the others are replayed */
  learn(batch: MiniBatch | WindowBatch, fresh = batch.size): StepReport {
    const { model: options, train } = this.#options
    const outcomes = freshOutcomes(batch, fresh)
    if (!batch.weight.some((weight) => weight > 0))
      return { step: this.#step, loss: 0, gradientNorm: 0, touchedRows: 0, examples: 0, fresh: outcomes }
    const { model } = this
    const inputs = this.#inputs.gather(batch.items, batch.features)
    const mask = options.dropout === 0 ? undefined : dropoutMask(inputs.length, options.dropout, this.#dropoutRng)
    const arrays = stepArrays(batch, inputs, mask, { historyMax: model.historyMax, logQ: options.logQ })
    const computed = (hasGraph(model) ? graphStep : eagerStep)(arrays, this.#weights, model)
    const gradInputs = gradientOfInputs(arrays, computed, batch.items.length)
    const ofFeatures = this.#inputs.featureGradients(batch.items, batch.features, gradInputs)
    let squares = sumOfSquares(gradInputs) + sumOfSquares(ofFeatures.gradients)
    for (const gradient of Object.values(computed.dense)) squares += sumOfSquares(gradient)
    const gradientNorm = Math.sqrt(squares)
    if (!Number.isFinite(computed.loss) || !Number.isFinite(gradientNorm))
      throw new DivergedError(
        `step ${this.#step + 1}: the loss is ${computed.loss} and the norm of its gradient ${gradientNorm}; nothing was changed. ` +
          'If it happens again lower train.denseLearningRate'
      )
    const scale =
      train.gradientNormMax > 0 && gradientNorm > train.gradientNormMax ? train.gradientNormMax / gradientNorm : 1
    const rowRate = train.rowLearningRate * this.#rateScale
    this.#adam.update(this.#weights, computed.dense, scale, this.#rateScale)
    const touchedRows =
      updateRows(this.items, batch.items, gradInputs, scale, rowRate) +
      updateRows(this.features, ofFeatures.rows, ofFeatures.gradients, scale, rowRate)
    this.#step++
    return {
      step: this.#step,
      loss: computed.loss,
      gradientNorm,
      touchedRows,
      examples: batch.weight.filter((weight) => weight > 0).length,
      fresh: outcomes,
      ...splitLosses(computed.losses, batch.weight, fresh)
    }
  }

  /** Multiplies both learning rates from now on; part of checkpoints taken afterwards. @param factor above 0 */
  slowDown(factor: number): void {
    this.#rateScale *= factor
  }

  /**
   * Erases a user from the examples for replay and from the flood guard. What the user contributed to weights and to the
   * memory's counts cannot be separated; it fades.
   */
  forgetUser(userId: UserId): void {
    this.#guard.remove(userId)
    this.#reservoir.remove(userId)
  }

  /**
   * What changed since the last call: embeddings of items and features, lists of the memory, expired items, the dense
   * weights on request, and the commit that closes it.
   *
   * @param withWeights whether dense weights are included; the first time they must be
   */
  takeUpdates(withWeights: boolean, nowMs: number): ModelUpdate[] {
    const updates = takeChanges(this)
    if (withWeights) {
      for (const [name, shape] of Object.entries(this.model.shapes))
        updates.push({ kind: 'weights', name, shape, values: own(this.#weights, name)!.slice() })
    }
    updates.push({
      kind: 'commit',
      step: this.#step,
      modelVersion: this.modelVersion,
      model: modelToJson(this.#options.model, this.model.historyMax),
      weightsChanged: withWeights,
      committedAtMs: nowMs,
      memoryWeight: this.#ranker.memoryWeight
    })
    return updates
  }

  /** The next `takeUpdates` sends every row: after going back to a checkpoint older than the updates already sent. */
  resendAll(): void {
    for (const table of [this.items, this.features]) for (const row of table.admitted()) table.markDirty(row)
    this.memory.resendAll()
  }

  /** The whole state at once, in memory owned by the receiver. */
  checkpoint(): Checkpoint {
    const { header, parts } = this.beginCheckpoint('whole')
    return { header, parts: [...parts] }
  }

  /**
   * The trainer as it is at this moment. Its parts are made when they are fetched, while training continues: what a
   * step is about to change is copied for them first. To be read to the end before the next checkpoint begins.
   *
   * @param extent `changed`: of embeddings and examples only those that changed since the last checkpoint was begun or
   *   restored; its parts complete those of that one
   */
  beginCheckpoint(extent: Extent): Checkpoint {
    this.#copies++
    const weights = mapShapes(this.model.shapes, (name) => own(this.#weights, name)!.slice())
    const adam = this.#adam.state()
    const items = this.items.copy(extent)
    const features = this.features.copy(extent)
    const memory = this.memory.copy(extent)
    const sampler = this.#sampler.state()
    const assembler = this.assembler.state()
    const reservoir = this.#reservoir.copy(extent)
    const guard = this.#guard.copy()
    const header = {
      formatVersion,
      modelVersion: this.modelVersion,
      ...this.#ranker.state(),
      architecture: this.model.architecture,
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
      yield* named('memory', memory)
      yield { name: 'sampler', arrays: sampler }
      yield { name: 'assembler', arrays: assembler }
      yield* named('reservoir', reservoir)
      yield { name: 'guard', arrays: guard() }
    }
    return { header, parts: parts() }
  }

  /** Checkpoints begun and restored: a checkpoint of changes builds on the last of these. */
  get copies(): number {
    return this.#copies
  }

  /** Blocks of about a megabyte each that training has copied for the checkpoint in progress. */
  get waitingBlocks(): number {
    const parts = [this.items, this.features, this.memory, this.#reservoir]
    return parts.reduce((sum, { waitingBlocks }) => sum + waitingBlocks, 0)
  }

  /**
   * @param others receives the parts that are not the trainer's, in their order
   * @throws ConfigError if the checkpoint is of another model, CorruptError if it is incomplete; the trainer must not
   *   be used then
   */
  restore(checkpoint: Checkpoint, others: (part: CheckpointPart) => void = () => {}): void {
    const header = checkpoint.header as Partial<ReturnType<IncrementalTrainer['checkpoint']>['header']> &
      Record<string, unknown>
    if (header.formatVersion !== formatVersion)
      throw new CorruptError(
        `the checkpoint has format version ${String(header.formatVersion)}; this program reads ${formatVersion}`
      )
    const problems = differences(this.model.architecture, header.architecture as Architecture)
    if (problems.length > 0) throw new ConfigError(problems)
    this.#copies++
    const inParts = { items: this.items, features: this.features, memory: this.memory, reservoir: this.#reservoir }
    for (const part of Object.values(inParts)) part.beginRestore()
    // Of several parts of these names the last one counts.
    const whole = new Map<string, NamedArrays>()
    for (const part of checkpoint.parts) {
      const { name, arrays } = part
      if (Object.hasOwn(inParts, name)) inParts[name as keyof typeof inParts].restorePart(arrays)
      else if (wholeParts.has(name)) whole.set(name, arrays)
      else others(part)
    }
    for (const part of Object.values(inParts)) part.endRestore()
    const of = (name: string): NamedArrays => whole.get(name) ?? new Map()
    const weights = checkWeights(Object.fromEntries(of('weights')) as Record<string, Float32Array>, this.model.shapes)
    this.#weights = mapShapes(this.model.shapes, (name) => own(weights, name)!.slice())
    this.#adam.restore(header.adamStep as number, of('adam'))
    this.#sampler.restore(of('sampler'))
    this.assembler.restore(of('assembler'))
    this.#guard.restore(of('guard'))
    this.#step = header.step as number
    this.#ranker.restore(header as unknown as TargetRankerState)
    this.#batches = header.batches as number
    this.#newestMs = header.newestMs as number
    this.#rateScale = header.rateScale as number
    this.#dropoutRng = Rng.from(header.dropoutRng as number[])
  }
}

function sumOfSquares(values: Float32Array): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!
  return sum
}
