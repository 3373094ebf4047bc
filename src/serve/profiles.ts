// One user or one item of the index in a form for people: the interests by the items nearest to them, and a map.
//
// D dimensions, K interests.

import { dot } from '../index/mergeInterests.ts'
import type { ItemPayload, VectorIndex } from '../index/vectorIndex.ts'
import { availabilityOf } from '../records/catalogueItem.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { ItemProfile, UserProfile } from './answers.ts'
import { versionOf, wordsOf } from './describedItems.ts'
import { type Place, principalPlane } from './principalPlane.ts'

interface UserProfileRequest {
  readonly userId: UserId
  /** Items shown for each interest. */
  readonly nearest: number
  readonly map: boolean
  readonly vectors: boolean
}

/** Newest items of the history that are looked up: a usual window. */
const historyShownMax = 50
/** Items on a map: more hide each other. */
const mapItemsMax = 150

type ProfileIndex = Pick<VectorIndex, 'user' | 'item' | 'search'>
type FoundItems = ReadonlyMap<ItemId, { readonly vector: Float32Array; readonly payload: ItemPayload }>

export class Profiles {
  readonly #index: ProfileIndex

  constructor(index: ProfileIndex) {
    this.#index = index
  }

  /**
   * undefined: the user has no vectors. @throws UnavailableError if nothing is published yet, or the index does not
   * answer
   */
  async user({ userId, nearest, map, vectors: withVectors }: UserProfileRequest): Promise<UserProfile | undefined> {
    const found = await this.#index.search({ by: { userId } }, nearest, { excludeRecent: false })
    // Where the user is published in between, the map is newer than the lists until the next request.
    const user = await this.#index.user(userId)
    if (found.lists === undefined || user === undefined) return undefined
    const { lists } = found
    const { vectors } = user
    const payload = found.user ?? user.payload
    const dimensions = vectors.length / lists.length
    const interests = lists.map((_, k) => vectors.subarray(k * dimensions, (k + 1) * dimensions)) // K × [D]
    const recent = payload.recent.slice(0, historyShownMax)
    const items = await this.#items([...recent, ...lists.flat().map(({ itemId }) => itemId)])
    const places = map ? placesOf(interests, items) : undefined
    const described = (itemId: ItemId) => {
      const item = items.get(itemId)
      const at = places?.items.get(itemId)
      return { itemId, ...(item === undefined ? {} : wordsOf(item.payload)), ...(at === undefined ? {} : { at }) }
    }
    return {
      userId,
      version: versionOf(found),
      historyLength: payload.historyLength,
      newestMs: payload.newestMs,
      updatedAtMs: payload.updatedAtMs,
      history: recent.map((itemId) => {
        const vector = items.get(itemId)?.vector
        return { ...described(itemId), ...(vector === undefined ? {} : { interest: nearestOf(interests, vector) }) }
      }),
      interests: lists.map((list, interest) => ({
        interest,
        ...(payload.strengths === undefined ? {} : { strength: payload.strengths[interest]! }),
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
      ...{ features, count, ...availabilityOf(item.payload), updatedAtMs },
      ...(options.vectors ? { vector: [...item.vector] } : {})
    }
  }

  async #items(itemIds: readonly ItemId[]): Promise<FoundItems> {
    const ids = [...new Set(itemIds)]
    const found = await Promise.all(ids.map((itemId) => this.#index.item(itemId)))
    return new Map(ids.flatMap((itemId, i) => (found[i] === undefined ? [] : [[itemId, found[i]] as const])))
  }
}

/**
 * Interests on the plane along which they differ most, and items where they lie on it. Interests and items are each
 * about their own mean: each kind lies in a cone of its own, and the distance of the cones would fill the map.
 *
 * @param interests K × [D]
 * @returns undefined where all interests are equal: a map would show nothing
 */
function placesOf(interests: readonly Float32Array[], items: FoundItems) {
  const shown = [...items].slice(0, mapItemsMax)
  const vectors = shown.map(([, { vector }]) => vector)
  const { points, others, varianceShare } = principalPlane(interests, vectors)
  if (points.flat().every((coordinate) => Math.abs(coordinate) < 1e-3)) return undefined
  const at = ([x, y]: Place): Place => [rounded(x), rounded(y)]
  return {
    interests: points.map(at),
    items: new Map(shown.map(([itemId], n) => [itemId, at(others[n]!)])),
    share: varianceShare
  }
}

/** Four digits: a pixel is coarser. */
function rounded(value: number): number {
  return Math.round(value * 1e4) / 1e4
}

/** 0-based; the first of equally near ones. */
function nearestOf(interests: readonly Float32Array[], vector: Float32Array): number {
  const scores = interests.map((interest) => dot(interest, vector))
  return scores.indexOf(Math.max(...scores))
}
