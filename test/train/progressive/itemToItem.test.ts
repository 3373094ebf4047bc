import assert from 'node:assert/strict'
import test from 'node:test'
import { ItemSet } from '../../../src/train/progressive/itemSet.ts'
import { cooccurrenceDefaults, ItemToItem, type ItemToItemOptions } from '../../../src/train/progressive/itemToItem.ts'
import { NeighbourCounts } from '../../../src/train/progressive/neighbourCounts.ts'
import { PopularityRanking } from '../../../src/train/progressive/popularityRanking.ts'
import { missRank } from '../../../src/train/progressive/rankingMetrics.ts'

/** The last item alone, and what followed it. */
const markovDefaults = {
  ...cooccurrenceDefaults,
  ...{ window: 1, countRecency: 1, bothWays: false, scoreWindow: 1, scoreRecency: 1, shrinkage: undefined, slots: 64 }
}

const size = 200
const forEver = Number.POSITIVE_INFINITY

function build(options: ItemToItemOptions) {
  const method = new ItemToItem(options)
  const popularity = new PopularityRanking(forEver)
  const excluded = new ItemSet()
  const scored = new ItemSet()
  for (const part of [method, popularity, excluded, scored]) part.grow(size)
  return {
    method,
    popularity,
    learn: (history: number[], target: number) => {
      method.learn(Int32Array.from(history), history.length, target)
      popularity.count(target)
    },
    rank: (history: number[], target: number) => {
      popularity.refresh(history.length)
      excluded.clear()
      for (const item of history) if (item >= 0) excluded.add(item)
      return method.rank(Int32Array.from(history), history.length, target, excluded, popularity, scored)
    }
  }
}

test('Markov ranks by how often an item followed the last one, then by popularity', () => {
  const { learn, rank } = build({ ...markovDefaults, halfLife: forEver })
  for (const [last, target] of [
    [1, 2],
    [1, 2],
    [1, 3],
    [1, 4],
    [9, 5],
    [9, 5],
    [9, 6]
  ] as const)
    learn([8, last], target)
  assert.equal(rank([7, 1], 2), 0)
  assert.equal(rank([7, 1], 3), 2) // a tie with 4, which goes before
  assert.equal(rank([7, 1], 4), 2)
  // Never after 1: behind 2, 3 and 4 (scored), then 5 is the most popular of the rest and 6 follows.
  assert.equal(rank([7, 1], 5), 3)
  assert.equal(rank([7, 1], 6), 4)
  assert.equal(rank([7, 1], 100), missRank)
  // History is left out: 2 is no rival any more.
  assert.equal(rank([2, 1], 3), 1)
  // Only the newest step counts; nothing follows 2, so popularity (2 and 5 twice; 2 is excluded) decides.
  assert.equal(rank([1, 2], 5), 0)
})

test('co-occurrence sums over the history with recency, both ways, divided by the totals', () => {
  const options = {
    ...cooccurrenceDefaults,
    window: 2,
    countRecency: 0.5,
    scoreRecency: 0.5,
    shrinkage: 0,
    halfLife: forEver
  }
  const { learn, rank } = build(options)
  learn([1, 2], 3) // 2–3: 1, 1–3: .5
  learn([4], 5) // 4–5: 1
  learn([4], 6) // 4–6: 1
  learn([9], 6) // 9–6: 1
  // Totals: 1: .5, 2: 1, 3: 1.5, 4: 2, 5: 1, 6: 2, 9: 1. From [4, 2], where 2 is the newest:
  //   3: 1 · 1/√(1 · 1.5) = .816    5: .5 · 1/√(2 · 1) = .354    6: .5 · 1/√(2 · 2) = .25
  assert.equal(rank([4, 2], 3), 0)
  assert.equal(rank([4, 2], 5), 1)
  assert.equal(rank([4, 2], 6), 2)
  assert.equal(rank([4, 2], 1), missRank) // not seen with 2 or 4, and never a target
  assert.equal(rank([-1, 2], 3), 0) // an item that is not known is passed over
})

test('shrinkage keeps an item seen once behind one that is seen often, raw counts and no shrinkage do not agree', () => {
  const rankOf = (shrinkage: number | undefined) => {
    const { learn, rank } = build({ ...cooccurrenceDefaults, window: 1, shrinkage, halfLife: forEver })
    for (let i = 0; i < 4; i++) learn([1], 2)
    for (let i = 0; i < 16; i++) learn([7], 2)
    learn([1], 3)
    return rank([1], 3)
  }
  // 2: 4 with 1, 20 in all. 3: 1 with 1, 1 in all.
  assert.equal(rankOf(undefined), 1) // 4 > 1
  assert.equal(rankOf(0), 0) // 4/√20 = .89 < 1/√1
  assert.equal(rankOf(30), 1) // 4/√50 = .57 > 1/√31 = .18
})

test('a full item: who comes again gets in, who came once is worn down', () => {
  const counts = new NeighbourCounts(2, forEver)
  counts.add(0, 1, 5)
  counts.add(0, 2, 2)
  counts.add(0, 3, 1) // wears 2 down to 1
  assert.equal(counts.countOf(0, 3), 0)
  assert.equal(counts.countOf(0, 2), 1)
  counts.add(0, 3, 1) // as strong as 2 now: takes its place
  assert.equal(counts.countOf(0, 3), 1)
  assert.equal(counts.countOf(0, 2), 0)
  assert.equal(counts.countOf(0, 1), 5)
  assert.equal(counts.total(0), 9)
})

test('counts fade by half in a half-life, however often the scale is moved, and survive saving', () => {
  const counts = new NeighbourCounts(4, 2)
  counts.grow(1000)
  counts.add(999, 5, 1)
  counts.add(999, 6, 3)
  for (let step = 0; step < 2; step++) counts.age()
  assert(Math.abs(counts.countOf(999, 5) - 0.5) < 1e-6)
  for (let step = 0; step < 150; step++) counts.age() // past 2^60
  counts.add(999, 5, 1)
  assert(Math.abs(counts.countOf(999, 5) - 1) < 1e-6)
  const again = new NeighbourCounts(4, 2)
  again.grow(6000)
  again.add(999, 7, 1) // what was there before is forgotten
  const [start, used] = [counts.start(999), counts.used(999)]
  assert.equal(used, 2)
  again.restore(999, counts.total(999), { ids: counts.ids(999), counts: counts.counts(999), at: start, used })
  again.unit = counts.unit
  assert.equal(again.countOf(999, 5), counts.countOf(999, 5))
  assert.equal(again.countOf(999, 7), 0)
  assert.equal(again.total(999), counts.total(999))
  assert.equal(again.used(999), 2)
})
