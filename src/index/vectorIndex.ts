// Where vectors are stored and searched: the interface of the embedded index and of Qdrant.
//
// An index version holds the vectors of one model version and bears its name: only its vectors may be compared. One
// version is live. D dimensions, K interests a user. All vectors have length 1: the inner product is the cosine.

import { ConfigError, DivergedError, MtmiError } from '../core/errors.ts'
import { idProblem } from '../records/admission.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { FeatureFilter } from './itemFilter.ts'

export type Role = 'item' | 'user'
export const roles: readonly Role[] = ['item', 'user']

export interface ItemPoint {
  readonly role: 'item'
  readonly id: ItemId
  readonly vector: Float32Array // [D]
  readonly payload: ItemPayload
}

export interface ItemPayload {
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

export interface Filter {
  readonly excludeItems?: readonly ItemId[]
  /** Also exclude the stored user's `recent`. Default true. */
  readonly excludeRecent?: boolean
  /** Only items that meet these conditions. */
  readonly features?: FeatureFilter
}

export interface SearchOptions {
  /** Return vectors, for diversity and explanation. Default false. */
  readonly vectors?: boolean
}

/** An item that a search found. Its payload is read with `items`, for those that are shown. */
export interface Candidate {
  readonly itemId: ItemId
  /** Cosine, −1 … 1. */
  readonly score: number
  /** [D], if the search asked for `vectors`. */
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
  /** [D], if `vectors` were asked for. */
  readonly vector?: Float32Array
}

export interface StoredUser {
  readonly payload: UserPayload
  readonly vectors: Float32Array // [K, D]
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
   * The `limit` items with the greatest `popularity`, best first, under the filter. @throws UnavailableError if no
   * version is live
   * @param context `country=de`: by the popularity within it; empty if the context is not known
   */
  popular(limit: number, filter?: Filter, context?: string): Promise<PopularItems>
  /**
   * Items of one version by id, in one request: of the version that a search named, so that an answer from both never
   * mixes two. Items that are not there are left out; all of them, if the version is gone.
   */
  items(version: string, ids: readonly ItemId[], options?: SearchOptions): Promise<ReadonlyMap<ItemId, DescribedItem>>
  user(userId: UserId): Promise<StoredUser | undefined>
  item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined>
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

/**
 * How far a vector's length may be from 1. Float32 rounding over 512 dimensions stays below 1e-5; a vector that was
 * never normalised is far outside.
 */
const lengthTolerance = 1e-3

/** Whether every vector has length 1; false for one that is not finite, and if there is none. @param vectors [count, D] */
export function areUnits(vectors: Float32Array, dimensions = vectors.length): boolean {
  for (let from = 0; from < vectors.length; from += dimensions) {
    if (!(Math.abs(lengthOf(vectors, from, dimensions) - 1) <= lengthTolerance)) return false
  }
  return vectors.length > 0
}

function lengthOf(vectors: Float32Array, from: number, dimensions: number): number {
  let squares = 0
  for (let d = from; d < from + dimensions; d++) squares += vectors[d]! * vectors[d]!
  return Math.sqrt(squares)
}

/**
 * What every index checks before it writes any of the points.
 *
 * @throws ConfigError for a wrong shape, a bad id, step or count; DivergedError for a vector that is not finite or not
 *   of length 1
 */
export function checkPoints(version: string, shape: VersionShape, step: number, points: readonly VectorPoint[]): void {
  if (!Number.isSafeInteger(step) || step < 0)
    throw new ConfigError([`write to index version ${version}: the step must be an integer ≥ 0, not ${step}`])
  for (const point of points) {
    const owner = `${point.role} ${point.id}`
    checkId(point.role, point.id)
    if (point.role === 'user') {
      checkVectors(owner, point.vectors, shape.interestCount, shape.dimensions)
      continue
    }
    checkVectors(owner, point.vector, 1, shape.dimensions)
    const { count, popularity = 0, popularityIn = {} } = point.payload
    for (const [name, value] of [
      ['count', count],
      ...[popularity, ...Object.values(popularityIn)].map((level) => ['popularity', level] as const)
    ] as const) {
      if (!(Number.isFinite(value) && value >= 0))
        throw new ConfigError([`${owner}: its ${name} must be a number ≥ 0, not ${value}`])
    }
  }
}

/** Whether it is an id as `records/admission.ts` has it. */
export function isId(id: string): boolean {
  return idProblem('id', id) === undefined
}

/** @throws ConfigError unless `isId`: ids from the log have been checked before */
export function checkId(role: Role, id: string): void {
  const problem = idProblem(`${role} id`, id)
  if (problem !== undefined) throw new ConfigError([problem])
}

/** @param vectors [count, dimensions] @throws ConfigError, DivergedError */
export function checkVectors(owner: string, vectors: Float32Array, count: number, dimensions: number): void {
  if (vectors.length !== count * dimensions) {
    throw new ConfigError([
      `${owner}: ${vectors.length} numbers, but ${count} × ${dimensions} are needed: the index version has another shape than the model`
    ])
  }
  for (let k = 0; k < count; k++) {
    const vector = vectors.subarray(k * dimensions, (k + 1) * dimensions)
    if (areUnits(vector)) continue
    const at = vector.findIndex((value) => !Number.isFinite(value))
    throw new DivergedError(
      at >= 0
        ? `${owner}: vector ${k} holds ${vector[at]} at dimension ${at}; nothing was written`
        : `${owner}: vector ${k} has length ${lengthOf(vector, 0, dimensions)}, not 1; nothing was written`
    )
  }
}

/** Vectors that a search is given. @throws ConfigError, DivergedError */
export function checkQuery(vectors: Float32Array, count: number, dimensions: number, countMax: number): void {
  if (!Number.isInteger(count) || count < 1 || count > countMax)
    throw new ConfigError([`search by vectors: their count must be an integer of 1 … ${countMax}, not ${count}`])
  checkVectors('search by vectors', vectors, count, dimensions)
}

/** @throws ConfigError */
export function checkShape(version: string, shape: VersionShape): void {
  const limits = { dimensions: 4096, interestCount: 64 }
  const problems = (['dimensions', 'interestCount'] as const)
    .filter((field) => !(Number.isInteger(shape[field]) && shape[field] >= 1 && shape[field] <= limits[field]))
    .map(
      (field) => `index version ${version}: ${field} must be an integer of 1 … ${limits[field]}, not ${shape[field]}`
    )
  if (version.length === 0) problems.unshift('an index version needs a name')
  if (problems.length > 0) throw new ConfigError(problems)
}

/** @throws ConfigError */
export function checkLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1) throw new ConfigError([`limit must be an integer ≥ 1, not ${limit}`])
}

/** The refusal of a `promote`. A later attempt succeeds once the points have arrived. */
export function incompleteVersion(version: string, held: PointCounts, expected: PointCounts): MtmiError {
  return new MtmiError(
    'UNAVAILABLE',
    `promote ${version}: it holds ${held.items} items and ${held.users} users, fewer than the ${expected.items} and ${expected.users} expected; nothing was switched`
  )
}
