// The stream's trainer on data that is all there: epochs over the positions of the training users, in an order drawn anew for each.
//
// Tables, sampler, assembler, loss and optimizers are those of the stream, so that a comparison of models compares what would run.

import type { ModelOptions, TrainOptions } from '../base/config.ts'
import type { OffsetRanges } from '../base/offsets.ts'
import { Rng } from '../base/rng.ts'
import type { CatalogueItem } from '../event/catalogueItem.ts'
import type { ItemId, UserId } from '../event/interaction.ts'
import type { Encoder } from '../model/encoder.ts'
import type { Example } from '../sequence/example.ts'
import type { SequenceStep } from '../sequence/userSequence.ts'
import type { Checkpoint } from './checkpoint.ts'
import { IncrementalTrainer } from './incrementalTrainer.ts'
import type { ModelReplica } from './modelReplica.ts'

export interface OfflineTrainerOptions {
  readonly model: ModelOptions
  /** Replay and expiry have no meaning here, and are off. */
  readonly train: TrainOptions
  /** Newest steps of a history that are read. */
  readonly historyMax: number
  readonly seed: number
}

export interface TrainingUser {
  readonly userId: UserId
  /** Oldest first; each but the first is a target once an epoch, with those before it as its history. */
  readonly steps: readonly SequenceStep[]
}

export interface OfflineProgress {
  /** Positions of this epoch learned, and in all. */
  readonly done: number
  readonly total: number
  /** Mean over the positions of this epoch. */
  readonly loss: number
}

/** Nothing here was cut from a topic. */
const noRanges: OffsetRanges = new Map()

export class OfflineTrainer {
  readonly #trainer: IncrementalTrainer
  readonly #users: readonly TrainingUser[]
  readonly #catalogue: readonly CatalogueItem[]
  readonly #options: OfflineTrainerOptions
  /** User and place of each position to learn. */
  readonly #userOf: Int32Array
  readonly #stepOf: Int32Array
  #epochs = 0

  constructor(users: readonly TrainingUser[], catalogue: readonly CatalogueItem[], options: OfflineTrainerOptions) {
    this.#users = users
    this.#catalogue = catalogue
    this.#options = options
    const train = { ...options.train, replayRatio: 0, reservoirMax: 0, evaluateItemsMax: 0 }
    this.#trainer = new IncrementalTrainer({ model: options.model, train, historyMax: options.historyMax, seed: options.seed })
    this.#trainer.learnCatalogue(catalogue)
    const count = users.reduce((sum, { steps }) => sum + Math.max(0, steps.length - 1), 0)
    this.#userOf = new Int32Array(count)
    this.#stepOf = new Int32Array(count)
    let at = 0
    for (const [user, { steps }] of users.entries()) {
      for (let step = 1; step < steps.length; step++) {
        this.#userOf[at] = user
        this.#stepOf[at++] = step
      }
    }
  }

  /** Whole epochs learned. */
  get epochs(): number {
    return this.#epochs
  }

  /** Positions of one epoch. */
  get positions(): number {
    return this.#userOf.length
  }

  get parameters(): number {
    return this.#trainer.parameters
  }

  /** Before the first epoch every target is counted once: so that no history lacks an item that is only met later, and negatives are drawn by true popularity. */
  begin(): void {
    const order = this.#order('observe')
    const { batchSize } = this.#options.train
    for (let from = 0; from < order.length; from += batchSize) this.#trainer.observe(this.#examples(order.subarray(from, from + batchSize)))
  }

  /**
   * One epoch, a batch for each value asked for. The order depends on the seed and the number of the epoch alone, so that an evaluation goes on from a
   * checkpoint as if it had never stopped.
   *
   * @throws DivergedError if a loss or a gradient is not finite
   */
  *epoch(): Generator<OfflineProgress, void, undefined> {
    const order = this.#order(`epoch ${this.#epochs}`)
    const { batchSize } = this.#options.train
    let sum = 0
    let learned = 0
    for (let from = 0; from < order.length; from += batchSize) {
      const report = this.#trainer.learnAgain(this.#examples(order.subarray(from, from + batchSize)), noRanges)
      sum += report.loss * report.examples
      learned += report.examples
      yield { done: Math.min(order.length, from + batchSize), total: order.length, loss: learned === 0 ? 0 : sum / learned }
    }
    this.#epochs++
  }

  /** Brings what the weights are now into `replica`: what would be published. @returns the replica */
  publish(replica: ModelReplica): Encoder {
    replica.learnCatalogue(this.#catalogue)
    for (const update of this.#trainer.takeUpdates(true, 0)) replica.apply(update)
    return replica
  }

  /** Items that can be recommended: those that were a target. */
  itemIds(): ItemId[] {
    return Array.from(this.#trainer.items.admitted(), (row) => this.#trainer.items.idOf(row))
  }

  /** Multiplies the learning rates from now on. */
  slowDown(factor: number): void {
    this.#trainer.slowDown(factor)
  }

  checkpoint(): Checkpoint {
    const { header, arrays } = this.#trainer.checkpoint()
    return { header: { ...header, epochs: this.#epochs }, arrays }
  }

  /** Instead of `begin`. @throws as IncrementalTrainer.restore */
  restore(checkpoint: Checkpoint): void {
    this.#trainer.restore(checkpoint)
    this.#trainer.resendAll()
    this.#epochs = checkpoint.header.epochs as number
  }

  #order(purpose: string): Int32Array {
    const order = Int32Array.from({ length: this.positions }, (_, i) => i)
    new Rng(this.#options.seed).fork(purpose).shuffle(order)
    return order
  }

  #examples(positions: Int32Array): Example[] {
    const { historyMax } = this.#options
    return Array.from(positions, (position): Example => {
      const { userId, steps } = this.#users[this.#userOf[position]!]!
      const at = this.#stepOf[position]!
      const source = { partition: 0, offset: BigInt(position) }
      return { userId, history: steps.slice(Math.max(0, at - historyMax), at), target: steps[at]!, source, weight: 1 }
    })
  }
}
