// The items of every index version in memory, kept abreast of the store. Each thread or process that searches has one.

import { own } from '../../core/own.ts'
import {
  checkLimit,
  type Filter,
  type InterestQuery,
  type PopularItem,
  type PopularItems,
  type SearchResult,
  type VectorWishes
} from '../vectorIndex.ts'
import type { EmbeddedIndexStore, StoreState, VersionState } from './embeddedIndexStore.ts'
import { noLiveVersion, popularInVersion, searchVersion } from './exactIndex.ts'
import { ExactItems } from './exactIndexItems.ts'

export class EmbeddedIndexSearcher {
  readonly #store: EmbeddedIndexStore
  readonly #versions = new Map<number, ExactItems>() // by generation
  #state: StoreState
  #change = -1

  constructor(store: EmbeddedIndexStore) {
    this.#store = store
    this.#state = store.state()
  }

  /**
   * Applies what was committed since the last time. Everything is read in one turn, hence from one snapshot of the
   * store. @throws CorruptError
   */
  catchUp(): void {
    this.#store.refresh()
    const state = this.#store.state()
    if (state.change !== this.#change) {
      const versions = Object.values(state.versions)
      const generations = new Set(versions.map((indexVersion) => indexVersion.generation))
      for (const generation of this.#versions.keys())
        if (!generations.has(generation)) this.#versions.delete(generation)
      if (this.#change < state.forgotten) this.#versions.clear()
      for (const indexVersion of versions) {
        const items = this.#versions.get(indexVersion.generation)
        if (items === undefined) this.#versions.set(indexVersion.generation, this.#load(indexVersion))
        else this.#update(indexVersion, items)
      }
      this.#change = state.change
    }
    this.#state = state
  }

  search(query: InterestQuery, limit: number, filter?: Filter, wishes?: VectorWishes): SearchResult {
    const { name, indexVersion, items } = this.#live()
    return searchVersion(
      { name, items, user: (userId) => this.#store.user(indexVersion, userId) },
      query,
      limit,
      filter,
      wishes
    )
  }

  popular(limit: number, filter?: Filter, context?: string): PopularItems {
    return popularInVersion(this.#live(), limit, filter, context)
  }

  like(text: string, limit: number): PopularItem[] {
    checkLimit(limit)
    return this.#live().items.like(text, limit)
  }

  /** Bytes held for vectors, and which kernel scores them. */
  report(): { vectorBytes: number; kernel: string } {
    const all = [...this.#versions.values()]
    return { vectorBytes: all.reduce((sum, items) => sum + items.vectorBytes, 0), kernel: all[0]?.kernel ?? 'none' }
  }

  #live(): { name: string; indexVersion: VersionState; items: ExactItems } {
    this.catchUp()
    const name = this.#state.live
    const indexVersion = name === undefined ? undefined : own(this.#state.versions, name)
    const items = indexVersion === undefined ? undefined : this.#versions.get(indexVersion.generation)
    if (name === undefined || indexVersion === undefined || items === undefined) throw noLiveVersion()
    return { name, indexVersion, items }
  }

  #load(indexVersion: VersionState): ExactItems {
    const items = new ExactItems(indexVersion.dimensions)
    for (const [id, item] of this.#store.items(indexVersion)) items.upsert(id, item.step, item.vector, item.payload)
    return items
  }

  #update(indexVersion: VersionState, items: ExactItems): void {
    for (const id of new Set(this.#store.changedItems(indexVersion, this.#change))) {
      const item = this.#store.item(indexVersion, id)
      if (item === undefined) items.remove(id)
      else items.upsert(id, item.step, item.vector, item.payload)
    }
  }
}
