// The vector index on a Qdrant server or cluster. Twin of the embedded one. What is stored is described in
// infra/qdrant/CONTRACT.md, for other programs too.

import type { Schemas } from '@qdrant/js-client-rest'
import type { Clock } from '../../core/clock.ts'
import { ConfigError } from '../../core/errors.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'
import { checkLimit, checkLists, checkPoints, nothingLive } from '../indexChecks.ts'
import type { FeatureFilter } from '../itemFilter.ts'
import {
  type CandidateOptions,
  type CandidateQuery,
  type CandidateResult,
  type DescribedItem,
  type DescribeOptions,
  type Filter,
  type IndexState,
  type InterestQuery,
  type ItemMemory,
  type ItemPayload,
  type PointCounts,
  type PopularItems,
  type Role,
  roles,
  type SearchOptions,
  type SearchResult,
  type StoredUser,
  type VectorIndex,
  type VectorPoint,
  type VersionShape
} from '../vectorIndex.ts'
import { QdrantCandidates } from './qdrantCandidates.ts'
import { QdrantItemIds } from './qdrantItemIds.ts'
import { writeLists } from './qdrantLists.ts'
import { pointId, QdrantNames } from './qdrantNames.ts'
import { type QdrantOptions, withLimits } from './qdrantOptions.ts'
import {
  availabilityFields,
  inBatches,
  notNewerThan,
  numberFieldsOf,
  toItemPayload,
  tombstone,
  toQdrant,
  toVector
} from './qdrantPoints.ts'
import { QdrantQueries } from './qdrantQueries.ts'
import { NotInQdrantError, type QdrantParts, QdrantRequests } from './qdrantRequests.ts'
import { noSuchVersion, QdrantVersions } from './qdrantVersions.ts'

interface QdrantIndexParts extends QdrantParts {
  /** Owner of the vectors: collections of another run are not touched. */
  readonly run: string
  /** Longest history of a user: a search by user requests as many more neighbours, to exclude the history. */
  readonly historyMax: number
}

/** Points of one write: its overhead is small, and others get their turn. */
const batchPointsMax = 1000
/** Versions that may be switched and dropped during one question before it fails. */
const attemptsMax = 3
const purgeIntervalMs = 60 * 60 * 1000

export class QdrantIndex implements VectorIndex {
  readonly #options: Required<QdrantOptions>
  readonly #clock: Clock
  readonly #names: QdrantNames
  readonly #requests: QdrantRequests
  readonly #versions: QdrantVersions
  readonly #queries: QdrantQueries
  readonly #candidates: QdrantCandidates
  /** Collection → when its old tombstones were last deleted. */
  readonly #purgedAtMs = new Map<string, number>()

  /** Sends nothing to the server yet: a reader may start before it. */
  constructor(settings: QdrantOptions, parts: QdrantIndexParts) {
    const { clock, run, historyMax } = parts
    const options = withLimits(settings)
    this.#options = options
    this.#clock = clock
    const names = new QdrantNames(options.prefix)
    const requests = new QdrantRequests(options, parts)
    const versions = new QdrantVersions({ requests, names, options, clock, run })
    this.#names = names
    this.#requests = requests
    this.#versions = versions
    const itemIds = new QdrantItemIds(requests)
    this.#queries = new QdrantQueries({ requests, names, versions, options, historyMax, itemIds })
    this.#candidates = new QdrantCandidates({ queries: this.#queries, names, itemIds, historyMax })
  }

  /** Version of the server. */
  version(): Promise<string> {
    return this.#requests.version()
  }

  createVersion(version: string, shape: VersionShape): Promise<void> {
    return this.#versions.create(version, shape)
  }

  async upsert(version: string, step: number, points: readonly VectorPoint[]): Promise<number> {
    const shape = await this.#versions.shape(version)
    checkPoints(version, shape, step, points)
    await this.#versions.indexNumbers(version, new Set(points.flatMap(numberFieldsOf)))
    let stale = 0
    for (const role of roles) {
      // Batches overtake each other: of two writes of one point only the last is sent.
      const last = new Map(points.filter((point) => point.role === role).map((point) => [point.id, point]))
      if (last.size === 0) continue
      const batches = inBatches([...last.values()], this.#options.batchBytesMax, batchPointsMax)
      const written = await Promise.allSettled(
        batches.map((batch) => this.#writeBatch(version, role, step, batch, shape))
      )
      for (const result of written) if (result.status === 'rejected') throw this.#asMissing(version, result.reason)
      stale += await this.#countStale(version, role, step, [...last.keys()])
    }
    return points.length - stale
  }

  async updateMemory(version: string, step: number, lists: readonly ItemMemory[]): Promise<number> {
    checkLists(version, step, lists)
    const collection = this.#names.collection('item', version)
    const last = [...new Map(lists.map((list) => [list.id, list])).values()]
    let written = 0
    try {
      for (const batch of slices(last)) written += await writeLists(this.#requests, collection, step, batch)
    } catch (error) {
      throw this.#asMissing(version, error)
    }
    return written
  }

  async remove(version: string, role: Role, ids: readonly string[]): Promise<void> {
    const collection = this.#names.collection(role, version)
    try {
      for (const batch of slices(ids)) await this.#removeBatch(collection, batch)
      await this.#purge(collection)
    } catch (error) {
      throw this.#asMissing(version, error)
    }
  }

  async erase(userIds: readonly UserId[]): Promise<void> {
    for (const version of await this.#versions.list()) {
      const collection = this.#names.collection('user', version)
      for (const batch of slices(userIds))
        await this.#requests.write(`erase users from ${collection}`, (client) =>
          client.delete(collection, { points: batch.map(pointId), wait: true })
        )
    }
  }

  promote(version: string, expected: PointCounts): Promise<void> {
    return this.#versions.promote(version, expected)
  }

  dropVersion(version: string): Promise<void> {
    return this.#versions.drop(version)
  }

  versions(): Promise<readonly string[]> {
    return this.#versions.list()
  }

  async live(): Promise<IndexState | undefined> {
    return this.#inLiveVersion(async (indexVersion) => {
      const [shape, step, items, users] = await Promise.all([
        this.#versions.shape(indexVersion),
        this.#queries.step(indexVersion),
        this.#versions.count(indexVersion, 'item'),
        this.#versions.count(indexVersion, 'user')
      ])
      return { indexVersion, step, items, users, ...shape }
    })
  }

  async search(
    query: InterestQuery,
    limit: number,
    filter: Filter = {},
    options: SearchOptions = {}
  ): Promise<SearchResult> {
    checkLimit(limit)
    return this.#fromLiveVersion<SearchResult>(
      async (version) => {
        const indexed = await this.#indexedFilter(version, filter)
        return this.#queries.search(version, { ...query, limit, filter: indexed, options })
      },
      async (indexVersion) => ({ indexVersion, step: await this.#queries.step(indexVersion), lists: undefined })
    )
  }

  async candidates(
    query: CandidateQuery,
    limit: number,
    filter: Filter,
    options: CandidateOptions
  ): Promise<CandidateResult> {
    checkLimit(limit)
    return this.#fromLiveVersion<CandidateResult>(
      async (version) => {
        const shape = await this.#versions.shape(version)
        const indexed = await this.#indexedFilter(version, filter)
        return this.#candidates.find(version, shape, { ...query, limit, filter: indexed, options })
      },
      async (indexVersion) => ({ indexVersion, step: await this.#queries.step(indexVersion), candidates: undefined })
    )
  }

  async popular(limit: number, filter: Filter = {}, context?: string): Promise<PopularItems> {
    checkLimit(limit)
    return this.#fromLiveVersion(async (version) =>
      this.#queries.popular(version, limit, await this.#indexedFilter(version, filter), context)
    )
  }

  async items(
    version: string,
    ids: readonly ItemId[],
    options: DescribeOptions = {}
  ): Promise<ReadonlyMap<ItemId, DescribedItem>> {
    if (ids.length === 0) return new Map()
    try {
      return await this.#queries.items(version, ids, options)
    } catch (error) {
      if (error instanceof NotInQdrantError) return new Map()
      throw error
    }
  }

  user(userId: UserId): Promise<StoredUser | undefined> {
    return this.#inLiveVersion((version) => this.#queries.user(version, userId))
  }

  async item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined> {
    const stored = await this.#inLiveVersion((version) => this.#queries.retrieve(version, 'item', itemId, true))
    return stored && { payload: toItemPayload(stored.payload), vector: toVector(stored.vector) }
  }

  async fields(): Promise<readonly string[]> {
    return this.#fromLiveVersion((version) => this.#queries.fields(version))
  }

  async holdsAny(features: FeatureFilter): Promise<boolean> {
    return this.#fromLiveVersion((version) => this.#queries.holdsAny(version, features))
  }

  async usersAfter(after: UserId | undefined, limit: number): Promise<readonly UserId[]> {
    checkLimit(limit)
    return this.#fromLiveVersion((version) => this.#queries.usersAfter(version, after, limit))
  }

  /** Removes every collection of this run, the live ones and their aliases included. @returns their names */
  clear(): Promise<string[]> {
    return this.#versions.clear()
  }

  close(): Promise<void> {
    return this.#requests.close()
  }

  /** Without the time where no item has an availability: a filter on a field without an index reads every payload. */
  async #indexedFilter(version: string, { availableAtMs, ...filter }: Filter): Promise<Filter> {
    if (availableAtMs === undefined) return filter
    const indexed = await this.#versions.indexed(version)
    if (!availabilityFields.some((field) => indexed.has(field))) return filter
    return { ...filter, availableAtMs }
  }

  async #writeBatch(
    version: string,
    role: Role,
    step: number,
    batch: readonly VectorPoint[],
    shape: VersionShape
  ): Promise<void> {
    const collection = this.#names.collection(role, version)
    await this.#requests.write(`write ${batch.length} points to ${collection}`, (client) =>
      client.upsert(collection, {
        points: batch.map((point) => toQdrant(point, step, shape)),
        update_filter: notNewerThan(step),
        wait: true
      })
    )
  }

  /** How many of the points have a newer step; the second count is needed only if any point of the collection has. */
  async #countStale(version: string, role: Role, step: number, ids: readonly string[]): Promise<number> {
    const collection = this.#names.collection(role, version)
    const newer = { key: 'version', range: { gt: step } }
    const count = async (must: Schemas['Condition'][]) => {
      const answer = await this.#requests.write(`count newer points of ${collection}`, (client) =>
        client.count(collection, { exact: true, filter: { must } })
      )
      return answer.count
    }
    if ((await count([newer])) === 0) return 0
    let stale = 0
    for (const batch of slices(ids)) stale += await count([newer, { has_id: batch.map(pointId) }])
    return stale
  }

  /** Replaces points by tombstones of the version they have: a newer point stays, and an older one will not return. */
  async #removeBatch(collection: string, ids: readonly string[]): Promise<void> {
    const stored = await this.#requests.write(`read versions from ${collection}`, (client) =>
      client.retrieve(collection, {
        ids: ids.map(pointId),
        with_payload: ['version', 'removedAtMs'],
        with_vector: false
      })
    )
    const byVersion = new Map<number, string[]>()
    for (const { id, payload } of stored) {
      if (payload?.removedAtMs !== undefined) continue
      const version = Number(payload?.version ?? 0)
      byVersion.set(version, [...(byVersion.get(version) ?? []), String(id)])
    }
    if (byVersion.size === 0) return
    const removedAtMs = this.#clock.nowMs()
    const operations = [...byVersion].map(([version, uuids]) => ({
      upsert: {
        points: uuids.map((uuid) => tombstone(uuid, version, removedAtMs)),
        update_filter: notNewerThan(version)
      }
    }))
    await this.#requests.write(`remove points from ${collection}`, (client) =>
      client.batchUpdate(collection, { operations, wait: true })
    )
  }

  /** Deletes tombstones that are older than any write may be late. */
  async #purge(collection: string): Promise<void> {
    const nowMs = this.#clock.nowMs()
    if (nowMs - (this.#purgedAtMs.get(collection) ?? Number.NEGATIVE_INFINITY) < purgeIntervalMs) return
    this.#purgedAtMs.set(collection, nowMs)
    const filter = { must: [{ key: 'removedAtMs', range: { lt: nowMs - this.#options.tombstoneMs } }] }
    await this.#requests.write(`clear tombstones of ${collection}`, (client) =>
      client.delete(collection, { filter, wait: true })
    )
  }

  /**
   * Queries the live version; if it is dropped meanwhile, the one that is live then.
   *
   * @param missing the answer if the point that a query starts from is not in the version
   * @returns undefined if no version is live
   */
  async #inLiveVersion<T>(
    ask: (version: string) => Promise<T>,
    missing?: (version: string) => Promise<T>
  ): Promise<T | undefined> {
    let before: string | undefined
    for (let attempt = 1; ; attempt++) {
      const version = await this.#versions.live(attempt > 1)
      if (version === undefined) return undefined
      try {
        return version === before && missing !== undefined ? await missing(version) : await ask(version)
      } catch (error) {
        const isGone =
          error instanceof NotInQdrantError ||
          (error instanceof ConfigError && error.message === noSuchVersion(version).message)
        if (!isGone || attempt >= attemptsMax) throw error
        if (version === before) this.#versions.forget(version)
        before = version
      }
    }
  }

  /** @throws UnavailableError if no version is live */
  async #fromLiveVersion<T extends NonNullable<unknown>>(
    ask: (version: string) => Promise<T>,
    missing?: (version: string) => Promise<T>
  ): Promise<T> {
    const answer = await this.#inLiveVersion(ask, missing)
    if (answer === undefined) throw nothingLive()
    return answer
  }

  #asMissing(version: string, error: unknown): unknown {
    if (!(error instanceof NotInQdrantError)) return error
    this.#versions.forget(version)
    return noSuchVersion(version)
  }
}

function slices<T>(values: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(values.length / batchPointsMax) }, (_, i) =>
    values.slice(i * batchPointsMax, (i + 1) * batchPointsMax)
  )
}
