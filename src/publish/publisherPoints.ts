// What is written of an item and of a user.

import type { MemoryWeight, Neighbours } from '../index/memory.ts'
import { type ItemPoint, popularityPart, type UserPoint } from '../index/vectorIndex.ts'
import type { Encoder, EncoderStep } from '../model/encoder.ts'
import type { CatalogueEntry } from '../records/catalogue.ts'
import type { ItemId, UserId } from '../records/interaction.ts'

/** @param vector [D] */
export function itemPoint(
  id: ItemId,
  vector: Float32Array,
  item: CatalogueEntry | undefined,
  {
    count,
    popularity,
    popularityIn,
    updatedAtMs
  }: Pick<ItemPoint['payload'], 'count' | 'popularity' | 'popularityIn' | 'updatedAtMs'>,
  memory: Neighbours | undefined
): ItemPoint {
  const payload = {
    ...(item?.title === undefined ? {} : { title: item.title }),
    ...(item === undefined ? {} : { features: item.features }),
    count,
    ...popularityPart(popularity, popularityIn),
    updatedAtMs
  }
  return { role: 'item', id, vector, payload, ...(memory === undefined ? {} : { memory }) }
}

/** Of each window [K, D]; undefined if the model knows none of its items. */
export function interestsOf(encoder: Encoder, windows: readonly EncoderStep[][]): (Float32Array | undefined)[] {
  if (windows.length === 0) return []
  const { interests, known } = encoder.interests(windows) // [B, K, D]
  const size = encoder.interestCount * encoder.dimensions
  return windows.map((_, b) => (known[b] === 0 ? undefined : interests.subarray(b * size, (b + 1) * size)))
}

/** @param vectors [K, D], or none @param steps oldest first @param memory how the newest items vote */
export function userPoint(
  id: UserId,
  vectors: Float32Array,
  steps: readonly EncoderStep[],
  updatedAtMs: number,
  memory: MemoryWeight | undefined
): UserPoint {
  const recent = [...new Set(steps.map(({ itemId }) => itemId).reverse())]
  const payload = {
    ...{ recent, historyLength: steps.length, newestMs: steps.at(-1)?.eventTimeMs ?? 0, updatedAtMs },
    ...(memory === undefined ? {} : { memory })
  }
  return { role: 'user', id, vectors, payload }
}
