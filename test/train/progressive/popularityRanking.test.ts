import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { ItemSet } from '../../../src/train/progressive/itemSet.ts'
import { PopularityRanking } from '../../../src/train/progressive/popularityRanking.ts'
import { missRank } from '../../../src/train/progressive/rankingMetrics.ts'

const setOf = (...items: number[]) => {
  const set = new ItemSet()
  set.grow(5000)
  for (const item of items) set.add(item)
  return set
}

test('rank by count; ties go before the target; excluded items are passed over', () => {
  const popularity = new PopularityRanking(Number.POSITIVE_INFINITY)
  for (const item of [0, 0, 0, 1, 1, 2, 2, 3]) popularity.count(item)
  popularity.refresh(4)
  assert.equal(popularity.rank(0, setOf()), 0)
  assert.equal(popularity.rank(1, setOf()), 2) // behind 0, and behind 2 of equal count
  assert.equal(popularity.rank(2, setOf()), 2)
  assert.equal(popularity.rank(3, setOf()), 3)
  assert.equal(popularity.rank(3, setOf(0, 2)), 1)
  assert.equal(popularity.rank(3, setOf(0), setOf(1, 2)), 0)
  assert.equal(popularity.rank(9, setOf()), missRank)
  assert.equal(popularity.rank(4999, setOf()), missRank)
})

test('counts fade by half in a half-life', () => {
  const popularity = new PopularityRanking(2)
  popularity.count(0)
  popularity.count(1)
  popularity.count(1)
  // Item 0 is 3 interactions old: 2^(−3/2). Item 1: 2^(−2/2) + 2^(−1/2).
  assert(Math.abs(popularity.countOf(0) - 2 ** -1.5) < 1e-12)
  assert(Math.abs(popularity.countOf(1) - (0.5 + Math.SQRT1_2)) < 1e-12)
  assert.equal(popularity.countOf(7), 0)
})

test('an old favourite falls behind a new one, however long ago the scale was moved', () => {
  const popularity = new PopularityRanking(1) // doubles each time: beyond 2^200 everything is scaled down
  for (let i = 0; i < 10; i++) popularity.count(0)
  for (let i = 0; i < 450; i++) popularity.count(1)
  popularity.refresh(0)
  assert.deepEqual(popularity.top().slice(0, 1), [1])
  assert(popularity.countOf(1) > 0.9 && popularity.countOf(1) < 1.1)
})

test('the refreshed list ranks as a full sort does', () => {
  const batches = fc.array(fc.array(fc.nat(300), { maxLength: 40 }), { minLength: 1, maxLength: 12 })
  fc.assert(
    fc.property(
      batches,
      fc.constantFrom(3, 50, Number.POSITIVE_INFINITY),
      fc.array(fc.nat(300), { maxLength: 20 }),
      (all, halfLife, excludedItems) => {
        const popularity = new PopularityRanking(halfLife)
        for (const batch of all) {
          popularity.refresh(excludedItems.length)
          for (const item of batch) popularity.count(item)
        }
        popularity.refresh(excludedItems.length)
        const excluded = new Set(excludedItems)
        for (let target = 0; target <= 300; target++) {
          if (excluded.has(target)) continue
          const score = popularity.countOf(target)
          let rank = 0
          for (let item = 0; item <= 300; item++)
            if (item !== target && !excluded.has(item) && popularity.countOf(item) >= score) rank++
          assert.equal(popularity.rank(target, setOf(...excluded)), score === 0 ? missRank : Math.min(rank, missRank))
        }
      }
    ),
    { numRuns: 60 }
  )
})

test('a set is empty again after clear', () => {
  const set = setOf(1, 2)
  set.clear()
  assert(!set.has(1) && !set.has(2))
  set.grow(100_000)
  set.add(99_999)
  assert(set.has(99_999) && !set.has(1))
})
