// What a user does not want makes what is like it come later.
//
// C candidates, K interests.

import { dot } from '../index/mergeInterests.ts'
import type { CandidateResult, VectorIndex } from '../index/vectorIndex.ts'
import type { ItemId } from '../records/interaction.ts'
import { rescored } from './listRules.ts'

/** Items that are not wanted with which candidates are compared, at most. */
export const unwantedMax = 20
/** What an item loses of its score where it is like one that is not wanted. */
const unwantedWeight = 0.3

/**
 * The result with lower scores of items that are near to an unwanted one: by `unwantedWeight` of the greatest cosine to
 * one of them. The search does not know this: it changes the order of the candidates found.
 */
export async function awayFrom(
  unwanted: readonly ItemId[],
  index: Pick<VectorIndex, 'items'>,
  found: CandidateResult
): Promise<CandidateResult> {
  const { indexVersion, candidates } = found
  if (unwanted.length === 0 || candidates === undefined) return found
  const compared = unwanted.slice(0, unwantedMax)
  const items = await index.items(indexVersion, [...compared, ...candidates.itemIds], { vectors: true })
  const away = compared.flatMap((itemId) => items.get(itemId)?.vector ?? [])
  const lost = (itemId: ItemId) => {
    const vector = items.get(itemId)?.vector
    if (vector === undefined) return 0
    return unwantedWeight * away.reduce((greatest, other) => Math.max(greatest, dot(vector, other)), 0)
  }
  return { ...found, candidates: rescored(candidates, (itemId) => -lost(itemId)) }
}
