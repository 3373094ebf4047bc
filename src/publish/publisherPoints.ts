// What is written of an item and of a user.

import type { MemoryWeight, Neighbours } from '../index/memory.ts'
import { type ItemPoint, popularityPart, type UserPoint } from '../index/vectorIndex.ts'
import type { Encoder, EncoderStep } from '../model/encoder.ts'
import type { CatalogueEntry } from '../records/catalogue.ts'
import { availabilityOf } from '../records/catalogueItem.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import { addSeen } from '../records/seenItems.ts'
import type { UserChange } from './publisherReport.ts'

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
    ...(item === undefined ? {} : { features: item.features, ...availabilityOf(item) }),
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

/** What is written of a user beside the window: see `UserPayload`. */
export type UserMarks = Pick<UserPoint['payload'], 'seen' | 'unwanted'>

export function marksOf({ steps, seen, feedback = [] }: Pick<UserChange, 'steps' | 'seen' | 'feedback'>): UserMarks {
  const all = steps.length === 0 && seen === undefined ? undefined : addSeen(seen, steps.map(typed))
  const unwanted = feedback
    .filter(({ type }) => type !== 'unhide')
    .map(({ itemId, untilMs }) => ({ itemId, ...(untilMs === undefined ? {} : { untilMs }) }))
  return {
    ...(all === undefined ? {} : { seen: Buffer.from(all).toString('base64') }),
    ...(unwanted.length === 0 ? {} : { unwanted })
  }
}

function typed({ itemId, eventTimeMs, type = '' }: UserChange['steps'][number]) {
  return { itemId, eventTimeMs, type }
}

/** @param vectors [K, D], or none @param steps oldest first @param memory how the newest items vote */
export function userPoint(
  id: UserId,
  vectors: Float32Array,
  steps: readonly EncoderStep[],
  updatedAtMs: number,
  memory: MemoryWeight | undefined,
  marks: UserMarks = {}
): UserPoint {
  const recent = [...new Set(steps.map(({ itemId }) => itemId).reverse())]
  const payload = {
    ...{ recent, historyLength: steps.length, newestMs: steps.at(-1)?.eventTimeMs ?? 0, updatedAtMs },
    ...(memory === undefined ? {} : { memory }),
    ...marks
  }
  return { role: 'user', id, vectors, payload }
}
