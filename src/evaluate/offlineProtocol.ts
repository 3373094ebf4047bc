// ComiRec's offline protocol: users apart, the first four fifths of a test user's items as history, the rest as targets.

import { Rng } from '../base/rng.ts'
import type { ItemId, UserId } from '../event/interaction.ts'

/** One user's items, oldest first. */
export interface UserItems {
  readonly userId: UserId
  readonly items: readonly ItemId[]
}

export interface OfflineSplit {
  readonly train: readonly UserItems[]
  readonly validation: readonly UserItems[]
  readonly test: readonly UserItems[]
}

export interface OfflineMetrics {
  readonly users: number
  readonly recall: number
  readonly hitRate: number
  readonly ndcg: number
}

/** In one pass: items with at least `min` interactions, then users with at least `min` left. A second pass could take more; published splits make one. */
export function coreFilter(users: readonly UserItems[], min = 5): UserItems[] {
  const counts = new Map<ItemId, number>()
  for (const { items } of users) for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1)
  return users
    .map(({ userId, items }) => ({ userId, items: items.filter((item) => counts.get(item)! >= min) }))
    .filter(({ items }) => items.length >= min)
}

/** Users 8 : 1 : 1 in an order drawn by seed; ⌊.8 n⌋ and ⌊.1 n⌋, the test users get what is left over. */
export function splitUsers(users: readonly UserItems[], seed: number): OfflineSplit {
  const rng = new Rng(seed)
  const order = users.slice()
  for (let i = order.length - 1; i > 0; i--) {
    const j = rng.integer(i + 1)
    const swapped = order[i]!
    order[i] = order[j]!
    order[j] = swapped
  }
  const trainEnd = Math.floor(order.length * 0.8)
  const validationEnd = trainEnd + Math.floor(order.length * 0.1)
  return { train: order.slice(0, trainEnd), validation: order.slice(trainEnd, validationEnd), test: order.slice(validationEnd) }
}

/**
 * Mean recall, hit rate and NDCG over users whose targets are all items from k = ⌊.8 n⌋ on, as a set.
 *
 * @param recommend history before k, oldest first → items best first; at least `top` if it can, more if history is to be left out
 * @param withoutHistory leave the history's items out of the targets and of what is recommended; a user without a target then is not counted
 */
export function offlineMetrics(
  users: readonly UserItems[],
  recommend: (history: readonly ItemId[], limit: number) => readonly ItemId[],
  top: number,
  withoutHistory = false
): OfflineMetrics {
  let counted = 0
  let recall = 0
  let hitRate = 0
  let ndcg = 0
  for (const { items } of users) {
    const k = Math.floor(items.length * 0.8)
    const history = items.slice(0, k)
    const seen = withoutHistory ? new Set(history) : new Set<ItemId>()
    const targets = new Set(items.slice(k).filter((item) => !seen.has(item)))
    if (targets.size === 0) continue
    const list = recommend(history, top + seen.size)
      .filter((item) => !seen.has(item))
      .slice(0, top)
    let hits = 0
    let gained = 0
    list.forEach((item, rank) => {
      if (!targets.has(item)) return
      hits++
      gained += 1 / Math.log2(rank + 2)
    })
    let ideal = 0
    for (let rank = 0; rank < Math.min(top, targets.size); rank++) ideal += 1 / Math.log2(rank + 2)
    counted++
    recall += hits / targets.size
    hitRate += hits > 0 ? 1 : 0
    ndcg += gained / ideal
  }
  const mean = (sum: number) => (counted === 0 ? 0 : sum / counted)
  return { users: counted, recall: mean(recall), hitRate: mean(hitRate), ndcg: mean(ndcg) }
}

/** The same list for everybody: most interactions first, equal counts by first appearance. */
export function mostPopular(train: readonly UserItems[]): (history: readonly ItemId[], limit: number) => ItemId[] {
  const counts = new Map<ItemId, number>()
  for (const { items } of train) for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1)
  const ranked = [...counts].sort((a, b) => b[1] - a[1]).map(([item]) => item)
  return (_history, limit) => ranked.slice(0, limit)
}

/**
 * Items seen with those of the history: the counts of users who have both, divided by √(users of the one · users of the other), summed over the history.
 * Exact, and as large as the data: for evaluation, not for a stream.
 *
 * @param normalised false: raw counts
 */
export function cooccurrenceScorer(
  train: readonly UserItems[],
  normalised = false
): (history: readonly ItemId[], limit: number) => ItemId[] {
  const together = new Map<ItemId, Map<ItemId, number>>()
  const users = new Map<ItemId, number>()
  for (const { items } of train) {
    const distinct = [...new Set(items)]
    for (const item of distinct) {
      users.set(item, (users.get(item) ?? 0) + 1)
      const row = together.get(item) ?? new Map<ItemId, number>()
      together.set(item, row)
      for (const other of distinct) if (other !== item) row.set(other, (row.get(other) ?? 0) + 1)
    }
  }
  return (history, limit) => {
    const scores = new Map<ItemId, number>()
    for (const item of history) {
      for (const [other, count] of together.get(item) ?? []) {
        const weight = normalised ? count / Math.sqrt(users.get(item)! * users.get(other)!) : count
        scores.set(other, (scores.get(other) ?? 0) + weight)
      }
    }
    return [...scores]
      .sort((a, b) => b[1] - a[1])
      .slice(0, limit)
      .map(([item]) => item)
  }
}
