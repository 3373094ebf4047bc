// What a user loses because vectors in the index are older than the weights: how much of the list that is served would
// also be served by the weights as they are now.

import { type InterestScore, nearestInterest } from '../index/interestScore.ts'
import { votesOf } from '../index/memory.ts'
import { mergeInterests } from '../index/mergeInterests.ts'
import type { Candidates, VectorIndex } from '../index/vectorIndex.ts'
import type { Encoder } from '../model/encoder.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
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
    scoring = nearestInterest
  }: { encoder: Encoder; index: VectorIndex; catalogue: CatalogueLookup; scoring?: InterestScore | undefined },
  userId: UserId,
  interests: Float32Array
): Promise<number | undefined> {
  const { dimensions: d, interestCount: K } = encoder
  const options = { scoring }
  const stored = await index.candidates({ by: { userId } }, mergedOfInterest, {}, options)
  if (stored.candidates === undefined || stored.user === undefined) return undefined
  const { recent, memory } = stored.user
  const merged = (candidates: Candidates) =>
    mergeInterests(candidates, listLength, new Set(), options).map(({ itemId }) => itemId)
  const served = merged(stored.candidates)
  if (served.length === 0) return undefined
  const votes = memory === undefined ? {} : { votes: votesOf(recent, memory) }
  const by = { vectors: interests, count: K, ...votes }
  const near = await index.candidates({ by }, candidatesOfInterest, { excludeItems: recent }, options)
  // Of each candidate what the memory adds; it is the same by both weights.
  const added = new Map<ItemId, number>()
  for (const { itemIds, memory } of [stored.candidates, near.candidates ?? noCandidates])
    for (const [c, itemId] of itemIds.entries()) added.set(itemId, memory[c]!)
  const all = [...added.keys()]
  const encoded = encoder.itemVectors(all.map((itemId) => encoderItem(itemId, catalogue)))
  const known = all.flatMap((itemId, i) => (encoded.known[i] === 0 ? [] : [{ itemId, i }]))
  const cosines = new Float64Array(known.length * K) // [C, K]
  for (const [c, { i }] of known.entries())
    for (let k = 0; k < K; k++)
      for (let j = 0; j < d; j++) cosines[c * K + k]! += interests[k * d + j]! * encoded.vectors[i * d + j]!
  const itemIds = known.map(({ itemId }) => itemId)
  const now = { itemIds, interestCount: K, cosines, memory: Float32Array.from(itemIds, (id) => added.get(id)!) }
  const current = new Set(merged(now))
  return served.filter((itemId) => current.has(itemId)).length / served.length
}

const noCandidates = { itemIds: [], memory: new Float32Array(0) }
