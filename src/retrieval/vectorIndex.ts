// Where vectors are found again.
//
// D dimensions, K interests a user. All vectors have length 1: the inner product is the cosine.

import type { ItemId, UserId } from '../event/interaction.ts'

export interface ItemPoint {
  readonly role: 'item'
  readonly id: ItemId
  readonly vector: Float32Array // [D]
  readonly payload: ItemPayload
}

export interface ItemPayload {
  readonly title?: string
  readonly features?: Readonly<Record<string, readonly string[]>>
  /** Interactions seen by the trainer: what is popular. */
  readonly count: number
  readonly updatedAtMs: number
}

export interface UserPoint {
  readonly role: 'user'
  readonly id: UserId
  readonly vectors: Float32Array // [K, D]
  readonly payload: UserPayload
}

export interface UserPayload {
  /** Items of the window, newest first, for exclusion and explanation. */
  readonly recent: readonly ItemId[]
  readonly historyLength: number
  readonly newestMs: number
  readonly updatedAtMs: number
}

export type VectorPoint = ItemPoint | UserPoint

export interface InterestQuery {
  /** A stored user, or given vectors [K, D], or a stored item (for similar items). */
  readonly by: { readonly userId: UserId } | { readonly vectors: Float32Array; readonly count: number } | { readonly itemId: ItemId }
}

export interface Filter {
  readonly excludeItems?: readonly ItemId[]
  /** Also exclude the stored user's `recent`. Default true. */
  readonly excludeRecent?: boolean
  /** Only items that have all of these: field → value. */
  readonly features?: Readonly<Record<string, string>>
}

export interface Neighbour {
  readonly itemId: ItemId
  /** Cosine, −1 … 1. */
  readonly score: number
  readonly payload: ItemPayload
}

export interface SearchResult {
  /** The space and step that answered: one answer never mixes two. */
  readonly space: string
  readonly step: number
  /** [K] lists, best first. undefined: the stored user or item is not in the index. */
  readonly lists: readonly (readonly Neighbour[])[] | undefined
  readonly user?: UserPayload
}

export interface IndexState {
  readonly space: string
  /** Newest step of the live space's items. */
  readonly step: number
  readonly items: number
  readonly users: number
  readonly dimensions: number
  readonly interestCount: number
}

/** Vectors of one or more spaces (a space: one model lineage whose vectors may be compared); exactly one is live. */
export interface VectorIndex {
  /** Makes an empty space; nothing if it exists with the same shape. @throws ConfigError if it exists with another. */
  createSpace(space: string, shape: { dimensions: number; interestCount: number }): Promise<void>
  /** Idempotent, and a write of an older `step` never replaces a newer one. Resolves when durable; a search begun afterwards sees it. @returns points written, stale ones left out */
  upsert(space: string, step: number, points: readonly VectorPoint[]): Promise<number>
  remove(space: string, role: 'item' | 'user', ids: readonly string[]): Promise<void>
  /** Makes `space` the live one, items and users in one call. @throws MtmiError UNAVAILABLE if it holds fewer points than `expected`; then nothing changes. */
  promote(space: string, expected: { items: number; users: number }): Promise<void>
  dropSpace(space: string): Promise<void>
  spaces(): Promise<readonly string[]>
  /** undefined: no space is live yet. */
  live(): Promise<IndexState | undefined>
  /** Up to `limit` nearest items for each interest, from the live space. @throws UnavailableError if none is live. */
  search(query: InterestQuery, limit: number, filter?: Filter): Promise<SearchResult>
  /** The `limit` items with the greatest `count`, best first, under the filter: what is popular. `score` is the share of all counts. */
  popular(limit: number, filter?: Filter): Promise<readonly Neighbour[]>
  user(userId: UserId): Promise<{ payload: UserPayload; vectors: Float32Array } | undefined>
  item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined>
  close(): Promise<void>
}
