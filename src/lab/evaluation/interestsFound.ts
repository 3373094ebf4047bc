// How many of the planted interests of simulated users some tower has found.

import type { ItemId } from '../../records/interaction.ts'

export interface UserTowers {
  /** Topics that the user is interested in now, distinct. */
  readonly planted: readonly number[]
  /** [K] nearest items of each of the user's interests, best first. */
  readonly lists: readonly (readonly ItemId[])[]
}

export interface InterestsFound {
  /** Users with at least one planted interest. */
  readonly users: number
  /** Mean over the users of the share of their planted interests that was found, 0 … 1. */
  readonly meanShareFound: number
  /** How many users have every planted interest found. */
  readonly usersWithAllFound: number
  /** How many have more than half of them found. */
  readonly usersWithMostFound: number
  /**
   * Planted interests that are found for more than half of the users who have them, of those that enough users have
   * (`usersOfInterestMin`): by chance alone an interest of three users is found for all of them or for none.
   */
  readonly interestsFoundForMost: number
  /** How many planted interests so many users have. */
  readonly interests: number
}

/** An interest is found if, for some tower, at least `majority` of the `top` nearest items belong to it. */
const top = 10
const majority = 5
/** With ten users the share that is found has a standard error of .16 at most. */
const usersOfInterestMin = 10

/** @returns the planted interests that are found by some list */
export function foundInterests(user: UserTowers, topicOf: (itemId: ItemId) => number | undefined): ReadonlySet<number> {
  const found = new Set<number>()
  for (const list of user.lists) {
    const counts = new Map<number, number>()
    for (const itemId of list.slice(0, top)) {
      const topic = topicOf(itemId)
      if (topic === undefined) continue
      const count = (counts.get(topic) ?? 0) + 1
      counts.set(topic, count)
      if (count >= majority) found.add(topic)
    }
  }
  return new Set(user.planted.filter((topic) => found.has(topic)))
}

/** @param topicOf the truth; undefined for an item that has none, which counts for no interest */
export function interestsFound(
  users: Iterable<UserTowers>,
  topicOf: (itemId: ItemId) => number | undefined
): InterestsFound {
  let count = 0
  let shares = 0
  let all = 0
  let most = 0
  const ofInterest = new Map<number, { users: number; found: number }>()
  for (const user of users) {
    const planted = new Set(user.planted)
    if (planted.size === 0) continue
    const found = foundInterests(user, topicOf)
    count++
    shares += found.size / planted.size
    if (found.size === planted.size) all++
    if (found.size * 2 > planted.size) most++
    for (const topic of planted) {
      const so = ofInterest.get(topic) ?? { users: 0, found: 0 }
      ofInterest.set(topic, { users: so.users + 1, found: so.found + (found.has(topic) ? 1 : 0) })
    }
  }
  const common = [...ofInterest.values()].filter(({ users }) => users >= usersOfInterestMin)
  return {
    users: count,
    meanShareFound: count === 0 ? 0 : shares / count,
    usersWithAllFound: all,
    usersWithMostFound: most,
    interestsFoundForMost: common.filter(({ users, found }) => found * 2 > users).length,
    interests: common.length
  }
}
