import assert from 'node:assert/strict'
import test from 'node:test'
import { addRank, metricsFrom } from '../../../src/train/progressive/rankingMetrics.ts'

test('hit rate and NDCG by hand', () => {
  const sums = new Float64Array(4)
  // Ranks 0 and 2 count at 20 and 50, 20 at 50 only, the others never.
  for (const rank of [0, 2, 20, 50, -1, 0x7fffffff]) addRank(sums, 0, rank)
  const metrics = metricsFrom(sums, 0, 6)
  assert.equal(metrics['hitRate@20'], 2 / 6)
  assert.equal(metrics['hitRate@50'], 3 / 6)
  // 1/log2(2) = 1, 1/log2(4) = .5, 1/log2(22) = .22424
  assert.equal(metrics['ndcg@20'], 1.5 / 6)
  assert(Math.abs(metrics['ndcg@50'] - (1.5 + 1 / Math.log2(22)) / 6) < 1e-15)
})

test('the last places that count are 19 and 49', () => {
  for (const [rank, at20, at50] of [
    [19, 1, 1],
    [20, 0, 1],
    [49, 0, 1],
    [50, 0, 0]
  ] as const) {
    const sums = new Float64Array(4)
    addRank(sums, 0, rank)
    assert.deepEqual([sums[0], sums[2]], [at20, at50])
  }
})

test('what is added with sign −1 is gone, and no targets give zeros', () => {
  const sums = new Float64Array(8)
  addRank(sums, 4, 3)
  addRank(sums, 4, 3, -1)
  assert.deepEqual([...sums], [0, 0, 0, 0, 0, 0, 0, 0])
  assert.deepEqual(metricsFrom(sums, 4, 0), {
    targets: 0,
    'hitRate@20': 0,
    'ndcg@20': 0,
    'hitRate@50': 0,
    'ndcg@50': 0
  })
})
