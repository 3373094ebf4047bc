// The vector index without a server: durable on disk, exact, searched on a thread of its own. Twin of the Qdrant one.

import { own } from '../../core/own.ts'
import { handledLater } from '../../core/promises.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'
import { checkLimit, nothingLive } from '../indexChecks.ts'
import type { FeatureFilter } from '../itemFilter.ts'
import { weightsIn } from '../memory.ts'
import type {
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
  PointCounts,
  PopularItem,
  PopularItems,
  Role,
  SearchOptions,
  SearchResult,
  StoredUser,
  UserPayload,
  VectorIndex,
  VectorPoint,
  VersionShape
} from '../vectorIndex.ts'
import { IndexSearcher } from './indexSearcher.ts'
import { IndexStore, type VersionState } from './indexStore.ts'
import { type SearchTasks, SearchThread } from './searchThread.ts'

export interface EmbeddedIndexOptions {
  /**
   * Search on a separate thread. Without it a search blocks the caller: for a command that searches once, and for a
   * process that only writes. Default true.
   */
  readonly searchThread?: boolean
  /** Of the process: they supervise the thread. */
  readonly tasks?: SearchTasks
}

/**
 * Any number of these may be open on one directory, in any threads and processes, for reading and writing: a search
 * begun after a write resolved, wherever that was, sees it.
 */
export class EmbeddedIndex implements VectorIndex {
  readonly #store: IndexStore
  readonly #thread: SearchThread | undefined
  #searcher: IndexSearcher | undefined
  #closed: Promise<void> | undefined

  private constructor(store: IndexStore, thread: SearchThread | undefined) {
    this.#store = store
    this.#thread = thread
  }

  /**
   * Creates the directory if there is none. With a search thread, resolves when every item is in memory; without one
   * the first search loads them.
   *
   * @throws CorruptError if what is there is damaged, or is not an index
   */
  static async open(
    directory: string,
    { searchThread = true, tasks }: EmbeddedIndexOptions = {}
  ): Promise<EmbeddedIndex> {
    const store = await IndexStore.open(directory)
    try {
      await store.sweep()
      return new EmbeddedIndex(store, searchThread ? await SearchThread.start(directory, tasks) : undefined)
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /** Rewrites the file without the bytes of removed points. It must not be open anywhere. */
  static rewrite(directory: string): Promise<void> {
    return IndexStore.rewrite(directory)
  }

  createVersion(version: string, shape: VersionShape): Promise<void> {
    return this.#store.createVersion(version, shape)
  }

  upsert(version: string, step: number, points: readonly VectorPoint[]): Promise<number> {
    return this.#store.upsert(version, step, points)
  }

  updateMemory(version: string, step: number, lists: readonly ItemMemory[]): Promise<number> {
    return this.#store.updateMemory(version, step, lists)
  }

  remove(version: string, role: Role, ids: readonly string[]): Promise<void> {
    return this.#store.remove(version, role, ids)
  }

  erase(userIds: readonly UserId[]): Promise<void> {
    return this.#store.erase(userIds)
  }

  promote(version: string, expected: PointCounts): Promise<void> {
    return this.#store.promote(version, expected)
  }

  dropVersion(version: string): Promise<void> {
    return this.#store.dropVersion(version)
  }

  async versions(): Promise<readonly string[]> {
    this.#store.refresh()
    return Object.keys(this.#store.state().versions)
  }

  async live(): Promise<IndexState | undefined> {
    const live = this.#live()
    if (live === undefined) return undefined
    const { step, items, users, dimensions, interestCount } = live.version
    return { indexVersion: live.name, step, items, users, dimensions, interestCount }
  }

  async search(...query: [InterestQuery, number, Filter?, SearchOptions?]): Promise<SearchResult> {
    return this.#thread === undefined ? this.#local().search(...query) : this.#thread.call('search', query)
  }

  async candidates(...query: [CandidateQuery, number, Filter, CandidateOptions]): Promise<CandidateResult> {
    return this.#thread === undefined ? this.#local().candidates(...query) : this.#thread.call('candidates', query)
  }

  async popular(...query: [limit: number, filter?: Filter, context?: string]): Promise<PopularItems> {
    return this.#thread === undefined ? this.#local().popular(...query) : this.#thread.call('popular', query)
  }

  async fields(): Promise<readonly string[]> {
    return this.#thread === undefined ? this.#local().fields() : this.#thread.call('fields', [])
  }

  async holdsAny(features: FeatureFilter): Promise<boolean> {
    return this.#thread === undefined ? this.#local().holdsAny(features) : this.#thread.call('holdsAny', [features])
  }

  async itemsLike(...query: [text: string, limit: number, filter?: Filter]): Promise<readonly PopularItem[]> {
    return this.#thread === undefined ? this.#local().itemsLike(...query) : this.#thread.call('itemsLike', query)
  }

  async items(
    version: string,
    ids: readonly ItemId[],
    { vectors = false, memory }: DescribeOptions = {}
  ): Promise<ReadonlyMap<ItemId, DescribedItem>> {
    this.#store.refresh()
    const state = own(this.#store.state().versions, version)
    const found = new Map<ItemId, DescribedItem>()
    for (const id of state === undefined ? [] : ids) {
      const item = this.#store.item(state!, id)
      if (item === undefined) continue
      found.set(id, {
        payload: item.payload,
        ...(vectors ? { vector: item.vector } : {}),
        ...(memory === undefined ? {} : { memory: weightsIn(item.list.read(), memory) })
      })
    }
    return found
  }

  async user(userId: UserId): Promise<StoredUser | undefined> {
    const live = this.#live()
    const user = live && this.#store.user(live.version, userId)
    return user && { payload: user.payload, vectors: user.vectors }
  }

  async item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined> {
    const live = this.#live()
    const item = live && this.#store.item(live.version, itemId)
    return item && { payload: item.payload, vector: item.vector }
  }

  async usersAfter(after: UserId | undefined, limit: number): Promise<readonly UserId[]> {
    checkLimit(limit)
    const live = this.#live()
    if (live === undefined) throw nothingLive()
    return this.#store.usersAfter(live.version, after, limit)
  }

  async usersFrom(prefix: string, limit: number): Promise<{ userId: UserId; payload: UserPayload }[]> {
    checkLimit(limit)
    const live = this.#live()
    return live === undefined ? [] : this.#store.usersFrom(live.version, prefix, limit)
  }

  /** Waits for the searches and writes that were begun. */
  close(): Promise<void> {
    this.#closed ??= handledLater(Promise.resolve(this.#thread?.close()).then(() => this.#store.close()))
    return this.#closed
  }

  #local(): IndexSearcher {
    this.#searcher ??= new IndexSearcher(this.#store)
    return this.#searcher
  }

  #live(): { name: string; version: VersionState } | undefined {
    this.#store.refresh()
    const { live: name, versions } = this.#store.state()
    const version = name === undefined ? undefined : own(versions, name)
    return name === undefined || version === undefined ? undefined : { name, version }
  }
}
