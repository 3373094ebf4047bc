// The plainest VectorIndex that keeps the contract: Maps and loops, nothing durable, nothing fast. For tests of what
// uses an index.

import { ConfigError, UnavailableError } from '../../src/core/errors.ts'
import { hashKey } from '../../src/core/hashKey.ts'
import { excludedHashes } from '../../src/index/excludedItems.ts'
import { scoreOf } from '../../src/index/interestScore.ts'
import { type FeatureFilter, meets } from '../../src/index/itemFilter.ts'
import { noVotes, votesOf, weightsIn } from '../../src/index/memory.ts'
import type {
  Candidate,
  CandidateOptions,
  CandidateQuery,
  CandidateResult,
  DescribedItem,
  DescribeOptions,
  Filter,
  IndexState,
  InterestQuery,
  ItemMemory,
  ItemPayload,
  ItemPoint,
  PopularItems,
  SearchOptions,
  SearchResult,
  UserPayload,
  UserPoint,
  VectorIndex,
  VectorPoint
} from '../../src/index/vectorIndex.ts'
import { isAvailable } from '../../src/records/catalogueItem.ts'
import type { ItemId, UserId } from '../../src/records/interaction.ts'

interface Version {
  readonly dimensions: number
  readonly interestCount: number
  readonly items: Map<string, { point: ItemPoint; step: number }>
  readonly users: Map<string, { point: UserPoint; step: number }>
}

export class MemoryVectorIndex implements VectorIndex {
  readonly #versions = new Map<string, Version>()
  #live: string | undefined
  /** While true every call fails as an index that is down does. */
  down = false
  /** Resolves before each upsert is applied: lets a test act while a write is under way. */
  beforeUpsert: () => Promise<void> = async () => {}

  async createVersion(indexVersion: string, shape: { dimensions: number; interestCount: number }): Promise<void> {
    this.#check()
    const existing = this.#versions.get(indexVersion)
    if (existing !== undefined) {
      if (existing.dimensions !== shape.dimensions || existing.interestCount !== shape.interestCount) {
        throw new ConfigError([`index version ${indexVersion} exists with another shape`])
      }
      return
    }
    this.#versions.set(indexVersion, { ...shape, items: new Map(), users: new Map() })
  }

  async upsert(indexVersion: string, step: number, points: readonly VectorPoint[]): Promise<number> {
    await this.beforeUpsert()
    this.#check()
    const into = this.#indexVersion(indexVersion)
    let written = 0
    for (const point of points) {
      const table = point.role === 'item' ? into.items : into.users
      if ((table.get(point.id)?.step ?? -1) > step) continue
      if (point.role === 'item') into.items.set(point.id, { point: { ...point, vector: point.vector.slice() }, step })
      else into.users.set(point.id, { point: { ...point, vectors: point.vectors.slice() }, step })
      written++
    }
    return written
  }

  async updateMemory(indexVersion: string, step: number, lists: readonly ItemMemory[]): Promise<number> {
    this.#check()
    const { items } = this.#indexVersion(indexVersion)
    let written = 0
    for (const { id, memory } of lists) {
      const held = items.get(id)
      if (held === undefined || held.step > step) continue
      items.set(id, { point: { ...held.point, memory }, step })
      written++
    }
    return written
  }

  async remove(indexVersion: string, role: 'item' | 'user', ids: readonly string[]): Promise<void> {
    this.#check()
    const from = this.#indexVersion(indexVersion)
    for (const id of ids) (role === 'item' ? from.items : from.users).delete(id)
  }

  async erase(userIds: readonly UserId[]): Promise<void> {
    this.#check()
    for (const { users } of this.#versions.values()) for (const userId of userIds) users.delete(userId)
  }

  async promote(indexVersion: string, expected: { items: number; users: number }): Promise<void> {
    this.#check()
    const { items, users } = this.#indexVersion(indexVersion)
    if (items.size < expected.items || users.size < expected.users) {
      throw new UnavailableError(
        `index version ${indexVersion} holds ${items.size} items and ${users.size} users, fewer than expected`
      )
    }
    this.#live = indexVersion
  }

  async dropVersion(indexVersion: string): Promise<void> {
    this.#check()
    this.#versions.delete(indexVersion)
  }

  async versions(): Promise<readonly string[]> {
    this.#check()
    return [...this.#versions.keys()]
  }

  async live(): Promise<IndexState | undefined> {
    this.#check()
    if (this.#live === undefined) return undefined
    const indexVersion = this.#indexVersion(this.#live)
    const step = Math.max(0, ...[...indexVersion.items.values()].map((item) => item.step))
    const { dimensions, interestCount } = indexVersion
    return {
      indexVersion: this.#live,
      step,
      items: indexVersion.items.size,
      users: indexVersion.users.size,
      dimensions,
      interestCount
    }
  }

  async search(
    query: InterestQuery,
    limit: number,
    filter: Filter = {},
    options: SearchOptions = {}
  ): Promise<SearchResult> {
    const state = await this.live()
    if (state === undefined) throw new UnavailableError('no index version is live')
    const indexVersion = this.#indexVersion(state.indexVersion)
    const head = { indexVersion: state.indexVersion, step: state.step }
    let vectors: Float32Array
    let user: UserPayload | undefined
    if ('userId' in query.by) {
      const stored = indexVersion.users.get(query.by.userId)?.point
      if (stored === undefined) return { ...head, lists: undefined }
      vectors = stored.vectors
      user = stored.payload
    } else if ('itemId' in query.by) {
      const stored = indexVersion.items.get(query.by.itemId)?.point
      if (stored === undefined) return { ...head, lists: undefined }
      vectors = stored.vector
    } else vectors = query.by.vectors
    const excluded =
      user === undefined || filter.excludeRecent === false ? new Set<number>() : excludedHashes(user, filter.repeats)
    const candidates = this.#matching(indexVersion, filter, []).filter(({ id }) => !excluded.has(hashKey(id)))
    const lists: Candidate[][] = []
    for (let at = 0; at < vectors.length; at += indexVersion.dimensions) {
      const interest = vectors.subarray(at, at + indexVersion.dimensions)
      const scored = candidates.map(({ id, vector }) => ({
        ...{ itemId: id, score: dot(interest, vector) },
        ...(options.vectors === true ? { vector } : {})
      }))
      lists.push(scored.sort((a, b) => b.score - a.score || (a.itemId < b.itemId ? -1 : 1)).slice(0, limit))
    }
    return user === undefined ? { ...head, lists } : { ...head, lists, user }
  }

  async candidates(
    { by }: CandidateQuery,
    limit: number,
    filter: Filter,
    options: CandidateOptions
  ): Promise<CandidateResult> {
    const stored = 'userId' in by ? await this.user(by.userId) : undefined
    const user = stored?.payload
    const found = await this.search({ by }, limit, filter)
    const head = { indexVersion: found.indexVersion, step: found.step }
    if (found.lists === undefined) return { ...head, candidates: undefined }
    const vectors = 'userId' in by ? stored!.vectors : by.vectors
    const given = 'userId' in by ? user?.memory && votesOf(user.recent, user.memory) : by.votes
    const votes = options.memory === false || given === undefined ? noVotes : given
    const { dimensions } = this.#indexVersion(found.indexVersion)
    const K = vectors.length / dimensions
    const excluded =
      user === undefined || filter.excludeRecent === false ? new Set<number>() : excludedHashes(user, filter.repeats)
    const admitted = this.#matching(this.#indexVersion(found.indexVersion), filter, [])
    const scored = admitted
      .filter(({ id }) => !excluded.has(hashKey(id)))
      .map((point) => {
        const cosines = Float32Array.from({ length: K }, (_, k) =>
          dot(vectors.subarray(k * dimensions, (k + 1) * dimensions), point.vector)
        )
        const weights = weightsIn(point.memory, votes.items)
        const memory = weights.reduce((sum, weight, age) => sum + weight * votes.weights[age]!, 0)
        return { point, cosines, memory, score: scoreOf(cosines, 0, K, options.scoring) + memory }
      })
    const ids = new Set(found.lists.flatMap((list) => list.map(({ itemId }) => itemId)))
    const voted = scored.filter(({ memory }) => memory > 0).sort((a, b) => b.score - a.score)
    for (const { point } of voted.slice(0, limit)) ids.add(point.id)
    const chosen = scored.filter(({ point }) => ids.has(point.id))
    const flat = (lists: readonly Float32Array[]) => Float32Array.from(lists.flatMap((list) => [...list]))
    const candidates = {
      itemIds: chosen.map(({ point }) => point.id),
      interestCount: K,
      cosines: flat(chosen.map(({ cosines }) => cosines)),
      memory: Float32Array.from(chosen, ({ memory }) => memory),
      ...(options.vectors === true ? { vectors: flat(chosen.map(({ point }) => point.vector)) } : {})
    }
    return { ...head, candidates, ...(user === undefined ? {} : { user }) }
  }

  async popular(limit: number, filter: Filter = {}, context?: string): Promise<PopularItems> {
    const state = await this.live()
    if (state === undefined) throw new UnavailableError('no index version is live')
    const indexVersion = this.#indexVersion(state.indexVersion)
    const level = ({ popularity = 0, popularityIn = {} }: ItemPayload) =>
      context === undefined ? popularity : (popularityIn[context] ?? 0)
    const greatest = Math.max(0, ...[...indexVersion.items.values()].map(({ point }) => level(point.payload)))
    const items = this.#matching(indexVersion, filter, [])
      .filter(({ payload }) => context === undefined || level(payload) > 0)
      .sort((a, b) => level(b.payload) - level(a.payload) || (a.id < b.id ? -1 : 1))
      .slice(0, limit)
      .map(({ id, payload }) => ({
        itemId: id,
        payload,
        score: level(payload) === 0 ? 0 : 2 ** (level(payload) - greatest)
      }))
    return { indexVersion: state.indexVersion, step: state.step, items }
  }

  async items(
    indexVersion: string,
    ids: readonly ItemId[],
    { vectors = false, memory }: DescribeOptions = {}
  ): Promise<ReadonlyMap<ItemId, DescribedItem>> {
    this.#check()
    const held = this.#versions.get(indexVersion)?.items
    return new Map(
      ids.flatMap((id) => {
        const point = held?.get(id)?.point
        if (point === undefined) return []
        const list = memory === undefined ? {} : { memory: weightsIn(point.memory, memory) }
        return [[id, { payload: point.payload, ...(vectors ? { vector: point.vector } : {}), ...list }] as const]
      })
    )
  }

  async user(userId: UserId): Promise<{ payload: UserPayload; vectors: Float32Array } | undefined> {
    this.#check()
    return this.#live === undefined ? undefined : this.#indexVersion(this.#live).users.get(userId)?.point
  }

  async item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined> {
    this.#check()
    return this.#live === undefined ? undefined : this.#indexVersion(this.#live).items.get(itemId)?.point
  }

  async usersAfter(after: UserId | undefined, limit: number): Promise<readonly UserId[]> {
    this.#check()
    if (!(limit >= 1)) throw new ConfigError([`limit must be an integer ≥ 1, not ${limit}`])
    if (this.#live === undefined) throw new UnavailableError('no index version is live')
    const ids = [...this.#indexVersion(this.#live).users.keys()].sort()
    return ids.filter((id) => after === undefined || id > after).slice(0, limit)
  }

  async fields(): Promise<readonly string[]> {
    this.#check()
    if (this.#live === undefined) throw new UnavailableError('no index version is live')
    const items = [...this.#indexVersion(this.#live).items.values()]
    return [...new Set(items.flatMap(({ point }) => Object.keys(point.payload.features ?? {})))].sort()
  }

  async holdsAny(features: FeatureFilter): Promise<boolean> {
    this.#check()
    if (this.#live === undefined) throw new UnavailableError('no index version is live')
    return this.#matching(this.#indexVersion(this.#live), { features }, []).length > 0
  }

  async close(): Promise<void> {}

  get liveVersion(): string | undefined {
    return this.#live
  }

  /** What an index version holds, live or not. */
  contents(indexVersion: string): { items: string[]; users: string[] } {
    const { items, users } = this.#indexVersion(indexVersion)
    return { items: [...items.keys()].sort(), users: [...users.keys()].sort() }
  }

  #matching(indexVersion: Version, filter: Filter, recent: readonly ItemId[]): ItemPoint[] {
    const excluded = new Set([...recent, ...(filter.excludeItems ?? [])])
    return [...indexVersion.items.values()]
      .map(({ point }) => point)
      .filter(
        ({ id, payload }) =>
          !excluded.has(id) &&
          filter.excludeHashes?.has(hashKey(id)) !== true &&
          filter.onlyItems?.includes(id) !== false &&
          meets(payload.features, filter.features) &&
          isAvailable(payload, filter.availableAtMs)
      )
  }

  #indexVersion(name: string): Version {
    const indexVersion = this.#versions.get(name)
    if (indexVersion === undefined) throw new UnavailableError(`there is no index version ${name}`)
    return indexVersion
  }

  #check(): void {
    if (this.down) throw new UnavailableError('the index is down')
  }
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}
