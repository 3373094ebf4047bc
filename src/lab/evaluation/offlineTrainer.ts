// The stream's trainer on data that is all there: epochs over the positions of the training users, in an order drawn
// anew for each.
//
// Tables, sampler, assembler, loss and optimizers are those of the stream, so that a comparison of models compares what
// would run. Positions are learned by windows (see TrainingWindow), whichever the model: a model that cannot read
// windows gets each history separately, but the same batches.

import '../models/comparisonModels.ts'
import type { ModelOptions, TrainOptions } from '../../core/config/config.ts'
import type { OffsetRanges } from '../../core/offsets.ts'
import { Rng } from '../../core/rng.ts'
import type { Encoder, EncoderItem } from '../../model/encoder.ts'
import type { Checkpoint } from '../../model/replica/checkpoint.ts'
import type { ModelReplica } from '../../model/replica/modelReplica.ts'
import { type CatalogueItem, featureKeys, featureLookup } from '../../records/catalogueItem.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'
import type { SequenceStep } from '../../records/userSequence.ts'
import { IncrementalTrainer } from '../../train/incrementalTrainer.ts'
import type { StepReport } from '../../train/trainer.ts'
import { cutWindows, type TrainingWindow } from './trainingWindow.ts'
import { assembleWindows, unrolled } from './windowBatch.ts'

interface OfflineTrainerOptions {
  readonly model: ModelOptions
  /** Replay and expiry have no meaning here, and are off. */
  readonly train: TrainOptions
  /** Newest steps of a history that are read. */
  readonly historyMax: number
  readonly seed: number
}

export interface TrainingUser<S extends SequenceStep = SequenceStep> {
  readonly userId: UserId
  /** Oldest first. */
  readonly steps: readonly S[]
}

interface OfflineProgress {
  /** Positions of this epoch learned, and in all. */
  readonly done: number
  readonly total: number
  /** Mean over the positions of this epoch. */
  readonly loss: number
}

/** Nothing here was cut from a topic. */
const noRanges: OffsetRanges = new Map()

export class OfflineTrainer<S extends SequenceStep = SequenceStep> {
  readonly #trainer: IncrementalTrainer
  readonly #users: readonly TrainingUser<S>[]
  readonly #catalogue: readonly CatalogueItem[]
  readonly #options: OfflineTrainerOptions
  /** Given last, which an epoch learns, and those given before, which it may replay. */
  #fresh: readonly TrainingWindow[] = []
  #older: readonly TrainingWindow[] = []
  #positions = 0
  #epochs = 0

  constructor(users: readonly TrainingUser<S>[], catalogue: readonly CatalogueItem[], options: OfflineTrainerOptions) {
    this.#users = users
    this.#catalogue = catalogue
    this.#options = options
    const train = { ...options.train, replayRatio: 0, reservoirMax: 0 }
    this.#trainer = new IncrementalTrainer({
      model: options.model,
      train,
      historyMax: options.historyMax,
      seed: options.seed
    })
    this.#trainer.useCatalogue(featureLookup(catalogue))
  }

  /** Whole epochs learned. */
  get epochs(): number {
    return this.#epochs
  }

  /** Fresh positions: those of one epoch, without replay. */
  get positions(): number {
    return this.#positions
  }

  get parameters(): number {
    return this.#trainer.parameters
  }

  /**
   * What is learned from now on; what was given before becomes older. Ask `observe` next, unless a checkpoint has
   * observed it already.
   *
   * @param learns whether a step that has one before it is a target; it is in histories all the same
   */
  give(learns: (step: S, user: number) => boolean = () => true): void {
    const { historyMax, train } = this.#options
    const targetsMax = Math.min(historyMax, train.batchSize)
    this.#older = [...this.#older, ...this.#fresh]
    this.#fresh = this.#users.flatMap(({ userId, steps }, user) =>
      cutWindows(userId, steps, { historyMax, targetsMax, weightOf: (step) => (learns(step, user) ? 1 : 0) })
    )
    this.#positions = targetsIn(this.#fresh)
  }

  /**
   * Counts every fresh target once, before the first epoch over them: so that no history lacks an item that is only met
   * later, and negatives are drawn by true popularity.
   */
  observe(): void {
    for (const windows of this.#batches('observe', this.#options.train.batchSize))
      this.#trainer.observe(windows.flatMap(({ steps, targets }) => targets.map(({ at }) => ({ target: steps[at]! }))))
  }

  /**
   * One epoch, a batch for each value asked for: windows of many users, with up to `train.batchSize` positions in all.
   * Their order depends on the seed and the number of the epoch alone, so that an evaluation resumes from a checkpoint
   * as if it had never stopped.
   *
   * @param replay older positions learned beside each fresh one, on average: older windows are drawn uniformly, and
   *   learned whole
   * @throws DivergedError if a loss or a gradient is not finite
   */
  *epoch(replay = 0): Generator<OfflineProgress, void, undefined> {
    const rng = new Rng(this.#options.seed).fork(`replay ${this.#epochs}`)
    const mixed = this.#older.length === 0 ? 0 : replay
    const size = Math.max(1, Math.round(this.#options.train.batchSize / (1 + mixed)))
    let owed = 0
    let done = 0
    let sum = 0
    let learned = 0
    for (const fresh of this.#batches(`epoch ${this.#epochs}`, size)) {
      const positions = targetsIn(fresh)
      const replayed: TrainingWindow[] = []
      for (owed += mixed * positions; owed > 0; owed -= replayed.at(-1)!.targets.length)
        replayed.push(this.#older[rng.integer(this.#older.length)]!)
      const report = learnWindows(this.#trainer, fresh, replayed)
      sum += report.loss * report.examples
      learned += report.examples
      done += positions
      yield { done, total: this.#positions, loss: learned === 0 ? 0 : sum / learned }
    }
    this.#epochs++
  }

  /** Brings what the weights are now into `replica`: what would be published. @returns the replica */
  publish(replica: ModelReplica): Encoder {
    replica.useCatalogue(featureLookup(this.#catalogue))
    for (const update of this.#trainer.takeUpdates(true, 0)) replica.apply(update)
    return replica
  }

  /**
   * Items that can be recommended: those that were a target, and as when serving those of the catalogue that have a
   * feature in common with one.
   *
   * @param among what a test may ask for: of the catalogue no other items are candidates
   */
  candidates(among: ReadonlySet<ItemId> = new Set()): EncoderItem[] {
    const { items, features } = this.#trainer
    const met = Array.from(items.admitted(), (row) => ({ itemId: items.idOf(row), features: [] }))
    const unmet = this.#catalogue
      .filter(({ itemId }) => among.has(itemId) && items.rowOf(itemId) === 0)
      .map((item) => ({ itemId: item.itemId, features: featureKeys(item) }))
      .filter((item) => item.features.some((feature) => features.rowOf(feature) !== 0))
    return [...met, ...unmet]
  }

  /** Multiplies the learning rates from now on. */
  slowDown(factor: number): void {
    this.#trainer.slowDown(factor)
  }

  checkpoint(): Checkpoint {
    const { header, parts } = this.#trainer.checkpoint()
    return { header: { ...header, epochs: this.#epochs }, parts }
  }

  /** Instead of `observe`; positions are not part of a checkpoint. @throws as IncrementalTrainer.restore */
  restore(checkpoint: Checkpoint): void {
    this.#trainer.restore(checkpoint)
    this.#trainer.resendAll()
    this.#epochs = checkpoint.header.epochs as number
  }

  /** The fresh windows, shuffled, in batches of up to so many targets. */
  *#batches(purpose: string, size: number): Generator<TrainingWindow[], void, undefined> {
    const order = Int32Array.from(this.#fresh, (_, i) => i)
    new Rng(this.#options.seed).fork(purpose).shuffle(order)
    let batch: TrainingWindow[] = []
    let targets = 0
    for (const i of order) {
      const window = this.#fresh[i]!
      if (batch.length > 0 && targets + window.targets.length > size) {
        yield batch
        batch = []
        targets = 0
      }
      batch.push(window)
      targets += window.targets.length
    }
    if (batch.length > 0) yield batch
  }
}

/**
 * Trains on positions that share their users' windows, in one pass: several times as fast as one by one where windows
 * have many. The targets were observed before; nothing is counted, admitted or kept for replay.
 *
 * @throws DivergedError as `IncrementalTrainer.learn`
 */
export function learnWindows(
  trainer: IncrementalTrainer,
  fresh: readonly TrainingWindow[],
  replayed: readonly TrainingWindow[] = []
): StepReport {
  const batch = assembleWindows(trainer.assembler, [...fresh, ...replayed], noRanges)
  const { user, historyMax } = trainer.model
  return trainer.learn(user.readsWindows ? batch : unrolled(batch, historyMax), targetsIn(fresh))
}

function targetsIn(windows: readonly TrainingWindow[]): number {
  return windows.reduce((sum, { targets }) => sum + targets.length, 0)
}
