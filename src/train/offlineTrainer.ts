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
  /** Oldest first. */
  readonly steps: readonly SequenceStep[]
}

export interface OfflineProgress {
  /** Positions of this epoch learned, and in all. */
  readonly done: number
  readonly total: number
  /** Mean over the positions of this epoch. */
  readonly loss: number
}

/** Steps to learn: user and place in that user's steps, which are at least 1. */
export interface Positions {
  readonly users: Int32Array
  readonly steps: Int32Array
}

const noPositions: Positions = { users: new Int32Array(0), steps: new Int32Array(0) }

/** Nothing here was cut from a topic. */
const noRanges: OffsetRanges = new Map()

export class OfflineTrainer {
  readonly #trainer: IncrementalTrainer
  readonly #users: readonly TrainingUser[]
  readonly #catalogue: readonly CatalogueItem[]
  readonly #options: OfflineTrainerOptions
  /** Positions given last, which an epoch learns, and those given before, which it may replay. */
  #fresh: Positions = noPositions
  #older: Positions = noPositions
  #epochs = 0

  /** @param users whose steps positions point into */
  constructor(users: readonly TrainingUser[], catalogue: readonly CatalogueItem[], options: OfflineTrainerOptions) {
    this.#users = users
    this.#catalogue = catalogue
    this.#options = options
    const train = { ...options.train, replayRatio: 0, reservoirMax: 0, evaluateItemsMax: 0 }
    this.#trainer = new IncrementalTrainer({ model: options.model, train, historyMax: options.historyMax, seed: options.seed })
    this.#trainer.learnCatalogue(catalogue)
  }

  /** Whole epochs learned. */
  get epochs(): number {
    return this.#epochs
  }

  /** Fresh positions: those of one epoch, without replay. */
  get positions(): number {
    return this.#fresh.users.length
  }

  get parameters(): number {
    return this.#trainer.parameters
  }

  /** These are learned from now on; those given before become older ones. Ask `observe` next, unless a checkpoint has observed them already. */
  give(positions: Positions): void {
    this.#older = joined(this.#older, this.#fresh)
    this.#fresh = positions
  }

  /**
   * Counts every fresh target once, before the first epoch over them: so that no history lacks an item that is only met later, and negatives are drawn by
   * true popularity.
   */
  observe(): void {
    const order = this.#order('observe')
    const { batchSize } = this.#options.train
    for (let from = 0; from < order.length; from += batchSize) {
      const places = order.subarray(from, from + batchSize)
      this.#trainer.observe(Array.from(places, (place) => this.#example(this.#fresh, place)))
    }
  }

  /**
   * One epoch, a batch for each value asked for. The order depends on the seed and the number of the epoch alone, so that an evaluation goes on from a
   * checkpoint as if it had never stopped.
   *
   * @param replay older positions learned beside each fresh one, drawn uniformly
   * @throws DivergedError if a loss or a gradient is not finite
   */
  *epoch(replay = 0): Generator<OfflineProgress, void, undefined> {
    const order = this.#order(`epoch ${this.#epochs}`)
    const rng = new Rng(this.#options.seed).fork(`replay ${this.#epochs}`)
    const older = this.#older.users.length
    const mixed = older === 0 ? 0 : replay
    const size = Math.max(1, Math.round(this.#options.train.batchSize / (1 + mixed)))
    let sum = 0
    let learned = 0
    for (let from = 0; from < order.length; from += size) {
      const places = order.subarray(from, from + size)
      const examples = Array.from(places, (place) => this.#example(this.#fresh, place))
      for (let i = Math.round(mixed * places.length); i > 0; i--) examples.push(this.#example(this.#older, rng.integer(older)))
      const report = this.#trainer.learnAgain(examples, noRanges)
      sum += report.loss * report.examples
      learned += report.examples
      yield { done: Math.min(order.length, from + size), total: order.length, loss: learned === 0 ? 0 : sum / learned }
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

  /** Instead of `observe`; positions are not part of a checkpoint. @throws as IncrementalTrainer.restore */
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

  #example(positions: Positions, place: number): Example {
    const { userId, steps } = this.#users[positions.users[place]!]!
    const at = positions.steps[place]!
    const history = steps.slice(Math.max(0, at - this.#options.historyMax), at)
    return { userId, history, target: steps[at]!, source: { partition: 0, offset: BigInt(place) }, weight: 1 }
  }
}

/**
 * Every step that has one before it, user by user.
 *
 * @param learns whether a step is a target; it may be in histories all the same
 */
export function positionsOf<S extends SequenceStep>(
  users: readonly { readonly steps: readonly S[] }[],
  learns: (step: S, user: number) => boolean = () => true
): Positions {
  const ofUsers: number[] = []
  const ofSteps: number[] = []
  for (const [user, { steps }] of users.entries()) {
    for (let at = 1; at < steps.length; at++) {
      if (!learns(steps[at]!, user)) continue
      ofUsers.push(user)
      ofSteps.push(at)
    }
  }
  return { users: Int32Array.from(ofUsers), steps: Int32Array.from(ofSteps) }
}

function joined(a: Positions, b: Positions): Positions {
  if (a.users.length === 0) return b
  const join = (x: Int32Array, y: Int32Array) => {
    const both = new Int32Array(x.length + y.length)
    both.set(x)
    both.set(y, x.length)
    return both
  }
  return { users: join(a.users, b.users), steps: join(a.steps, b.steps) }
}
