// A data set as a sequence of periods: learn up to one, test on all of the next (ADER's protocol).

import type { ItemId, UserId } from '../../records/interaction.ts'
import type { SequenceStep } from '../../records/userSequence.ts'
import type { UserSteps } from './offlineSplit.ts'

export interface StreamPeriod {
  readonly name: string
  /** Places in the common order: from … to − 1. */
  readonly from: number
  readonly to: number
}

/** One question of a period: the next item. */
export interface NextItem {
  readonly userId: UserId
  /** Steps on known items, oldest first, at least one. */
  readonly history: readonly SequenceStep[]
  readonly target: ItemId
  /** Whether the user did nothing before the period. */
  readonly newUser: boolean
  /** Whether the item was first met in the period just learned. */
  readonly newItem: boolean
}

interface PeriodCases {
  readonly cases: readonly NextItem[]
  /** Steps that could have been a target, had their item been met before the period. */
  readonly unknown: number
}

/**
 * Files as they are; otherwise `count` parts of as many interactions each. @param total interactions of the data set
 */
export function cutPeriods(
  files: readonly { readonly name: string; readonly start: number }[],
  total: number,
  count: number
): StreamPeriod[] {
  if (files.length > 1)
    return files
      .map(({ name, start }, i) => ({ name, from: start, to: files[i + 1]?.start ?? total }))
      .filter(({ from, to }) => to > from)
  return Array.from({ length: count }, (_, i) => ({
    name: `part ${i + 1}`,
    from: Math.round((i * total) / count),
    to: Math.round(((i + 1) * total) / count)
  })).filter(({ from, to }) => to > from)
}

/** Where each item is first met. */
export function firstSeen(users: readonly UserSteps[]): Map<ItemId, number> {
  const first = new Map<ItemId, number>()
  for (const { steps } of users)
    for (const { itemId, order } of steps)
      if (order < (first.get(itemId) ?? Number.POSITIVE_INFINITY)) first.set(itemId, order)
  return first
}

/**
 * What a period asks: each step that has one before it, of items that were met before the period; the others are
 * dropped, from histories as well.
 *
 * @param before the period learned last, which decides which items are new
 */
export function periodCases(
  users: readonly UserSteps[],
  { from, to }: StreamPeriod,
  before: StreamPeriod,
  first: ReadonlyMap<ItemId, number>
): PeriodCases {
  const cases: NextItem[] = []
  let unknown = 0
  for (const { userId, steps } of users) {
    if (steps.length === 0 || steps.at(-1)!.order < from || steps[0]!.order >= to) continue
    const newUser = steps[0]!.order >= from
    const known: SequenceStep[] = []
    for (const step of steps) {
      if (step.order >= to) break
      const met = first.get(step.itemId)!
      if (met >= from) {
        if (step.order >= from && known.length > 0) unknown++
        continue
      }
      if (step.order >= from && known.length > 0)
        cases.push({ userId, history: known.slice(), target: step.itemId, newUser, newItem: met >= before.from })
      known.push(step)
    }
  }
  return { cases, unknown }
}
