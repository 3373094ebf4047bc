// Where vectors are found again.
//
// D dimensions, K interests a user. All vectors have length 1: the inner product is the cosine.

import { ConfigError, DivergedError, MtmiError } from '../core/errors.ts'
import { idProblem } from '../records/admission.ts'
import type { ItemId, UserId } from '../records/interaction.ts'

export interface ItemPoint {
  readonly role: 'item'
  readonly id: ItemId
  readonly vector: Float32Array // [D]
  readonly payload: ItemPayload
}

export interface ItemPayload {
  readonly title?: string
  readonly features?: Readonly<Record<string, readonly string[]>>
  /** Interactions seen by the trainer. */
  readonly count: number
  /**
   * How popular it is now: a level of faded interactions, in half-lives (see ForwardDecay); absent or 0: not at all.
   */
  readonly popularity?: number
  /** The same within contexts of interactions: `country=de` → level. */
  readonly popularityIn?: Readonly<Record<string, number>>
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

/** As a payload has it: what says nothing is not there. */
export function popularityPart(
  popularity: number | undefined,
  popularityIn: ItemPayload['popularityIn']
): Pick<ItemPayload, 'popularity' | 'popularityIn'> {
  return {
    ...(popularity === undefined || popularity === 0 ? {} : { popularity }),
    ...(popularityIn === undefined ? {} : { popularityIn })
  }
}

export type VectorPoint = ItemPoint | UserPoint

export interface InterestQuery {
  /** A stored user, or given vectors [K, D], or a stored item (for similar items). */
  readonly by:
    | { readonly userId: UserId }
    | { readonly vectors: Float32Array; readonly count: number }
    | { readonly itemId: ItemId }
}

export interface Filter {
  readonly excludeItems?: readonly ItemId[]
  /** Also exclude the stored user's `recent`. Default true. */
  readonly excludeRecent?: boolean
  /** Only items that have all of these: field → value. */
  readonly features?: Readonly<Record<string, string>>
}

/** A search finds many more items than are shown of them: what else is known of those that are, `items` says. */
export interface Candidate {
  readonly itemId: ItemId
  /** Cosine, −1 … 1. */
  readonly score: number
  /** [D], where the search asked for `vectors`. */
  readonly vector?: Float32Array
}

/** An item of a list by popularity. */
export interface PopularItem {
  readonly itemId: ItemId
  /** A share of the greatest popularity, 0 … 1. */
  readonly score: number
  readonly payload: ItemPayload
}

export interface DescribedItem {
  readonly payload: ItemPayload
  /** [D], where `vectors` were asked for. */
  readonly vector?: Float32Array
}

export interface VectorWishes {
  /** With vectors: for diversity and explanation. Default false. */
  readonly vectors?: boolean
}

export interface SearchResult {
  /** The index version and step that answered: one answer never mixes two. */
  readonly indexVersion: string
  readonly step: number
  /** [K] lists, best first. undefined: the stored user or item is not in the index. */
  readonly lists: readonly (readonly Candidate[])[] | undefined
  readonly user?: UserPayload
}

export interface PopularItems {
  /** The index version and step that answered. */
  readonly indexVersion: string
  readonly step: number
  /** Best first; `score` is the faded count of interactions as a share of the index version's greatest, 0 … 1. */
  readonly items: readonly PopularItem[]
}

export interface IndexState {
  readonly indexVersion: string
  /** Newest step of the live index version's items. */
  readonly step: number
  readonly items: number
  readonly users: number
  readonly dimensions: number
  readonly interestCount: number
}

/** Vectors of one or more index versions (an index version: one model version whose vectors may be compared); exactly one is live. */
export interface VectorIndex {
  /** Makes an empty index version; nothing if it exists with the same shape. @throws ConfigError if it exists with another. */
  createVersion(indexVersion: string, shape: VersionShape): Promise<void>
  /**
   * Idempotent, and a write of an older `step` never replaces a newer one, nor brings a point back that was removed at
   * a newer one. All points are checked before any is written; an index on another machine that fails on the way may
   * have written some: the same call again completes it. Resolves when durable; a search begun afterwards sees it.
   *
   * @returns points written, stale ones left out
   * @throws as `checkPoints`; ConfigError if there is no such index version
   */
  upsert(indexVersion: string, step: number, points: readonly VectorPoint[]): Promise<number>
  remove(indexVersion: string, role: 'item' | 'user', ids: readonly string[]): Promise<void>
  /**
   * Removes users from every index version, live or not, and what was kept to remember a removal: nothing holds their ids
   * afterwards. An older write may bring them back.
   */
  erase(userIds: readonly UserId[]): Promise<void>
  /**
   * Makes `index version` the live one, items and users in one call. @throws MtmiError UNAVAILABLE if it holds fewer points
   * than `expected`, or cannot be searched as it should yet; then nothing changes.
   */
  promote(indexVersion: string, expected: { items: number; users: number }): Promise<void>
  /** Nothing if there is none. @throws ConfigError for the live one */
  dropVersion(indexVersion: string): Promise<void>
  /** In the order in which they were made. */
  versions(): Promise<readonly string[]>
  /** undefined: no index version is live yet. */
  live(): Promise<IndexState | undefined>
  /**
   * Up to `limit` nearest items for each interest, what is excluded not counted, from the live index version. @throws
   * UnavailableError if none is live.
   */
  search(query: InterestQuery, limit: number, filter?: Filter, wishes?: VectorWishes): Promise<SearchResult>
  /**
   * The `limit` items with the greatest `popularity`, best first, under the filter. @throws UnavailableError if no
   * index version is live.
   * @param context `country=de`: by the popularity within it; none, where the context is not known
   */
  popular(limit: number, filter?: Filter, context?: string): Promise<PopularItems>
  /**
   * Items of one index version by id, in one request: of the index version that a search named, so that an answer that needs both never
   * mixes two. Those that are not there are left out; all of them, where the index version is gone by now.
   */
  items(
    indexVersion: string,
    ids: readonly ItemId[],
    wishes?: VectorWishes
  ): Promise<ReadonlyMap<ItemId, DescribedItem>>
  user(userId: UserId): Promise<{ payload: UserPayload; vectors: Float32Array } | undefined>
  item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined>
  /**
   * Some users of the live index version whose ids begin with `prefix`, in the order of their ids. Only where the index keeps
   * ids in order.
   */
  usersFrom?(prefix: string, limit: number): Promise<readonly { userId: UserId; payload: UserPayload }[]>
  /**
   * Items of the live index version whose id or title holds `text`, whatever its case, the ones with the greatest `popularity`
   * first; `score` as for `popular`. For people who look for something: only where the index has all titles at hand,
   * and then among some hundred thousand items.
   */
  itemsLike?(text: string, limit: number): Promise<readonly PopularItem[]>
  close(): Promise<void>
}

export interface VersionShape {
  readonly dimensions: number
  readonly interestCount: number
}

/**
 * How far from 1 a vector's length may be: float32 keeps it within 1e-6; a vector that was never normalised is far
 * outside.
 */
const lengthTolerance = 1e-3

/**
 * What every index asks of points before it writes any of them.
 *
 * @throws ConfigError for a wrong shape, a bad id, step or count; DivergedError for a vector that is not finite or not
 *   of length 1
 */
export function checkPoints(
  indexVersion: string,
  shape: VersionShape,
  step: number,
  points: readonly VectorPoint[]
): void {
  if (!Number.isSafeInteger(step) || step < 0)
    throw new ConfigError([`write to index version ${indexVersion}: the step must be an integer ≥ 0, not ${step}`])
  for (const point of points) {
    checkId(point.role, point.id)
    if (point.role === 'item') {
      checkVectors(`${point.role} ${point.id}`, point.vector, 1, shape.dimensions)
      if (!(Number.isFinite(point.payload.count) && point.payload.count >= 0)) {
        throw new ConfigError([`item ${point.id}: its count must be a number ≥ 0, not ${point.payload.count}`])
      }
      const { popularity = 0, popularityIn = {} } = point.payload
      for (const level of [popularity, ...Object.values(popularityIn)]) {
        if (!(Number.isFinite(level) && level >= 0))
          throw new ConfigError([`item ${point.id}: its popularity must be a number ≥ 0, not ${level}`])
      }
    } else checkVectors(`${point.role} ${point.id}`, point.vectors, shape.interestCount, shape.dimensions)
  }
}

/** Whether it is an id as `records/admission.ts` has it. */
export function isId(id: string): boolean {
  return idProblem('id', id) === undefined
}

/** @throws ConfigError unless `isId`: whatever comes from the log has been checked before */
export function checkId(role: 'item' | 'user', id: string): void {
  const problem = idProblem(`${role} id`, id)
  if (problem !== undefined) throw new ConfigError([problem])
}

/** @param vectors [count, dimensions] */
export function checkVectors(owner: string, vectors: Float32Array, count: number, dimensions: number): void {
  if (vectors.length !== count * dimensions) {
    throw new ConfigError([
      `${owner}: ${vectors.length} numbers, but ${count} × ${dimensions} are needed: the index version has another shape than the model`
    ])
  }
  for (let k = 0; k < count; k++) {
    let squares = 0
    for (let d = k * dimensions; d < (k + 1) * dimensions; d++) squares += vectors[d]! * vectors[d]!
    const length = Math.sqrt(squares)
    if (!(Math.abs(length - 1) <= lengthTolerance)) {
      const at = vectors.findIndex((value, d) => d >= k * dimensions && !Number.isFinite(value))
      throw new DivergedError(
        at >= 0 && at < (k + 1) * dimensions
          ? `${owner}: vector ${k} holds ${vectors[at]} at dimension ${at - k * dimensions}; nothing was written`
          : `${owner}: vector ${k} has length ${length}, not 1; nothing was written`
      )
    }
  }
}

/** @throws ConfigError */
export function checkShape(indexVersion: string, shape: VersionShape): void {
  const bad = Object.entries({
    dimensions: [shape.dimensions, 4096],
    interestCount: [shape.interestCount, 64]
  } as const).filter(([, [value, max]]) => !Number.isInteger(value) || value < 1 || value > max)
  if (indexVersion.length === 0 || bad.length > 0) {
    throw new ConfigError([
      ...(indexVersion.length === 0 ? ['an index version needs a name'] : []),
      ...bad.map(
        ([field, [value, max]]) =>
          `index version ${indexVersion}: ${field} must be an integer of 1 … ${max}, not ${value}`
      )
    ])
  }
}

/** @throws ConfigError */
export function checkLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1) throw new ConfigError([`limit must be an integer ≥ 1, not ${limit}`])
}

/** The refusal of a `promote`. Retried, it succeeds once the points have arrived. */
export function incompleteVersion(
  indexVersion: string,
  held: { items: number; users: number },
  expected: { items: number; users: number }
): MtmiError {
  return new MtmiError(
    'UNAVAILABLE',
    `promote ${indexVersion}: it holds ${held.items} items and ${held.users} users, fewer than the ${expected.items} and ${expected.users} expected; nothing was switched`
  )
}
