// Where vectors are stored and searched: the interface of the embedded index and of Qdrant.
//
// An index version holds the vectors of one model version and bears its name: only its vectors may be compared. One
// version is live. D dimensions, K interests a user. All vectors have length 1: the inner product is the cosine.

import type { Availability } from '../records/catalogueItem.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { InterestScore } from './interestScore.ts'
import type { FeatureFilter } from './itemFilter.ts'
import type { MemoryWeight, Neighbours, Votes } from './memory.ts'

export type Role = 'item' | 'user'
export const roles: readonly Role[] = ['item', 'user']

export interface ItemPoint {
  readonly role: 'item'
  readonly id: ItemId
  readonly vector: Float32Array // [D]
  readonly payload: ItemPayload
  /** The item's list in the memory. Absent: it has none. */
  readonly memory?: Neighbours
}

export interface ItemPayload extends Availability {
  readonly title?: string
  readonly features?: Readonly<Record<string, readonly string[]>>
  /** Interactions the trainer has seen. */
  readonly count: number
  /** Level of the decayed count of interactions, in half-lives (see ForwardDecay). Absent or 0: no interactions. */
  readonly popularity?: number
  /** The level within contexts of interactions: `country=de` → level. */
  readonly popularityIn?: Readonly<Record<string, number>>
  readonly updatedAtMs: number
}

export interface UserPoint {
  readonly role: 'user'
  readonly id: UserId
  /** [K, D]; empty: the model knows none of the user's items, and only the memory finds something. */
  readonly vectors: Float32Array
  readonly payload: UserPayload
}

export interface UserPayload {
  /** Items of the window, newest first, for exclusion and explanation. */
  readonly recent: readonly ItemId[]
  readonly historyLength: number
  readonly newestMs: number
  readonly updatedAtMs: number
  /**
   * Share of the history that each interest explains, summing to 1 (`EncodedUsers`). [K]; absent: the user has no
   * vectors.
   */
  readonly strengths?: readonly number[]
  /** How the items of `recent` vote in the memory. Absent: they do not. */
  readonly memory?: MemoryWeight
  /** Items seen, those of the window included: `addSeen` in base64. Absent: `recent` alone is known. */
  readonly seen?: string
  /** What the user does not want, in the order of time. Absent: nothing. */
  readonly unwanted?: readonly UnwantedItem[]
}

interface UnwantedItem {
  readonly itemId: ItemId
  /** Until then; absent: for ever. */
  readonly untilMs?: number
}

export type VectorPoint = ItemPoint | UserPoint

/** An item's list, apart from its point. */
export interface ItemMemory {
  readonly id: ItemId
  readonly memory: Neighbours
}

/** Popularity as a payload has it: 0 is left out. */
export function popularityPart(
  popularity: number | undefined,
  popularityIn: ItemPayload['popularityIn']
): Pick<ItemPayload, 'popularity' | 'popularityIn'> {
  return {
    ...(popularity === undefined || popularity === 0 ? {} : { popularity }),
    ...(popularityIn === undefined ? {} : { popularityIn })
  }
}

export interface InterestQuery {
  /** A stored user, given vectors [K, D], or a stored item (for similar items). */
  readonly by:
    | { readonly userId: UserId }
    | { readonly vectors: Float32Array; readonly count: number }
    | { readonly itemId: ItemId }
}

export interface CandidateQuery {
  /** A stored user, or given vectors [count, D] with the votes of a history; a count of 0: the votes alone. */
  readonly by:
    | { readonly userId: UserId }
    | { readonly vectors: Float32Array; readonly count: number; readonly votes?: Votes }
}

export interface CandidateOptions extends SearchOptions {
  readonly scoring: InterestScore
  /** Whether the memory votes. Default true. */
  readonly memory?: boolean
}

export interface Filter {
  readonly excludeItems?: readonly ItemId[]
  /** `hashKey` of ids to exclude as well. */
  readonly excludeHashes?: ReadonlySet<number>
  /** None but these. */
  readonly onlyItems?: readonly ItemId[]
  /** Also exclude what the stored user has seen, and does not want. Default true. */
  readonly excludeRecent?: boolean
  /** Seen items that are not excluded all the same; absent: none. What the user does not want stays excluded. */
  readonly repeats?: SeenRepeats
  /** Only items that meet these conditions, of each filter of a list. */
  readonly features?: FeatureFilter | readonly FeatureFilter[]
  /** Only items that are available then, milliseconds; absent: all. */
  readonly availableAtMs?: number
}

/** Which seen items may be found again. */
export interface SeenRepeats {
  /** All of them, or by event type those that are older than so many milliseconds. */
  readonly after: true | Readonly<Record<string, number>>
  /** Now, milliseconds. */
  readonly nowMs: number
}

export interface SearchOptions {
  /** Return vectors, for diversity and explanation. Default false. */
  readonly vectors?: boolean
}

export interface DescribeOptions extends SearchOptions {
  /** Items h of a history: return S[h, x] of each, for explanation. */
  readonly memory?: readonly ItemId[]
}

/** An item that a search found. Its payload is read with `items`, for those that are shown. */
export interface Candidate {
  readonly itemId: ItemId
  /** Cosine, −1 … 1. */
  readonly score: number
  /** [D], if the search requested `vectors`. */
  readonly vector?: Float32Array
}

/** An item of a list by popularity. */
export interface PopularItem {
  readonly itemId: ItemId
  /** Decayed count of interactions as a share of the greatest in the index version, 0 … 1. */
  readonly score: number
  readonly payload: ItemPayload
}

export interface DescribedItem {
  readonly payload: ItemPayload
  /** [D], if `vectors` were requested. */
  readonly vector?: Float32Array
  /** S of each item of `memory`, if it was requested; 0: not in the item's list. */
  readonly memory?: Float32Array
}

export interface StoredUser {
  readonly payload: UserPayload
  /** [K, D]; empty: the model knows none of the user's items. */
  readonly vectors: Float32Array
}

/** The index version that answered, and its step: one answer never mixes two. */
interface Answer {
  readonly indexVersion: string
  readonly step: number
}

export interface SearchResult extends Answer {
  /** [K] lists, best first. undefined: the stored user or item is not in the index. */
  readonly lists: readonly (readonly Candidate[])[] | undefined
  readonly user?: UserPayload
}

/** What a list of a user is chosen from: C items, each once, with all that their scores are made of. */
export interface Candidates {
  readonly itemIds: readonly ItemId[]
  /** K: 0 for a user whose items the model does not know. */
  readonly interestCount: number
  /** [C, K]; NaN: not known, the item is far from the interest. Only without the memory. */
  readonly cosines: ArrayLike<number>
  /** The memory's part of the score; 0: none. */
  readonly memory: Float32Array // [C]
  /** [C, D], if the search requested `vectors`. */
  readonly vectors?: Float32Array
}

export interface CandidateResult extends Answer {
  /** undefined: the stored user is not in the index. */
  readonly candidates: Candidates | undefined
  readonly user?: UserPayload
}

export interface PopularItems extends Answer {
  /** Best first. */
  readonly items: readonly PopularItem[]
}

export interface IndexState extends Answer, VersionShape {
  readonly items: number
  readonly users: number
}

export interface VersionShape {
  readonly dimensions: number
  readonly interestCount: number
}

export interface PointCounts {
  readonly items: number
  readonly users: number
}

export interface VectorIndex {
  /** Creates an empty version. Does nothing if it exists with the same shape. @throws ConfigError if it has another */
  createVersion(version: string, shape: VersionShape): Promise<void>
  /**
   * Idempotent. A write of an older `step` never replaces a newer one, nor brings back a point that was removed at a
   * newer one. All points are checked before any is written; a remote index that fails on the way may have written
   * some, and the same call again completes it. Resolves when durable; a search begun afterwards sees it.
   *
   * @returns points written, stale ones not counted
   * @throws as `checkPoints`; ConfigError if there is no such version
   */
  upsert(version: string, step: number, points: readonly VectorPoint[]): Promise<number>
  /**
   * Replaces the lists in the memory of items whose vector and payload stay as they are; empty lists are removed. Items
   * that are not there, or have a newer step, are left out. @returns lists written @throws as `upsert`
   */
  updateMemory(version: string, step: number, lists: readonly ItemMemory[]): Promise<number>
  remove(version: string, role: Role, ids: readonly string[]): Promise<void>
  /**
   * Removes users from every version, live or not, with their tombstones: nothing holds their ids afterwards, and an
   * older write may bring them back.
   */
  erase(userIds: readonly UserId[]): Promise<void>
  /**
   * Makes `version` the live one, items and users at once. @throws MtmiError UNAVAILABLE, and changes nothing, if it
   * holds fewer points than `expected` or cannot be searched yet
   */
  promote(version: string, expected: PointCounts): Promise<void>
  /** Does nothing if there is none. @throws ConfigError for the live one */
  dropVersion(version: string): Promise<void>
  /** Oldest first. */
  versions(): Promise<readonly string[]>
  /** undefined: no version is live yet. */
  live(): Promise<IndexState | undefined>
  /**
   * Up to `limit` nearest items for each interest, from the live version; excluded items do not count.
   * @throws UnavailableError if no version is live
   */
  search(query: InterestQuery, limit: number, filter?: Filter, options?: SearchOptions): Promise<SearchResult>
  /**
   * What a list of up to `limit` items is chosen from, in the live version: the `limit` nearest items of each interest,
   * and those that the memory lifts among the `limit` best by the whole score (Qdrant: the `limit` with the most votes).
   * Each comes with every cosine and with its memory, so that its score is exact.
   * @throws UnavailableError if no version is live
   */
  candidates(query: CandidateQuery, limit: number, filter: Filter, options: CandidateOptions): Promise<CandidateResult>
  /**
   * The `limit` items with the greatest `popularity`, best first, under the filter. @throws UnavailableError if no
   * version is live
   * @param context `country=de`: by the popularity within it; empty if the context is not known
   */
  popular(limit: number, filter?: Filter, context?: string): Promise<PopularItems>
  /**
   * Items of one version by id, in one request: of the version that a search named, so that an answer from both never
   * mixes two. Items that are not there are left out; all of them, if the version is gone.
   */
  items(version: string, ids: readonly ItemId[], options?: DescribeOptions): Promise<ReadonlyMap<ItemId, DescribedItem>>
  user(userId: UserId): Promise<StoredUser | undefined>
  item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined>
  /**
   * At most `limit` users of the live version, in an order that the index keeps. Fewer: these are the last.
   * @param after the last user of the page before, whether or not it is still there; undefined: from the beginning
   * @throws UnavailableError if no version is live
   */
  usersAfter(after: UserId | undefined, limit: number): Promise<readonly UserId[]>
  /** Users of the live version whose ids begin with `prefix`, in the order of their ids. Only if ids are kept in order. */
  usersFrom?(prefix: string, limit: number): Promise<readonly { userId: UserId; payload: UserPayload }[]>
  /**
   * Items of the live version whose id or title contains `text`, ignoring case, the most popular first. Only if the
   * index has all titles in memory, and then among some hundred thousand items.
   */
  itemsLike?(text: string, limit: number, filter?: Filter): Promise<readonly PopularItem[]>
  /**
   * Fields in which items of the live version have features, in alphabetical order, at most `fieldsMax`; a field that
   * the last item has just lost may still be named. @throws UnavailableError if no version is live
   */
  fields(): Promise<readonly string[]>
  /** Whether an item of the live version meets the conditions. @throws UnavailableError if no version is live */
  holdsAny(features: FeatureFilter): Promise<boolean>
  close(): Promise<void>
}

/** Fields that `fields` names at most. */
export const fieldsMax = 1000
