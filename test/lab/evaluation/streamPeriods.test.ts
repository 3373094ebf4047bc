import assert from 'node:assert/strict'
import test from 'node:test'
import { MarkovChain } from '../../../src/lab/evaluation/markovChain.ts'
import { nextItemMetrics, streamMetrics } from '../../../src/lab/evaluation/streamMetrics.ts'
import { cutPeriods, firstSeen, periodCases } from '../../../src/lab/evaluation/streamPeriods.ts'
import { forgetting, type PeriodResult, streamMeans } from '../../../src/lab/evaluation/streamResult.ts'
import { itemsOf } from './offlineSteps.ts'

const user = (userId: string, ...steps: [itemId: string, order: number][]) => ({
  userId,
  steps: steps.map(([itemId, order]) => ({ itemId, order, type: 'click', eventTimeMs: order * 1000 }))
})

test('periods: files as they are, otherwise equal parts', () => {
  assert.deepEqual(
    cutPeriods(
      [
        { name: 'w0', start: 0 },
        { name: 'empty', start: 4 },
        { name: 'w1', start: 4 }
      ],
      9,
      3
    ),
    [
      { name: 'w0', from: 0, to: 4 },
      { name: 'w1', from: 4, to: 9 }
    ]
  )
  assert.deepEqual(
    cutPeriods([], 10, 3).map(({ from, to }) => [from, to]),
    [
      [0, 3],
      [3, 7],
      [7, 10]
    ]
  )
})

test('a period asks for each step on an item met before it, and says who is new', () => {
  const users = [user('u', ['a', 0], ['b', 1], ['c', 3], ['a', 6], ['x', 7], ['c', 8]), user('v', ['b', 5], ['a', 9])]
  const [learned, asked] = [
    { name: 'p', from: 2, to: 5 },
    { name: 'q', from: 5, to: 10 }
  ]
  const { cases, unknown } = periodCases(users, asked, learned, firstSeen(users))
  assert.deepEqual(
    cases.map(({ userId, history, target, newUser, newItem }) => [userId, itemsOf(history), target, newUser, newItem]),
    [
      ['u', 'a b c', 'a', false, false],
      ['u', 'a b c a', 'c', false, true], // x is met in the period itself: dropped; c was met at 3, in the period just learned
      ['v', 'b', 'a', true, false]
    ]
  )
  assert.equal(unknown, 1) // x
})

test('recall and reciprocal rank at 20, on all, on new items, on new users', () => {
  const one = { userId: 'u', history: [], target: 't', newUser: false, newItem: false }
  const cases = [one, { ...one, newItem: true }, { ...one, newUser: true }]
  const far = [...Array.from({ length: 20 }, (_, i) => `i${i}`), 't']
  const { all, newItems, newUsers } = streamMetrics(cases, [['t'], ['x', 't'], far])
  assert.deepEqual(all, { targets: 3, 'recall@20': 2 / 3, 'mrr@20': (1 + 1 / 2) / 3 })
  assert.deepEqual(newItems, { targets: 1, 'recall@20': 1, 'mrr@20': 1 / 2 })
  assert.deepEqual(newUsers, { targets: 1, 'recall@20': 0, 'mrr@20': 0 })
  assert.equal(nextItemMetrics([])['recall@20'], null)
})

test('a chain goes on with the step before where the last one runs out', () => {
  const chain = new MarkovChain()
  for (const [item, next] of ['ab', 'ac', 'ac', 'bd', 'ba'].map((pair) => [pair[0]!, pair[1]!]))
    chain.learn(item!, next!)
  assert.deepEqual(chain.after(['b', 'a'], 3), ['c', 'b', 'd'])
  assert.deepEqual(chain.after(['a'], 1), ['c'])
  assert.deepEqual(chain.after(['z'], 5), [])
})

test('means count every period the same; what is forgotten is the fall on the first one', () => {
  const period = (recall: number | null, held: number): PeriodResult => {
    const metrics = { targets: 1, 'recall@20': recall, 'mrr@20': recall }
    return {
      name: '',
      metrics: { all: metrics, newItems: metrics, newUsers: metrics },
      unknownShare: 0,
      firstPeriod: { targets: 1, 'recall@20': held, 'mrr@20': held },
      updateSeconds: 1,
      updatePositions: 1,
      shareOfRetrain: null
    }
  }
  const periods = [period(0.25, 0.5), period(null, 0.5), period(0.75, 0.375)]
  assert.equal(streamMeans(periods)['recall@20'], 0.5)
  assert.equal(streamMeans(periods).shareOfRetrain, null)
  assert.equal(forgetting(0.5, periods), 0.125)
  assert.equal(forgetting(null, periods), null)
})
