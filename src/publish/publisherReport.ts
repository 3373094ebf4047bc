// The publisher's input, limits and reports.

import type { Clock } from '../core/clock.ts'
import type { PublishOptions } from '../core/config/config.ts'
import { type StateKind, z } from '../core/stateFile.ts'
import type { MemoryWeight, Neighbours } from '../index/memory.ts'
import type { ItemPopularity } from '../index/popularity.ts'
import type { VectorIndex } from '../index/vectorIndex.ts'
import type { Encoder, EncoderItem, EncoderStep } from '../model/encoder.ts'
import type { CatalogueEntry } from '../records/catalogue.ts'
import { featureKeys } from '../records/catalogueItem.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { Feedback } from '../records/seenItems.ts'
import type { PublishedUsers } from './publishedUsers.ts'

export interface PublisherLimits {
  /**
   * Changed users that wait in memory, some 150 bytes each. Where more records than these are unread at a start, the windows
   * are read first, and a sweep writes all users.
   */
  readonly waitingUsersMax: number
  /** Users kept waiting because the model knows none of their items. */
  readonly unknownUsersMax: number
  /** Index versions kept in the index, the live one included: one older is enough to go back to. */
  readonly versionsKept: number
  /**
   * A new index version replaces a live one when all users in the store have been encoded for it, and it has at least this
   * share of the live one's items: a publisher that has not caught up has not.
   */
  readonly completeShareMin: number
  /** An item vector that moved less than this (L2, unit vectors) is not written again: bounds the error of its score. */
  readonly epsilon: number
  /** Points of one write. */
  readonly batchSize: number
  /** How often items whose popularity moved by more than a tenth are handed on to be written. */
  readonly popularityIntervalMs: number
}

export const defaultPublisherLimits: PublisherLimits = {
  waitingUsersMax: 100_000,
  unknownUsersMax: 100_000,
  versionsKept: 2,
  completeShareMin: 0.9,
  epsilon: 0.02,
  batchSize: 500,
  popularityIntervalMs: 5000
}

/** An index version that does not go live. */
export interface HeldPromotion {
  readonly indexVersion: string
  /** When that was found first, milliseconds. */
  readonly sinceMs: number
  readonly text: string
}

/** Why an index version does not go live, for reports. */
export const heldPromotionState: StateKind<{ readonly held: HeldPromotion | null }> = {
  file: 'promotion.json',
  version: 1,
  schema: z.object({ held: z.object({ indexVersion: z.string(), sinceMs: z.number(), text: z.string() }).nullable() }),
  removed: '`mtmi versions` does not name an index version that does not go live, until the publisher starts again'
}

export interface PublisherParts {
  /** Its weights and model version may advance whenever none of its methods runs. */
  readonly encoder: Encoder
  readonly index: VectorIndex
  readonly users: PublishedUsers
  readonly options: Pick<PublishOptions, 'userWaitMs' | 'sweepIntervalMs'>
  readonly clock: Clock
  readonly catalogue: CatalogueLookup
  /** Whether an item may be in lists. One that may not gets no vector. Default: all may. */
  readonly isCandidate?: (itemId: ItemId) => boolean
  readonly limits?: Partial<PublisherLimits>
  /** The encoder of the live version while another is filled: users who act then get new vectors in both. */
  readonly serving?: () => Encoder | undefined
  /** Default: no item is popular. */
  readonly popularityOf?: (itemId: ItemId) => ItemPopularity
  /** Lists of the items, and how users vote. Default: there is none. */
  readonly memory?: PublishedMemory
}

/** The memory as the model has it; it may advance with the encoder. */
export interface PublishedMemory {
  readonly memory: MemoryWeight
  neighboursOf(itemId: ItemId): Neighbours | undefined
}

/** The part of a UserSequence that the publisher reads. */
export interface UserChange {
  readonly userId: UserId
  /** Oldest first. */
  readonly steps: readonly (EncoderStep & { readonly type?: string })[]
  /** Of the window: what left it, and what the user does not want. */
  readonly seen?: Uint8Array
  readonly feedback?: readonly Feedback[]
  /** When the log took the newest of the changes, milliseconds. */
  readonly acceptedAtMs: number
  /** The user's newest event time, milliseconds. Default: of the last step. */
  readonly newestMs?: number
  /** Where the change is in user-sequences: see `Publisher.unanswered`. */
  readonly source?: ChangeSource
}

export interface ChangeSource {
  readonly partition: number
  readonly offset: bigint
}

export interface ModelChange {
  /** Items whose row changed. Those whose feature rows alone moved are met by the next sweep. */
  readonly changedItems: Iterable<ItemId>
  /** Items that lost their row. */
  readonly expired: Iterable<ItemId>
  /** Items whose list in the memory changed. */
  readonly changedNeighbours?: Iterable<ItemId>
  readonly weightsChanged: boolean
  /** Interactions seen by the trainer, of the items whose count changed. */
  readonly counts: ReadonlyMap<ItemId, number>
  /** Why another index version begins with this change, where it was requested. */
  readonly reason?: string
}

export interface CatalogueLookup {
  get(itemId: ItemId): CatalogueEntry | undefined
}

/** An item as the encoder reads it, with the features of its catalogue entry. */
export function encoderItem(itemId: ItemId, catalogue: CatalogueLookup): EncoderItem {
  const item = catalogue.get(itemId)
  return { itemId, features: item === undefined ? [] : featureKeys(item) }
}

/** What became of an attempt to switch to the index version being built. */
export type Promotion =
  | {
      readonly outcome: 'done'
      readonly items: number
      readonly users: number
      readonly droppedVersions: readonly string[]
    }
  | { readonly outcome: 'held'; readonly reason: string }

interface PublishReport {
  readonly indexVersion: string
  /** Of the weights that encoded this batch. */
  readonly step: number
  readonly written: number
  /** The model knows nothing of them. */
  readonly unknown: number
  /** The index has a newer step of them. */
  readonly stale: number
  /** Not finite or not of length 1: never written. */
  readonly refused: number
  readonly removed: number
  readonly promotion?: Promotion
}

export interface ItemReport extends PublishReport {
  /** Moved less than ε. */
  readonly unchanged: number
  /** Lists written without their points. */
  readonly lists: number
  /**
   * Of all items that are left as they were written, and were looked at since they moved: no score of theirs is off by
   * more; ≤ ε.
   */
  readonly scoreErrorMax: number
  /** Still to be looked at. */
  readonly pending: number
}

export interface UserReport extends PublishReport {
  /** Of the written ones, those encoded again only because the weights moved. */
  readonly swept: number
  /**
   * From the log taking the oldest change to its vectors being in the index, milliseconds, for each written user that
   * had changed.
   */
  readonly agesMs: readonly number[]
  /**
   * The parts of these ages, milliseconds: until the publisher had read of the change, until it took the user up, and
   * for the whole batch to encode and to write.
   */
  readonly partsMs: {
    readonly read: readonly number[]
    readonly wait: readonly number[]
    readonly encode: number
    readonly write: number
  }
  /** The same users, in the same order. */
  readonly answeredIds: readonly UserId[]
  /** e^entropy of the strengths of each user whose vectors were sent: 1 … K. */
  readonly effectiveInterests: readonly number[]
  /** Changed users that still wait. */
  readonly waiting: number
  /** Changes given up since the last report, for want of room. */
  readonly dropped: number
}
