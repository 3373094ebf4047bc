// How many of the planted interests of simulated users some tower has found.

import type { ItemId } from '../event/interaction.ts'

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
}

/** An interest is found if, for some tower, at least `majority` of the `top` nearest items belong to it. */
const top = 10
const majority = 5

/** @returns how many of the planted interests are found by some list */
export function countFound(user: UserTowers, topicOf: (itemId: ItemId) => number | undefined): number {
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
  return new Set(user.planted.filter((topic) => found.has(topic))).size
}

/** @param topicOf the truth; undefined for an item that has none, which counts for no interest */
export function interestsFound(users: Iterable<UserTowers>, topicOf: (itemId: ItemId) => number | undefined): InterestsFound {
  let count = 0
  let shares = 0
  let all = 0
  let most = 0
  for (const user of users) {
    const planted = new Set(user.planted).size
    if (planted === 0) continue
    const found = countFound(user, topicOf)
    count++
    shares += found / planted
    if (found === planted) all++
    if (found * 2 > planted) most++
  }
  return { users: count, meanShareFound: count === 0 ? 0 : shares / count, usersWithAllFound: all, usersWithMostFound: most }
}
