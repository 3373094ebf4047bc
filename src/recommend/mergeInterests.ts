// K lists of neighbours, one per interest, become one list.
//
// K interests, C candidates.

import type { ItemId } from '../event/interaction.ts'
import type { Neighbour } from '../retrieval/vectorIndex.ts'

export interface MergeOptions {
  /**
   * Share of the list that is divided evenly among the interests before the rest goes to the best scores, 0 … 1. An interest is guaranteed
   * ⌊limit · quotaShare / K⌋ places, as far as it has candidates. 0: the best scores alone.
   *
   * Default 0.4: of 10 or 20 places four interests get 1 or 2 each, so that none is starved by one whose cosines happen to run higher, while the
   * larger part of the list stays what the scores say.
   */
  readonly quotaShare?: number
  /**
   * Maximal marginal relevance, 0 … 1: the next item is the one with the greatest (1 − diversity) · score − diversity · (its greatest cosine to an
   * item already chosen). Default 0, off: the interests are diverse by training, and it costs a look-up of every candidate's vector.
   */
  readonly diversity?: number
  /** Vector of a candidate, of length 1, for `diversity`. One without a vector counts as unlike all others. */
  readonly vectorOf?: (itemId: ItemId) => Float32Array | undefined
}

export interface MergedItem extends Neighbour {
  /** 0-based: the interest that the item is nearest to; the first of them if equally near. */
  readonly interest: number
}

export const defaultQuotaShare = 0.4

/**
 * Chooses up to `limit` items, each once, none of `exclude`, each under the interest that scores it best. The result is sorted by score, best first,
 * equal scores by id: quota and diversity decide what is in it, never the order.
 *
 * @param lists [K], in any order within; scores that are not finite are left out
 */
export function mergeInterests(
  lists: readonly (readonly Neighbour[])[],
  limit: number,
  exclude: ReadonlySet<ItemId> = new Set(),
  { quotaShare = defaultQuotaShare, diversity = 0, vectorOf = () => undefined }: MergeOptions = {}
): MergedItem[] {
  const candidates = bestOfEach(lists, exclude)
  const chosen = new Set<MergedItem>()
  const choose = chooser(chosen, diversity, vectorOf)
  const quota = Math.floor((limit * quotaShare) / Math.max(1, lists.length))
  if (quota > 0) {
    const byInterest = lists.map((_, interest) => candidates.filter((candidate) => candidate.interest === interest))
    // One place at a time in turn, so that with diversity every interest sees what the others have.
    for (let place = 0; place < quota; place++) for (const own of byInterest) choose(own, 1)
  }
  choose(candidates, limit - chosen.size)
  return [...chosen].sort(byScore)
}

/** Every candidate once, under its best interest, sorted. [C] */
function bestOfEach(lists: readonly (readonly Neighbour[])[], exclude: ReadonlySet<ItemId>): MergedItem[] {
  const best = new Map<ItemId, MergedItem>()
  for (const [interest, list] of lists.entries()) {
    for (const neighbour of list) {
      const { itemId, score, payload } = neighbour
      if (exclude.has(itemId) || !Number.isFinite(score)) continue
      const before = best.get(itemId)
      if (before === undefined || score > before.score) best.set(itemId, { itemId, score, payload, interest })
    }
  }
  return [...best.values()].sort(byScore)
}

/** @returns a function that moves up to `count` of the sorted `from` that are not there yet into `chosen` */
function chooser(
  chosen: Set<MergedItem>,
  diversity: number,
  vectorOf: (itemId: ItemId) => Float32Array | undefined
): (from: readonly MergedItem[], count: number) => void {
  if (diversity === 0) {
    return (from, count) => {
      let left = count
      for (const candidate of from) {
        if (left <= 0) return
        if (chosen.has(candidate)) continue
        chosen.add(candidate)
        left--
      }
    }
  }
  /** Greatest cosine to an item chosen so far; 0 before the first, so that then the score alone decides. */
  const likeness = new Map<MergedItem, number>()
  const all = new Set<MergedItem>()
  const add = (item: MergedItem): void => {
    chosen.add(item)
    const vector = vectorOf(item.itemId)
    if (vector === undefined) return
    for (const other of all) {
      const otherVector = chosen.has(other) ? undefined : vectorOf(other.itemId)
      if (otherVector !== undefined) likeness.set(other, Math.max(likeness.get(other) ?? -1, dot(vector, otherVector)))
    }
  }
  return (from, count) => {
    for (const candidate of from) {
      if (all.has(candidate)) continue
      all.add(candidate)
      const vector = vectorOf(candidate.itemId)
      for (const item of chosen) {
        const other = vector === undefined ? undefined : vectorOf(item.itemId)
        if (vector !== undefined && other !== undefined)
          likeness.set(candidate, Math.max(likeness.get(candidate) ?? -1, dot(vector, other)))
      }
    }
    for (let left = count; left > 0; left--) {
      let next: MergedItem | undefined
      let nextValue = Number.NEGATIVE_INFINITY
      for (const candidate of from) {
        if (chosen.has(candidate)) continue
        const value = (1 - diversity) * candidate.score - diversity * (likeness.get(candidate) ?? 0)
        // Strictly greater: of equals the first, which is the one sorted first.
        if (next === undefined || value > nextValue) {
          next = candidate
          nextValue = value
        }
      }
      if (next === undefined) return
      add(next)
    }
  }
}

function byScore(a: MergedItem, b: MergedItem): number {
  return b.score - a.score || (a.itemId < b.itemId ? -1 : a.itemId > b.itemId ? 1 : 0)
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let d = 0; d < a.length; d++) sum += a[d]! * b[d]!
  return sum
}
