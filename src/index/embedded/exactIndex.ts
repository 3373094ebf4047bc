// The index as a plain data structure: exact, in memory, gone with the process. The durable one (io/embeddedIndex.ts)
// searches with the same parts.
//
// D dimensions, K interests a user, Q interests of a query.

import { ConfigError, UnavailableError } from '../../core/errors.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'
import { queryInterestsMax } from '../dotKernel.ts'
import {
  checkLimit,
  checkPoints,
  checkShape,
  checkVectors,
  type DescribedItem,
  type Filter,
  type IndexState,
  type InterestQuery,
  type ItemPayload,
  incompleteVersion,
  type PopularItem,
  type PopularItems,
  type SearchResult,
  type UserPayload,
  type VectorIndex,
  type VectorPoint,
  type VectorWishes,
  type VersionShape
} from '../vectorIndex.ts'
import { ExactItems } from './exactIndexItems.ts'

/** A live index version, as a search sees it. */
export interface SearchedVersion {
  readonly name: string
  readonly items: ExactItems
  user(userId: UserId): { payload: UserPayload; vectors: Float32Array } | undefined
}

/**
 * Answers a query from one index version. @throws ConfigError for given vectors that are not Q unit vectors of D, or a bad
 * limit
 */
export function searchVersion(
  indexVersion: SearchedVersion,
  query: InterestQuery,
  limit: number,
  filter: Filter = {},
  wishes: VectorWishes = {}
): SearchResult {
  checkLimit(limit)
  const { items } = indexVersion
  const { by } = query
  const answer = { indexVersion: indexVersion.name, step: items.step }
  const exclude = [...(filter.excludeItems ?? [])]
  let vectors: Float32Array
  let payload: UserPayload | undefined
  if ('userId' in by) {
    const user = indexVersion.user(by.userId)
    if (user === undefined) return { ...answer, lists: undefined }
    ;({ vectors, payload } = user)
    if (filter.excludeRecent !== false) exclude.push(...payload.recent)
  } else if ('itemId' in by) {
    const item = items.get(by.itemId)
    if (item === undefined) return { ...answer, lists: undefined }
    vectors = item.vector
    exclude.push(by.itemId)
  } else {
    if (!Number.isInteger(by.count) || by.count < 1 || by.count > queryInterestsMax) {
      throw new ConfigError([
        `search by vectors: their count must be an integer of 1 … ${queryInterestsMax}, not ${by.count}`
      ])
    }
    vectors = by.vectors
    checkVectors('search by vectors', vectors, by.count, items.dimensions)
  }
  const lists = items.search(
    vectors,
    vectors.length / items.dimensions,
    limit,
    { exclude, features: filter.features },
    wishes
  )
  return payload === undefined ? { ...answer, lists } : { ...answer, lists, user: payload }
}

/** What is popular in one index version. @throws ConfigError for a bad limit */
export function popularInVersion(
  { name, items }: Pick<SearchedVersion, 'name' | 'items'>,
  limit: number,
  filter: Filter = {},
  context?: string
): PopularItems {
  checkLimit(limit)
  const found = items.popular(limit, { exclude: filter.excludeItems ?? [], features: filter.features }, context)
  return { indexVersion: name, step: items.step, items: found }
}

/** How many removals an index version remembers, to refuse an older write of the same point. */
const removalsMax = 100_000

interface StoredUser {
  readonly step: number
  readonly payload: UserPayload
  readonly vectors: Float32Array // [K, D]
}

interface Version {
  readonly name: string
  readonly shape: VersionShape
  readonly items: ExactItems
  readonly users: Map<UserId, StoredUser>
  /** Role and id → the step the point had, oldest removal first. */
  readonly removed: Map<string, number>
  user(userId: UserId): StoredUser | undefined
}

export class ExactIndex implements VectorIndex {
  readonly #versions = new Map<string, Version>()
  #live: Version | undefined

  async createVersion(indexVersion: string, shape: VersionShape): Promise<void> {
    checkShape(indexVersion, shape)
    const before = this.#versions.get(indexVersion)
    if (before !== undefined) return sameShape(indexVersion, before.shape, shape)
    const users = new Map<UserId, StoredUser>()
    this.#versions.set(indexVersion, {
      name: indexVersion,
      shape: { dimensions: shape.dimensions, interestCount: shape.interestCount },
      items: new ExactItems(shape.dimensions),
      users,
      removed: new Map(),
      user: (userId) => users.get(userId)
    })
  }

  async upsert(indexVersion: string, step: number, points: readonly VectorPoint[]): Promise<number> {
    const target = this.#indexVersion(indexVersion)
    checkPoints(indexVersion, target.shape, step, points)
    let written = 0
    for (const point of points) {
      const key = removalKey(point.role, point.id)
      if ((target.removed.get(key) ?? 0) > step) continue
      if (point.role === 'item') {
        if (!target.items.upsert(point.id, step, point.vector, point.payload)) continue
      } else {
        if ((target.users.get(point.id)?.step ?? 0) > step) continue
        target.users.set(point.id, { step, payload: point.payload, vectors: point.vectors.slice() })
      }
      target.removed.delete(key)
      written++
    }
    return written
  }

  async remove(indexVersion: string, role: 'item' | 'user', ids: readonly string[]): Promise<void> {
    const target = this.#indexVersion(indexVersion)
    for (const id of ids) {
      const step = role === 'item' ? target.items.remove(id) : target.users.get(id)?.step
      if (step === undefined) continue
      if (role === 'user') target.users.delete(id)
      target.removed.set(removalKey(role, id), step)
      for (const oldest of target.removed.keys()) {
        if (target.removed.size <= removalsMax) break
        target.removed.delete(oldest)
      }
    }
  }

  async erase(userIds: readonly UserId[]): Promise<void> {
    for (const { users, removed } of this.#versions.values()) {
      for (const userId of userIds) {
        users.delete(userId)
        removed.delete(removalKey('user', userId))
      }
    }
  }

  async promote(indexVersion: string, expected: { items: number; users: number }): Promise<void> {
    const target = this.#versions.get(indexVersion)
    const held = { items: target?.items.size ?? 0, users: target?.users.size ?? 0 }
    if (target === undefined || held.items < expected.items || held.users < expected.users)
      throw incompleteVersion(indexVersion, held, expected)
    this.#live = target
  }

  async dropVersion(indexVersion: string): Promise<void> {
    if (this.#live?.name === indexVersion) throw liveVersion(indexVersion)
    this.#versions.delete(indexVersion)
  }

  async versions(): Promise<readonly string[]> {
    return [...this.#versions.keys()]
  }

  async live(): Promise<IndexState | undefined> {
    const live = this.#live
    if (live === undefined) return undefined
    return {
      indexVersion: live.name,
      step: live.items.step,
      items: live.items.size,
      users: live.users.size,
      ...live.shape
    }
  }

  async search(query: InterestQuery, limit: number, filter?: Filter, wishes?: VectorWishes): Promise<SearchResult> {
    if (this.#live === undefined) throw noLiveVersion()
    return searchVersion(this.#live, query, limit, filter, wishes)
  }

  async popular(limit: number, filter?: Filter, context?: string): Promise<PopularItems> {
    if (this.#live === undefined) throw noLiveVersion()
    return popularInVersion(this.#live, limit, filter, context)
  }

  async items(
    indexVersion: string,
    ids: readonly ItemId[],
    { vectors = false }: VectorWishes = {}
  ): Promise<ReadonlyMap<ItemId, DescribedItem>> {
    const items = this.#versions.get(indexVersion)?.items
    return new Map(
      ids.flatMap((id) => {
        const item = items?.get(id)
        return item === undefined ? [] : [[id, vectors ? item : { payload: item.payload }] as const]
      })
    )
  }

  async usersFrom(prefix: string, limit: number): Promise<{ userId: UserId; payload: UserPayload }[]> {
    checkLimit(limit)
    const users = [...(this.#live?.users ?? [])].filter(([userId]) => userId.startsWith(prefix))
    // By code point, as the bytes of UTF-8 are ordered.
    users.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    return users.slice(0, limit).map(([userId, { payload }]) => ({ userId, payload }))
  }

  async itemsLike(text: string, limit: number): Promise<readonly PopularItem[]> {
    checkLimit(limit)
    return this.#live?.items.like(text, limit) ?? []
  }

  async user(userId: UserId): Promise<{ payload: UserPayload; vectors: Float32Array } | undefined> {
    const user = this.#live?.users.get(userId)
    return user === undefined ? undefined : { payload: user.payload, vectors: user.vectors.slice() }
  }

  async item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined> {
    return this.#live?.items.get(itemId)
  }

  async close(): Promise<void> {}

  #indexVersion(indexVersion: string): Version {
    const found = this.#versions.get(indexVersion)
    if (found === undefined) throw unknownVersion(indexVersion, [...this.#versions.keys()])
    return found
  }
}

function removalKey(role: 'item' | 'user', id: string): string {
  return `${role} ${id}`
}

/** @throws ConfigError if they differ */
export function sameShape(indexVersion: string, before: VersionShape, shape: VersionShape): void {
  if (before.dimensions === shape.dimensions && before.interestCount === shape.interestCount) return
  const text = (of: VersionShape) => `${of.interestCount} interests of ${of.dimensions} dimensions`
  throw new ConfigError([
    `index version ${indexVersion} exists with ${text(before)}, not ${text(shape)}: another model needs another index version`
  ])
}

export function unknownVersion(indexVersion: string, known: readonly string[]): ConfigError {
  return new ConfigError([
    `there is no index version ${indexVersion} (there is: ${known.join(', ') || 'none'}): create it first`
  ])
}

export function liveVersion(indexVersion: string): ConfigError {
  return new ConfigError([`index version ${indexVersion} is live and cannot be dropped: promote another first`])
}

export function noLiveVersion(): UnavailableError {
  return new UnavailableError('no index version is live yet: nothing has been published')
}
