// What is learned, what is asked and what counts as right: one data set cut in three, by one of three protocols.

import { ConfigError } from '../../core/errors.ts'
import { Rng } from '../../core/rng.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'
import type { SequenceStep } from '../../records/userSequence.ts'

/**
 * - `users`: users apart (ComiRec): 8 : 1 : 1; of a held-out user the first four fifths are the history, the rest the
 *   targets
 * - `leave-one-out`: every user's last item is a test target, the one before it a validation target, the rest is
 *   learned
 * - `time`: what happened in the first 80% of all interactions is learned, the next 10% validate, the last 10% test
 */
export const offlineProtocols = ['users', 'leave-one-out', 'time'] as const
export type OfflineProtocol = (typeof offlineProtocols)[number]

export interface OfflineStep extends SequenceStep {
  /** Place among all interactions of the data set, oldest first. */
  readonly order: number
}

/** One user's steps, oldest first. */
export interface UserSteps {
  readonly userId: UserId
  readonly steps: readonly OfflineStep[]
}

/** One question: what comes after this history? */
export interface OfflineCase {
  readonly userId: UserId
  /** Oldest first, at least one step. */
  readonly history: readonly SequenceStep[]
  /** Distinct, at least one. */
  readonly targets: readonly ItemId[]
}

export interface OfflineSplit {
  readonly train: readonly UserSteps[]
  readonly validation: readonly OfflineCase[]
  readonly test: readonly OfflineCase[]
}

/**
 * In one pass: items with at least `min` interactions, then users with at least `min` left. A second pass could take
 * more; published splits make one.
 */
export function coreFilter(users: readonly UserSteps[], min = 5): UserSteps[] {
  const counts = new Map<ItemId, number>()
  for (const { steps } of users) for (const { itemId } of steps) counts.set(itemId, (counts.get(itemId) ?? 0) + 1)
  return users
    .map(({ userId, steps }) => ({ userId, steps: steps.filter(({ itemId }) => counts.get(itemId)! >= min) }))
    .filter(({ steps }) => steps.length >= min)
}

/** Users 8 : 1 : 1 in an order drawn by seed; ⌊.8 n⌋ and ⌊.1 n⌋, the test users get what is left over. */
export function splitUsers<T>(users: readonly T[], seed: number): { train: T[]; validation: T[]; test: T[] } {
  const order = users.slice()
  new Rng(seed).shuffle(order)
  const trainEnd = Math.floor(order.length * 0.8)
  const validationEnd = trainEnd + Math.floor(order.length * 0.1)
  return {
    train: order.slice(0, trainEnd),
    validation: order.slice(trainEnd, validationEnd),
    test: order.slice(validationEnd)
  }
}

/** The first ⌊.8 n⌋ steps as history, the rest as targets. @returns undefined where one of them is empty */
export function lastFifth({ userId, steps }: UserSteps): OfflineCase | undefined {
  return caseAt(userId, steps, Math.floor(steps.length * 0.8))
}

/**
 * @param seed of the users' shares; of no meaning to the other protocols, which are the same for every seed
 * @throws ConfigError if nothing is left to learn from or to test with: how much there was, and what to do
 */
export function splitOffline(users: readonly UserSteps[], protocol: OfflineProtocol, seed: number): OfflineSplit {
  const split =
    protocol === 'users' ? byUsers(users, seed) : protocol === 'leave-one-out' ? leaveOneOut(users) : byTime(users)
  const interactions = users.reduce((sum, { steps }) => sum + steps.length, 0)
  const had = `${users.length} users with ${interactions} interactions are left after the filter (evaluate.interactionsMin)`
  const positions = split.train.reduce((sum, { steps }) => sum + Math.max(0, steps.length - 1), 0)
  const problems = [
    ...(positions === 0 ? ['there is nothing to learn from: no training user has two items'] : []),
    ...(split.test.length === 0 ? ['there are no test users'] : [])
  ]
  if (problems.length > 0)
    throw new ConfigError(
      problems.map(
        (problem) => `${problem}; ${had}. Give more data, lower evaluate.interactionsMin, or choose another --protocol`
      )
    )
  return split
}

function byUsers(users: readonly UserSteps[], seed: number): OfflineSplit {
  const { train, validation, test } = splitUsers(users, seed)
  return { train, validation: casesOf(validation.map(lastFifth)), test: casesOf(test.map(lastFifth)) }
}

function leaveOneOut(users: readonly UserSteps[]): OfflineSplit {
  const last = (back: number) =>
    casesOf(
      users.map(({ userId, steps }) => caseAt(userId, steps.slice(0, steps.length - back + 1), steps.length - back))
    )
  return {
    train: users.map(({ userId, steps }) => ({ userId, steps: steps.slice(0, Math.max(0, steps.length - 2)) })),
    validation: last(2),
    test: last(1)
  }
}

function byTime(users: readonly UserSteps[]): OfflineSplit {
  const orders = Float64Array.from(users.flatMap(({ steps }) => steps.map(({ order }) => order))).sort()
  const at = (share: number) => orders[Math.min(orders.length - 1, Math.floor(orders.length * share))] ?? 0
  const [validationFrom, testFrom] = [at(0.8), at(0.9)]
  const between = (from: number, to: number) =>
    casesOf(
      users.map(({ userId, steps }) => {
        const known = steps.filter(({ order }) => order < to)
        const k = known.filter(({ order }) => order < from).length
        // A user who is new in the period begins it with a history of its own.
        return k > 0 ? caseAt(userId, known, k) : lastFifth({ userId, steps: known })
      })
    )
  return {
    train: users.map(({ userId, steps }) => ({ userId, steps: steps.filter(({ order }) => order < validationFrom) })),
    validation: between(validationFrom, testFrom),
    test: between(testFrom, Number.POSITIVE_INFINITY)
  }
}

function caseAt(userId: UserId, steps: readonly OfflineStep[], k: number): OfflineCase | undefined {
  if (k < 1 || k >= steps.length) return undefined
  return { userId, history: steps.slice(0, k), targets: [...new Set(steps.slice(k).map(({ itemId }) => itemId))] }
}

function casesOf(cases: readonly (OfflineCase | undefined)[]): OfflineCase[] {
  return cases.filter((one) => one !== undefined)
}
