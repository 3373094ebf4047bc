// The vector index that needs no server: durable on disk, exact, searched off the caller's thread. Twin of the Qdrant
// one.

import { own } from '../../core/own.ts'
import { handledLater } from '../../core/promises.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'
import {
  checkLimit,
  type DescribedItem,
  type Filter,
  type IndexState,
  type InterestQuery,
  type ItemPayload,
  type PopularItem,
  type PopularItems,
  type SearchResult,
  type UserPayload,
  type VectorIndex,
  type VectorPoint,
  type VectorWishes,
  type VersionShape
} from '../vectorIndex.ts'
import { EmbeddedIndexSearcher } from './embeddedIndexSearcher.ts'
import { EmbeddedIndexStore, type VersionState } from './embeddedIndexStore.ts'
import { EmbeddedIndexThread } from './embeddedIndexThread.ts'

export interface EmbeddedIndexOptions {
  /**
   * Search on a thread of its own. Without it searches hold up the caller: for a command that asks once, and for a
   * process that only writes. Default true.
   */
  readonly searchThread?: boolean
}

/** How often the search thread takes in what others wrote while nobody searches. */
const catchUpMs = 200

/**
 * Any number of these may be open on one directory, in any threads and processes, for reading and writing: a search
 * begun after a write resolved, wherever that was, sees it.
 */
export class EmbeddedIndex implements VectorIndex {
  readonly #store: EmbeddedIndexStore
  readonly #thread: EmbeddedIndexThread | undefined
  #searcher: EmbeddedIndexSearcher | undefined
  #closed: Promise<void> | undefined

  private constructor(store: EmbeddedIndexStore, thread: EmbeddedIndexThread | undefined) {
    this.#store = store
    this.#thread = thread
  }

  /**
   * Makes the directory if there is none. With a search thread, resolves when every item is in memory; without one the
   * first search loads them.
   *
   * @throws CorruptError if what is there is damaged, or is no index
   */
  static async open(directory: string, options: EmbeddedIndexOptions = {}): Promise<EmbeddedIndex> {
    const store = await EmbeddedIndexStore.open(directory)
    try {
      await store.sweep()
      const thread =
        options.searchThread === false ? undefined : await EmbeddedIndexThread.start({ directory, catchUpMs })
      return new EmbeddedIndex(store, thread)
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /** Writes the files anew, without the bytes of what was removed. Nobody may have the index open. */
  static rewrite(directory: string): Promise<void> {
    return EmbeddedIndexStore.rewrite(directory)
  }

  createVersion(indexVersion: string, shape: VersionShape): Promise<void> {
    return this.#store.createVersion(indexVersion, shape)
  }

  upsert(indexVersion: string, step: number, points: readonly VectorPoint[]): Promise<number> {
    return this.#store.upsert(indexVersion, step, points)
  }

  remove(indexVersion: string, role: 'item' | 'user', ids: readonly string[]): Promise<void> {
    return this.#store.remove(indexVersion, role, ids)
  }

  erase(userIds: readonly UserId[]): Promise<void> {
    return this.#store.erase(userIds)
  }

  promote(indexVersion: string, expected: { items: number; users: number }): Promise<void> {
    return this.#store.promote(indexVersion, expected)
  }

  dropVersion(indexVersion: string): Promise<void> {
    return this.#store.dropVersion(indexVersion)
  }

  async versions(): Promise<readonly string[]> {
    this.#store.refresh()
    return Object.keys(this.#store.state().versions)
  }

  async live(): Promise<IndexState | undefined> {
    const live = this.#live()
    if (live === undefined) return undefined
    const { step, items, users, dimensions, interestCount } = live.indexVersion
    return { indexVersion: live.name, step, items, users, dimensions, interestCount }
  }

  async search(query: InterestQuery, limit: number, filter?: Filter, wishes?: VectorWishes): Promise<SearchResult> {
    if (this.#thread === undefined) return this.#here().search(query, limit, filter, wishes)
    return this.#thread.ask<SearchResult>({ kind: 'search', query, limit, filter, wishes })
  }

  async popular(limit: number, filter?: Filter, context?: string): Promise<PopularItems> {
    if (this.#thread === undefined) return this.#here().popular(limit, filter, context)
    return this.#thread.ask<PopularItems>({ kind: 'popular', limit, filter, context })
  }

  async items(
    indexVersion: string,
    ids: readonly ItemId[],
    { vectors = false }: VectorWishes = {}
  ): Promise<ReadonlyMap<ItemId, DescribedItem>> {
    this.#store.refresh()
    const { versions } = this.#store.state()
    const state = own(versions, indexVersion)
    if (state === undefined) return new Map()
    return new Map(
      ids.flatMap((id) => {
        const item = this.#store.item(state, id)
        return item === undefined
          ? []
          : [[id, { payload: item.payload, ...(vectors ? { vector: item.vector } : {}) }] as const]
      })
    )
  }

  async user(userId: UserId): Promise<{ payload: UserPayload; vectors: Float32Array } | undefined> {
    const live = this.#live()
    const user = live && this.#store.user(live.indexVersion, userId)
    return user && { payload: user.payload, vectors: user.vectors }
  }

  async item(itemId: ItemId): Promise<{ payload: ItemPayload; vector: Float32Array } | undefined> {
    const live = this.#live()
    const item = live && this.#store.item(live.indexVersion, itemId)
    return item && { payload: item.payload, vector: item.vector }
  }

  async usersFrom(prefix: string, limit: number): Promise<{ userId: UserId; payload: UserPayload }[]> {
    checkLimit(limit)
    const live = this.#live()
    return live === undefined
      ? []
      : this.#store.usersFrom(live.indexVersion, prefix, limit).map(([userId, { payload }]) => ({ userId, payload }))
  }

  async itemsLike(text: string, limit: number): Promise<readonly PopularItem[]> {
    if (this.#thread === undefined) return this.#here().like(text, limit)
    return this.#thread.ask<PopularItem[]>({ kind: 'like', text, limit })
  }

  /** Bytes that the searcher holds for vectors, and the kernel that scores them. */
  async report(): Promise<{ vectorBytes: number; kernel: string }> {
    return this.#thread === undefined ? this.#here().report() : this.#thread.ask({ kind: 'report' })
  }

  /** Waits for what was asked and written. A second call waits for the first. */
  close(): Promise<void> {
    this.#closed ??= handledLater(
      (async () => {
        await this.#thread?.close()
        await this.#store.close()
      })()
    )
    return this.#closed
  }

  #here(): EmbeddedIndexSearcher {
    this.#searcher ??= new EmbeddedIndexSearcher(this.#store)
    return this.#searcher
  }

  #live(): { name: string; indexVersion: VersionState } | undefined {
    this.#store.refresh()
    const { live, versions } = this.#store.state()
    const indexVersion = live === undefined ? undefined : own(versions, live)
    return live === undefined || indexVersion === undefined ? undefined : { name: live, indexVersion }
  }
}
