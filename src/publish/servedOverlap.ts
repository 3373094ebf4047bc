// What a user loses because vectors in the index are older than the weights: how much of the list that is served would
// also be served by the weights as they are now.

import type { InterestScore } from '../index/interestScore.ts'
import { mergeInterests } from '../index/mergeInterests.ts'
import type { Candidate, VectorIndex } from '../index/vectorIndex.ts'
import type { Encoder } from '../model/encoder.ts'
import type { UserId } from '../records/interaction.ts'
import { type CatalogueLookup, encoderItem } from './publisherReport.ts'

/** The length of the lists that are compared. */
const listLength = 20
/** Of each interest, what a list is merged from. */
const mergedOfInterest = 2 * listLength
/**
 * Neighbours of each interest that the list by current weights is chosen from: five times as many as it has places.
 * Exact would be to encode the whole catalogue; an item outside would have to climb past 80 others by what its vector
 * moved since it was written, which `publish.epsilon` bounds.
 */
const candidatesOfInterest = 100

/**
 * @param interests the user's, by the weights as they are now [K, D]
 * @returns |served ∩ current| / |served|, 0 … 1; undefined: the index does not know the user, or has nothing to serve
 */
export async function servedOverlap(
  {
    encoder,
    index,
    catalogue,
    scoring
  }: { encoder: Encoder; index: VectorIndex; catalogue: CatalogueLookup; scoring?: InterestScore | undefined },
  userId: UserId,
  interests: Float32Array
): Promise<number | undefined> {
  const { dimensions: d, interestCount: K } = encoder
  const stored = await index.search({ by: { userId } }, mergedOfInterest)
  if (stored.lists === undefined || stored.user === undefined) return undefined
  const merged = (lists: readonly (readonly Candidate[])[]) =>
    mergeInterests(lists, listLength, new Set(), scoring && { scoring })
  const served = merged(stored.lists).map(({ itemId }) => itemId)
  if (served.length === 0) return undefined
  const near = await index.search({ by: { vectors: interests, count: K } }, candidatesOfInterest, {
    excludeItems: stored.user.recent
  })
  const all = [...new Set([...stored.lists, ...(near.lists ?? [])].flatMap((list) => list.map(({ itemId }) => itemId)))]
  const encoded = encoder.itemVectors(all.map((itemId) => encoderItem(itemId, catalogue)))
  const lists = Array.from({ length: K }, (_, k) =>
    all
      .flatMap((itemId, i) => {
        if (encoded.known[i] === 0) return []
        let score = 0
        for (let j = 0; j < d; j++) score += interests[k * d + j]! * encoded.vectors[i * d + j]!
        return [{ itemId, score }]
      })
      .sort((a, b) => b.score - a.score)
      .slice(0, mergedOfInterest)
  )
  const current = new Set(merged(lists).map(({ itemId }) => itemId))
  return served.filter((itemId) => current.has(itemId)).length / served.length
}
