// Learn up to a period, test on all of the next, update, and so on. Killed, it goes on from the last period that was
// tested.

import { createHash } from 'node:crypto'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { systemClock } from '../../core/clock.ts'
import { ConfigError } from '../../core/errors.ts'
import { makeFolder } from '../../core/files.ts'
import { Rng } from '../../core/rng.ts'
import { openStateFile, type StateKind, z } from '../../core/stateFile.ts'
import { ExactRanks } from '../../index/exactRanks.ts'
import { interestScoreOf } from '../../index/interestScore.ts'
import { ModelReplica } from '../../model/replica/modelReplica.ts'
import type { ItemId } from '../../records/interaction.ts'
import { CheckpointFiles } from '../../train/checkpoint/checkpointFiles.ts'
import type { LabConfig } from '../labOptions.ts'
import { MarkovChain } from './markovChain.ts'
import type { OfflineData } from './offlineData.ts'
import { InterruptedRun, modelOptionsOf, trainOptions } from './offlineRun.ts'
import type { OfflineStep, UserSteps } from './offlineSplit.ts'
import { OfflineTrainer } from './offlineTrainer.ts'
import { type NextItemMetrics, nextItemMetrics, streamCut, streamMetrics } from './streamMetrics.ts'
import { cutPeriods, firstSeen, type NextItem, periodCases, type StreamPeriod } from './streamPeriods.ts'
import { forgetting, type PeriodResult, type StreamPolicy, type StreamResult, streamMeans } from './streamResult.ts'

export interface StreamRunOptions {
  readonly config: LabConfig
  readonly data: OfflineData
  readonly model: string
  readonly policy: StreamPolicy
  readonly seed: number
  readonly backend: string
  readonly onProgress: (line: string) => void
  readonly onNews: (line: string) => void
  readonly interrupted: () => boolean
  readonly fresh?: boolean
}

const methodVersion = 3

/**
 * One in so many users of the first period is never learned from: what they ask shows what is forgotten. Of a period
 * that is learned anew, as many tell when to stop.
 */
const heldOutEvery = 20

/**
 * Targets by which it is known when to stop, at most: an epoch of a few thousand is otherwise judged for as long as it
 * is learned.
 */
const judgedMax = 2000

/** What a policy does with a model. */
interface Learner {
  /** Learns period p, and whatever else its policy says. @returns positions learned, with repetitions */
  learn(p: number): Promise<number>
  lists(cases: readonly NextItem[]): readonly (readonly ItemId[])[]
  readonly parameters: number
  save(p: number): Promise<void>
}

interface StreamState {
  /** Periods learned so far. */
  readonly learned: number
  /** Of those tested. */
  readonly periods: readonly PeriodResult[]
  readonly afterFirst: number | null
}

/** The same folder for the same data, model, settings, policy and seed. */
export function streamFolder({ config, data, model, policy, seed }: StreamRunOptions): string {
  const settings = isCounting(policy)
    ? { count: config.evaluate.periods, targets: config.evaluate.periodTargetsMax }
    : { evaluate: config.evaluate, model: config.model }
  const key = JSON.stringify({ methodVersion, data: data.fingerprint, model, policy, seed, settings })
  const digest = createHash('sha256').update(key).digest('hex').slice(0, 12)
  return path.resolve(
    config.dataDir,
    'evaluations',
    `${data.name}-${model}-stream-${policy}-${seed}-${digest}`.replace(/[^\w.-]/g, '_')
  )
}

export function isCounting(policy: StreamPolicy): boolean {
  return policy.endsWith('-markov')
}

const resultKind: StateKind<StreamResult> = {
  file: 'result.json',
  version: 1,
  schema: z.looseObject({}),
  removed: 'all periods are trained and evaluated again'
}

const stateKind: StateKind<StreamState> = {
  file: 'state.json',
  version: 1,
  schema: z.looseObject({ learned: z.int().min(0), periods: z.array(z.looseObject({})) }),
  removed: 'training begins again at the first period'
}

/** @throws ConfigError if there are fewer than two periods, InterruptedRun if asked to end */
export async function runStream(options: StreamRunOptions): Promise<StreamResult> {
  const { config, data, policy, seed } = options
  const folder = streamFolder(options)
  const resultFile = openStateFile(path.join(folder, 'result.json'), resultKind)
  const known = options.fresh === true ? undefined : resultFile.load()
  if (known !== undefined) return known
  const interactions = data.users.reduce((sum, { steps }) => sum + steps.length, 0)
  const end = data.users.reduce((max, { steps }) => Math.max(max, steps.at(-1)!.order + 1), 0)
  const periods = cutPeriods(data.periods, end, config.evaluate.periods)
  if (periods.length < 2)
    throw new ConfigError([
      `${data.name} has ${periods.length} period: nothing would be tested. Give more data, or raise evaluate.periods`
    ])
  makeFolder(folder)
  const first = firstSeen(data.users)
  const heldOut = heldOutUsers(data.users, periods[0]!, seed)
  const stateFile = openStateFile(path.join(folder, 'state.json'), stateKind)
  const store = new CheckpointFiles({ directory: path.join(folder, 'last'), keep: 1 })
  let state: StreamState = { learned: 0, periods: [], afterFirst: null }
  const earlier = options.fresh === true || isCounting(policy) ? undefined : await store.latest()
  const written = earlier === undefined ? undefined : stateFile.load()
  // The checkpoint is written first: one that is ahead of the state is of a period that was not written down.
  if (written !== undefined && written.learned === earlier?.step) {
    state = written
    options.onNews(`goes on after ${state.learned} of ${periods.length - 1} periods`)
  }
  const learner = isCounting(policy)
    ? countingLearner(policy, data.users, periods, heldOut)
    : await modelLearner(options, periods, heldOut, store, state.learned)
  const held = sample(heldOutCases(data.users, periods[0]!, heldOut), config.evaluate.periodTargetsMax, seed)
  for (let p = state.learned; p + 1 < periods.length; p++) {
    const asks = p + 1 >= Math.min(config.evaluate.periodFrom, periods.length - 1)
    if (!asks && p > 0 && (policy === 'retrain' || policy === 'last-period')) continue
    const startedMs = systemClock.nowMs()
    const learned = await learner.learn(p)
    const updateSeconds = (systemClock.nowMs() - startedMs) / 1000
    if (!asks) {
      if (p === 0) state = { ...state, afterFirst: askedAgain(held, learner)['recall@20'] }
      continue
    }
    const { cases, unknown } = periodCases(data.users, periods[p + 1]!, periods[p]!, first)
    const asked = sample(cases, config.evaluate.periodTargetsMax, seed + p)
    const metrics = streamMetrics(asked, learner.lists(asked))
    const firstPeriod = askedAgain(held, learner)
    if (p === 0) state = { ...state, afterFirst: firstPeriod['recall@20'] }
    const all = positionsUpTo(data.users, periods[p]!.to) * config.evaluate.periodEpochs
    const anew = isCounting(policy) || policy === 'retrain' || p === 0 || learned === 0
    const period: PeriodResult = {
      name: periods[p + 1]!.name,
      metrics,
      unknownShare: unknown / Math.max(1, unknown + cases.length),
      firstPeriod,
      updateSeconds,
      updatePositions: learned,
      shareOfRetrain: anew ? null : learned / Math.max(1, all)
    }
    state = { ...state, learned: p + 1, periods: [...state.periods, period] }
    await learner.save(p + 1)
    stateFile.save(state)
    options.onNews(describe(period, p + 1, periods.length - 1))
    if (options.interrupted()) throw new InterruptedRun(`stopped after ${p + 1} of ${periods.length - 1} periods`)
  }
  const result: StreamResult = {
    model: isCounting(policy) ? 'markov' : options.model,
    data: data.name,
    protocol: 'stream',
    policy,
    seed,
    users: data.users.length,
    items: first.size,
    interactions,
    periods: state.periods,
    mean: streamMeans(state.periods),
    forgetting: forgetting(state.afterFirst, state.periods),
    parameters: learner.parameters,
    backend: options.backend
  }
  resultFile.save(result)
  return result
}

function askedAgain(held: readonly NextItem[], learner: Learner): NextItemMetrics {
  return nextItemMetrics(learner.lists(held).map((list, i) => list.indexOf(held[i]!.target)))
}

function countingLearner(
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

async function modelLearner(
  options: StreamRunOptions,
  periods: readonly StreamPeriod[],
  heldOut: ReadonlySet<number>,
  store: CheckpointFiles,
  done: number
): Promise<Learner> {
  const { config, data, policy, seed } = options
  const { periodEpochs, periodPatience, periodTargetsMax, updateEpochs, updateReplay, historyMax } = config.evaluate
  const model = modelOptionsOf(config, options.model)
  const ofStream = trainOptions(config)
  const make = () => new OfflineTrainer(data.users, data.catalogue, { model, train: ofStream, historyMax, seed })
  const between =
    (from: number, to: number, apart: ReadonlySet<number> = heldOut) =>
    ({ order }: OfflineStep, user: number) =>
      order >= from && order < to && !heldOut.has(user) && !apart.has(user)
  let trainer = make()
  let replica = new ModelReplica()
  const top = new ExactRanks(config.model.dimensions, interestScoreOf(model))
  const kept = await store.latest()
  if (done > 0 && kept !== undefined) {
    trainer.restore(kept.checkpoint)
    // Only what may be replayed matters of the periods before.
    for (let p = 0; p < done; p++) trainer.give(between(periods[p]!.from, periods[p]!.to))
  }
  const epoch = async (title: string, replay: number) => {
    for (const { done, total, loss } of trainer.epoch(replay)) {
      options.onProgress(`${title}, ${Math.floor((100 * done) / total)}%, loss ${loss.toFixed(3)}`)
      await nextTurn()
      if (options.interrupted()) throw new InterruptedRun('stopped within a period')
    }
  }
  /**
   * Until what the newest period's held-out users took is found no better. @returns epochs learned, the one that counts
   * being the last
   */
  const learnAnew = async (asked: readonly NextItem[]): Promise<number> => {
    let best = { epoch: 0, recall: -1, checkpoint: trainer.checkpoint() }
    for (let number = 1; number <= periodEpochs && number <= best.epoch + periodPatience; number++) {
      await epoch(`epoch ${number}`, 0)
      const recall = nextItemMetrics(lists(asked).map((list, i) => list.indexOf(asked[i]!.target)))['recall@20'] ?? 0
      options.onNews(
        `learned anew, epoch ${number}: Recall@20 ${recall.toFixed(4)} of ${asked.length} held-out targets`
      )
      if (recall > best.recall || asked.length === 0) best = { epoch: number, recall, checkpoint: trainer.checkpoint() }
      else if (number === periodEpochs || number === best.epoch + periodPatience) {
        trainer.restore(best.checkpoint)
        return number
      }
    }
    return trainer.epochs
  }
  const lists = (cases: readonly NextItem[]) => {
    const encoder = trainer.publish(replica)
    const items = trainer.candidates()
    top.load(encoder.itemVectors(items).vectors)
    const { interests } = encoder.interests(cases.map(({ history }) => history)) // [B, K, D]
    const size = encoder.interestCount * encoder.dimensions
    return cases.map((_, b) =>
      Array.from(top.list(interests.subarray(b * size, (b + 1) * size), streamCut), (row) => items[row]!.itemId)
    )
  }
  return {
    get parameters() {
      return trainer.parameters
    },
    save: async (p) => {
      await store.save(p, trainer.checkpoint())
    },
    learn: async (p) => {
      const anew = p === 0 || policy === 'retrain' || policy === 'last-period'
      if (policy === 'static' && p > 0) return 0
      if (!anew) {
        trainer.give(between(periods[p]!.from, periods[p]!.to))
        trainer.observe()
        const replay = policy === 'replay' ? updateReplay : 0
        for (let number = 1; number <= updateEpochs; number++) await epoch(`epoch ${number} of ${updateEpochs}`, replay)
        return trainer.positions * updateEpochs * (1 + replay)
      }
      if (p > 0) {
        trainer = make()
        replica.dispose()
        replica = new ModelReplica()
      }
      const apart = p === 0 ? heldOut : heldOutUsers(data.users, periods[p]!, seed)
      trainer.give(between(policy === 'retrain' ? 0 : periods[p]!.from, periods[p]!.to, apart))
      trainer.observe()
      const learned = await learnAnew(
        sample(heldOutCases(data.users, periods[p]!, apart), Math.min(judgedMax, periodTargetsMax || judgedMax), seed)
      )
      return trainer.positions * learned
    },
    lists
  }
}

/** Of those who first came in the period. */
function heldOutUsers(users: readonly UserSteps[], { from, to }: StreamPeriod, seed: number): Set<number> {
  const rng = new Rng(seed).fork('held out')
  const held = new Set<number>()
  for (const [u, { steps }] of users.entries())
    if (steps[0]!.order >= from && steps[0]!.order < to && rng.integer(heldOutEvery) === 0) held.add(u)
  return held
}

/** What users who are held out did in the period, on items that others had met by its end as well. */
function heldOutCases(users: readonly UserSteps[], { to }: StreamPeriod, heldOut: ReadonlySet<number>): NextItem[] {
  const learned = new Set<ItemId>()
  for (const [u, { steps }] of users.entries())
    if (!heldOut.has(u)) for (const { itemId, order } of steps) if (order < to) learned.add(itemId)
  const cases: NextItem[] = []
  for (const u of heldOut) {
    const { userId, steps } = users[u]!
    const known = steps.filter(({ itemId, order }) => order < to && learned.has(itemId))
    for (let at = 1; at < known.length; at++)
      cases.push({ userId, history: known.slice(0, at), target: known[at]!.itemId, newUser: false, newItem: false })
  }
  return cases
}

/** `max` of the cases, drawn by seed; all of them if there are no more, or for 0. */
function sample(cases: readonly NextItem[], max: number, seed: number): readonly NextItem[] {
  if (max === 0 || cases.length <= max) return cases
  const order = Int32Array.from(cases, (_, i) => i)
  new Rng(seed).fork('asked').shuffle(order)
  return Array.from(order.subarray(0, max), (i) => cases[i]!)
}

function positionsUpTo(users: readonly UserSteps[], to: number): number {
  let count = 0
  for (const { steps } of users) for (let at = 1; at < steps.length && steps[at]!.order < to; at++) count++
  return count
}

function describe({ name, metrics, updateSeconds }: PeriodResult, done: number, of: number): string {
  const shown = (value: NextItemMetrics['recall@20']) => (value === null ? '–' : value.toFixed(3))
  return `${name} (${done} of ${of}): Recall@20 ${shown(metrics.all['recall@20'])}, MRR@20 ${shown(metrics.all['mrr@20'])}, update ${updateSeconds.toFixed(1)} s`
}
