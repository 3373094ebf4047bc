// What a user's list is chosen from, in Qdrant: by each interest, and by the memory.
//
// Two batches, one after the other. The first finds the nearest points of each interest and those with the most votes.
// A point of one list lacks the scores of the others, so the second computes them for these points alone.
//
// K interests, C candidates, D dimensions.

import type { Schemas } from '@qdrant/js-client-rest'
import { hashKey } from '../../core/hashKey.ts'
import type { UserId } from '../../records/interaction.ts'
import { checkQuery } from '../indexChecks.ts'
import { toCosine } from '../interestScore.ts'
import { queryInterestsMax } from '../itemTable.ts'
import { noVotes } from '../memory.ts'
import type {
  CandidateOptions,
  CandidateQuery,
  CandidateResult,
  Candidates,
  Filter,
  VersionShape
} from '../vectorIndex.ts'
import type { QdrantItemIds } from './qdrantItemIds.ts'
import { interestName, memoryName, pointId, type QdrantNames } from './qdrantNames.ts'
import { toQdrantFilter, toSparse, toUserPayload, toVector } from './qdrantPoints.ts'
import { hashesOf, newestStep, type QdrantQueries, stepOf } from './qdrantQueries.ts'

interface CandidateRequest extends CandidateQuery {
  readonly limit: number
  readonly filter: Filter
  readonly options: CandidateOptions
}

type Query = Pick<Schemas['QueryRequest'], 'query' | 'using' | 'lookup_from'>

interface Queries {
  readonly dense: readonly Query[]
  /** Of the memory; undefined: it is off, or there are no votes. */
  readonly sparse: Query | undefined
}

interface Found {
  readonly step: number
  /** Of each dense query, then of the sparse one, best first. */
  readonly lists: readonly (readonly Schemas['ScoredPoint'][])[]
}

const noPoints: ReadonlySet<string> = new Set()
const noHashes: ReadonlySet<number> = new Set()

export class QdrantCandidates {
  readonly #parts: {
    readonly queries: QdrantQueries
    readonly names: QdrantNames
    readonly itemIds: QdrantItemIds
    readonly historyMax: number
  }

  constructor(parts: { queries: QdrantQueries; names: QdrantNames; itemIds: QdrantItemIds; historyMax: number }) {
    this.#parts = parts
  }

  async find(version: string, { dimensions, interestCount }: VersionShape, request: CandidateRequest) {
    const { by, options } = request
    if ('userId' in by) return this.#ofUser(version, interestCount, by.userId, request)
    checkQuery(by.vectors, by.count, dimensions, queryInterestsMax, 0)
    const votes = options.memory === false ? noVotes : (by.votes ?? noVotes)
    const queries: Queries = {
      dense: Array.from({ length: by.count }, (_, k) => ({
        query: Array.from(by.vectors.subarray(k * dimensions, (k + 1) * dimensions))
      })),
      sparse: votes.items.length === 0 ? undefined : { query: toSparse(votes.items, votes.weights), using: memoryName }
    }
    const { limit, filter } = request
    const hashes = hashesOf(filter)
    const more = { ...request, limit: limit + hashes.size }
    const found = await this.#nearest(version, queries, more)
    const admitted = await this.#without(version, found, hashes, noPoints, limit)
    return this.#answer(version, queries, request, admitted)
  }

  async #ofUser(
    version: string,
    interestCount: number,
    userId: UserId,
    request: CandidateRequest
  ): Promise<CandidateResult> {
    const { queries, names, historyMax } = this.#parts
    const { limit, filter, options } = request
    const collection = names.collection('user', version)
    const query = pointId(userId)
    const dense = Array.from({ length: interestCount }, (_, k) => ({
      ...{ query, lookup_from: { collection, vector: interestName(k) } }
    }))
    const sparse = { query, using: memoryName, lookup_from: { collection, vector: memoryName } }
    let usable: Queries = { dense, sparse: options.memory === false ? undefined : sparse }
    const overfetch = filter.excludeRecent === false ? 0 : historyMax
    const more = { ...request, limit: limit + overfetch }
    const [stored, first] = await Promise.allSettled([
      queries.retrieve(version, 'user', userId, false),
      this.#nearest(version, usable, more)
    ])
    if (stored.status === 'rejected') throw stored.reason
    // The queries fail for a user who is not here, or has not all of the vectors.
    if (stored.value === undefined)
      return { indexVersion: version, step: await queries.step(version), candidates: undefined }
    const user = toUserPayload(stored.value.payload)
    let found: Found
    if (first.status === 'fulfilled') found = first.value
    else {
      const isCold = stored.value.payload.interests === 0
      if (!isCold && (user.memory !== undefined || usable.sparse === undefined)) throw first.reason
      usable = { dense: isCold ? [] : dense, sparse: user.memory === undefined ? undefined : usable.sparse }
      found = await this.#nearest(version, usable, more)
    }
    const excluded = hashesOf(filter, user)
    const recent = new Set(user.recent.filter((itemId) => excluded.has(hashKey(itemId))).map(pointId))
    const older = excluded.size - recent.size
    const admitted = (all: Found) => this.#without(version, all, older > 0 ? excluded : noHashes, recent, limit)
    let whole = await admitted(found)
    // A user who has seen more than `historyMax` items may have too few left, though there are more.
    if (whole.lists.some((list, q) => list.length < limit && found.lists[q]!.length === more.limit)) {
      const rest = { ...request, limit: limit + older }
      whole = await admitted(await this.#nearest(version, usable, rest, [...recent]))
    }
    return { ...(await this.#answer(version, usable, request, whole)), user }
  }

  /** The first `limit` of each list that are neither one of the points nor an item of these hashes. */
  async #without(
    version: string,
    { step, lists }: Found,
    hashes: ReadonlySet<number>,
    points: ReadonlySet<string>,
    limit: number
  ): Promise<Found> {
    const others = lists.map((list) => list.filter(({ id }) => !points.has(String(id))))
    const excluded = hashes.size > 0 ? await this.#pointsOf(version, others, hashes) : noPoints
    return { step, lists: others.map((list) => list.filter(({ id }) => !excluded.has(String(id))).slice(0, limit)) }
  }

  /** The points of the lists that are items of these hashes. */
  async #pointsOf(version: string, lists: Found['lists'], hashes: ReadonlySet<number>): Promise<ReadonlySet<string>> {
    const points = [...new Set(lists.flatMap((list) => list.map(({ id }) => String(id))))]
    const ids = await this.#parts.itemIds.of(this.#parts.names.collection('item', version), points)
    return new Set(points.filter((_, i) => ids[i] !== undefined && hashes.has(hashKey(ids[i]))))
  }

  #nearest(
    version: string,
    { dense, sparse }: Queries,
    { limit, filter, options }: CandidateRequest,
    excluded: readonly string[] = []
  ): Promise<Found> {
    const only = toQdrantFilter(filter, excluded)
    const common = { limit, ...(only === undefined ? {} : { filter: only }), with_payload: false }
    const searches = [
      ...dense.map((query) => ({ ...query, ...common, ...this.#parts.queries.searchParams() })),
      ...(sparse === undefined ? [] : [{ ...sparse, ...common }])
    ].map((query) => (options.vectors === true ? { ...query, with_vector: [''] } : query))
    return this.#query(version, 'search', [...searches, newestStep])
  }

  async #answer(
    version: string,
    queries: Queries,
    { options }: CandidateRequest,
    { step, lists }: Found
  ): Promise<CandidateResult> {
    const points = new Map(lists.flat().map((point) => [String(point.id), point]))
    const scores = lists.map((list) => new Map(list.map(({ id, score }) => [String(id), score])))
    // Without the memory an item that an interest did not find is taken to be far from it.
    if (queries.sparse !== undefined) await this.#complete(version, queries, [...points.keys()], scores)
    const ids = await this.#parts.itemIds.of(this.#parts.names.collection('item', version), [...points.keys()])
    const known = [...points].flatMap(([id, { vector }], i) =>
      ids[i] === undefined ? [] : [{ id, itemId: ids[i], vector }]
    )
    const K = queries.dense.length
    const candidates: Candidates = {
      itemIds: known.map(({ itemId }) => itemId),
      interestCount: K,
      cosines: Float32Array.from(
        known.flatMap(({ id }) => queries.dense.map((_, k) => toCosine(scores[k]!.get(id) ?? Number.NaN)))
      ),
      memory: Float32Array.from(known, ({ id }) => scores[K]?.get(id) ?? 0),
      ...(options.vectors === true
        ? { vectors: Float32Array.from(known.flatMap(({ vector }) => [...toVector(vector)])) }
        : {})
    }
    return { indexVersion: version, step, candidates }
  }

  /** Adds the scores that the lists lack. */
  async #complete(
    version: string,
    { dense, sparse }: Queries,
    points: readonly string[],
    scores: readonly Map<string, number>[]
  ): Promise<void> {
    const lacking = [...dense, sparse!].flatMap((query, q) => {
      const missing = points.filter((id) => !scores[q]!.has(id))
      return missing.length === 0 ? [] : [{ query, into: scores[q]!, missing }]
    })
    if (lacking.length === 0) return
    const searches = lacking.map(({ query, missing }) => ({
      ...query,
      filter: { must: [{ has_id: missing }] },
      limit: missing.length,
      params: { exact: true },
      with_payload: false
    }))
    const { lists } = await this.#query(version, 'score candidates', [...searches, newestStep])
    for (const [i, { into }] of lacking.entries()) for (const { id, score } of lists[i]!) into.set(String(id), score)
  }

  async #query(version: string, what: string, searches: Schemas['QueryRequest'][]): Promise<Found> {
    const answers = await this.#parts.queries.query(version, what, searches)
    return { step: stepOf(answers.at(-1)), lists: answers.slice(0, -1) }
  }
}
