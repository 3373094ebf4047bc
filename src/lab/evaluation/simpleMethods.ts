// The methods that papers forget: counting. Exact and as large as the data: for evaluation, not for a stream.

import type { ItemId } from '../../records/interaction.ts'
import type { SequenceStep } from '../../records/userSequence.ts'
import { easeWeights } from './ease.ts'
import { listLength, offlineMetrics } from './offlineMetrics.ts'
import type { OfflineCase, UserSteps } from './offlineSplit.ts'

export const simpleMethods = [
  'most-popular',
  'recently-popular',
  'co-occurrence',
  'item-to-item',
  'markov',
  'ease',
  'replay-history'
] as const
export type SimpleMethod = (typeof simpleMethods)[number]

/** Items for a history, best first. */
type Recommend = (history: readonly SequenceStep[], limit: number) => readonly ItemId[]

/** How strongly one item goes with another; by item, then by neighbour. */
type Neighbours = Map<ItemId, Map<ItemId, number>>

/** Of recently-popular, as a share of the training interactions: an interaction this far back counts half. */
const recentShare = 0.05
/**
 * Of item-to-item: steps looked back, what one step further back counts less, and the count that keeps chance pairs
 * from the top.
 */
const [window, recency, shrinkage] = [10, 0.8, 30]

/** l₂ of ease that are tried. */
const easeL2 = [20, 100, 500] as const

export function isSimpleMethod(name: string): name is SimpleMethod {
  return (simpleMethods as readonly string[]).includes(name)
}

/**
 * - `most-popular`: most interactions first, equal counts by first appearance
 * - `recently-popular`: the same with interactions fading, half of it within a twentieth of them all
 * - `co-occurrence`: users who have both, summed over the history
 * - `item-to-item`: near in the sequence, both ways, fading with the distance, divided by what chance would give; newer
 *   steps of the history count more
 * - `markov`: how often it came right after the last item
 * - `ease`: the linear model of ease.ts over sets of items, l₂ by the validation users
 * - `replay-history`: the history, newest first
 *
 * Where a method runs out of items the most popular ones follow.
 *
 * @param validation what `ease` is tuned on; none: the middle l₂
 * @throws ConfigError if there are too many items for `ease`
 */
export function simpleMethod(
  name: SimpleMethod,
  train: readonly UserSteps[],
  validation: readonly OfflineCase[] = []
): Recommend {
  const popular = byCount(popularity(train))
  switch (name) {
    case 'most-popular':
      return (_history, limit) => popular.slice(0, limit)
    case 'recently-popular': {
      const recent = byCount(recentPopularity(train))
      return (_history, limit) => recent.slice(0, limit)
    }
    case 'co-occurrence':
      return filled(cooccurrence(train), popular)
    case 'item-to-item':
      return filled(itemToItem(train), popular)
    case 'markov':
      return filled(markov(train), popular)
    case 'ease':
      return tuned(
        validation,
        easeL2.map((l2) => () => filled(ease(train, l2), popular))
      )
    case 'replay-history':
      // Of keys that come twice a Map takes the last value: oldest first, so that an item counts where it was last
      // seen.
      return filled((history) => new Map(history.map(({ itemId }, at) => [itemId, at])), popular)
  }
}

/** The best by score, then the most popular of those that have none. */
function filled(
  scoresOf: (history: readonly SequenceStep[]) => Map<ItemId, number>,
  popular: readonly ItemId[]
): Recommend {
  return (history, limit) => {
    const scores = scoresOf(history)
    const list = byCount(scores).slice(0, limit)
    for (let i = 0; i < popular.length && list.length < limit; i++) if (!scores.has(popular[i]!)) list.push(popular[i]!)
    return list
  }
}

function popularity(train: readonly UserSteps[]): Map<ItemId, number> {
  const counts = new Map<ItemId, number>()
  for (const { steps } of train) for (const { itemId } of steps) counts.set(itemId, (counts.get(itemId) ?? 0) + 1)
  return counts
}

function recentPopularity(train: readonly UserSteps[]): Map<ItemId, number> {
  const steps = train.flatMap((user) => user.steps)
  const newest = steps.reduce((max, { order }) => Math.max(max, order), 0)
  const oldest = steps.reduce((min, { order }) => Math.min(min, order), newest)
  const halfLife = Math.max(1, recentShare * (newest - oldest))
  const counts = new Map<ItemId, number>()
  for (const { itemId, order } of steps)
    counts.set(itemId, (counts.get(itemId) ?? 0) + 2 ** ((order - newest) / halfLife))
  return counts
}

function cooccurrence(train: readonly UserSteps[]): (history: readonly SequenceStep[]) => Map<ItemId, number> {
  const together: Neighbours = new Map()
  for (const { steps } of train) {
    const distinct = [...new Set(steps.map(({ itemId }) => itemId))]
    for (const item of distinct) for (const other of distinct) if (other !== item) add(together, item, other, 1)
  }
  return (history) => {
    const scores = new Map<ItemId, number>()
    for (const { itemId } of history)
      for (const [other, count] of together.get(itemId) ?? []) scores.set(other, (scores.get(other) ?? 0) + count)
    return scores
  }
}

function itemToItem(train: readonly UserSteps[]): (history: readonly SequenceStep[]) => Map<ItemId, number> {
  const near: Neighbours = new Map()
  const totals = new Map<ItemId, number>()
  for (const { steps } of train) {
    for (let at = 1; at < steps.length; at++) {
      const target = steps[at]!.itemId
      for (let back = 1; back <= Math.min(window, at); back++) {
        const item = steps[at - back]!.itemId
        if (item === target) continue
        const weight = recency ** (back - 1)
        add(near, item, target, weight)
        add(near, target, item, weight)
        totals.set(item, (totals.get(item) ?? 0) + weight)
        totals.set(target, (totals.get(target) ?? 0) + weight)
      }
    }
  }
  return (history) => {
    const scores = new Map<ItemId, number>()
    for (let back = 0; back < history.length; back++) {
      const { itemId } = history[history.length - 1 - back]!
      const weight = recency ** back / Math.sqrt((totals.get(itemId) ?? 0) + shrinkage)
      for (const [other, count] of near.get(itemId) ?? []) scores.set(other, (scores.get(other) ?? 0) + weight * count)
    }
    for (const [item, score] of scores) scores.set(item, score / Math.sqrt(totals.get(item)! + shrinkage))
    return scores
  }
}

/** The best by Recall@50, made one after another; without validation users the middle one. */
function tuned(validation: readonly OfflineCase[], makers: readonly (() => Recommend)[]): Recommend {
  if (validation.length === 0) return makers[Math.floor(makers.length / 2)]!()
  let best: { readonly recommend: Recommend; readonly recall: number } | undefined
  for (const make of makers) {
    const recommend = make()
    const lists = validation.map((one) => recommend(one.history, listLength(one)))
    const recall = offlineMetrics(validation, lists)['recall@50']
    if (best === undefined || recall > best.recall) best = { recommend, recall }
  }
  return best!.recommend
}

function ease(train: readonly UserSteps[], l2: number): (history: readonly SequenceStep[]) => Map<ItemId, number> {
  const index = new Map<ItemId, number>()
  for (const { steps } of train) for (const { itemId } of steps) if (!index.has(itemId)) index.set(itemId, index.size)
  const ids = [...index.keys()]
  const distinct = (steps: readonly SequenceStep[]) =>
    [...new Set(steps.map(({ itemId }) => index.get(itemId)))].filter((row) => row !== undefined)
  const weights = easeWeights(
    train.map(({ steps }) => distinct(steps)),
    ids.length,
    l2
  )
  return (history) => {
    const scores = new Float64Array(ids.length)
    const known = distinct(history)
    if (known.length === 0) return new Map()
    for (const row of known)
      for (let i = 0, at = row * ids.length; i < scores.length; i++) scores[i]! += weights[at + i]!
    return new Map(ids.map((id, i) => [id, scores[i]!]))
  }
}

function markov(train: readonly UserSteps[]): (history: readonly SequenceStep[]) => Map<ItemId, number> {
  const next: Neighbours = new Map()
  for (const { steps } of train)
    for (let at = 1; at < steps.length; at++) add(next, steps[at - 1]!.itemId, steps[at]!.itemId, 1)
  return (history) => next.get(history.at(-1)!.itemId) ?? new Map()
}

function add(neighbours: Neighbours, item: ItemId, other: ItemId, amount: number): void {
  const row = neighbours.get(item) ?? new Map<ItemId, number>()
  if (row.size === 0) neighbours.set(item, row)
  row.set(other, (row.get(other) ?? 0) + amount)
}

/** Greatest first, equal ones in the order in which they came. */
function byCount(counts: ReadonlyMap<ItemId, number>): ItemId[] {
  return [...counts].sort((a, b) => b[1] - a[1]).map(([item]) => item)
}
