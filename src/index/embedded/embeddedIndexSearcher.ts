// The items of every space in memory, kept abreast of the store. Each thread or process that searches has one.

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
import type { EmbeddedIndexStore, SpaceState, StoreState } from './embeddedIndexStore.ts'
import { noLiveSpace, popularInSpace, searchSpace } from './exactIndex.ts'
import { ExactItems } from './exactIndexItems.ts'

export class EmbeddedIndexSearcher {
  readonly #store: EmbeddedIndexStore
  readonly #spaces = new Map<number, ExactItems>() // by generation
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
      const spaces = Object.values(state.spaces)
      const generations = new Set(spaces.map((space) => space.generation))
      for (const generation of this.#spaces.keys()) if (!generations.has(generation)) this.#spaces.delete(generation)
      if (this.#change < state.forgotten) this.#spaces.clear()
      for (const space of spaces) {
        const items = this.#spaces.get(space.generation)
        if (items === undefined) this.#spaces.set(space.generation, this.#load(space))
        else this.#update(space, items)
      }
      this.#change = state.change
    }
    this.#state = state
  }

  search(query: InterestQuery, limit: number, filter?: Filter, wishes?: VectorWishes): SearchResult {
    const { name, space, items } = this.#live()
    return searchSpace({ name, items, user: (userId) => this.#store.user(space, userId) }, query, limit, filter, wishes)
  }

  popular(limit: number, filter?: Filter, context?: string): PopularItems {
    return popularInSpace(this.#live(), limit, filter, context)
  }

  like(text: string, limit: number): PopularItem[] {
    checkLimit(limit)
    return this.#live().items.like(text, limit)
  }

  /** Bytes held for vectors, and which kernel scores them. */
  report(): { vectorBytes: number; kernel: string } {
    const all = [...this.#spaces.values()]
    return { vectorBytes: all.reduce((sum, items) => sum + items.vectorBytes, 0), kernel: all[0]?.kernel ?? 'none' }
  }

  #live(): { name: string; space: SpaceState; items: ExactItems } {
    this.catchUp()
    const name = this.#state.live
    const space = name === undefined ? undefined : own(this.#state.spaces, name)
    const items = space === undefined ? undefined : this.#spaces.get(space.generation)
    if (name === undefined || space === undefined || items === undefined) throw noLiveSpace()
    return { name, space, items }
  }

  #load(space: SpaceState): ExactItems {
    const items = new ExactItems(space.dimensions)
    for (const [id, item] of this.#store.items(space)) items.upsert(id, item.step, item.vector, item.payload)
    return items
  }

  #update(space: SpaceState, items: ExactItems): void {
    for (const id of new Set(this.#store.changedItems(space, this.#change))) {
      const item = this.#store.item(space, id)
      if (item === undefined) items.remove(id)
      else items.upsert(id, item.step, item.vector, item.payload)
    }
  }
}
