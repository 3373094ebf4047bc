import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { PopularityRanking } from '../../../src/train/progressive/popularityRanking.ts'
import { missRank } from '../../../src/train/progressive/rankingMetrics.ts'

test('rank by count; ties go before the target; excluded items are passed over', () => {
  const popularity = new PopularityRanking(Number.POSITIVE_INFINITY)
  for (const item of ['a', 'a', 'a', 'b', 'b', 'c', 'c', 'd']) popularity.count(item)
  popularity.refresh(4)
  const rank = (target: string, ...excluded: string[]) => popularity.rank(target, new Set(excluded))
  assert.equal(rank('a'), 0)
  assert.equal(rank('b'), 2) // behind a, and behind c of equal count
  assert.equal(rank('c'), 2)
  assert.equal(rank('d'), 3)
  assert.equal(rank('d', 'a', 'c'), 1)
  assert.equal(rank('d', 'a', 'b', 'c'), 0)
  assert.equal(rank('never counted'), missRank)
})

test('counts fade by half in a half-life', () => {
  const popularity = new PopularityRanking(2)
  popularity.count('a')
  popularity.count('b')
  popularity.count('b')
  // a is 3 interactions old: 2^(−3/2). b: 2^(−2/2) + 2^(−1/2).
  assert(Math.abs(popularity.countOf('a') - 2 ** -1.5) < 1e-12)
  assert(Math.abs(popularity.countOf('b') - (0.5 + Math.SQRT1_2)) < 1e-12)
  assert.equal(popularity.countOf('c'), 0)
})

test('an old favourite falls behind a new one, however long ago the scale was moved', () => {
  const popularity = new PopularityRanking(1) // doubles each time: beyond 2^200 everything is scaled down
  for (let i = 0; i < 10; i++) popularity.count('old')
  for (let i = 0; i < 450; i++) popularity.count('new')
  popularity.refresh(0)
  assert.deepEqual([popularity.rank('new', new Set()), popularity.rank('old', new Set())], [0, 1])
  assert(popularity.countOf('new') > 0.9 && popularity.countOf('new') < 1.1)
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
          for (const item of batch) popularity.count(`i${item}`)
        }
        popularity.refresh(excludedItems.length)
        const excluded = new Set(excludedItems.map((item) => `i${item}`))
        const items = Array.from({ length: 301 }, (_, item) => `i${item}`)
        for (const target of items) {
          if (excluded.has(target)) continue
          const score = popularity.countOf(target)
          let rank = 0
          for (const item of items)
            if (item !== target && !excluded.has(item) && popularity.countOf(item) >= score) rank++
          assert.equal(popularity.rank(target, excluded), score === 0 ? missRank : Math.min(rank, missRank))
        }
      }
    ),
    { numRuns: 60 }
  )
})
