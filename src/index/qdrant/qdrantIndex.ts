// The vector index on a Qdrant server or cluster. Twin of the embedded one.
//
// D dimensions, K interests a user. What is stored is described in infra/qdrant/CONTRACT.md, for other programs too.

import type { QdrantClient, Schemas } from '@qdrant/js-client-rest'
import type { Clock } from '../../core/clock.ts'
import { ConfigError, UnavailableError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'
import { queryInterestsMax } from '../itemTable.ts'
import { popularityScore } from '../popularity.ts'
import {
  type Candidate,
  checkLimit,
  checkPoints,
  checkVectors,
  type DescribedItem,
  type Filter,
  type IndexState,
  type InterestQuery,
  type ItemPayload,
  type PopularItems,
  type SearchOptions,
  type SearchResult,
  type UserPayload,
  type VectorIndex,
  type VectorPoint,
  type VersionShape
} from '../vectorIndex.ts'
import { QdrantItemIds } from './qdrantItemIds.ts'
import { interestName, pointId, QdrantNames, type Role, roles } from './qdrantNames.ts'
import { type QdrantOptions, withLimits } from './qdrantOptions.ts'
import {
  contextField,
  describedFields,
  inBatches,
  notNewerThan,
  type QdrantPayload,
  toCosine,
  toItemPayload,
  tombstone,
  toPopularItem,
  toQdrant,
  toQdrantFilter,
  toUserPayload
} from './qdrantPoints.ts'
import { NotInQdrantError, type QdrantParts, QdrantRequests } from './qdrantRequests.ts'
import { noSuchVersion, QdrantVersions } from './qdrantVersions.ts'

export interface QdrantIndexParts extends QdrantParts {
  /** Whose vectors these are: collections of another run are left alone. */
  readonly run: string
  /** Longest history of a user: by so many neighbours more are asked for, to leave out what the user has seen. */
  readonly historyMax: number
}

/** One write: large enough that its overhead does not count, small enough that others get their turn. */
const batchPointsMax = 1000
/** Index versions that may be switched and dropped under one question before it gives up. */
const attemptsMax = 3
const purgeIntervalMs = 60 * 60 * 1000

type QueryPoint = Schemas['ScoredPoint']

/** As Qdrant says it. [K] lists, best first. */
interface Nearest {
  readonly step: number
  readonly lists: readonly (readonly QueryPoint[])[]
}

interface Wanted {
  readonly limit: number
  readonly filter: Filter
  readonly options: SearchOptions
}

export class QdrantIndex implements VectorIndex {
  readonly #options: Required<QdrantOptions>
  readonly #clock: Clock
  readonly #historyMax: number
  readonly #names: QdrantNames
  readonly #requests: QdrantRequests
  readonly #versions: QdrantVersions
  readonly #itemIds: QdrantItemIds
  /** Collection → when tombstones were last swept out of it. */
  readonly #purgedAtMs = new Map<string, number>()

  /** Asks nothing of the server yet: a reader may start before it. */
  constructor(options: QdrantOptions, parts: QdrantIndexParts) {
    this.#options = withLimits(options)
    this.#clock = parts.clock
    this.#historyMax = parts.historyMax
    this.#names = new QdrantNames(options.prefix)
    this.#requests = new QdrantRequests(options, parts)
    this.#itemIds = new QdrantItemIds(this.#requests)
    this.#versions = new QdrantVersions({
      requests: this.#requests,
      names: this.#names,
      options: this.#options,
      clock: parts.clock,
      run: parts.run
    })
  }

  /** Of the server. */
  version(): Promise<string> {
    return this.#requests.version()
  }

  createVersion(indexVersion: string, shape: VersionShape): Promise<void> {
    return this.#versions.create(indexVersion, shape)
  }

  async upsert(indexVersion: string, step: number, points: readonly VectorPoint[]): Promise<number> {
    const shape = await this.#versions.shape(indexVersion)
    checkPoints(indexVersion, shape, step, points)
    await this.#versions.indexContexts(indexVersion, contextsOf(points))
    let stale = 0
    let total = 0
    for (const role of roles) {
      // Batches overtake each other: of two writes of one point only the last is sent.
      const last = new Map(points.filter((point) => point.role === role).map((point) => [point.id, point]))
      if (last.size === 0) continue
      total += points.filter((point) => point.role === role).length
      const batches = inBatches([...last.values()], this.#options.batchBytesMax, batchPointsMax)
      const written = await Promise.allSettled(
        batches.map((batch) => this.#writeBatch(indexVersion, role, step, batch, shape))
      )
      for (const result of written) if (result.status === 'rejected') throw this.#asMissing(indexVersion, result.reason)
      stale += await this.#countStale(indexVersion, role, step, [...last.keys()])
    }
    return total - stale
  }

  async remove(indexVersion: string, role: Role, ids: readonly string[]): Promise<void> {
    const collection = this.#names.collection(role, indexVersion)
    try {
      for (let from = 0; from < ids.length; from += batchPointsMax) {
        await this.#removeBatch(collection, ids.slice(from, from + batchPointsMax))
      }
      await this.#purge(collection)
    } catch (error) {
      throw this.#asMissing(indexVersion, error)
    }
  }

  async erase(userIds: readonly UserId[]): Promise<void> {
    for (const indexVersion of await this.#versions.list()) {
      const collection = this.#names.collection('user', indexVersion)
      for (let from = 0; from < userIds.length; from += batchPointsMax) {
        const points = userIds.slice(from, from + batchPointsMax).map(pointId)
        await this.#requests.write(`erase users from ${collection}`, (client) =>
          client.delete(collection, { points, wait: true })
        )
      }
    }
  }

  promote(indexVersion: string, expected: { items: number; users: number }): Promise<void> {
    return this.#versions.promote(indexVersion, expected)
  }

  dropVersion(indexVersion: string): Promise<void> {
    return this.#versions.drop(indexVersion)
  }

  versions(): Promise<readonly string[]> {
    return this.#versions.list()
  }

  async live(): Promise<IndexState | undefined> {
    return this.#inLiveVersion(undefined, async (indexVersion) => {
      const [shape, step, items, users] = await Promise.all([
        this.#versions.shape(indexVersion),
        this.#step(indexVersion),
        this.#versions.count(indexVersion, 'item'),
        this.#versions.count(indexVersion, 'user')
      ])
      return { indexVersion, step, items, users, ...shape }
    })
  }

  async search(
    { by }: InterestQuery,
    limit: number,
    filter: Filter = {},
    options: SearchOptions = {}
  ): Promise<SearchResult> {
    checkLimit(limit)
    const found = await this.#inLiveVersion<SearchResult>(
      async (indexVersion) => ({ indexVersion, step: await this.#step(indexVersion), lists: undefined }),
      (indexVersion) =>
        'userId' in by
          ? this.#searchByUser(indexVersion, by.userId, { limit, filter, options })
          : 'itemId' in by
            ? this.#searchByItem(indexVersion, by.itemId, { limit, filter, options })
            : this.#searchByVectors(indexVersion, by.vectors, by.count, { limit, filter, options })
    )
    if (found === undefined) throw nothingLive()
    return found
  }

  async popular(limit: number, filter: Filter = {}, context?: string): Promise<PopularItems> {
    checkLimit(limit)
    const answer = await this.#inLiveVersion(undefined, async (indexVersion) => {
      // Qdrant refuses an order by what it has no index of.
      if (context !== undefined && !(await this.#versions.contexts(indexVersion)).has(context))
        return { indexVersion, step: await this.#step(indexVersion), items: [] }
      const key = context === undefined ? 'popularity' : contextField(context)
      const byPopularity = { query: { order_by: { key, direction: 'desc' as const } } }
      const [found, top, newest] = (await this.#query(indexVersion, 'ask for what is popular', [
        { ...byPopularity, limit, ...filterPart(toQdrantFilter(filter)), with_payload: describedFields },
        { ...byPopularity, limit: 1, with_payload: ['popularity', 'popularityIn'] },
        newestStep
      ])) as [QueryPoint[], QueryPoint[], QueryPoint[]]
      const level = (hit: QueryPoint | undefined) => {
        const { popularity = 0, popularityIn = {} } = toItemPayload(hit?.payload ?? {})
        return context === undefined ? popularity : (own(popularityIn, context) ?? 0)
      }
      const greatest = level(top[0])
      return {
        indexVersion,
        step: stepOf(newest),
        items: found.map((hit) => toPopularItem(hit, popularityScore(level(hit), greatest)))
      }
    })
    if (answer === undefined) throw nothingLive()
    return answer
  }

  async items(
    indexVersion: string,
    ids: readonly ItemId[],
    { vectors = false }: SearchOptions = {}
  ): Promise<ReadonlyMap<ItemId, DescribedItem>> {
    const collection = this.#names.collection('item', indexVersion)
    const wanted = [...new Set(ids)]
    if (wanted.length === 0) return new Map()
    try {
      const found = await this.#requests.read(`read items from ${collection}`, (client) =>
        client.retrieve(collection, { ids: wanted.map(pointId), with_payload: describedFields, with_vector: vectors })
      )
      const items = new Map(
        found.flatMap(({ payload, vector }) =>
          typeof payload?.id === 'string'
            ? [
                [
                  payload.id,
                  { payload: toItemPayload(payload), ...(vectors ? { vector: toVector(vector) } : {}) }
                ] as const
              ]
            : []
        )
      )
      return new Map(wanted.flatMap((id) => (items.has(id) ? [[id, items.get(id)!] as const] : [])))
    } catch (error) {
      if (error instanceof NotInQdrantError) return new Map()
      throw error
    }
  }

  async user(userId: UserId): Promise<{ payload: UserPayload; vectors: Float32Array } | undefined> {
    return this.#inLiveVersion(undefined, async (indexVersion) => {
      const [{ interestCount, dimensions }, stored] = await Promise.all([
        this.#versions.shape(indexVersion),
        this.#retrieve(indexVersion, 'user', userId, true)
      ])
      if (stored === undefined) return undefined
      const vectors = new Float32Array(interestCount * dimensions) // [K, D]
      const named = stored.vector as Record<string, number[]>
      for (let k = 0; k < interestCount; k++) vectors.set(own(named, interestName(k)) ?? [], k * dimensions)
      return { payload: toUserPayload(stored.payload), vectors }
    })
  }

  async item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined> {
    return this.#inLiveVersion(undefined, async (indexVersion) => {
      const stored = await this.#retrieve(indexVersion, 'item', itemId, true)
      return stored && { payload: toItemPayload(stored.payload), vector: toVector(stored.vector) }
    })
  }

  /** Removes every collection of this run, the live ones too, and with them their aliases. @returns their names */
  clear(): Promise<string[]> {
    return this.#versions.clear()
  }

  close(): Promise<void> {
    return this.#requests.close()
  }

  async #writeBatch(
    indexVersion: string,
    role: Role,
    step: number,
    batch: readonly VectorPoint[],
    shape: VersionShape
  ): Promise<void> {
    const collection = this.#names.collection(role, indexVersion)
    await this.#requests.write(`write ${batch.length} points to ${collection}`, (client) =>
      client.upsert(collection, {
        points: batch.map((point) => toQdrant(point, step, shape)),
        update_filter: notNewerThan(step),
        wait: true
      })
    )
  }

  /** How many of them a newer step has written: none, unless something in the collection is newer. */
  async #countStale(indexVersion: string, role: Role, step: number, ids: readonly string[]): Promise<number> {
    const collection = this.#names.collection(role, indexVersion)
    const newer = { key: 'version', range: { gt: step } }
    const count = (must: Schemas['Condition'][]) =>
      this.#requests.write(`count newer points of ${collection}`, (client) =>
        client.count(collection, { exact: true, filter: { must } })
      )
    if ((await count([newer])).count === 0) return 0
    let stale = 0
    for (let from = 0; from < ids.length; from += batchPointsMax) {
      stale += (await count([newer, { has_id: ids.slice(from, from + batchPointsMax).map(pointId) }])).count
    }
    return stale
  }

  /**
   * Puts tombstones where the points are, with the version that they have: what is newer by then stays, what is older
   * will not come back.
   */
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

  /** Takes tombstones out that are older than any write may be late. */
  async #purge(collection: string): Promise<void> {
    const nowMs = this.#clock.nowMs()
    if (nowMs - (this.#purgedAtMs.get(collection) ?? Number.NEGATIVE_INFINITY) < purgeIntervalMs) return
    this.#purgedAtMs.set(collection, nowMs)
    const filter = { must: [{ key: 'removedAtMs', range: { lt: nowMs - this.#options.tombstoneMs } }] }
    await this.#requests.write(`clear tombstones of ${collection}`, (client) =>
      client.delete(collection, { filter, wait: true })
    )
  }

  async #searchByVectors(
    indexVersion: string,
    vectors: Float32Array,
    count: number,
    wanted: Wanted
  ): Promise<SearchResult> {
    if (!Number.isInteger(count) || count < 1 || count > queryInterestsMax) {
      throw new ConfigError([
        `search by vectors: their count must be an integer of 1 … ${queryInterestsMax}, not ${count}`
      ])
    }
    const { dimensions } = await this.#versions.shape(indexVersion)
    checkVectors('search by vectors', vectors, count, dimensions)
    const queries = Array.from({ length: count }, (_, k) => ({
      query: Array.from(vectors.subarray(k * dimensions, (k + 1) * dimensions))
    }))
    return this.#answer(indexVersion, await this.#nearest(indexVersion, queries, wanted))
  }

  /** Qdrant leaves out the point that a query starts from. */
  async #searchByItem(indexVersion: string, itemId: ItemId, wanted: Wanted): Promise<SearchResult> {
    return this.#answer(indexVersion, await this.#nearest(indexVersion, [{ query: pointId(itemId) }], wanted))
  }

  /** One batch of K queries by the stored vectors; who the user is and what to leave out is read beside it. */
  async #searchByUser(indexVersion: string, userId: UserId, wanted: Wanted): Promise<SearchResult> {
    const { limit, filter } = wanted
    const { interestCount } = await this.#versions.shape(indexVersion)
    const collection = this.#names.collection('user', indexVersion)
    const id = pointId(userId)
    const queries = Array.from({ length: interestCount }, (_, k) => ({
      query: id,
      lookup_from: { collection, vector: interestName(k) }
    }))
    const overfetch = filter.excludeRecent === false ? 0 : this.#historyMax
    const [stored, found] = await Promise.allSettled([
      this.#retrieve(indexVersion, 'user', userId, false),
      this.#nearest(indexVersion, queries, { ...wanted, limit: limit + overfetch })
    ])
    if (stored.status === 'rejected') throw stored.reason
    // Who is not here has made the queries fail.
    if (stored.value === undefined) return { indexVersion, step: await this.#step(indexVersion), lists: undefined }
    if (found.status === 'rejected') throw found.reason
    const user = toUserPayload(stored.value.payload)
    const recent = new Set(filter.excludeRecent === false ? [] : user.recent.map(pointId))
    let { step, lists } = found.value
    lists = lists.map((list) => list.filter(({ id }) => !recent.has(String(id))).slice(0, limit))
    // A history longer than it should be: what is left is too little, though there is more.
    if (lists.some((list, k) => list.length < limit && found.value.lists[k]!.length === limit + overfetch)) {
      ;({ step, lists } = await this.#nearest(indexVersion, queries, wanted, [...recent]))
    }
    return { ...(await this.#answer(indexVersion, { step, lists })), user }
  }

  /** One request: the nearest items of each query, and the newest step beside them. */
  async #nearest(
    indexVersion: string,
    queries: readonly Schemas['QueryRequest'][],
    { limit, filter, options }: Wanted,
    excluded: readonly string[] = []
  ): Promise<Nearest> {
    const withVector = options.vectors === true
    const asked = {
      limit,
      ...filterPart(toQdrantFilter(filter, excluded)),
      ...this.#searchParams(),
      with_payload: false,
      ...(withVector ? { with_vector: true } : {})
    }
    const searches = queries.map((query) => ({ ...query, ...asked }))
    const answers = await this.#query(indexVersion, 'search', [...searches, newestStep])
    return { step: stepOf(answers.at(-1)), lists: answers.slice(0, -1) }
  }

  /** What was found, by the names of the items; without those that were removed meanwhile. */
  async #answer(indexVersion: string, { step, lists }: Nearest): Promise<SearchResult & { lists: Candidate[][] }> {
    const points = lists.map((hits) => hits.map(({ id }) => String(id)))
    const itemIds = await this.#itemIds.of(this.#names.collection('item', indexVersion), points.flat())
    let at = 0
    const named = lists.map((hits) =>
      hits.flatMap(({ score, vector }) => {
        const itemId = itemIds[at++]
        if (itemId === undefined) return []
        return [{ itemId, score: toCosine(score), ...(vector == null ? {} : { vector: toVector(vector) }) }]
      })
    )
    return { indexVersion, step, lists: named }
  }

  async #step(indexVersion: string): Promise<number> {
    const [newest] = await this.#query(indexVersion, 'ask for the newest step', [newestStep])
    return stepOf(newest)
  }

  async #query(indexVersion: string, what: string, searches: Schemas['QueryRequest'][]): Promise<QueryPoint[][]> {
    const collection = this.#names.collection('item', indexVersion)
    const answers = await this.#requests.read(`${what} in ${collection}`, (client) =>
      client.queryBatch(collection, { searches })
    )
    return answers.map(({ points }) => points)
  }

  /** undefined: not here, or removed. @throws NotInQdrantError if the collection is not there */
  async #retrieve(
    indexVersion: string,
    role: Role,
    id: string,
    withVector: boolean
  ): Promise<{ payload: QdrantPayload; vector: unknown } | undefined> {
    const collection = this.#names.collection(role, indexVersion)
    const read = (client: QdrantClient) =>
      client.retrieve(collection, { ids: [pointId(id)], with_payload: true, with_vector: withVector })
    const [stored] = await this.#requests.read(`read ${role} from ${collection}`, read)
    const payload = stored?.payload ?? {}
    if (stored === undefined || payload.removedAtMs !== undefined) return undefined
    return { payload, vector: stored.vector }
  }

  /**
   * Asks one index version, the live one. If it was dropped while it was asked, the one that is live by then.
   * @returns undefined if no index version is live. `missing`: what a question comes to that starts from a point that is not
   *   there
   */
  async #inLiveVersion<T>(
    missing: ((indexVersion: string) => Promise<T>) | undefined,
    ask: (indexVersion: string) => Promise<T>
  ): Promise<T | undefined> {
    let before: string | undefined
    for (let attempt = 1; ; attempt++) {
      const indexVersion = await this.#versions.live(attempt > 1)
      if (indexVersion === undefined) return undefined
      try {
        return indexVersion === before && missing !== undefined ? await missing(indexVersion) : await ask(indexVersion)
      } catch (error) {
        const isGone =
          error instanceof NotInQdrantError ||
          (error instanceof ConfigError && error.message === noSuchVersion(indexVersion).message)
        if (!isGone || attempt >= attemptsMax) throw error
        if (indexVersion === before) this.#versions.forget(indexVersion)
        before = indexVersion
      }
    }
  }

  #asMissing(indexVersion: string, error: unknown): unknown {
    if (!(error instanceof NotInQdrantError)) return error
    this.#versions.forget(indexVersion)
    return noSuchVersion(indexVersion)
  }

  #searchParams(): { params?: Schemas['SearchParams'] } {
    const { searchEffort, exact, quantization, oversampling } = this.#options
    const params: Schemas['SearchParams'] = {
      ...(searchEffort === 0 ? {} : { hnsw_ef: searchEffort }),
      ...(exact ? { exact } : {}),
      ...(quantization === 'int8' ? { quantization: { rescore: true, oversampling } } : {})
    }
    return Object.keys(params).length === 0 ? {} : { params }
  }
}

/** Of all items, tombstones among them. */
const newestStep = {
  query: { order_by: { key: 'version', direction: 'desc' as const } },
  limit: 1,
  with_payload: ['version']
}

function contextsOf(points: readonly VectorPoint[]): Set<string> {
  return new Set(
    points.flatMap((point) => (point.role === 'item' ? Object.keys(point.payload.popularityIn ?? {}) : []))
  )
}

/** [D] */
function toVector(vector: unknown): Float32Array {
  return Float32Array.from(vector as number[])
}

function stepOf(newest: QueryPoint[] | undefined): number {
  return Number(newest?.[0]?.payload?.version ?? 0)
}

function filterPart(filter: Schemas['Filter'] | undefined): { filter?: Schemas['Filter'] } {
  return filter === undefined ? {} : { filter }
}

function nothingLive(): UnavailableError {
  return new UnavailableError('no index version is live: nothing has been published yet')
}
