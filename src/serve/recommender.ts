// Recommendations from the index: the items nearest to each interest of a user, merged; for an unknown user, popular
// items.
//
// Whatever leaves items out of a list, or moves them, is decided here in this order: the index searches among the items
// that are available, meet the filter and are neither seen, excluded nor on an earlier page (`#filter`), once for the
// list and once for each rule; scores change by what is not wanted and by boosts; interests are merged; pins take their
// places.
//
// D dimensions, K interests. A list comes from one index version.

import type { Clock } from '../core/clock.ts'
import type { VariantOptions } from '../core/config/servingOptions.ts'
import { BadEventError, UnavailableError } from '../core/errors.ts'
import { excludedHashes, unwantedItems } from '../index/excludedItems.ts'
import { nothingLive } from '../index/indexChecks.ts'
import { type InterestScore, nearestInterest } from '../index/interestScore.ts'
import { queryInterestsMax } from '../index/itemTable.ts'
import { noVotes, type Votes, votesOf } from '../index/memory.ts'
import { type MergedItem, mergeInterests } from '../index/mergeInterests.ts'
import type {
  CandidateQuery,
  CandidateResult,
  Candidates,
  Filter,
  SeenRepeats,
  UserPayload,
  VectorIndex
} from '../index/vectorIndex.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { Recommendations, SessionRecommendations, SimilarItems } from './answers.ts'
import { Variants } from './attribution/variants.ts'
import { describedItems, valuesIn, versionOf } from './describedItems.ts'
import { defaultRecommenderOptions, type ListRequest, type RecommenderOptions, withOptionsOf } from './listRequest.ts'
import {
  effectsOf,
  filterOfRule,
  pinnedMax,
  pinsOf,
  type Rule,
  type RuleEffect,
  rescored,
  rulesOfConfiguration,
  union,
  withPins
} from './listRules.ts'
import { popularList } from './popularList.ts'
import type { EncodedSession } from './sessions.ts'
import { type Companions, companionsOf, type Together } from './together.ts'
import { awayFrom } from './unwanted.ts'

/** Candidates of each interest for a place of a list whose items are scored by all interests. */
const mixtureCandidatesPerPlace = 2
/** Index versions that may be dropped during one request before it fails. */
const attemptsMax = 3
/** With diversity, items examined for each place of a list: enough to find another for a near-duplicate. */
const candidatesPerPlace = 3
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
  readonly #rules: readonly Rule[]
  readonly #scoring: InterestScore

  /** @throws ConfigError for rules that cannot be used */
  constructor(parts: {
    index: VectorIndex
    clock: Clock
    options?: Partial<RecommenderOptions>
    scoring?: InterestScore | undefined
  }) {
    this.#index = parts.index
    this.#scoring = parts.scoring ?? nearestInterest
    this.#clock = parts.clock
    this.#options = { ...defaultRecommenderOptions, ...parts.options }
    this.variants = new Variants(this.#options.variants)
    this.#rules = rulesOfConfiguration(this.#options.rules)
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
    const popular = async (user: UserPayload | undefined, why: string) => ({
      ...{ userId, ...(await this.popular({ ...request, users: user === undefined ? [] : [user] }, why)) }
    })
    if (onlyPopular) return popular((await this.#index.user(userId))?.payload, popularVariant)
    return this.#fromOneVersion(async () => {
      const choice = await this.#choice({ userId }, request)
      if (choice === undefined) return undefined
      const { user, candidates } = choice.found
      if (isEmpty(candidates)) {
        return popular(user, noVectors)
      }
      const { recent = [], memory, strengths = [], updatedAtMs } = user ?? {}
      const list = await this.#list(choice, request, {
        ...{ history: recent, strengths, votes: memory && votesOf(recent, memory) }
      })
      return list && { userId, ...list, ...(updatedAtMs === undefined ? {} : { updatedAtMs }) }
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
      const choice = await this.#choice({ vectors, count, votes }, request, history)
      if (choice === undefined) return undefined
      const { indexVersion, candidates } = choice.found
      if (indexVersion !== modelVersion) {
        throw new UnavailableError(
          `the session was encoded by model version ${modelVersion}, but ${indexVersion} is live; try again in a moment`
        )
      }
      if (isEmpty(candidates)) return this.popular(request, noKnownItem)
      return this.#list(choice, request, { history, strengths, votes })
    })
  }

  /**
   * One list for several users, for a basket, or both: by all of their interests and by the items of the basket. What
   * any of the users has seen or does not want is excluded.
   * @throws UnavailableError as `recommend` does, BadEventError where there are too many interests
   */
  async recommendTogether(given: ListRequest & Together): Promise<SessionRecommendations> {
    const arm = this.#armOf(given.variant)
    const request = arm === undefined ? given : withOptionsOf(arm, given)
    return this.#fromOneVersion(async () => {
      const live = await this.#index.live()
      if (live === undefined) throw nothingLive()
      const together = await companionsOf(this.#index, live, request)
      const { vectors, count, votes, users, basket, history, strengths, unknown } = together
      if (count > queryInterestsMax)
        throw new BadEventError(`users and basket have ${count} interests together: at most ${queryInterestsMax}`)
      const unwanted = users.flatMap((user) => unwantedItems(user, this.#clock.nowMs()))
      const all = { ...request, users, exclude: [...(request.exclude ?? []), ...basket] }
      const choice = await this.#choice({ vectors, count, votes }, all, [], unwanted)
      if (choice === undefined || choice.found.indexVersion !== live.indexVersion) return undefined
      const isPopular = arm?.popular === true
      const list =
        isPopular || isEmpty(choice.found.candidates)
          ? await this.popular(all, isPopular ? popularVariant : noneKnown)
          : await this.#list(choice, all, { history, strengths, votes, companions: together })
      const warnings = unknown.map((userId) => `there are no vectors of user ${JSON.stringify(userId)}`)
      return (
        list && {
          ...list,
          ...(arm === undefined ? {} : { variant: arm.name }),
          ...(warnings.length === 0 ? {} : { warnings })
        }
      )
    })
  }

  /**
   * Popular items, the history excluded: those of the context first, where the request gives one with enough
   * interactions.
   * @param why the list is not personal, in words
   * @throws UnavailableError if nothing is published yet
   */
  async popular(request: ListRequest & { history?: readonly ItemId[] }, why: string): Promise<SessionRecommendations> {
    const { boosts, pins } = this.#rulesOf(request)
    return popularList({
      ...{ request, boosts, pins, why, perPlace: this.#perPlace(boosts, 1) },
      search: (count, without, rule, key) =>
        this.#index.popular(count, this.#filter(request, [...(request.history ?? []), ...without], rule), key)
    })
  }

  get features(): Pick<VectorIndex, 'fields' | 'holdsAny'> {
    return this.#index
  }

  /** The items nearest to one; undefined: it is not in the index. @throws UnavailableError as `recommend` does */
  async similar(
    request: { itemId: ItemId } & Pick<ListRequest, 'limit' | 'filter' | 'exclude' | 'shown'>
  ): Promise<SimilarItems | undefined> {
    const { itemId, limit } = request
    const similar = await this.#fromOneVersion(async () => {
      const found = await this.#index.search({ by: { itemId } }, limit, this.#filter(request, [itemId]))
      if (found.lists === undefined) return 'unknown'
      const nearest = (found.lists[0] ?? []).map((item) => ({ ...item, interest: 0 }))
      const described = await describedItems(this.#index, found, nearest)
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

  #optionsFor({
    quotaShare,
    diversity,
    diversityBy,
    repeats
  }: ListRequest): Omit<RecommenderOptions, 'rules' | 'variants'> {
    const configured = this.#options
    return {
      quotaShare: quotaShare ?? configured.quotaShare,
      diversity: diversity ?? configured.diversity,
      diversityBy: diversityBy ?? configured.diversityBy,
      repeats: repeats ?? configured.repeats
    }
  }

  #rulesOf({ rules = [] }: ListRequest): { readonly boosts: readonly Rule[]; readonly pins: readonly Rule[] } {
    const all = [...rules, ...this.#rules]
    return { boosts: all.filter(({ boost }) => boost !== undefined), pins: all.filter(({ pin }) => pin !== undefined) }
  }

  /** What may be in a list. @param history of a session, which the index does not know @param rule of which to search */
  #filter(request: ListRequest, history: readonly ItemId[] = [], rule?: Rule): Filter {
    const { filter: features = {}, exclude = [], negative = [], shown = noneShown, users = [] } = request
    const allowed = rule?.repeats === true || this.#optionsFor(request).repeats
    const repeats = this.#repeatsOf(allowed)
    const seen = users.flatMap((user) => [...excludedHashes(user, repeats)])
    const filter = {
      ...(Object.keys(features).length === 0 ? {} : { features }),
      ...{ excludeItems: [...(allowed === true ? [] : history), ...exclude, ...negative] },
      ...(shown.size + seen.length === 0 ? {} : { excludeHashes: new Set([...shown, ...seen]) }),
      ...{ availableAtMs: this.#clock.nowMs(), repeats }
    }
    return rule === undefined ? filter : filterOfRule(filter, rule)
  }

  /** Candidates for a place of a list: more where some of the best may not get one. */
  #perPlace(boosts: readonly Rule[], usual: number): number {
    return boosts.some(({ boost = 0 }) => boost < 0) ? Math.max(usual, candidatesPerPlace) : usual
  }

  /**
   * What a list is chosen from, and what is pinned: one request to the index, and one for each rule.
   *
   * @param history of a session, which the index does not know @param unwanted by others than the stored user
   * @returns undefined: another version went live in between
   */
  async #choice(
    by: CandidateQuery['by'],
    request: ListRequest,
    history: readonly ItemId[] = [],
    unwanted: readonly ItemId[] = []
  ): Promise<Choice | undefined> {
    const { limit, negative = [] } = request
    const { diversity, diversityBy } = this.#optionsFor(request)
    const { boosts, pins } = this.#rulesOf(request)
    // By the nearest interest `limit` is enough for an exact merge: the best `limit` of all lists together are among
    // the best `limit` of each. For a mixture see MergeOptions.
    const byScore = this.#scoring.form === 'mixture' ? mixtureCandidatesPerPlace : 1
    const perPlace = this.#perPlace(boosts, diversity > 0 ? candidatesPerPlace : byScore)
    const pinnable = pins.reduce((count, { items }) => count + (items?.length ?? 1), 0)
    const fetch = Math.min(limit * perPlace, limit + extraCandidatesMax) + pinnable
    const options = {
      ...{ scoring: this.#scoring, memory: request.memory !== false },
      vectors: diversity > 0 && diversityBy === ''
    }
    const [first, ...others] = await Promise.all(
      [undefined, ...boosts, ...pins].map((rule) => {
        const count = rule?.pin === undefined ? fetch : pinnedMax
        return this.#index.candidates({ by }, count, this.#filter(request, history, rule), options)
      })
    )
    if (others.some(({ indexVersion }) => indexVersion !== first!.indexVersion)) return undefined
    const { user } = first!
    const all = others.map(({ candidates = noCandidates }) => candidates)
    const boosted = all.slice(0, boosts.length)
    const effects = effectsOf(
      boosts,
      boosted.map(({ itemIds }) => itemIds)
    )
    const candidates = first!.candidates && union([first!.candidates, ...boosted])
    const away = [...negative, ...(user === undefined ? [] : unwantedItems(user, this.#clock.nowMs())), ...unwanted]
    const found = await awayFrom(away, this.#index, { ...first!, ...(candidates === undefined ? {} : { candidates }) })
    const bestFirst = { quotaShare: 0, scoring: this.#scoring }
    const pinned = all.slice(boosts.length).map((one) => mergeInterests(one, pinnedMax, new Set(), bestFirst))
    const boostOf = (itemId: ItemId) => effects.get(itemId)?.boost ?? 0
    return {
      found: effects.size === 0 ? found : { ...found, candidates: rescored(found.candidates!, boostOf) },
      ...{ effects, pins: pinsOf(pins, pinned) }
    }
  }

  /** @returns undefined: the index version that was searched is gone */
  async #list(
    { found, effects, pins }: Choice,
    request: ListRequest,
    { history, strengths, votes = noVotes, companions }: ListSubject
  ): Promise<SessionRecommendations | undefined> {
    const { quotaShare, diversity, diversityBy } = this.#optionsFor(request)
    const { limit, shown = noneShown, explain = false } = request
    const valuesOf = diversity > 0 && diversityBy !== '' ? await valuesIn(this.#index, found, diversityBy) : undefined
    const options = { quotaShare, strengths, diversity, scoring: this.#scoring, valuesOf }
    const placed = pins.filter(({ place }) => place > shown.size)
    const merged = mergeInterests(found.candidates!, limit, new Set(placed.map(({ item }) => item.itemId)), options)
    for (const { item, effect } of placed) effects.set(item.itemId, effect)
    const reasons = { history, effects, votes: request.memory === false ? noVotes : votes }
    const page = withPins(merged, placed, shown.size, limit)
    const described = await describedItems(this.#index, found, page, explain ? reasons : undefined)
    if (described === undefined) return undefined
    return {
      version: versionOf(found),
      items: companions === undefined ? described : described.map((item) => companions.named(item)),
      ...(explain && strengths.length > 0 && companions === undefined ? { strengths } : {})
    }
  }

  #repeatsOf(repeats: RecommenderOptions['repeats']): SeenRepeats {
    return { after: repeats === false ? {} : repeats, nowMs: this.#clock.nowMs() }
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

/** What a list is made of. */
interface Choice {
  readonly found: CandidateResult
  readonly effects: Map<ItemId, RuleEffect>
  readonly pins: ReturnType<typeof pinsOf<MergedItem>>
}

/** For whom a list is. */
interface ListSubject {
  /** Newest first. */
  readonly history: readonly ItemId[]
  /** Of the interests; empty: not known. */
  readonly strengths: readonly number[]
  /** Of the history. */
  readonly votes?: Votes | undefined
  /** Of a list for several. */
  readonly companions?: Pick<Companions, 'named'>
}

/** Nothing is known of the user: neither the model nor the memory has an item of the history. */
function isEmpty(candidates: Candidates | undefined): boolean {
  return candidates === undefined || (candidates.interestCount === 0 && candidates.itemIds.length === 0)
}

const noneShown: ReadonlySet<number> = new Set()
const noCandidates: Candidates = { itemIds: [], interestCount: 0, cosines: [], memory: new Float32Array(0) }

const noVectors =
  'there are no vectors of this user: no interaction was seen, or the first is not published yet, or the model knows none of the items'
export const noKnownItem = 'the model knows none of the items of the history'
const noneKnown = 'there are no vectors of any of the users, and the model knows no item of the basket'
const popularVariant = 'the variant lists what is popular'
