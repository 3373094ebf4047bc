// One model, one data set, one seed: train, score, keep the result.

import { createHash } from 'node:crypto'
import path from 'node:path'
import { systemClock } from '../../core/clock.ts'
import { makeFolder } from '../../core/files.ts'
import { openStateFile, type StateKind, z } from '../../core/stateFile.ts'
import type { ItemId } from '../../records/interaction.ts'
import { type LabConfig, trainingShape } from '../labOptions.ts'
import { historyLengths, historyPoint, itemPoints, shortened } from './coldStart.ts'
import { type ItemGroups, interestMeasures, itemGroups } from './interestMeasures.ts'
import { labMemory, type MemoryLists } from './memoryLists.ts'
import type { OfflineData } from './offlineData.ts'
import { coverage, listLength, offlineMetrics } from './offlineMetrics.ts'
import type { OfflineResult, WithMemory } from './offlineResult.ts'
import {
  coreFilter,
  type OfflineCase,
  type OfflineProtocol,
  type OfflineSplit,
  splitOffline,
  type UserSteps
} from './offlineSplit.ts'
import { trainAndScore } from './offlineTraining.ts'
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
  /** A line that stays: an epoch is done. */
  readonly onNews: (line: string) => void
  /** Called between batches; true ends the run with its last epoch kept. */
  readonly interrupted: () => boolean
  /** Whose targets the result is about. Default: the test users'. */
  readonly judge?: 'test' | 'validation'
  /** Train again, though there is a result. */
  readonly fresh?: boolean
}

/** Increased when a change to this code makes earlier results incomparable. */
const methodVersion = 4

/** Test users who are evaluated again with less of their history: enough for ± .013. */
const shortenedUsersMax = 1000

/** Where a run keeps its state: the same for the same data, model, settings and seed. */
export function runFolder({ config, data, model, protocol, seed }: OfflineRunOptions): string {
  const { interactionsMin, featuresHalveAt, ...evaluate } = config.evaluate
  const filter = { interactionsMin }
  // `unmet` distinguishes these runs from earlier ones, in which an item without an interaction was no candidate.
  const settings = isSimpleMethod(model)
    ? filter
    : {
        ...filter,
        ...(data.catalogue.length === 0 ? {} : { unmet: true, featuresHalveAt }),
        ...Object.fromEntries(Object.entries(evaluate).filter(([name]) => name in trainingShape)),
        // The model's own share of features is for one pass, and not used.
        model: { ...config.model, featuresHalveAt: undefined }
      }
  const key = JSON.stringify({ methodVersion, data: data.fingerprint, model, protocol, seed, settings })
  const digest = createHash('sha256').update(key).digest('hex').slice(0, 12)
  return path.resolve(
    config.dataDir,
    'evaluations',
    `${data.name}-${model}-${protocol}-${seed}-${digest}`.replace(/[^\w.-]/g, '_')
  )
}

/** Of one budget: with a larger one the same run continues. */
export function resultFile(options: OfflineRunOptions): string {
  const { epochsMax, patience } = options.config.evaluate
  const { judge = 'test', config } = options
  const what = `${judge}${config.evaluate.memory ? '-memory' : ''}`
  return path.join(
    runFolder(options),
    isSimpleMethod(options.model) ? 'result.json' : `${what}-${epochsMax}-${patience}.json`
  )
}

/** Best Recall@50 on the validation users, within the epochs allowed, with the memory unless it is off. The test users are not used. */
export async function validate(options: OfflineRunOptions): Promise<number> {
  const { details, withMemory } = await runOffline({ ...options, judge: 'validation' })
  if (withMemory !== undefined) return withMemory.metrics['recall@50']
  return Math.max(0, ...details.curve.map(({ validationRecall }) => validationRecall ?? 0))
}

/** Users with enough interactions. */
export function filteredUsers(data: OfflineData, config: LabConfig): UserSteps[] {
  return coreFilter(data.users, config.evaluate.interactionsMin)
}

const resultKind: StateKind<OfflineResult> = {
  file: 'result.json',
  version: 1,
  schema: z.looseObject({}),
  removed: 'the model is trained and evaluated again'
}

/** @throws ConfigError if there is too little data, InterruptedRun if it was interrupted */
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
  const memory = labMemory(split.train)
  const groups = itemGroups(options.data.catalogue, memory)
  const found = isSimpleMethod(options.model)
    ? scoreSimple(options, split)
    : await trainAndScore({ ...options, memory }, split, folder, items)
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
    ...(found.memory === undefined ? {} : { withMemory: withMemory(found.memory, split, items.size, counted, groups) }),
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
      interests: interestMeasures(split.test, lists, groups),
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
  counted: ReadonlyMap<ItemId, number>,
  groups: ItemGroups
): WithMemory {
  const choice = lists.choose(validation)
  const found = lists.listsOf(test, choice)
  return {
    ...choice,
    metrics: metricsOnly(offlineMetrics(test, found)),
    withoutHistory: metricsOnly(offlineMetrics(test, found, true)),
    coverage: coverage(found, items),
    byItemCount: itemPoints(test, found, (itemId) => counted.get(itemId) ?? 0),
    interests: interestMeasures(test, found, groups)
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
