// Recall and mean reciprocal rank at 20 of one target each, on all, on new items and on new users.

import type { ItemId } from '../../records/interaction.ts'
import type { NextItem } from './streamPeriods.ts'

/** Where lists are cut. */
export const streamCut = 20

export interface NextItemMetrics {
  readonly targets: number
  /** 0 … 1; null where there is no target. */
  readonly 'recall@20': number | null
  readonly 'mrr@20': number | null
}

export interface StreamMetrics {
  readonly all: NextItemMetrics
  readonly newItems: NextItemMetrics
  readonly newUsers: NextItemMetrics
}

/** @param lists best first, one a case */
export function streamMetrics(cases: readonly NextItem[], lists: readonly (readonly ItemId[])[]): StreamMetrics {
  const ranks = cases.map(({ target }, i) => lists[i]!.slice(0, streamCut).indexOf(target))
  const of = (counts: (one: NextItem) => boolean) => nextItemMetrics(ranks.filter((_, i) => counts(cases[i]!)))
  return { all: of(() => true), newItems: of(({ newItem }) => newItem), newUsers: of(({ newUser }) => newUser) }
}

/** @param ranks 0 best; −1 not found */
export function nextItemMetrics(ranks: readonly number[]): NextItemMetrics {
  let hits = 0
  let reciprocal = 0
  for (const rank of ranks) {
    if (rank < 0) continue
    hits++
    reciprocal += 1 / (rank + 1)
  }
  const mean = (sum: number) => (ranks.length === 0 ? null : sum / ranks.length)
  return { targets: ranks.length, 'recall@20': mean(hits), 'mrr@20': mean(reciprocal) }
}

/** Of those that are there; null if none is. */
export function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null)
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length
}
