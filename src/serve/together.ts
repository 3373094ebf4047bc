// One list for several users, or for a basket: what the search starts from.
//
// G interests of all users, and the items of the basket, each an interest of its own. D dimensions.

import { type MemoryWeight, noVotes, type Votes, votesOf } from '../index/memory.ts'
import type { IndexState, UserPayload, VectorIndex } from '../index/vectorIndex.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { RecommendedItem } from './answers.ts'

export interface Together {
  readonly userIds?: readonly UserId[]
  readonly basket?: readonly ItemId[]
  /** How the basket votes in the memory; absent: it does not. */
  readonly voting?: MemoryWeight
}

export interface Companions {
  /** [G, D] */
  readonly vectors: Float32Array
  /** G */
  readonly count: number
  /** Of all, each with the same weight. */
  readonly votes: Votes
  /** Those that are in the index. */
  readonly users: readonly UserPayload[]
  readonly basket: readonly ItemId[]
  /** The basket, then the items of the users, newest first. */
  readonly history: readonly ItemId[]
  /** Of each interest: every user and the basket have the same share of a list. [G] */
  readonly strengths: readonly number[]
  /** Users of whom there are no vectors. */
  readonly unknown: readonly UserId[]
  /** With the user, and that user's interest, in place of one of the G; null for an item of the basket. */
  named(item: RecommendedItem): RecommendedItem
}

export async function companionsOf(
  index: Pick<VectorIndex, 'user' | 'items'>,
  { indexVersion, dimensions: D }: IndexState,
  { userIds = [], basket = [], voting }: Together
): Promise<Companions> {
  const [stored, items] = await Promise.all([
    Promise.all([...new Set(userIds)].map(async (userId) => ({ userId, user: await index.user(userId) }))),
    index.items(indexVersion, basket, { vectors: true })
  ])
  const users = stored.flatMap(({ user }) => user?.payload ?? [])
  const known = stored.flatMap(({ userId, user }) =>
    user === undefined || user.vectors.length === 0 ? [] : [{ userId, ...user }]
  )
  const inBasket = basket.flatMap((itemId) => items.get(itemId)?.vector ?? [])
  const shares = known.length + (inBasket.length > 0 ? 1 : 0)
  const interests = [
    ...known.flatMap(({ userId, vectors, payload: { strengths } }) => {
      const K = vectors.length / D
      return Array.from({ length: K }, (_, interest) => ({
        ...{ userId, interest, vector: vectors.subarray(interest * D, (interest + 1) * D) },
        strength: (strengths?.[interest] ?? 1 / K) / shares
      }))
    }),
    ...inBasket.map((vector) => ({
      ...{ userId: undefined, interest: null, vector, strength: 1 / inBasket.length / shares }
    }))
  ]
  const voters = [
    ...users.map(({ recent, memory }) => (memory === undefined ? noVotes : votesOf(recent, memory))),
    // A basket has no order: all of its items vote alike.
    ...(voting === undefined || basket.length === 0 ? [] : [votesOf(basket, { ...voting, decay: 1 })])
  ]
  return {
    ...{ vectors: Float32Array.from(interests.flatMap(({ vector }) => [...vector])), count: interests.length },
    ...{ votes: sumOf(voters), users, basket, strengths: interests.map(({ strength }) => strength) },
    history: [...new Set([...basket, ...users.flatMap(({ recent }) => recent)])],
    unknown: stored.flatMap(({ userId, user }) => (user === undefined ? [userId] : [])),
    named(item) {
      const { userId, interest = null } = item.interest === null ? {} : interests[item.interest]!
      return { ...item, interest, ...(userId === undefined ? {} : { userId }) }
    }
  }
}

function sumOf(voters: readonly Votes[]): Votes {
  const sums = new Map<ItemId, number>()
  for (const { items, weights } of voters)
    for (const [i, item] of items.entries()) sums.set(item, (sums.get(item) ?? 0) + weights[i]! / voters.length)
  return { items: [...sums.keys()], weights: Float32Array.from(sums.values()) }
}
