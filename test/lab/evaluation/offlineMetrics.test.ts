import assert from 'node:assert/strict'
import test from 'node:test'
import { coverage, listLength, offlineMetrics } from '../../../src/lab/evaluation/offlineMetrics.ts'
import { steps } from './offlineSteps.ts'

const near = (a: number, b: number) => assert(Math.abs(a - b) < 1e-12, `${a} is not ${b}`)

test('recall, hit rate and NDCG by hand, with and without the items of the history', () => {
  const one = { userId: 'u', history: steps('a b c d'), targets: ['a', 'y'] }
  const all = offlineMetrics([one], [['a', 'x', 'y']])
  near(all['recall@20'], 1) // both of two
  near(all['hitRate@20'], 1)
  near(all['ndcg@20'], (1 + 1 / Math.log2(4)) / (1 + 1 / Math.log2(3))) // a on rank 0, y on rank 2; ideal: ranks 0 and 1
  const fresh = offlineMetrics([one], [['a', 'x', 'y']], true) // target y; a is taken out of the list: x y
  near(fresh['recall@20'], 1)
  near(fresh['ndcg@20'], 1 / Math.log2(3))
})

test('the list is cut at 20 and at 50', () => {
  const list = Array.from({ length: 60 }, (_, i) => `i${i}`)
  const targets = ['i19', 'i20', 'i49', 'i50']
  const found = offlineMetrics([{ userId: 'u', history: steps('h'), targets }], [list])
  assert.deepEqual([found['recall@20'], found['recall@50']], [1 / 4, 3 / 4])
  near(found['ndcg@20'], 1 / Math.log2(21) / (1 + 1 / Math.log2(3) + 1 / 2 + 1 / Math.log2(5)))
})

test('means over users; who has no target left is not counted, whose list is empty has found nothing', () => {
  const cases = [
    { userId: 'u', history: steps('a'), targets: ['a'] },
    { userId: 'v', history: steps('a'), targets: ['b'] }
  ]
  const found = offlineMetrics(cases, [['a'], []])
  assert.deepEqual([found.users, found['recall@50'], found['hitRate@20']], [2, 1 / 2, 1 / 2])
  const without = offlineMetrics(cases, [['a'], ['a', 'b']], true)
  assert.deepEqual([without.users, without['recall@50']], [1, 1])
  assert.equal(offlineMetrics([], [])['recall@20'], 0)
})

test('a list is long enough for 50 items beside those of the history', () => {
  assert.equal(listLength({ userId: 'u', history: steps('a b a'), targets: ['c'] }), 52)
})

test('coverage: the share of items on any first twenty', () => {
  const list = Array.from({ length: 30 }, (_, i) => `i${i}`)
  assert.equal(coverage([list, ['i0', 'x']], 42), 21 / 42) // i0 … i19, and x
  assert.equal(coverage([], 0), 0)
})
