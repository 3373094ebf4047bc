// What to show a user: the items nearest to each interest, merged; what is popular to one never seen.
//
// D dimensions, K interests.

import type { Clock } from '../base/clock.ts'
import { UnavailableError } from '../base/errors.ts'
import type { ItemId, UserId } from '../event/interaction.ts'
import type { Filter, ItemPayload, Neighbour, SearchResult, VectorIndex } from '../retrieval/vectorIndex.ts'
import { defaultQuotaShare, mergeInterests } from './mergeInterests.ts'

export interface RecommenderOptions {
  /** See MergeOptions. */
  readonly quotaShare: number
  /** See MergeOptions. */
  readonly diversity: number
  /** Items of the history that may explain one result. Default 3: more is not read. */
  readonly becauseMax: number
  /** Least cosine between a result and what explains it. Default 0.3: in 64 dimensions two unrelated unit vectors stay below it 99% of the time. */
  readonly becauseScoreMin: number
  /** Newest items of the history that are looked at for an explanation: each costs a look-up. Default 50, a usual window. */
  readonly becauseHistoryMax: number
}

export const defaultRecommenderOptions: RecommenderOptions = {
  quotaShare: defaultQuotaShare,
  diversity: 0,
  becauseMax: 3,
  becauseScoreMin: 0.3,
  becauseHistoryMax: 50
}

/** Field → value that an item must have. */
export type FeatureFilter = Readonly<Record<string, string>>

export interface RecommendedItem {
  readonly itemId: ItemId
  /** Cosine to the nearest interest, −1 … 1; where the list is of what is popular, the item's share of all interactions. */
  readonly score: number
  /** 0-based tower that found it; null: popular. */
  readonly interest: number | null
  readonly title?: string
  /** Some of its features, `Comedy, Drama`. */
  readonly about?: string
  /** Items of the user's own history that are nearest to it, nearest first. */
  readonly because?: readonly ItemId[]
}

export interface Recommendations {
  readonly userId: UserId
  /** `space@step` of the vectors that answered. */
  readonly version: string
  /** By score, best first, equal ones by id. */
  readonly items: readonly RecommendedItem[]
  /** Why the list is not personal: the user has no vectors yet. */
  readonly coldStart?: 'popular'
  /** How old the user's vectors are, milliseconds. */
  readonly vectorsAgeMs?: number
}

export interface SimilarItems {
  readonly itemId: ItemId
  readonly version: string
  readonly items: readonly { readonly itemId: ItemId; readonly score: number; readonly title?: string; readonly about?: string }[]
}

/** With `diversity`, candidates per place of the list: enough that leaving a near-duplicate out finds another. */
const diversityCandidates = 3

export class Recommender {
  readonly #index: VectorIndex
  readonly #clock: Clock
  readonly #options: RecommenderOptions
  readonly #onList: ((items: readonly RecommendedItem[]) => void) | undefined

  /** @param parts.onList is told of every list that `recommend` answers with: what coverage is measured from */
  constructor(parts: {
    index: VectorIndex
    clock: Clock
    options?: Partial<RecommenderOptions>
    onList?: (items: readonly RecommendedItem[]) => void
  }) {
    this.#onList = parts.onList
    this.#index = parts.index
    this.#clock = parts.clock
    this.#options = { ...defaultRecommenderOptions, ...parts.options }
  }

  /**
   * A user with vectors gets the items nearest to them, the history excluded; any other what is popular now. Fewer than `limit` where there are not as many.
   * @throws UnavailableError if nothing is published yet, or the index does not answer
   */
  async recommend(request: { userId: UserId; limit: number; filter?: FeatureFilter; explain?: boolean }): Promise<Recommendations> {
    const recommendations = await this.#recommend(request)
    this.#onList?.(recommendations.items)
    return recommendations
  }

  async #recommend(request: { userId: UserId; limit: number; filter?: FeatureFilter; explain?: boolean }): Promise<Recommendations> {
    const { userId, limit, filter, explain = false } = request
    const found = await this.#index.search({ by: { userId } }, this.#fetch(limit), filterOf(filter))
    if (found.lists === undefined) return { userId, ...(await this.#popular(found, limit, filter)) }
    const recent = found.user?.recent ?? []
    const items = await this.#merge(found.lists, limit, new Set(recent))
    const because = explain ? await this.#because(items, recent) : undefined
    return {
      userId,
      version: versionOf(found),
      items: items.map((item) => ({ ...item, ...(because === undefined ? {} : { because: because.get(item.itemId) ?? [] }) })),
      ...(found.user === undefined ? {} : { vectorsAgeMs: Math.max(0, this.#clock.nowMs() - found.user.updatedAtMs) })
    }
  }

  /**
   * For a session that is not stored: given interests.
   * @param request.vectors [K, D], each of length 1
   * @param request.space the model lineage that made them
   * @throws UnavailableError if another space is live: their cosines would mean nothing
   */
  async recommendFor(request: {
    vectors: Float32Array
    count: number
    space: string
    limit: number
    history?: readonly ItemId[]
    filter?: FeatureFilter
  }): Promise<Omit<Recommendations, 'userId'>> {
    const { vectors, count, space, limit, history = [], filter } = request
    const found = await this.#index.search({ by: { vectors, count } }, this.#fetch(limit), {
      ...filterOf(filter),
      excludeItems: history
    })
    if (found.space !== space) {
      throw new UnavailableError(
        `the session was encoded for space ${space}, but ${found.space} is live; try again when it has been switched`
      )
    }
    return { version: versionOf(found), items: await this.#merge(found.lists ?? [], limit, new Set(history)) }
  }

  /** What is popular now, without the history. */
  async popular(request: { limit: number; history?: readonly ItemId[]; filter?: FeatureFilter }): Promise<Omit<Recommendations, 'userId'>> {
    const live = await this.#index.live()
    if (live === undefined) throw new UnavailableError('nothing is published yet: no space of the index is live')
    return this.#popular(live, request.limit, request.filter, request.history)
  }

  /** The items nearest to one; undefined: it is not in the index. @throws UnavailableError as `recommend` does */
  async similar({ itemId, limit, filter }: { itemId: ItemId; limit: number; filter?: FeatureFilter }): Promise<SimilarItems | undefined> {
    const found = await this.#index.search({ by: { itemId } }, limit + 1, { ...filterOf(filter), excludeItems: [itemId] })
    if (found.lists === undefined) return undefined
    const items = mergeInterests(found.lists, limit, new Set([itemId]), { quotaShare: 0 })
    return { itemId, version: versionOf(found), items: items.map(({ itemId, score, payload }) => ({ itemId, score, ...wordsOf(payload) })) }
  }

  async #merge(
    lists: readonly (readonly Neighbour[])[],
    limit: number,
    history: ReadonlySet<ItemId>
  ): Promise<{ itemId: ItemId; score: number; interest: number; title?: string; about?: string }[]> {
    const { quotaShare, diversity } = this.#options
    const candidates = diversity > 0 ? new Set(lists.flat().map(({ itemId }) => itemId)) : []
    const vectors = await this.#vectors(candidates)
    const merged = mergeInterests(lists, limit, history, { quotaShare, diversity, vectorOf: (itemId) => vectors.get(itemId) })
    return merged.map(({ itemId, score, interest, payload }) => ({ itemId, score, interest, ...wordsOf(payload) }))
  }

  /**
   * How many neighbours to ask of each interest. `limit` is enough for an exact merge: the best `limit` of all lists together are among the best
   * `limit` of each, and the index leaves the history out by itself.
   */
  #fetch(limit: number): number {
    return this.#options.diversity > 0 ? limit * diversityCandidates : limit
  }

  async #popular(
    version: Pick<SearchResult, 'space' | 'step'>,
    limit: number,
    filter: FeatureFilter | undefined,
    history: readonly ItemId[] = []
  ): Promise<Omit<Recommendations, 'userId'>> {
    const found = await this.#index.popular(limit, { ...filterOf(filter), excludeItems: history })
    const items = found.map(({ itemId, score, payload }) => ({ itemId, score, interest: null, ...wordsOf(payload) }))
    return { version: versionOf(version), items, coldStart: 'popular' }
  }

  /** The history's nearest items to each result, by item vectors. An item that has none any more explains nothing. */
  async #because(items: readonly { itemId: ItemId }[], recent: readonly ItemId[]): Promise<Map<ItemId, ItemId[]>> {
    const { becauseMax, becauseScoreMin, becauseHistoryMax } = this.#options
    const history = recent.slice(0, becauseHistoryMax)
    const vectors = await this.#vectors([...history, ...items.map(({ itemId }) => itemId)])
    const because = new Map<ItemId, ItemId[]>()
    for (const { itemId } of items) {
      const vector = vectors.get(itemId)
      if (vector === undefined) continue
      const near: { itemId: ItemId; score: number }[] = []
      for (const own of history) {
        const score = cosine(vector, vectors.get(own))
        if (score >= becauseScoreMin) near.push({ itemId: own, score })
      }
      // Sorting is stable: of equally near ones the newer comes first.
      near.sort((a, b) => b.score - a.score)
      because.set(
        itemId,
        near.slice(0, becauseMax).map((step) => step.itemId)
      )
    }
    return because
  }

  async #vectors(itemIds: Iterable<ItemId>): Promise<Map<ItemId, Float32Array>> {
    const ids = [...new Set(itemIds)]
    const found = await Promise.all(ids.map((itemId) => this.#index.item(itemId)))
    return new Map(ids.flatMap((itemId, i) => (found[i] === undefined ? [] : [[itemId, found[i].vector] as const])))
  }
}

export function versionOf({ space, step }: Pick<SearchResult, 'space' | 'step'>): string {
  return `${space}@${step}`
}

function filterOf(features: FeatureFilter | undefined): Filter {
  return features === undefined || Object.keys(features).length === 0 ? {} : { features }
}

/** More does not fit into a line. */
const aboutMax = 4

/** What a reader is told of an item. */
export function wordsOf({ title, features = {} }: Pick<ItemPayload, 'title' | 'features'>): { title?: string; about?: string } {
  const values = Object.values(features).flat().slice(0, aboutMax)
  return { ...(title === undefined ? {} : { title }), ...(values.length === 0 ? {} : { about: values.join(', ') }) }
}

/** −1 for a vector that is not there. */
function cosine(a: Float32Array, b: Float32Array | undefined): number {
  if (b === undefined) return -1
  let sum = 0
  for (let d = 0; d < a.length; d++) sum += a[d]! * b[d]!
  return sum
}
