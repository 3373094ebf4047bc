// Recommendations from the index: the items nearest to each interest of a user, merged; for an unknown user, popular
// items.
//
// D dimensions, K interests. A list comes from one index version.

import type { Clock } from '../core/clock.ts'
import { configSchema, type RecommendOptions } from '../core/config/config.ts'
import type { VariantOptions } from '../core/config/servingOptions.ts'
import { BadEventError, UnavailableError } from '../core/errors.ts'
import { hashKey } from '../core/hashKey.ts'
import { own } from '../core/own.ts'
import { excludedHashes } from '../index/excludedItems.ts'
import { type InterestScore, nearestInterest } from '../index/interestScore.ts'
import type { FeatureFilter } from '../index/itemFilter.ts'
import { noVotes, type Votes, votesOf } from '../index/memory.ts'
import { type MergedItem, mergeInterests } from '../index/mergeInterests.ts'
import { contextKey } from '../index/popularity.ts'
import type {
  CandidateQuery,
  CandidateResult,
  Candidates,
  Filter,
  ItemPayload,
  PopularItem,
  PopularItems,
  SearchResult,
  SeenRepeats,
  UserPayload,
  VectorIndex
} from '../index/vectorIndex.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { Recommendations, RecommendedItem, SessionRecommendations, SimilarItems } from './answers.ts'
import { Variants } from './attribution/variants.ts'
import { nearestSteps, strongestVotes } from './reasons.ts'
import type { EncodedSession } from './sessions.ts'
import { awayFromUnwanted } from './unwanted.ts'

export type RecommenderOptions = RecommendOptions

export const defaultRecommenderOptions: RecommenderOptions = configSchema.shape.recommend.parse({})

/** Largest `limit` of a request. */
export const limitMax = 1000

/** `quotaShare` to `repeats`: see `recommend` of the configuration, which is the default. */
export interface ListRequest
  extends Partial<Pick<RecommenderOptions, 'quotaShare' | 'diversity' | 'diversityBy' | 'repeats'>> {
  /** Maximum length of the list. */
  readonly limit: number
  readonly filter?: FeatureFilter
  /** Name for each item the items of the history that are nearest to it, and those after which it is often taken. */
  readonly explain?: boolean
  /** Whether the memory has a say. Default true. */
  readonly memory?: boolean
  /** Excluded besides the history, such as the items in the basket. */
  readonly exclude?: readonly ItemId[]
  /** `hashKey` of items on earlier pages: excluded as well. */
  readonly shown?: ReadonlySet<number>
  /**
   * Facts such as country or device. Where nothing is known of the user, what is popular in this context comes first;
   * the first field with enough interactions counts.
   */
  readonly context?: Readonly<Record<string, string>>
  /** Instead of the arm that the user is in. Must be one of `variants`. */
  readonly variant?: string
}

/** Candidates of each interest for a place of a list whose items are scored by all interests. */
const mixtureCandidatesPerPlace = 2
/** Index versions that may be dropped during one request before it fails. */
const attemptsMax = 3
/** With diversity, items examined for each place of a list: enough to find another for a near-duplicate. */
const candidatesPerPlace = 3
/** Newest items of the history that are compared with a result. */
const becauseHistoryMax = 50
/**
 * Candidates of each interest beyond `limit`, at most: the merge takes limit × candidates × dimensions multiplications
 * on the caller's thread.
 */
const extraCandidatesMax = 100

export class Recommender {
  /** Arms of the experiment. */
  readonly variants: Variants
  readonly #index: VectorIndex
  readonly #clock: Clock
  readonly #options: RecommenderOptions
  readonly #scoring: InterestScore
  readonly #onList: ((items: readonly RecommendedItem[]) => void) | undefined

  /** @param parts.onList gets every list of recommendations, to measure coverage */
  constructor(parts: {
    index: VectorIndex
    clock: Clock
    options?: Partial<RecommenderOptions>
    scoring?: InterestScore | undefined
    onList?: (items: readonly RecommendedItem[]) => void
  }) {
    this.#onList = parts.onList
    this.#index = parts.index
    this.#scoring = parts.scoring ?? nearestInterest
    this.#clock = parts.clock
    this.#options = { ...defaultRecommenderOptions, ...parts.options }
    this.variants = new Variants(this.#options.variants)
  }

  /**
   * A user with vectors gets the items nearest to them, the history excluded; any other user gets popular items. Fewer
   * than `limit` where there are not as many.
   * @throws UnavailableError if nothing is published yet, or the index does not answer
   */
  async recommend(request: ListRequest & { userId: UserId }): Promise<Recommendations> {
    const arm = this.#armOf(request.variant) ?? this.variants.of(request.userId)
    const list = await this.#recommend(arm.popular === true, withOptionsOf(arm, request))
    return this.variants.on ? { ...list, variant: arm.name } : list
  }

  async #recommend(onlyPopular: boolean, request: ListRequest & { userId: UserId }): Promise<Recommendations> {
    const { userId } = request
    if (onlyPopular) {
      const user = await this.#index.user(userId)
      const unseen = user === undefined ? request : this.#withoutSeen(request, user.payload)
      return { userId, ...(await this.popular(unseen, popularVariant)) }
    }
    return this.#fromOneVersion(async () => {
      const found = await this.#search({ by: { userId } }, request)
      if (isEmpty(found.candidates)) {
        const unseen = found.user === undefined ? request : this.#withoutSeen(request, found.user)
        return { userId, ...(await this.popular(unseen, noVectors)) }
      }
      const { recent = [], memory, strengths = [] } = found.user ?? {}
      const candidates = await awayFromUnwanted(this.#index, found, this.#clock.nowMs())
      const own = { history: recent, strengths, votes: memory && votesOf(recent, memory) }
      const list = await this.#list(candidates, request, own)
      return (
        list && {
          userId,
          ...list,
          ...(found.user === undefined ? {} : { updatedAtMs: found.user.updatedAtMs })
        }
      )
    })
  }

  /**
   * For a session that is not stored, by its interests.
   * @param request.vectors [K, D], each of length 1
   * @param request.modelVersion the model version that made them
   * @param request.history newest first
   * @throws UnavailableError if another version is live: cosines between versions mean nothing
   */
  async recommendFor(
    given: ListRequest & EncodedSession & { history?: readonly ItemId[] }
  ): Promise<SessionRecommendations> {
    const arm = this.#armOf(given.variant)
    if (arm?.popular === true) return { ...(await this.popular(given, popularVariant)), variant: arm.name }
    const request = arm === undefined ? given : withOptionsOf(arm, given)
    const { vectors, count, strengths, modelVersion, voting, history = [] } = request
    const votes = voting === undefined ? noVotes : votesOf(history, voting)
    return this.#fromOneVersion(async () => {
      const found = await this.#search({ by: { vectors, count, votes } }, request, history)
      if (found.indexVersion !== modelVersion) {
        throw new UnavailableError(
          `the session was encoded by model version ${modelVersion}, but ${found.indexVersion} is live; try again in a moment`
        )
      }
      if (isEmpty(found.candidates)) return this.popular(request, noKnownItem)
      return this.#list(found, request, { history, strengths, votes })
    })
  }

  /**
   * Popular items, the history excluded: those of the context first, where the request gives one with enough
   * interactions.
   * @param why the list is not personal, in words
   * @throws UnavailableError if nothing is published yet
   */
  async popular(request: ListRequest & { history?: readonly ItemId[] }, why: string): Promise<SessionRecommendations> {
    const { limit, filter, exclude = [], history = [], shown = noneShown, context = {} } = request
    const popular = async (first: readonly PopularItem[], key?: string): Promise<PopularItems> => {
      const excludeItems = [...history, ...exclude, ...first.map(({ itemId }) => itemId)]
      const places = limit - first.length
      const found = await this.#index.popular(places + shown.size, this.#admitted(filter, excludeItems), key)
      return { ...found, items: notShown(found.items, shown).slice(0, places) }
    }
    let within: (PopularItems & { readonly popularIn: string }) | undefined
    for (const [field, value] of Object.entries(context)) {
      const popularIn = contextKey(field, value)
      const found = await popular([], popularIn)
      if (found.items.length === 0) continue
      within = { ...found, popularIn }
      break
    }
    const first = within?.items ?? []
    const others = within === undefined || first.length < limit ? await popular(first) : undefined
    const found = within ?? others!
    // Another version went live in between: then without the context.
    if (others !== undefined && found.indexVersion !== others.indexVersion)
      return this.popular({ ...request, context: {} }, why)
    const items = [...first, ...(others?.items ?? [])].map(({ itemId, score, payload }) => ({
      ...{ itemId, score, interest: null },
      ...wordsOf(payload)
    }))
    this.#onList?.(items)
    return {
      ...{ version: versionOf(found), items, coldStart: 'popular', why },
      ...(within === undefined ? {} : { popularIn: within.popularIn })
    }
  }

  /** What filters can ask for. */
  get features(): Pick<VectorIndex, 'fields' | 'holdsAny'> {
    return this.#index
  }

  /** The items nearest to one; undefined: it is not in the index. @throws UnavailableError as `recommend` does */
  async similar(
    request: { itemId: ItemId } & Pick<ListRequest, 'limit' | 'filter' | 'exclude' | 'shown'>
  ): Promise<SimilarItems | undefined> {
    const { itemId, limit, filter, exclude = [], shown = noneShown } = request
    const similar = await this.#fromOneVersion(async () => {
      const admitted = this.#admitted(filter, [itemId, ...exclude])
      const found = await this.#index.search({ by: { itemId } }, limit + shown.size + 1, admitted)
      if (found.lists === undefined) return 'unknown'
      const nearest = notShown(found.lists[0] ?? [], shown).filter((item) => item.itemId !== itemId)
      const described = await this.#described(
        found,
        nearest.slice(0, limit).map((item) => ({ ...item, interest: 0 }))
      )
      const items = described?.map(({ interest: _, ...item }) => item)
      return items && { itemId, version: versionOf(found), items }
    })
    return similar === 'unknown' ? undefined : similar
  }

  #armOf(name: string | undefined): VariantOptions | undefined {
    if (name === undefined) return undefined
    const arm = this.variants.named(name)
    const known = () => this.variants.shares().map((share) => share.name)
    if (arm === undefined)
      throw new BadEventError(`there is no variant ${JSON.stringify(name)}; known are ${known().join(', ')}`)
    return arm
  }

  #optionsFor({ quotaShare, diversity, diversityBy, repeats }: ListRequest): Omit<RecommenderOptions, 'variants'> {
    const configured = this.#options
    return {
      quotaShare: quotaShare ?? configured.quotaShare,
      diversity: diversity ?? configured.diversity,
      diversityBy: diversityBy ?? configured.diversityBy,
      repeats: repeats ?? configured.repeats
    }
  }

  /** One request to the index. `history`: of a session, which the index does not know. */
  #search(query: CandidateQuery, request: ListRequest, history: readonly ItemId[] = []): Promise<CandidateResult> {
    const { limit, exclude = [], shown = noneShown } = request
    const { diversity, diversityBy, repeats } = this.#optionsFor(request)
    // By the nearest interest `limit` is enough for an exact merge: the best `limit` of all lists together are among
    // the best `limit` of each. For a mixture see MergeOptions.
    const perPlace =
      diversity > 0 ? candidatesPerPlace : this.#scoring.form === 'mixture' ? mixtureCandidatesPerPlace : 1
    const fetch = Math.min(limit * perPlace, limit + extraCandidatesMax)
    const filter: Filter = {
      ...this.#admitted(request.filter, [...(repeats === true ? [] : history), ...exclude]),
      repeats: this.#repeatsOf(repeats)
    }
    return this.#index.candidates(query, fetch + shown.size, filter, {
      ...{ scoring: this.#scoring, memory: request.memory !== false },
      vectors: diversity > 0 && diversityBy === ''
    })
  }

  /** @returns undefined: the index version that was searched is gone */
  async #list(
    found: CandidateResult,
    request: ListRequest,
    { history, strengths, votes = noVotes }: ListSubject
  ): Promise<SessionRecommendations | undefined> {
    const { quotaShare, diversity, diversityBy, repeats } = this.#optionsFor(request)
    const candidates = found.candidates!
    const { shown = noneShown } = request
    const isShown = (itemId: ItemId) => shown.size > 0 && shown.has(hashKey(itemId))
    // Of a stored user the index left out what may not come again.
    const excluded = new Set([
      ...(found.user !== undefined || repeats === true ? [] : history),
      ...(request.exclude ?? []),
      ...candidates.itemIds.filter(isShown)
    ])
    const valuesOf = diversity > 0 && diversityBy !== '' ? await this.#valuesOf(found, diversityBy) : undefined
    const options = { quotaShare, strengths, diversity, scoring: this.#scoring, valuesOf }
    const merged = mergeInterests(candidates, request.limit, excluded, options)
    const reasons = { history, votes: request.memory === false ? noVotes : votes }
    const described = await this.#described(found, merged, request.explain === true ? reasons : undefined)
    if (described === undefined) return undefined
    this.#onList?.(described)
    const isExplained = request.explain === true && strengths.length > 0
    return { version: versionOf(found), items: described, ...(isExplained ? { strengths } : {}) }
  }

  /** What may be in a list: available now, and not excluded. */
  #admitted(features: FeatureFilter = {}, excludeItems: readonly ItemId[]): Filter {
    const availableAtMs = this.#clock.nowMs()
    return { ...(Object.keys(features).length === 0 ? {} : { features }), excludeItems, availableAtMs }
  }

  #repeatsOf(repeats: RecommenderOptions['repeats']): SeenRepeats {
    return { after: repeats === false ? {} : repeats, nowMs: this.#clock.nowMs() }
  }

  /** A request for a list that is not personal, without what the user has seen or does not want. */
  #withoutSeen(request: ListRequest, user: UserPayload): ListRequest {
    const { repeats } = this.#optionsFor(request)
    const excluded = excludedHashes(user, this.#repeatsOf(repeats))
    return { ...request, shown: new Set([...(request.shown ?? []), ...excluded]) }
  }

  /** Values of the candidates of a search in a field of their features. */
  async #valuesOf(
    { indexVersion, candidates }: CandidateResult,
    field: string
  ): Promise<(id: ItemId) => readonly string[]> {
    const items = await this.#index.items(indexVersion, candidates?.itemIds ?? [])
    return (itemId) => own(items.get(itemId)?.payload.features ?? {}, field) ?? []
  }

  /**
   * The items of a list with their titles, in one request. An item that was removed meanwhile is left out.
   *
   * @param reasons where results are to be explained
   * @returns undefined: no item is left, the index version is gone
   */
  async #described(
    { indexVersion }: Pick<SearchResult, 'indexVersion'>,
    merged: readonly MergedItem[],
    reasons?: Reasons
  ): Promise<RecommendedItem[] | undefined> {
    if (merged.length === 0) return []
    const history = new Set(reasons?.history.slice(0, becauseHistoryMax))
    const ids = [...new Set([...merged.map(({ itemId }) => itemId), ...history])]
    const items = await this.#index.items(
      indexVersion,
      ids,
      reasons === undefined ? {} : { vectors: true, memory: reasons.votes.items }
    )
    if (items.size === 0) return undefined
    return merged.flatMap(({ itemId, score, interest }) => {
      const item = items.get(itemId)
      if (item === undefined) return []
      const words = { itemId, score, interest, ...wordsOf(item.payload) }
      if (reasons === undefined) return [words]
      const takenAfter = strongestVotes(item, reasons.votes)
      return [
        {
          ...words,
          because: nearestSteps(itemId, item, history, items),
          ...(takenAfter.length === 0 ? {} : { takenAfter })
        }
      ]
    })
  }

  /** Repeats a request whose index version was dropped between the search and the description of its items. */
  async #fromOneVersion<T>(request: () => Promise<T | undefined>): Promise<T> {
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const answer = await request()
      if (answer !== undefined) return answer
    }
    throw new UnavailableError(`${attemptsMax} index versions in a row were dropped during one request: try again`)
  }
}

/** For whom a list is. */
interface ListSubject {
  /** Newest first. */
  readonly history: readonly ItemId[]
  /** Of the interests; empty: not known. */
  readonly strengths: readonly number[]
  /** Of the history. */
  readonly votes?: Votes | undefined
}

interface Reasons {
  /** Newest first. */
  readonly history: readonly ItemId[]
  readonly votes: Votes
}

const popularVariant = 'the variant lists what is popular'

/** A request with the options of an arm where it has none of its own. */
function withOptionsOf<R extends ListRequest>(
  { name: _, share: __, popular: ___, ...options }: VariantOptions,
  request: R
): R {
  return { ...options, ...request }
}

/** Nothing is known of the user: neither the model nor the memory has an item of the history. */
function isEmpty(candidates: Candidates | undefined): boolean {
  return candidates === undefined || (candidates.interestCount === 0 && candidates.itemIds.length === 0)
}

const noneShown: ReadonlySet<number> = new Set()

function notShown<T extends { readonly itemId: ItemId }>(
  items: readonly T[],
  shown: ReadonlySet<number>
): readonly T[] {
  return shown.size === 0 ? items : items.filter(({ itemId }) => !shown.has(hashKey(itemId)))
}

const noVectors =
  'there are no vectors of this user: no interaction was seen, or the first is not published yet, or the model knows none of the items'
export const noKnownItem = 'the model knows none of the items of the history'

export function versionOf({ indexVersion, step }: Pick<SearchResult, 'indexVersion' | 'step'>): string {
  return `${indexVersion}@${step}`
}

/** Values of features in `about`: more do not fit into a line. */
const aboutMax = 4

/** The title of an item, and some of its features. */
export function wordsOf({ title, features = {} }: Pick<ItemPayload, 'title' | 'features'>): {
  title?: string
  about?: string
} {
  const values = Object.values(features).flat().slice(0, aboutMax)
  return { ...(title === undefined ? {} : { title }), ...(values.length === 0 ? {} : { about: values.join(', ') }) }
}
