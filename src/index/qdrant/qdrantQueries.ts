// Reads of one index version in Qdrant. D dimensions, K interests a user.

import type { QdrantClient, Schemas } from '@qdrant/js-client-rest'
import { hashKey } from '../../core/hashKey.ts'
import { own } from '../../core/own.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'
import { excludedHashes } from '../excludedItems.ts'
import { checkQuery } from '../indexChecks.ts'
import { toCosine } from '../interestScore.ts'
import type { FeatureFilter } from '../itemFilter.ts'
import { queryInterestsMax } from '../itemTable.ts'
import { popularityScore } from '../popularity.ts'
import {
  type Candidate,
  type DescribedItem,
  type DescribeOptions,
  type Filter,
  fieldsMax,
  type InterestQuery,
  type PopularItems,
  type Role,
  type SearchOptions,
  type SearchResult,
  type StoredUser,
  type UserPayload
} from '../vectorIndex.ts'
import type { QdrantItemIds } from './qdrantItemIds.ts'
import { interestName, memoryIndex, memoryName, pointId, type QdrantNames } from './qdrantNames.ts'
import type { QdrantOptions } from './qdrantOptions.ts'
import {
  contextField,
  describedFields,
  isRemoved,
  type QdrantPayload,
  toItemPayload,
  toPopularItem,
  toQdrantFilter,
  toUserPayload,
  toVector
} from './qdrantPoints.ts'
import type { QdrantRequests } from './qdrantRequests.ts'
import type { QdrantVersions } from './qdrantVersions.ts'

type QueryPoint = Schemas['ScoredPoint']

/** [K] lists of points, best first. */
interface Nearest {
  readonly step: number
  readonly lists: readonly (readonly QueryPoint[])[]
}

export interface SearchRequest extends InterestQuery {
  readonly limit: number
  readonly filter: Filter
  readonly options: SearchOptions
}

/** Of all items, tombstones included. */
export const newestStep = {
  query: { order_by: { key: 'version', direction: 'desc' as const } },
  limit: 1,
  with_payload: ['version']
}

export class QdrantQueries {
  readonly #requests: QdrantRequests
  readonly #names: QdrantNames
  readonly #versions: QdrantVersions
  readonly #options: Required<QdrantOptions>
  readonly #historyMax: number
  readonly #itemIds: QdrantItemIds

  constructor(parts: {
    requests: QdrantRequests
    names: QdrantNames
    versions: QdrantVersions
    options: Required<QdrantOptions>
    historyMax: number
    itemIds: QdrantItemIds
  }) {
    this.#requests = parts.requests
    this.#names = parts.names
    this.#versions = parts.versions
    this.#options = parts.options
    this.#historyMax = parts.historyMax
    this.#itemIds = parts.itemIds
  }

  /** Newest step of the items. */
  async step(version: string): Promise<number> {
    const [newest] = await this.query(version, 'ask for the newest step', [newestStep])
    return stepOf(newest)
  }

  async search(version: string, request: SearchRequest): Promise<SearchResult> {
    const { by } = request
    if ('userId' in by) return this.#searchByUser(version, by.userId, request)
    // Qdrant leaves out the point that a query starts from.
    if ('itemId' in by) return this.#withoutHashes(version, [{ query: pointId(by.itemId) }], request)
    const { dimensions } = await this.#versions.shape(version)
    checkQuery(by.vectors, by.count, dimensions, queryInterestsMax)
    const queries = Array.from({ length: by.count }, (_, k) => ({
      query: Array.from(by.vectors.subarray(k * dimensions, (k + 1) * dimensions))
    }))
    return this.#withoutHashes(version, queries, request)
  }

  /** Excluded by hash, so that the request does not name them: as many more neighbours are read. */
  async #withoutHashes(
    version: string,
    queries: readonly Schemas['QueryRequest'][],
    request: SearchRequest
  ): Promise<SearchResult> {
    const { limit, filter } = request
    const { excludeHashes = noHashes } = filter
    const found = await this.#nearest(version, queries, { ...request, limit: limit + excludeHashes.size })
    const answer = await this.#answer(version, found)
    if (excludeHashes.size === 0) return answer
    const isAdmitted = ({ itemId }: Candidate) => !excludeHashes.has(hashKey(itemId))
    return { ...answer, lists: answer.lists?.map((list) => list.filter(isAdmitted).slice(0, limit)) }
  }

  async popular(version: string, limit: number, filter: Filter, context?: string): Promise<PopularItems> {
    // Qdrant refuses an order by a field without an index.
    const { excludeHashes = noHashes } = filter
    const key = context === undefined ? 'popularity' : contextField(context)
    if (context !== undefined && !(await this.#versions.indexed(version)).has(key))
      return { indexVersion: version, step: await this.step(version), items: [] }
    const byPopularity = { query: { order_by: { key, direction: 'desc' as const } } }
    const [found, top, newest] = (await this.query(version, 'ask for popular items', [
      {
        ...byPopularity,
        limit: limit + excludeHashes.size,
        ...filterPart(toQdrantFilter(filter)),
        with_payload: describedFields
      },
      { ...byPopularity, limit: 1, with_payload: ['popularity', 'popularityIn'] },
      newestStep
    ])) as [QueryPoint[], QueryPoint[], QueryPoint[]]
    const level = (hit: QueryPoint | undefined) => {
      const { popularity = 0, popularityIn = {} } = toItemPayload(hit?.payload ?? {})
      return context === undefined ? popularity : (own(popularityIn, context) ?? 0)
    }
    const greatest = level(top[0])
    const items = found
      .map((hit) => toPopularItem(hit, popularityScore(level(hit), greatest)))
      .filter(({ itemId }) => !excludeHashes.has(hashKey(itemId)))
    return { indexVersion: version, step: stepOf(newest), items: items.slice(0, limit) }
  }

  async items(
    version: string,
    ids: readonly ItemId[],
    { vectors = false, memory }: DescribeOptions
  ): Promise<ReadonlyMap<ItemId, DescribedItem>> {
    const collection = this.#names.collection('item', version)
    const wanted = [...new Set(ids)]
    const named = [...(vectors ? [''] : []), ...(memory === undefined ? [] : [memoryName])]
    const with_vector = named.length === 0 ? false : named
    const found = await this.#requests.read(`read items from ${collection}`, (client) =>
      client.retrieve(collection, { ids: wanted.map(pointId), with_payload: describedFields, with_vector })
    )
    const items = new Map<unknown, DescribedItem>()
    for (const { payload, vector } of found)
      items.set(payload?.id, {
        payload: toItemPayload(payload ?? {}),
        ...(vectors ? { vector: toVector(vector) } : {}),
        ...(memory === undefined ? {} : { memory: weightsOf(memory, vector) })
      })
    return new Map(wanted.flatMap((id) => (items.has(id) ? [[id, items.get(id)!] as const] : [])))
  }

  async user(version: string, userId: UserId): Promise<StoredUser | undefined> {
    const [{ interestCount, dimensions }, stored] = await Promise.all([
      this.#versions.shape(version),
      this.retrieve(version, 'user', userId, true)
    ])
    if (stored === undefined) return undefined
    if (stored.payload.interests === 0) return { payload: toUserPayload(stored.payload), vectors: new Float32Array(0) }
    const vectors = new Float32Array(interestCount * dimensions) // [K, D]
    const named = stored.vector as Record<string, number[]>
    for (let k = 0; k < interestCount; k++) vectors.set(own(named, interestName(k)) ?? [], k * dimensions)
    return { payload: toUserPayload(stored.payload), vectors }
  }

  /** In alphabetical order. */
  async fields(version: string): Promise<readonly string[]> {
    const collection = this.#names.collection('item', version)
    const { hits } = await this.#requests.read(`read fields of ${collection}`, (client) =>
      client.facet(collection, { key: 'fields', limit: fieldsMax })
    )
    return hits.map(({ value }) => String(value)).sort()
  }

  async holdsAny(version: string, features: FeatureFilter): Promise<boolean> {
    const collection = this.#names.collection('item', version)
    // A tombstone has no fields, and meets a condition that only forbids some.
    const { must = [], ...rest } = toQdrantFilter({ features }) ?? {}
    const filter = { ...rest, must: [must, { key: 'updatedAtMs', range: { gte: 0 } }].flat() }
    const { points } = await this.#requests.read(`look for an item in ${collection}`, (client) =>
      client.scroll(collection, { limit: 1, filter, with_payload: false, with_vector: false })
    )
    return points.length > 0
  }

  /** In the order of the ids of their points. */
  async usersAfter(version: string, after: UserId | undefined, limit: number): Promise<UserId[]> {
    const collection = this.#names.collection('user', version)
    // The point at the offset is in the answer.
    const offset = after === undefined ? {} : { offset: pointId(after) }
    const { points } = await this.#requests.read(`read users of ${collection}`, (client) =>
      client.scroll(collection, {
        ...{ ...offset, limit: limit + 1, filter: { must_not: [isRemoved] } },
        ...{ with_payload: ['id'], with_vector: false }
      })
    )
    const ids = points.map(({ payload }) => String(payload?.id))
    return ids.filter((id) => id !== after).slice(0, limit)
  }

  /** undefined: not here, or removed. @throws NotInQdrantError if there is no such collection */
  async retrieve(
    version: string,
    role: Role,
    id: string,
    withVector: boolean
  ): Promise<{ payload: QdrantPayload; vector: unknown } | undefined> {
    const collection = this.#names.collection(role, version)
    const read = (client: QdrantClient) =>
      client.retrieve(collection, { ids: [pointId(id)], with_payload: true, with_vector: withVector })
    const [stored] = await this.#requests.read(`read ${role} from ${collection}`, read)
    const payload = stored?.payload ?? {}
    if (stored === undefined || payload.removedAtMs !== undefined) return undefined
    return { payload, vector: stored.vector }
  }

  /** One batch of K queries by the stored vectors; the user's payload is read at the same time. */
  async #searchByUser(version: string, userId: UserId, request: SearchRequest): Promise<SearchResult> {
    const { limit, filter } = request
    const { interestCount } = await this.#versions.shape(version)
    const collection = this.#names.collection('user', version)
    const query = pointId(userId)
    const queries = Array.from({ length: interestCount }, (_, k) => ({
      query,
      lookup_from: { collection, vector: interestName(k) }
    }))
    const overfetch = filter.excludeRecent === false ? 0 : this.#historyMax
    const [stored, found] = await Promise.allSettled([
      this.retrieve(version, 'user', userId, false),
      this.#nearest(version, queries, { ...request, limit: limit + overfetch })
    ])
    if (stored.status === 'rejected') throw stored.reason
    // The queries fail for a user who is not here, or of whom the model knows no item.
    if (stored.value === undefined) return { indexVersion: version, step: await this.step(version), lists: undefined }
    const user = toUserPayload(stored.value.payload)
    if (stored.value.payload.interests === 0)
      return { indexVersion: version, step: await this.step(version), lists: [], user }
    if (found.status === 'rejected') throw found.reason
    const excluded = hashesOf(filter, user)
    // By point, before ids are read: most of what is excluded is in the history.
    const recent = new Set(user.recent.filter((itemId) => excluded.has(hashKey(itemId))).map(pointId))
    const admitted = async ({ step, lists }: Nearest) => {
      const points = lists.map((list) => list.filter(({ id }) => !recent.has(String(id))))
      const answer = await this.#answer(version, { step, lists: points })
      const isAdmitted = ({ itemId }: Candidate) => !excluded.has(hashKey(itemId))
      return { ...answer, user, lists: (answer.lists ?? []).map((list) => list.filter(isAdmitted).slice(0, limit)) }
    }
    const answer = await admitted(found.value)
    // Of a user who has seen more than `historyMax` items too few may be left, though there are more.
    const isShort = (list: readonly Candidate[], k: number) =>
      list.length < limit && found.value.lists[k]!.length === limit + overfetch
    if (!answer.lists.some(isShort)) return answer
    const more = { ...request, limit: limit + excluded.size - recent.size }
    return admitted(await this.#nearest(version, queries, more, [...recent]))
  }

  /** One request: the nearest items of each query, and the newest step. */
  async #nearest(
    version: string,
    queries: readonly Schemas['QueryRequest'][],
    { limit, filter, options }: SearchRequest,
    excluded: readonly string[] = []
  ): Promise<Nearest> {
    const common = {
      limit,
      ...filterPart(toQdrantFilter(filter, excluded)),
      ...this.searchParams(),
      with_payload: false,
      ...(options.vectors === true ? { with_vector: true } : {})
    }
    const searches = queries.map((query) => ({ ...query, ...common }))
    const answers = await this.query(version, 'search', [...searches, newestStep])
    return { step: stepOf(answers.at(-1)), lists: answers.slice(0, -1) }
  }

  /** Points as items, without those that were removed meanwhile. */
  async #answer(version: string, { step, lists }: Nearest): Promise<SearchResult> {
    const points = lists.flatMap((hits) => hits.map(({ id }) => String(id)))
    const itemIds = await this.#itemIds.of(this.#names.collection('item', version), points)
    let at = 0
    const named = lists.map((hits) =>
      hits.flatMap(({ score, vector }) => {
        const itemId = itemIds[at++]
        if (itemId === undefined) return []
        return [{ itemId, score: toCosine(score), ...(vector == null ? {} : { vector: toVector(vector) }) }]
      })
    )
    return { indexVersion: version, step, lists: named }
  }

  async query(version: string, what: string, searches: Schemas['QueryRequest'][]): Promise<QueryPoint[][]> {
    const collection = this.#names.collection('item', version)
    const answers = await this.#requests.read(`${what} in ${collection}`, (client) =>
      client.queryBatch(collection, { searches })
    )
    return answers.map(({ points }) => points)
  }

  searchParams(): { params?: Schemas['SearchParams'] } {
    const { searchEffort, exact, quantization, oversampling } = this.#options
    const params: Schemas['SearchParams'] = {
      ...(searchEffort === 0 ? {} : { hnsw_ef: searchEffort }),
      ...(exact ? { exact } : {}),
      ...(quantization === 'int8' ? { quantization: { rescore: true, oversampling } } : {})
    }
    return Object.keys(params).length === 0 ? {} : { params }
  }
}

const noHashes: ReadonlySet<number> = new Set()

/** Of all that a search excludes by hash. @param user absent: of vectors, or an item */
export function hashesOf({ excludeRecent = true, excludeHashes = noHashes, repeats }: Filter, user?: UserPayload) {
  if (user === undefined || !excludeRecent) return excludeHashes
  const seen = excludedHashes(user, repeats)
  return excludeHashes.size === 0 ? seen : new Set([...seen, ...excludeHashes])
}

/** S of these items in a point's list; 0: it is not in it. */
function weightsOf(items: readonly ItemId[], vector: unknown): Float32Array {
  const { indices = [], values = [] } = (vector as Record<string, Partial<Schemas['SparseVector']>>)?.[memoryName] ?? {}
  const weights = new Map(indices.map((index, i) => [index, values[i]!]))
  return Float32Array.from(items, (item) => weights.get(memoryIndex(item)) ?? 0)
}

export function stepOf(newest: QueryPoint[] | undefined): number {
  return Number(newest?.[0]?.payload?.version ?? 0)
}

function filterPart(filter: Schemas['Filter'] | undefined): { filter?: Schemas['Filter'] } {
  return filter === undefined ? {} : { filter }
}
