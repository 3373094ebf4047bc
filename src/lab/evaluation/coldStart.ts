// How recall depends on how little is known: of the user, and of the item.

import type { ItemId } from '../../records/interaction.ts'
import { type Lists, offlineMetrics } from './offlineMetrics.ts'
import type { OfflineCase } from './offlineSplit.ts'

export interface ColdPoint {
  /** Steps of the history, or interactions of the item; the upper end where it is a range. */
  readonly count: number
  readonly name: string
  /** Users, or targets. */
  readonly asked: number
  readonly 'recall@50': number | null
}

/** Steps that are left of a history: the newest ones. */
export const historyLengths = [1, 2, 3, 5, 10, 20] as const

/** Interactions of a target in the training data, from … to. */
const itemCounts: readonly (readonly [from: number, to: number])[] = [
  [0, 0],
  [1, 2],
  [3, 5],
  [6, 10],
  [11, 20],
  [21, 50],
  [51, Number.POSITIVE_INFINITY]
]

/** The same users, knowing only their last `length` steps. */
export function shortened(cases: readonly OfflineCase[], length: number): OfflineCase[] {
  return cases.map((one) => ({ ...one, history: one.history.slice(-length) }))
}

export function historyPoint(length: number, cases: readonly OfflineCase[], lists: Lists): ColdPoint {
  return {
    count: length,
    name: `${length}`,
    asked: cases.length,
    'recall@50': cases.length === 0 ? null : offlineMetrics(cases, lists)['recall@50']
  }
}

/** @param countOf interactions of an item in the training data */
export function itemPoints(
  cases: readonly OfflineCase[],
  lists: Lists,
  countOf: (itemId: ItemId) => number
): ColdPoint[] {
  const asked = itemCounts.map(() => 0)
  const found = itemCounts.map(() => 0)
  for (const [i, { targets }] of cases.entries()) {
    const list = new Set(lists[i]!.slice(0, 50))
    for (const target of targets) {
      const count = countOf(target)
      const place = itemCounts.findIndex(([, to]) => count <= to)
      asked[place]!++
      if (list.has(target)) found[place]!++
    }
  }
  return itemCounts.map(([from, to], i) => ({
    count: Number.isFinite(to) ? to : from,
    name: to === from ? `${from}` : Number.isFinite(to) ? `${from}–${to}` : `${from} and more`,
    asked: asked[i]!,
    'recall@50': asked[i] === 0 ? null : found[i]! / asked[i]!
  }))
}
