// The memory: how often items are taken after each other, as scores of items beside the interests'.
//
// Each item x has a list of items h that speak for it, with S[h, x] > 0 of each. A user's newest items vote with weights
// that fall with their age, so that the memory's part of the score of x is
//
//     m(u, x) = Σ_h weight · decay^age(h) · S[h, x]        h: the newest `votesMax` distinct items, age 0 the newest
//
// It is added to the score of the cosines (interestScore.ts), and so the weight is τ · λ where a score is a soft maximum
// of cosines. Every index stores lists and votes, and adds up the same (docs/decisions, "the memory in the index").

import type { ItemId } from '../records/interaction.ts'

/** An item's list. */
export interface Neighbours {
  /** Items of a history that speak for the item, each once. */
  readonly neighbours: readonly ItemId[]
  /** S > 0 of each. */
  readonly weights: Float32Array
}

/** How much the memory has to say in a list. */
export interface MemoryWeight {
  /** Of the newest item's vote, ≥ 0. 0: the memory is off. */
  readonly weight: number
  /** 0 … 1: each older item's vote is worth so much of the one before. */
  readonly decay: number
}

/** Items that vote, newest first, each once. */
export interface Votes {
  readonly items: readonly ItemId[]
  readonly weights: Float32Array
}

/** Items of a history that vote, at most: the newest. */
export const votesMax = 20

export const noVotes: Votes = { items: [], weights: new Float32Array(0) }

/** @param recent newest first, each once */
export function votesOf(recent: readonly ItemId[], { weight, decay }: MemoryWeight): Votes {
  if (!(weight > 0)) return noVotes
  const items = recent.slice(0, votesMax)
  return { items, weights: Float32Array.from(items, (_, age) => weight * decay ** age) }
}

/** S of each of the items in a list; 0: it is not in it. */
export function weightsIn(list: Neighbours | undefined, items: readonly ItemId[]): Float32Array {
  const weights = new Map(list?.neighbours.map((item, i) => [item, list.weights[i]!]))
  return Float32Array.from(items, (item) => weights.get(item) ?? 0)
}

/** What makes it a list that no index takes; undefined: nothing. */
export function neighboursProblem({ neighbours, weights }: Neighbours): string | undefined {
  if (neighbours.length !== weights.length) return `${neighbours.length} neighbours, but ${weights.length} weights`
  const at = weights.findIndex((weight) => !(weight > 0 && weight < Number.POSITIVE_INFINITY))
  if (at >= 0) return `the weight of neighbour ${neighbours[at]} is ${weights[at]}: expected a number > 0`
  if (new Set(neighbours).size !== neighbours.length) return 'it names a neighbour twice'
  return undefined
}
