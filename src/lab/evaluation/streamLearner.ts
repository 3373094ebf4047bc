// What is trained in each period of a streaming evaluation, by policy: a model or, for comparison, a Markov chain.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { Rng } from '../../core/rng.ts'
import { ExactRanks } from '../../index/exactRanks.ts'
import { interestScoreOf } from '../../index/interestScore.ts'
import { ModelReplica } from '../../model/replica/modelReplica.ts'
import type { ItemId } from '../../records/interaction.ts'
import type { CheckpointFiles } from '../../train/checkpoint/checkpointFiles.ts'
import { MarkovChain } from './markovChain.ts'
import type { OfflineStep, UserSteps } from './offlineSplit.ts'
import { OfflineTrainer } from './offlineTrainer.ts'
import { InterruptedRun, modelOptionsOf, trainOptions } from './offlineTraining.ts'
import { nextItemMetrics, streamCut } from './streamMetrics.ts'
import type { NextItem, StreamPeriod } from './streamPeriods.ts'
import type { StreamPolicy } from './streamResult.ts'
import type { StreamRunOptions } from './streamRun.ts'

/**
 * One in so many users of the first period is never trained on: their targets show what is forgotten. Of a period that
 * is trained on from scratch, the targets of as many users decide when to stop.
 */
const heldOutEvery = 20

/**
 * Targets that decide when to stop, at most: evaluating an epoch of a few thousand would take as long as training on it.
 */
const stopTargetsMax = 2000

/** What a policy does with a model. */
export interface Learner {
  /** Trains on period p, and on whatever else its policy says. @returns positions trained on, with repetitions */
  learn(p: number): Promise<number>
  lists(cases: readonly NextItem[]): readonly (readonly ItemId[])[]
  readonly parameters: number
  save(p: number): Promise<void>
}

export function isCounting(policy: StreamPolicy): boolean {
  return policy.endsWith('-markov')
}

export function countingLearner(
  policy: StreamPolicy,
  users: readonly UserSteps[],
  periods: readonly StreamPeriod[],
  heldOut: ReadonlySet<number>
): Learner {
  let chain = new MarkovChain()
  return {
    parameters: 0,
    save: async () => {},
    learn: async (p) => {
      if (policy === 'static-markov' && p > 0) return 0
      if (policy === 'last-period-markov') chain = new MarkovChain()
      let learned = 0
      const { from, to } = periods[p]!
      for (const [u, { steps }] of users.entries()) {
        if (heldOut.has(u)) continue
        for (let at = 1; at < steps.length; at++) {
          if (steps[at]!.order < from || steps[at]!.order >= to) continue
          chain.learn(steps[at - 1]!.itemId, steps[at]!.itemId)
          learned++
        }
      }
      return learned
    },
    lists: (cases) =>
      cases.map(({ history }) =>
        chain.after(
          history.map(({ itemId }) => itemId),
          streamCut
        )
      )
  }
}

/** @param done periods that were trained on before the process started: the newest checkpoint is of the last of them */
export async function modelLearner(
  options: StreamRunOptions,
  periods: readonly StreamPeriod[],
  heldOut: ReadonlySet<number>,
  store: CheckpointFiles,
  done: number
): Promise<Learner> {
  const learner = new ModelLearner(options, periods, heldOut, store)
  const kept = await store.latest()
  if (done > 0 && kept !== undefined) learner.restore(kept.checkpoint, done)
  return learner
}

class ModelLearner implements Learner {
  readonly #options: StreamRunOptions
  readonly #periods: readonly StreamPeriod[]
  readonly #heldOut: ReadonlySet<number>
  readonly #store: CheckpointFiles
  readonly #top: ExactRanks
  #trainer: OfflineTrainer<OfflineStep>
  #replica = new ModelReplica()

  constructor(
    options: StreamRunOptions,
    periods: readonly StreamPeriod[],
    heldOut: ReadonlySet<number>,
    store: CheckpointFiles
  ) {
    const { config, model } = options
    this.#options = options
    this.#periods = periods
    this.#heldOut = heldOut
    this.#store = store
    this.#trainer = this.#newTrainer()
    this.#top = new ExactRanks(config.model.dimensions, interestScoreOf(modelOptionsOf(config, model)))
  }

  get parameters(): number {
    return this.#trainer.parameters
  }

  restore(checkpoint: Parameters<OfflineTrainer['restore']>[0], done: number): void {
    this.#trainer.restore(checkpoint)
    // Only what may be replayed matters of the periods before.
    for (const { from, to } of this.#periods.slice(0, done)) this.#trainer.give(this.#between(from, to))
  }

  async save(p: number): Promise<void> {
    await this.#store.save(p, this.#trainer.checkpoint())
  }

  async learn(p: number): Promise<number> {
    const { policy } = this.#options
    if (p === 0 || policy === 'retrain' || policy === 'last-period') return this.#trainFromScratch(p)
    return policy === 'static' ? 0 : this.#update(p)
  }

  lists(cases: readonly NextItem[]): readonly (readonly ItemId[])[] {
    const encoder = this.#trainer.publish(this.#replica)
    const items = this.#trainer.candidates()
    this.#top.load(encoder.itemVectors(items).vectors)
    const { interests } = encoder.interests(cases.map(({ history }) => history)) // [B, K, D]
    const size = encoder.interestCount * encoder.dimensions
    return cases.map((_, b) =>
      Array.from(this.#top.list(interests.subarray(b * size, (b + 1) * size), streamCut), (row) => items[row]!.itemId)
    )
  }

  async #update(p: number): Promise<number> {
    const { policy, config } = this.#options
    const { updateEpochs, updateReplay } = config.evaluate
    const { from, to } = this.#periods[p]!
    this.#trainer.give(this.#between(from, to))
    this.#trainer.observe()
    const replay = policy === 'replay' ? updateReplay : 0
    for (let number = 1; number <= updateEpochs; number++)
      await this.#epoch(`epoch ${number} of ${updateEpochs}`, replay)
    return this.#trainer.positions * updateEpochs * (1 + replay)
  }

  async #trainFromScratch(p: number): Promise<number> {
    const { policy, config, data, seed } = this.#options
    const { periodTargetsMax } = config.evaluate
    const period = this.#periods[p]!
    if (p > 0) {
      this.#trainer = this.#newTrainer()
      this.#replica.dispose()
      this.#replica = new ModelReplica()
    }
    const apart = p === 0 ? this.#heldOut : heldOutUsers(data.users, period, seed)
    this.#trainer.give(this.#between(policy === 'retrain' ? 0 : period.from, period.to, apart))
    this.#trainer.observe()
    const targetsMax = Math.min(stopTargetsMax, periodTargetsMax || stopTargetsMax)
    const cases = sample(heldOutCases(data.users, period, apart), targetsMax, seed)
    return this.#trainer.positions * (await this.#trainUntilBest(cases))
  }

  /**
   * Until the recall of the held-out users' targets no longer improves. @returns epochs trained, after which the best
   * one's weights are restored
   */
  async #trainUntilBest(cases: readonly NextItem[]): Promise<number> {
    const { periodEpochs, periodPatience } = this.#options.config.evaluate
    const trainer = this.#trainer
    let best = { epoch: 0, recall: -1, checkpoint: trainer.checkpoint() }
    for (let number = 1; number <= periodEpochs && number <= best.epoch + periodPatience; number++) {
      await this.#epoch(`epoch ${number}`, 0)
      const ranks = this.lists(cases).map((list, i) => list.indexOf(cases[i]!.target))
      const recall = nextItemMetrics(ranks)['recall@20'] ?? 0
      this.#options.onNews(
        `trained from scratch, epoch ${number}: Recall@20 ${recall.toFixed(4)} of ${cases.length} held-out targets`
      )
      if (recall > best.recall || cases.length === 0) best = { epoch: number, recall, checkpoint: trainer.checkpoint() }
      else if (number === periodEpochs || number === best.epoch + periodPatience) {
        trainer.restore(best.checkpoint)
        return number
      }
    }
    return trainer.epochs
  }

  async #epoch(title: string, replay: number): Promise<void> {
    const { onProgress, interrupted } = this.#options
    for (const { done, total, loss } of this.#trainer.epoch(replay)) {
      onProgress(`${title}, ${Math.floor((100 * done) / total)}%, loss ${loss.toFixed(3)}`)
      await nextTurn()
      if (interrupted()) throw new InterruptedRun('stopped within a period')
    }
  }

  #newTrainer(): OfflineTrainer<OfflineStep> {
    const { config, data, model, seed } = this.#options
    const { historyMax } = config.evaluate
    const parts = { model: modelOptionsOf(config, model), train: trainOptions(config), historyMax, seed }
    return new OfflineTrainer(data.users, data.catalogue, parts)
  }

  /** Steps of the periods from `from` to `to`, of users who are not held out. */
  #between(from: number, to: number, apart = this.#heldOut): (step: OfflineStep, user: number) => boolean {
    return ({ order }, user) => order >= from && order < to && !this.#heldOut.has(user) && !apart.has(user)
  }
}

/** Of the users whose first step is in the period. */
export function heldOutUsers(users: readonly UserSteps[], { from, to }: StreamPeriod, seed: number): Set<number> {
  const rng = new Rng(seed).fork('held out')
  const held = new Set<number>()
  for (const [u, { steps }] of users.entries())
    if (steps[0]!.order >= from && steps[0]!.order < to && rng.integer(heldOutEvery) === 0) held.add(u)
  return held
}

/** What users who are held out did in the period, on items that others had acted on by its end as well. */
export function heldOutCases(
  users: readonly UserSteps[],
  { to }: StreamPeriod,
  heldOut: ReadonlySet<number>
): NextItem[] {
  const trained = new Set<ItemId>()
  for (const [u, { steps }] of users.entries())
    if (!heldOut.has(u)) for (const { itemId, order } of steps) if (order < to) trained.add(itemId)
  const cases: NextItem[] = []
  for (const u of heldOut) {
    const { userId, steps } = users[u]!
    const known = steps.filter(({ itemId, order }) => order < to && trained.has(itemId))
    for (let at = 1; at < known.length; at++)
      cases.push({ userId, history: known.slice(0, at), target: known[at]!.itemId, newUser: false, newItem: false })
  }
  return cases
}

/** `max` of the cases, drawn by seed; all of them if there are no more, or for 0. */
export function sample(cases: readonly NextItem[], max: number, seed: number): readonly NextItem[] {
  if (max === 0 || cases.length <= max) return cases
  const order = Int32Array.from(cases, (_, i) => i)
  new Rng(seed).fork('asked').shuffle(order)
  return Array.from(order.subarray(0, max), (i) => cases[i]!)
}
