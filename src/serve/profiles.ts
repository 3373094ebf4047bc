// What the index knows of one user or one item, in a form that a person can look at: the interests by the items nearest
// to them, and all of it on a plane.
//
// D dimensions, K interests.

import type { Clock } from '../core/clock.ts'
import type { ItemPayload, VectorIndex } from '../index/vectorIndex.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import { principalPlane } from './principalPlane.ts'
import { versionOf, wordsOf } from './recommender.ts'

export interface ProfiledItem {
  readonly itemId: ItemId
  readonly title?: string
  /** Some of its features, `Comedy, Drama`. */
  readonly about?: string
  /** Where it lies on the map, if one was asked for and the item has a vector. */
  readonly at?: readonly [x: number, y: number]
}

export interface UserProfile {
  readonly userId: UserId
  /** `version@step` of the vectors. */
  readonly version: string
  /** Of the window, which may hold more steps than are shown. */
  readonly historyLength: number
  /** Event time of the newest step, milliseconds since the Unix epoch. */
  readonly newestMs: number
  /** When the vectors were made: changes whenever the user was published again. */
  readonly updatedAtMs: number
  readonly vectorsAgeMs: number
  /** Newest first. `interest`: the nearest one, where the item has a vector. */
  readonly history: readonly (ProfiledItem & { readonly interest?: number })[]
  readonly interests: readonly {
    readonly interest: number
    /** Nearest first, items of the history included. */
    readonly nearest: readonly (ProfiledItem & { readonly score: number })[]
    readonly at?: readonly [x: number, y: number]
    /** [D], of length 1. */
    readonly vector?: readonly number[]
  }[]
  /** Share of the variance between the interests that the map shows, 0 … 1. */
  readonly mapShare?: number
}

export interface ItemProfile {
  readonly itemId: ItemId
  readonly title?: string
  readonly features: Readonly<Record<string, readonly string[]>>
  /** Interactions seen by the trainer. */
  readonly count: number
  readonly updatedAtMs: number
  /** [D], of length 1. */
  readonly vector?: readonly number[]
}

export interface UserProfileRequest {
  readonly userId: UserId
  /** Items shown for each interest. */
  readonly nearest: number
  readonly map: boolean
  readonly vectors: boolean
}

/** Newest items of the history that are looked up: a usual window. */
const historyShownMax = 50
/** Points of a map: more are a blot, and the plane's cost grows with their cube. */
const mapPointsMax = 160
/**
 * Of interests, when the plane is laid: its square is what counts, so that a hundred items do not outvote four
 * interests.
 */
const interestWeight = 100
/** Digits of coordinates and scores: a pixel is coarser. */
const rounded = (value: number) => Math.round(value * 1e4) / 1e4

type Located = { readonly vector: Float32Array; readonly payload: ItemPayload } | undefined

export class Profiles {
  readonly #index: Pick<VectorIndex, 'user' | 'item' | 'search'>
  readonly #clock: Clock

  constructor(parts: { readonly index: Pick<VectorIndex, 'user' | 'item' | 'search'>; readonly clock: Clock }) {
    this.#index = parts.index
    this.#clock = parts.clock
  }

  /**
   * undefined: the user has no vectors. @throws UnavailableError if nothing is published yet, or the index does not
   * answer
   */
  async user({ userId, nearest, map, vectors: withVectors }: UserProfileRequest): Promise<UserProfile | undefined> {
    const found = await this.#index.search({ by: { userId } }, nearest, { excludeRecent: false })
    // The map may be of a moment after the lists, where the user was published in between: the next question mends it.
    const user = await this.#index.user(userId)
    if (found.lists === undefined || user === undefined) return undefined
    const { lists } = found
    const { vectors } = user
    const payload = found.user ?? user.payload
    const dimensions = vectors.length / lists.length
    const interests = lists.map((_, k) => vectors.subarray(k * dimensions, (k + 1) * dimensions)) // K × [D]
    const recent = payload.recent.slice(0, historyShownMax)
    const items = await this.#items([...recent, ...lists.flat().map(({ itemId }) => itemId)])
    const places = map ? placed(interests, items) : undefined
    const described = (itemId: ItemId): ProfiledItem => {
      const item = items.get(itemId)
      const at = places?.of.get(itemId)
      return { itemId, ...(item === undefined ? {} : wordsOf(item.payload)), ...(at === undefined ? {} : { at }) }
    }
    return {
      userId,
      version: versionOf(found),
      historyLength: payload.historyLength,
      newestMs: payload.newestMs,
      updatedAtMs: payload.updatedAtMs,
      vectorsAgeMs: Math.max(0, this.#clock.nowMs() - payload.updatedAtMs),
      history: recent.map((itemId) => {
        const vector = items.get(itemId)?.vector
        return { ...described(itemId), ...(vector === undefined ? {} : { interest: nearestOf(interests, vector) }) }
      }),
      interests: lists.map((list, interest) => ({
        interest,
        nearest: list.map(({ itemId, score }) => ({ ...described(itemId), score: rounded(score) })),
        ...(places === undefined ? {} : { at: places.interests[interest]! }),
        ...(withVectors ? { vector: [...interests[interest]!] } : {})
      })),
      ...(places === undefined ? {} : { mapShare: rounded(places.share) })
    }
  }

  /** undefined: it is not in the index. */
  async item(itemId: ItemId, options: { readonly vectors: boolean }): Promise<ItemProfile | undefined> {
    const item = await this.#index.item(itemId)
    if (item === undefined) return undefined
    const { title, features = {}, count, updatedAtMs } = item.payload
    return {
      itemId,
      ...(title === undefined ? {} : { title }),
      features,
      count,
      updatedAtMs,
      ...(options.vectors ? { vector: [...item.vector] } : {})
    }
  }

  async #items(itemIds: readonly ItemId[]): Promise<Map<ItemId, NonNullable<Located>>> {
    const ids = [...new Set(itemIds)]
    const found = await Promise.all(ids.map((itemId) => this.#index.item(itemId)))
    return new Map(ids.flatMap((itemId, i) => (found[i] === undefined ? [] : [[itemId, found[i]] as const])))
  }
}

/**
 * The interests on the plane along which they differ most, and as many of the items as a map can hold where they lie on
 * it; interests and items each about their own middle. Both kinds lie in a cone of their own: what lies between the
 * cones, and how items differ among themselves, would fill the map and leave the interests in one spot. Where the
 * interests leave an axis free, the items decide.
 */
function placed(interests: readonly Float32Array[], items: ReadonlyMap<ItemId, NonNullable<Located>>) {
  const shown = [...items].slice(0, mapPointsMax - interests.length)
  const vectors = [...interests, ...shown.map(([, { vector }]) => vector)]
  const dimensions = interests[0]?.length ?? 1
  const points = new Float32Array(vectors.length * dimensions) // [K + items, D]
  for (const [n, vector] of vectors.entries()) points.set(vector, n * dimensions)
  const split = interests.length * dimensions
  for (const kind of [points.subarray(0, split), points.subarray(split)]) aboutItsMiddle(kind, dimensions)
  let spread = 0
  for (let i = 0; i < split; i++) {
    spread += points[i]! ** 2
    points[i]! *= interestWeight
  }
  const { coordinates } = principalPlane(points, dimensions)
  let onMap = 0
  for (let i = 0; i < 2 * interests.length; i++) {
    coordinates[i]! /= interestWeight
    onMap += coordinates[i]! ** 2
  }
  const at = (n: number) => [rounded(coordinates[2 * n]!), rounded(coordinates[2 * n + 1]!)] as const
  return {
    interests: interests.map((_, k) => at(k)),
    of: new Map(shown.map(([itemId], i) => [itemId, at(interests.length + i)] as const)),
    share: spread > 0 ? Math.min(1, onMap / spread) : 1
  }
}

/** @param points [N, D], changed in place */
function aboutItsMiddle(points: Float32Array, dimensions: number): void {
  const count = points.length / dimensions
  for (let d = 0; d < dimensions; d++) {
    let middle = 0
    for (let at = d; at < points.length; at += dimensions) middle += points[at]! / count
    for (let at = d; at < points.length; at += dimensions) points[at]! -= middle
  }
}

/** 0-based; the first of equally near ones. */
function nearestOf(interests: readonly Float32Array[], vector: Float32Array): number {
  let best = 0
  let bestScore = Number.NEGATIVE_INFINITY
  for (const [k, interest] of interests.entries()) {
    let score = 0
    for (let d = 0; d < vector.length; d++) score += interest[d]! * vector[d]!
    if (score > bestScore) {
      best = k
      bestScore = score
    }
  }
  return best
}
