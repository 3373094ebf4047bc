// The items of every index version in memory, kept up to date with the store, and the answers from them. Each thread or
// process that searches has one.

import { own } from '../../core/own.ts'
import { excludedHashes } from '../excludedItems.ts'
import { checkLimit, checkQuery, nothingLive } from '../indexChecks.ts'
import type { FeatureFilter } from '../itemFilter.ts'
import { queryInterestsMax } from '../itemTable.ts'
import { noVotes, type Votes, votesOf } from '../memory.ts'
import type {
  CandidateOptions,
  CandidateQuery,
  CandidateResult,
  Filter,
  InterestQuery,
  PopularItem,
  PopularItems,
  SearchOptions,
  SearchResult,
  UserPayload
} from '../vectorIndex.ts'
import { ExactItems } from './exactItems.ts'
import type { IndexStore, StoreState, VersionState } from './indexStore.ts'

export class IndexSearcher {
  readonly #store: IndexStore
  readonly #items = new Map<number, ExactItems>() // by generation
  /** The last change that has been applied. */
  #change = -1

  constructor(store: IndexStore) {
    this.#store = store
  }

  /** Applies what was committed since the last call, from one snapshot of the store. @throws CorruptError */
  catchUp(): StoreState {
    this.#store.refresh()
    const state = this.#store.state()
    if (state.change === this.#change) return state
    const versions = Object.values(state.versions)
    const generations = new Set(versions.map(({ generation }) => generation))
    for (const generation of this.#items.keys()) {
      if (!generations.has(generation) || this.#change < state.forgotten) this.#items.delete(generation)
    }
    for (const version of versions) {
      const items = this.#items.get(version.generation)
      if (items === undefined) this.#items.set(version.generation, this.#load(version))
      else this.#update(version, items)
    }
    this.#change = state.change
    return state
  }

  /** @throws ConfigError for given vectors that are not unit vectors [Q, D], or a bad limit */
  search({ by }: InterestQuery, limit: number, filter: Filter = {}, options: SearchOptions = {}): SearchResult {
    checkLimit(limit)
    const { version, items, answer } = this.#live()
    let admitted = filter
    let vectors: Float32Array
    let user: UserPayload | undefined
    if ('userId' in by) {
      const stored = this.#store.user(version, by.userId)
      if (stored === undefined) return { ...answer, lists: undefined }
      vectors = stored.vectors
      user = stored.payload
      admitted = withoutSeen(filter, user)
    } else if ('itemId' in by) {
      const item = items.get(by.itemId)
      if (item === undefined) return { ...answer, lists: undefined }
      vectors = item.vector
      admitted = { ...filter, excludeItems: [...(filter.excludeItems ?? []), by.itemId] }
    } else {
      vectors = by.vectors
      checkQuery(vectors, by.count, items.dimensions, queryInterestsMax)
    }
    const lists = items.search(vectors, limit, admitted, options)
    return { ...answer, lists, ...(user === undefined ? {} : { user }) }
  }

  /** @throws as `search` */
  candidates({ by }: CandidateQuery, limit: number, filter: Filter, options: CandidateOptions): CandidateResult {
    checkLimit(limit)
    const { version, items, answer } = this.#live()
    const stored = 'userId' in by ? this.#store.user(version, by.userId) : undefined
    if ('userId' in by && stored === undefined) return { ...answer, candidates: undefined }
    const user = stored?.payload
    const given = 'userId' in by ? { vectors: stored!.vectors, votes: votesOfUser(user!) } : by
    if (!('userId' in by)) checkQuery(by.vectors, by.count, items.dimensions, queryInterestsMax, 0)
    const admitted = user === undefined ? filter : withoutSeen(filter, user)
    const votes = options.memory === false ? noVotes : (given.votes ?? noVotes)
    const candidates = items.candidates(given.vectors, votes, limit, admitted, options)
    return { ...answer, candidates, ...(user === undefined ? {} : { user }) }
  }

  /** @throws ConfigError for a bad limit */
  popular(limit: number, filter: Filter = {}, context?: string): PopularItems {
    checkLimit(limit)
    const { items, answer } = this.#live()
    return { ...answer, items: items.popular(limit, filter, context) }
  }

  itemsLike(text: string, limit: number, filter: Filter = {}): PopularItem[] {
    checkLimit(limit)
    return this.#live().items.like(text, limit, filter)
  }

  fields(): string[] {
    return this.#live().items.fields()
  }

  holdsAny(features: FeatureFilter): boolean {
    return this.#live().items.holdsAny(features)
  }

  #live() {
    const { live: indexVersion, versions } = this.catchUp()
    const version = indexVersion === undefined ? undefined : own(versions, indexVersion)
    const items = version && this.#items.get(version.generation)
    if (indexVersion === undefined || version === undefined || items === undefined) throw nothingLive()
    return { version, items, answer: { indexVersion, step: items.step } }
  }

  #load(version: VersionState): ExactItems {
    const items = new ExactItems(version.dimensions)
    for (const [id, item] of this.#store.items(version))
      items.upsert(id, item.step, item.vector, item.payload, item.list)
    return items
  }

  #update(version: VersionState, items: ExactItems): void {
    for (const id of new Set(this.#store.changedItems(version, this.#change))) {
      const item = this.#store.item(version, id)
      if (item === undefined) items.remove(id)
      else items.upsert(id, item.step, item.vector, item.payload, item.list)
    }
  }
}

/** The filter, which also excludes what the user has seen or does not want, unless it says otherwise. */
function withoutSeen(filter: Filter, user: UserPayload): Filter {
  const { excludeRecent = true, excludeHashes, repeats } = filter
  if (!excludeRecent) return filter
  const seen = excludedHashes(user, repeats)
  return { ...filter, excludeHashes: excludeHashes === undefined ? seen : new Set([...seen, ...excludeHashes]) }
}

function votesOfUser({ recent, memory }: UserPayload): Votes {
  return memory === undefined ? noVotes : votesOf(recent, memory)
}
