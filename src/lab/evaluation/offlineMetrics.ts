// Recall, hit rate and NDCG of lists against sets of targets.

import type { ItemId } from '../../records/interaction.ts'
import type { OfflineCase } from './offlineSplit.ts'

/** Where a list is cut. */
export const cuts = [20, 50] as const
/** Longest list that counts. */
const topMax = 50

const measures = ['recall', 'hitRate', 'ndcg'] as const
export type MetricName = `${(typeof measures)[number]}@${(typeof cuts)[number]}`
export const metricNames: readonly MetricName[] = cuts.flatMap((cut) =>
  measures.map((measure) => `${measure}@${cut}` as const)
)

/** Means over users, 0 … 1; 0 where there are none. */
export type OfflineMetrics = Readonly<Record<MetricName, number>>

/** Best first. Long enough that `topMax` remain when the history's own items are taken out, if there are so many. */
export type Lists = readonly (readonly ItemId[])[]

/** How long a case's list must be. */
export function listLength({ history }: OfflineCase): number {
  return topMax + new Set(history.map(({ itemId }) => itemId)).size
}

/**
 * Recall: hits / targets. Hit rate: any hit. NDCG: its ideal has min(cut, targets) hits on top.
 *
 * @param withoutHistory leave the history's items out of the targets and of the lists; a user without a target then is
 *   not counted
 */
export function offlineMetrics(
  cases: readonly OfflineCase[],
  lists: Lists,
  withoutHistory = false
): { users: number } & OfflineMetrics {
  const sums = Object.fromEntries(metricNames.map((name) => [name, 0])) as Record<MetricName, number>
  let users = 0
  for (const [i, { history, targets: all }] of cases.entries()) {
    const seen = new Set(withoutHistory ? history.map(({ itemId }) => itemId) : [])
    const targets = new Set(all.filter((item) => !seen.has(item)))
    if (targets.size === 0) continue
    users++
    let place = 0
    let hits = 0
    let gained = 0
    let cut = 0
    const close = () => {
      const top = cuts[cut++]!
      let ideal = 0
      for (let rank = 0; rank < Math.min(top, targets.size); rank++) ideal += gain(rank)
      sums[`recall@${top}` as MetricName] += hits / targets.size
      sums[`hitRate@${top}` as MetricName] += hits > 0 ? 1 : 0
      sums[`ndcg@${top}` as MetricName] += gained / ideal
    }
    for (const item of lists[i]!) {
      if (place === topMax) break
      if (seen.has(item)) continue
      if (place === cuts[cut]) close()
      if (targets.has(item)) {
        hits++
        gained += gain(place)
      }
      place++
    }
    while (cut < cuts.length) close()
  }
  for (const name of metricNames) sums[name] /= Math.max(1, users)
  return { users, ...sums }
}

/** Share of the items that are on anybody's first twenty. @param items of the data set */
export function coverage(lists: Lists, items: number): number {
  const shown = new Set<ItemId>()
  for (const list of lists) for (const item of list.slice(0, cuts[0])) shown.add(item)
  return items === 0 ? 0 : shown.size / items
}

/** Of a hit at a rank, from 0. */
export function gain(rank: number): number {
  return 1 / Math.log2(rank + 2)
}
