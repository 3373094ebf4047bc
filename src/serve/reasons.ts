// Why an item is in a list: the items of the history that are nearest to it, and those after which it is often taken.

import type { Votes } from '../index/memory.ts'
import { dot } from '../index/mergeInterests.ts'
import type { DescribedItem } from '../index/vectorIndex.ts'
import type { ItemId } from '../records/interaction.ts'

/** Items of the history that explain one result: more is not read. */
const becauseMax = 3
/** In 64 dimensions two unrelated unit vectors have a cosine below .3 in 99% of the cases. */
const becauseScoreMin = 0.3

/** The items of the history whose votes add most to the item's score. */
export function strongestVotes({ memory }: DescribedItem, { items, weights }: Votes): ItemId[] {
  return items
    .map((item, age) => ({ item, share: weights[age]! * (memory?.[age] ?? 0) }))
    .filter(({ share }) => share > 0)
    .sort((a, b) => b.share - a.share)
    .slice(0, becauseMax)
    .map(({ item }) => item)
}

/** The items of the history nearest to one, nearest first. An item that has left the index explains nothing. */
export function nearestSteps(
  itemId: ItemId,
  { vector }: DescribedItem,
  history: ReadonlySet<ItemId>,
  items: ReadonlyMap<ItemId, DescribedItem>
): readonly ItemId[] {
  const near = [...history].flatMap((step) => {
    const other = items.get(step)?.vector
    if (step === itemId || vector === undefined || other === undefined) return []
    const score = dot(vector, other)
    return score >= becauseScoreMin ? [{ step, score }] : []
  })
  // Sorting is stable: of equally near ones the newer comes first.
  near.sort((a, b) => b.score - a.score)
  return near.slice(0, becauseMax).map(({ step }) => step)
}
