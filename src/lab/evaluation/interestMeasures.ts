// What several interests are for: users with mixed histories, targets that are rare for their user, and how many kinds
// of what a user takes a list has.
//
// Items are grouped by a field of the catalogue, as MovieLens' genres, or into clusters of co-occurrence.

import { own } from '../../core/own.ts'
import { Rng } from '../../core/rng.ts'
import type { CatalogueItem } from '../../records/catalogueItem.ts'
import type { ItemId } from '../../records/interaction.ts'
import type { LabMemory } from './memoryLists.ts'
import { cuts, gain, type Lists } from './offlineMetrics.ts'
import type { OfflineCase } from './offlineSplit.ts'

export interface InterestMeasures {
  /** Users whose most frequent group has less than half of their history, and their mean Recall@50. */
  readonly mixedUsers: number
  readonly mixedRecall: number
  /** Mean Recall@50 of the other users. */
  readonly otherRecall: number
  /** Targets outside the most frequent group of their user, and the share of them that is among the first 50. */
  readonly rareTargets: number
  readonly rareFound: number
  /** Mean over users of the share of the groups of their targets of which a target is among the first 50. */
  readonly groupsFound: number
  /** Mean over users: NDCG@20 in which a further hit of a group is worth half of the one before (Clarke et al. 2008). */
  readonly alphaNdcg: number
}

/** Groups of an item, at least one; of items that are not there nothing is known. */
export type ItemGroups = ReadonlyMap<ItemId, readonly string[]>

/** A field with fewer values separates too little, one with more is a name. */
const groupsOfField = [5, 100] as const
const clusterCount = 20
const clusterRounds = 10
const clusterDimensions = 32
/** What a further hit of a group is worth of the one before. */
const repeatShare = 0.5

/** By the field that has the fewest values within `groupsOfField` and most items; otherwise by co-occurrence. */
export function itemGroups(catalogue: readonly CatalogueItem[], memory: LabMemory): ItemGroups {
  const values = new Map<string, Set<string>>()
  const items = new Map<string, number>()
  for (const { features } of catalogue)
    for (const [field, of] of Object.entries(features)) {
      if (of.length > 0) items.set(field, (items.get(field) ?? 0) + 1)
      const known = values.get(field) ?? new Set<string>()
      for (const value of of) known.add(value)
      values.set(field, known)
    }
  const [field] = [...values]
    .filter(
      ([name, { size }]) =>
        size >= groupsOfField[0] && size <= groupsOfField[1] && 2 * items.get(name)! > catalogue.length
    )
    .sort(([, a], [, b]) => a.size - b.size)
    .map(([name]) => name)
  if (field === undefined) return clusters(memory)
  return new Map(
    catalogue.flatMap(({ itemId, features }) => {
      const groups = own(features, field) ?? []
      return groups.length === 0 ? [] : [[itemId, groups] as const]
    })
  )
}

/** Spherical k-means of items by what goes with them and with that, in random projection. */
function clusters(memory: LabMemory): ItemGroups {
  const rng = new Rng(0)
  const D = clusterDimensions
  const ids = [...new Set([...memory].flatMap(([h, items]) => [h, ...items.keys()]))]
  let vectors = new Map(ids.map((id) => [id, unit(Float64Array.from({ length: D }, () => rng.normal()))]))
  for (let hop = 0; hop < 2; hop++) {
    const sums = new Map([...vectors].map(([id, vector]) => [id, vector.map((x) => 0.1 * x)]))
    for (const [h, items] of memory)
      for (const [item, S] of items) {
        addTo(sums.get(h)!, vectors.get(item)!, S)
        addTo(sums.get(item)!, vectors.get(h)!, S)
      }
    vectors = new Map([...sums].map(([id, sum]) => [id, unit(sum)]))
  }
  const centres = Array.from({ length: Math.min(clusterCount, ids.length) }, (_, c) =>
    vectors.get(ids[Math.floor((c * ids.length) / clusterCount)]!)!.slice()
  )
  const nearest = (vector: Float64Array) => {
    const cosines = centres.map((centre) => centre.reduce((sum, x, d) => sum + x * vector[d]!, 0))
    return cosines.indexOf(Math.max(...cosines))
  }
  for (let round = 0; round < clusterRounds; round++) {
    const sums = centres.map(() => new Float64Array(D))
    for (const vector of vectors.values()) addTo(sums[nearest(vector)]!, vector, 1)
    for (const [c, sum] of sums.entries()) if (sum.some((x) => x !== 0)) centres[c] = unit(sum)
  }
  return new Map([...vectors].map(([id, vector]) => [id, [`cluster ${nearest(vector)}`]]))
}

function addTo(sum: Float64Array, vector: Float64Array, weight: number): void {
  for (let d = 0; d < sum.length; d++) sum[d]! += weight * vector[d]!
}

function unit(vector: Float64Array): Float64Array<ArrayBuffer> {
  const length = Math.hypot(...vector) || 1
  return Float64Array.from(vector, (x) => x / length)
}

/** @param lists of the cases, best first */
export function interestMeasures(cases: readonly OfflineCase[], lists: Lists, groups: ItemGroups): InterestMeasures {
  const of = (item: ItemId) => groups.get(item) ?? []
  const recalls = { mixed: [] as number[], other: [] as number[] }
  const rare: number[] = []
  const found: number[] = []
  const ndcgs: number[] = []
  for (const [i, { history, targets: all }] of cases.entries()) {
    const shares = new Map<string, number>()
    for (const { itemId } of history)
      for (const group of of(itemId)) shares.set(group, (shares.get(group) ?? 0) + 1 / of(itemId).length)
    const targets = all.filter((item) => of(item).length > 0)
    if (shares.size === 0 || targets.length === 0) continue
    const [main, most] = [...shares].reduce((a, b) => (b[1] > a[1] ? b : a))
    const isMixed = 2 * most < [...shares.values()].reduce((sum, share) => sum + share, 0)
    const top = new Set(lists[i]!.slice(0, cuts[1]))
    recalls[isMixed ? 'mixed' : 'other'].push(mean(all.map((item) => (top.has(item) ? 1 : 0))))
    for (const item of targets) if (!of(item).includes(main)) rare.push(top.has(item) ? 1 : 0)
    const met = new Set(targets.filter((item) => top.has(item)).flatMap(of))
    found.push(met.size / new Set(targets.flatMap(of)).size)
    ndcgs.push(alphaNdcg(lists[i]!.slice(0, cuts[0]), new Set(targets), of))
  }
  return {
    ...{ mixedUsers: recalls.mixed.length, mixedRecall: mean(recalls.mixed), otherRecall: mean(recalls.other) },
    ...{ rareTargets: rare.length, rareFound: mean(rare), groupsFound: mean(found), alphaNdcg: mean(ndcgs) }
  }
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Its ideal takes the target that is worth most at each place. */
function alphaNdcg(list: readonly ItemId[], targets: ReadonlySet<ItemId>, of: (item: ItemId) => readonly string[]) {
  const worth = (item: ItemId, hits: ReadonlyMap<string, number>) =>
    of(item).reduce((sum, group) => sum + repeatShare ** (hits.get(group) ?? 0), 0)
  const take = (item: ItemId, hits: Map<string, number>) => {
    for (const group of of(item)) hits.set(group, (hits.get(group) ?? 0) + 1)
  }
  let [gained, ideal] = [0, 0]
  const hits = new Map<string, number>()
  for (const [place, item] of list.entries()) {
    if (!targets.has(item)) continue
    gained += worth(item, hits) * gain(place)
    take(item, hits)
  }
  const idealHits = new Map<string, number>()
  const left = new Set(targets)
  for (let place = 0; place < Math.min(cuts[0], targets.size); place++) {
    const best = [...left].reduce((a, b) => (worth(b, idealHits) > worth(a, idealHits) ? b : a))
    ideal += worth(best, idealHits) * gain(place)
    take(best, idealHits)
    left.delete(best)
  }
  return gained / ideal
}
