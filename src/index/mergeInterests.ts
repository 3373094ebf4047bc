// Candidates become one list: by their cosines to the interests, and by what the memory adds.
//
// K interests, C candidates, D dimensions.

import type { ItemId } from '../records/interaction.ts'
import { type InterestScore, nearestInterest, scoreOf } from './interestScore.ts'
import type { Candidates } from './vectorIndex.ts'

interface MergeOptions {
  /**
   * Share of the list that is divided among the interests before the rest goes to the best scores, 0 … 1: by their
   * `strengths`, so that one without evidence is guaranteed nothing, or evenly. An interest is guaranteed at least
   * ⌊limit · quotaShare · strength⌋ places, as far as it has candidates. 0: the best scores alone.
   *
   * Default 0.4: of 10 or 20 places four equal interests get 1 or 2 each, so that none is starved by one whose cosines
   * happen to run higher, while the larger part of the list stays what the scores say.
   */
  readonly quotaShare?: number
  /** Share of the history that each interest explains, summing to 1. [K]; absent or empty: all the same. */
  readonly strengths?: readonly number[] | undefined
  /**
   * 0 … 1: the next item is the one with the greatest (1 − diversity) · score − diversity · likeness. Default 0, off:
   * the interests are diverse by training, and vectors of candidates cost something to fetch. Of a list of more than
   * `diversePlacesMax` the rest is chosen by score.
   */
  readonly diversity?: number
  /**
   * What `diversity` means by likeness. Absent: the greatest cosine to an item already chosen, of the candidates' own
   * vectors (maximal marginal relevance, Carbonell and Goldstein 1998); one without a vector is unlike all others.
   * Values of an item, as its genres: the share of the items already chosen that have one in common with this one (the
   * controllable diversity of ComiRec, whose λ falls as the list grows, because a share takes the place of its sum).
   */
  readonly valuesOf?: ((itemId: ItemId) => readonly string[]) | undefined
  /** How an item's cosines become its score, to which the memory is added; default the greatest. */
  readonly scoring?: InterestScore | undefined
}

export interface MergedItem {
  readonly itemId: ItemId
  readonly score: number
  /** 0-based: the interest that the item is nearest to; the first of them if equally near. null: there is none. */
  readonly interest: number | null
  /** [D] */
  readonly vector?: Float32Array
}

const defaultQuotaShare = 0.4
/** Places that `diversity` chooses: each compares every candidate with what has been chosen. */
const diversePlacesMax = 200

/**
 * Chooses up to `limit` items, each once, none of `exclude`, each under the interest that scores it best. The result is
 * sorted by score, best first, equal scores by id: quota and diversity decide what is in it, never the order.
 *
 * @param candidates those without a finite cosine are left out, where there are interests
 */
export function mergeInterests(
  found: Candidates,
  limit: number,
  exclude: ReadonlySet<ItemId> = new Set(),
  { quotaShare = defaultQuotaShare, strengths, diversity = 0, valuesOf, scoring = nearestInterest }: MergeOptions = {}
): MergedItem[] {
  const { interestCount } = found
  const candidates = scored(found, exclude, scoring)
  const chosen = new Set<MergedItem>()
  const byScoreAlone = bestFirst(chosen)
  const choose =
    diversity === 0
      ? byScoreAlone
      : unlikeFirst(candidates, chosen, diversity, valuesOf === undefined ? cosineLikeness() : sharedLikeness(valuesOf))
  const quotas = quotasOf(limit * quotaShare, interestCount, strengths)
  const quotaMax = Math.max(0, ...quotas)
  if (quotaMax > 0) {
    const byInterest = quotas.map((_, interest) => candidates.filter((candidate) => candidate.interest === interest))
    // One place at a time in turn, so that with diversity every interest sees what the others have.
    for (let place = 0; place < quotaMax; place++) {
      const chooseNext = chosen.size < diversePlacesMax ? choose : byScoreAlone
      for (const [interest, own] of byInterest.entries()) if (place < quotas[interest]!) chooseNext(own, 1)
    }
  }
  if (diversity > 0) choose(candidates, Math.min(limit, diversePlacesMax) - chosen.size)
  byScoreAlone(candidates, limit - chosen.size)
  return [...chosen].sort(byScore)
}

/** Places of each interest: evenly, or by strength with the rest of ⌊places⌋ to the greatest remainders. [K] */
function quotasOf(places: number, interestCount: number, strengths: readonly number[] = []): number[] {
  if (strengths.length !== interestCount) return new Array(interestCount).fill(Math.floor(places / interestCount))
  const whole = strengths.map((strength) => Math.floor(places * strength))
  const left = Math.floor(places) - whole.reduce((sum, each) => sum + each, 0)
  const remainders = strengths.map((strength, k) => ({ k, rest: places * strength - whole[k]! }))
  remainders.sort((a, b) => b.rest - a.rest)
  for (const { k } of remainders.slice(0, Math.max(0, left))) whole[k]!++
  return whole
}

/** Every candidate, under its best interest, sorted. [C] */
function scored(
  { itemIds, interestCount: K, cosines, memory, vectors }: Candidates,
  exclude: ReadonlySet<ItemId>,
  scoring: InterestScore
): MergedItem[] {
  const D = (vectors?.length ?? 0) / Math.max(1, itemIds.length)
  const items = itemIds.flatMap((itemId, c): MergedItem[] => {
    const interest = exclude.has(itemId) ? undefined : nearestOf(cosines, c * K, K)
    if (interest === undefined) return []
    const score = scoreOf(cosines, c * K, K, scoring) + memory[c]!
    return [{ itemId, score, interest, ...(vectors && { vector: vectors.subarray(c * D, (c + 1) * D) }) }]
  })
  return items.sort(byScore)
}

/** null without interests; undefined if no cosine is finite. */
function nearestOf(cosines: ArrayLike<number>, from: number, K: number): number | null | undefined {
  if (K === 0) return null
  let nearest: number | undefined
  for (let k = 0; k < K; k++) {
    const cosine = cosines[from + k]!
    if (Number.isFinite(cosine) && (nearest === undefined || cosine > cosines[from + nearest]!)) nearest = k
  }
  return nearest
}

/** Moves up to `count` of the sorted `from` that are not there yet into what is chosen. */
type Choose = (from: readonly MergedItem[], count: number) => void

function bestFirst(chosen: Set<MergedItem>): Choose {
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

function unlikeFirst(
  candidates: readonly MergedItem[],
  chosen: Set<MergedItem>,
  diversity: number,
  likeness: Likeness
): Choose {
  const left = new Set(candidates)
  return (from, count) => {
    for (let places = count; places > 0; places--) {
      let next: MergedItem | undefined
      let nextValue = Number.NEGATIVE_INFINITY
      for (const candidate of from) {
        if (chosen.has(candidate)) continue
        const value = (1 - diversity) * candidate.score - diversity * likeness.of(candidate)
        // Strictly greater: of equals the first, which is the one sorted first.
        if (next === undefined || value > nextValue) {
          next = candidate
          nextValue = value
        }
      }
      if (next === undefined) return
      chosen.add(next)
      left.delete(next)
      likeness.choose(next, left)
    }
  }
}

/** How like what has been chosen a candidate is. 0 before the first, so that then the score alone decides. */
interface Likeness {
  of(candidate: MergedItem): number
  choose(item: MergedItem, left: ReadonlySet<MergedItem>): void
}

function cosineLikeness(): Likeness {
  const greatest = new Map<MergedItem, number>()
  return {
    of: (candidate) => greatest.get(candidate) ?? 0,
    choose({ vector }, left) {
      if (vector === undefined) return
      for (const other of left) {
        if (other.vector !== undefined)
          greatest.set(other, Math.max(greatest.get(other) ?? -1, dot(vector, other.vector)))
      }
    }
  }
}

function sharedLikeness(valuesOf: (itemId: ItemId) => readonly string[]): Likeness {
  const shared = new Map<MergedItem, number>()
  let chosen = 0
  return {
    of: (candidate) => (chosen === 0 ? 0 : (shared.get(candidate) ?? 0) / chosen),
    choose(item, left) {
      chosen++
      const values = new Set(valuesOf(item.itemId))
      if (values.size === 0) return
      for (const other of left)
        if (valuesOf(other.itemId).some((value) => values.has(value))) shared.set(other, (shared.get(other) ?? 0) + 1)
    }
  }
}

function byScore(a: MergedItem, b: MergedItem): number {
  return b.score - a.score || (a.itemId < b.itemId ? -1 : a.itemId > b.itemId ? 1 : 0)
}

export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let d = 0; d < a.length; d++) sum += a[d]! * b[d]!
  return sum
}
