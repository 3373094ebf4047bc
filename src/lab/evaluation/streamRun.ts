// Train up to a period, test on all of the next, update, and so on. Killed, it resumes after the last period that was
// tested.

import { createHash } from 'node:crypto'
import path from 'node:path'
import { systemClock } from '../../core/clock.ts'
import { ConfigError } from '../../core/errors.ts'
import { makeFolder } from '../../core/files.ts'
import { openStateFile, type StateKind, z } from '../../core/stateFile.ts'
import { CheckpointFiles } from '../../train/checkpoint/checkpointFiles.ts'
import type { LabConfig } from '../labOptions.ts'
import type { OfflineData } from './offlineData.ts'
import type { UserSteps } from './offlineSplit.ts'
import { InterruptedRun } from './offlineTraining.ts'
import {
  countingLearner,
  heldOutCases,
  heldOutUsers,
  isCounting,
  type Learner,
  modelLearner,
  sample
} from './streamLearner.ts'
import { type NextItemMetrics, nextItemMetrics, streamMetrics } from './streamMetrics.ts'
import { cutPeriods, firstSeen, type NextItem, periodCases } from './streamPeriods.ts'
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

interface StreamState {
  /** Periods trained on so far. */
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

/** @throws ConfigError if there are fewer than two periods, InterruptedRun if it was interrupted */
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
    options.onNews(`resumes after ${state.learned} of ${periods.length - 1} periods`)
  }
  const learner = isCounting(policy)
    ? countingLearner(policy, data.users, periods, heldOut)
    : await modelLearner(options, periods, heldOut, store, state.learned)
  const held = sample(heldOutCases(data.users, periods[0]!, heldOut), config.evaluate.periodTargetsMax, seed)
  for (let p = state.learned; p + 1 < periods.length; p++) {
    const isTested = p + 1 >= Math.min(config.evaluate.periodFrom, periods.length - 1)
    if (!isTested && p > 0 && (policy === 'retrain' || policy === 'last-period')) continue
    const startedMs = systemClock.nowMs()
    const learned = await learner.learn(p)
    const updateSeconds = (systemClock.nowMs() - startedMs) / 1000
    if (!isTested) {
      if (p === 0) state = { ...state, afterFirst: heldOutMetrics(held, learner)['recall@20'] }
      continue
    }
    const { cases, unknown } = periodCases(data.users, periods[p + 1]!, periods[p]!, first)
    const targets = sample(cases, config.evaluate.periodTargetsMax, seed + p)
    const metrics = streamMetrics(targets, learner.lists(targets))
    const firstPeriod = heldOutMetrics(held, learner)
    if (p === 0) state = { ...state, afterFirst: firstPeriod['recall@20'] }
    const all = positionsUpTo(data.users, periods[p]!.to) * config.evaluate.periodEpochs
    const fromScratch = isCounting(policy) || policy === 'retrain' || p === 0 || learned === 0
    const period: PeriodResult = {
      name: periods[p + 1]!.name,
      metrics,
      unknownShare: unknown / Math.max(1, unknown + cases.length),
      firstPeriod,
      updateSeconds,
      updatePositions: learned,
      shareOfRetrain: fromScratch ? null : learned / Math.max(1, all)
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

function heldOutMetrics(held: readonly NextItem[], learner: Learner): NextItemMetrics {
  return nextItemMetrics(learner.lists(held).map((list, i) => list.indexOf(held[i]!.target)))
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
