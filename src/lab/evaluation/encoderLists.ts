// Lists of a model for every case, exactly, and how its interests are used.
//
// B cases, K interests, D dimensions.

import { ExactRanks } from '../../index/exactRanks.ts'
import { type Encoder, type EncoderItem, effectiveInterests } from '../../model/encoder.ts'
import type { ItemId } from '../../records/interaction.ts'
import { type Lists, listLength } from './offlineMetrics.ts'
import type { OfflineCase } from './offlineSplit.ts'

interface EncoderLists {
  readonly lists: Lists
  /** Mean over cases and pairs of interests; null for a single interest, or no case. */
  readonly intraUserCosine: number | null
  /** Mean of e^entropy of the strengths (`EncodedUsers`): 1 … K. */
  readonly effectiveInterests: number
  /** Share of the known targets to which interest k is the nearest. [K] */
  readonly wins: readonly number[]
}

/** Cases encoded at once: bounds memory. */
const chunkCases = 1024

/**
 * @param items all that may be recommended
 * @param top of the encoder's dimensions, to use again and again: it holds a table of the items
 */
export function encoderLists(
  encoder: Encoder,
  items: readonly EncoderItem[],
  cases: readonly OfflineCase[],
  top: ExactRanks = new ExactRanks(encoder.dimensions)
): EncoderLists {
  const { dimensions: D, interestCount: K } = encoder
  const { vectors } = encoder.itemVectors(items) // [N, D]
  const rowOf = new Map(items.map(({ itemId }, row) => [itemId, row]))
  top.load(vectors)
  const lists: ItemId[][] = []
  const wins = new Float64Array(K)
  let cosines = 0
  let counted = 0
  let effective = 0
  for (let from = 0; from < cases.length; from += chunkCases) {
    const chunk = cases.slice(from, from + chunkCases)
    const { interests, known, strengths } = encoder.interests(chunk.map(({ history }) => history)) // [B, K, D]
    for (const [b, one] of chunk.entries()) {
      const own = interests.subarray(b * K * D, (b + 1) * K * D)
      if (known[b] === 0) {
        lists.push([])
        continue
      }
      lists.push(Array.from(top.list(own, listLength(one)), (row) => items[row]!.itemId))
      counted++
      effective += effectiveInterests(strengths.subarray(b * K, (b + 1) * K))
      for (let k = 0; k < K; k++) for (let l = 0; l < k; l++) cosines += dot(own, k * D, own, l * D, D)
      for (const target of one.targets) {
        const row = rowOf.get(target)
        if (row !== undefined) wins[nearest(own, vectors, row, K, D)]!++
      }
    }
  }
  const won = wins.reduce((sum, count) => sum + count, 0)
  return {
    lists,
    intraUserCosine: K < 2 || counted === 0 ? null : cosines / ((counted * K * (K - 1)) / 2),
    effectiveInterests: effective / Math.max(1, counted),
    wins: Array.from(wins, (count) => (won === 0 ? 0 : count / won))
  }
}

function nearest(interests: Float32Array, vectors: Float32Array, row: number, K: number, D: number): number {
  let best = 0
  let bestCosine = Number.NEGATIVE_INFINITY
  for (let k = 0; k < K; k++) {
    const cosine = dot(interests, k * D, vectors, row * D, D)
    if (cosine > bestCosine) {
      best = k
      bestCosine = cosine
    }
  }
  return best
}

function dot(a: Float32Array, fromA: number, b: Float32Array, fromB: number, D: number): number {
  let sum = 0
  for (let d = 0; d < D; d++) sum += a[fromA + d]! * b[fromB + d]!
  return sum
}
