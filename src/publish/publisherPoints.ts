// What is written of an item and of a user.

import { areUnits } from '../index/indexChecks.ts'
import type { MemoryWeight, Neighbours } from '../index/memory.ts'
import { type ItemPoint, popularityPart, type UserPoint } from '../index/vectorIndex.ts'
import type { Encoder, EncoderStep } from '../model/encoder.ts'
import type { CatalogueEntry } from '../records/catalogue.ts'
import { availabilityOf } from '../records/catalogueItem.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import { addSeen } from '../records/seenItems.ts'
import { extrasOf, type UserWindow } from '../records/userSequence.ts'
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

/** What the model makes of a user. */
export interface UserInterests {
  readonly vectors: Float32Array // [K, D]
  /** As `EncodedUsers`, with three digits. [K] */
  readonly strengths: readonly number[]
}

/** Of each window; undefined if the model knows none of its items. */
export function interestsOf(
  encoder: Encoder,
  windows: readonly (readonly EncoderStep[])[]
): (UserInterests | undefined)[] {
  if (windows.length === 0) return []
  const { interests, known, strengths } = encoder.interests(windows) // [B, K, D]
  const { interestCount: K, dimensions: D } = encoder
  return windows.map((_, b) => {
    if (known[b] === 0) return undefined
    return {
      vectors: interests.subarray(b * K * D, (b + 1) * K * D),
      strengths: Array.from(strengths.subarray(b * K, (b + 1) * K), (strength) => Math.round(strength * 1000) / 1000)
    }
  })
}

/** What is written of a user beside the window: see `UserPayload`. */
export type UserMarks = Pick<UserPoint['payload'], 'seen' | 'unwanted'>

export function marksOf({ steps, seen, feedback = [] }: UserWindow): UserMarks {
  const all = steps.length === 0 && seen === undefined ? undefined : addSeen(seen, steps)
  const unwanted = feedback
    .filter(({ type }) => type !== 'unhide')
    .map(({ itemId, untilMs }) => ({ itemId, ...(untilMs === undefined ? {} : { untilMs }) }))
  return {
    ...(all === undefined ? {} : { seen: Buffer.from(all).toString('base64') }),
    ...(unwanted.length === 0 ? {} : { unwanted })
  }
}

/** What is kept of a change: what is written of the user is made from it. */
export function windowOf({ steps, seen, feedback, newestMs }: UserChange): UserWindow {
  const kept = steps.map(({ itemId, eventTimeMs, type = '' }) => ({ itemId, eventTimeMs, type }))
  return {
    steps: kept,
    recent: [],
    newestMs: newestMs ?? steps.at(-1)?.eventTimeMs ?? 0,
    ...extrasOf({ seen, feedback })
  }
}

/** @param interests undefined: none @param steps oldest first @param memory how the newest items vote */
export function userPoint(
  id: UserId,
  interests: UserInterests | undefined,
  steps: readonly EncoderStep[],
  updatedAtMs: number,
  memory: MemoryWeight | undefined,
  marks: UserMarks = {}
): UserPoint {
  const recent = [...new Set(steps.map(({ itemId }) => itemId).reverse())]
  const payload = {
    ...{ recent, historyLength: steps.length, newestMs: steps.at(-1)?.eventTimeMs ?? 0, updatedAtMs },
    ...(interests === undefined ? {} : { strengths: interests.strengths }),
    ...(memory === undefined ? {} : { memory }),
    ...marks
  }
  return { role: 'user', id, vectors: interests?.vectors ?? new Float32Array(0), payload }
}

/** Of a user who was removed meanwhile. */
export const noWindow: UserWindow = { steps: [], recent: [], newestMs: 0 }

export function isEmpty({ steps, feedback = [] }: Pick<UserChange, 'steps' | 'feedback'>): boolean {
  return steps.length + feedback.length === 0
}

export function itemsOf({ steps }: UserWindow = noWindow): ItemId[] {
  return steps.map(({ itemId }) => itemId)
}

/** Points of the users of whom the model knows an item, and that are fit to be written. */
export function userPoints(
  encoder: Encoder,
  users: readonly { readonly userId: UserId; readonly window: UserWindow }[],
  updatedAtMs: number,
  memory: MemoryWeight | undefined
): UserPoint[] {
  const encoded = interestsOf(
    encoder,
    users.map(({ window }) => window.steps)
  )
  return users.flatMap(({ userId, window }, b) => {
    const interests = encoded[b]
    if (interests === undefined || !areUnits(interests.vectors, encoder.dimensions)) return []
    return [userPoint(userId, interests, window.steps, updatedAtMs, memory, marksOf(window))]
  })
}
