// What a user does not want makes what is like it come later.
//
// C candidates, K interests.

import { unwantedItems } from '../index/excludedItems.ts'
import { dot } from '../index/mergeInterests.ts'
import type { CandidateResult, VectorIndex } from '../index/vectorIndex.ts'

/** Newest items that a user does not want, with which candidates are compared. */
const unwantedMax = 20
/** What an item loses of its cosines where it is like one that the user does not want. */
const unwantedWeight = 0.3

/**
 * The result with lower scores of items that are near to one that the user does not want: by `unwantedWeight` of the
 * greatest cosine to one of them. The search does not know this: it changes the order of the candidates found.
 */
export async function awayFromUnwanted(
  index: Pick<VectorIndex, 'items'>,
  found: CandidateResult,
  nowMs: number
): Promise<CandidateResult> {
  const { indexVersion, user, candidates } = found
  const unwanted = user === undefined ? [] : unwantedItems(user, nowMs).slice(0, unwantedMax)
  if (unwanted.length === 0 || candidates === undefined) return found
  const items = await index.items(indexVersion, [...unwanted, ...candidates.itemIds], { vectors: true })
  const away = unwanted.flatMap((itemId) => items.get(itemId)?.vector ?? [])
  const lost = candidates.itemIds.map((itemId) => {
    const vector = items.get(itemId)?.vector
    if (vector === undefined) return 0
    return unwantedWeight * away.reduce((greatest, other) => Math.max(greatest, dot(vector, other)), 0)
  }) // [C]
  const { interestCount: K } = candidates
  const cosines = Float32Array.from(candidates.cosines, (cosine, i) => cosine - lost[Math.floor(i / K)]!) // [C, K]
  // Without interests the memory alone makes the score.
  const memory = K > 0 ? candidates.memory : candidates.memory.map((part, i) => part - lost[i]!) // [C]
  return { ...found, candidates: { ...candidates, cosines, memory } }
}
