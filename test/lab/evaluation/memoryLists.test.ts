// The memory in offline evaluation: S of the training users, and lists by the sum of both scores.
import assert from 'node:assert/strict'
import test from 'node:test'
import { labMemory, MemoryLists } from '../../../src/lab/evaluation/memoryLists.ts'
import type { Encoder } from '../../../src/model/encoder.ts'
import { steps, user } from './offlineSteps.ts'

/** Two interests along the axes; items at angles. */
const encoder: Encoder = {
  dimensions: 2,
  interestCount: 2,
  modelVersion: 'v',
  step: 1,
  itemVectors: (items) => ({
    vectors: Float32Array.from(items.flatMap(({ itemId }) => [Math.cos(Number(itemId)), Math.sin(Number(itemId))])),
    known: new Uint8Array(items.length).fill(1)
  }),
  interests: (histories) => ({
    interests: Float32Array.from(histories.flatMap(() => [1, 0, 0, 1])),
    known: Uint8Array.from(histories, (history) => (history[0]!.itemId === 'unknown' ? 0 : 1)),
    strengths: new Float32Array(2 * histories.length).fill(0.5)
  })
}
const items = Array.from({ length: 30 }, (_, i) => ({ itemId: `${i / 10}`, features: [] }))
const score = { form: 'mixture', temperature: 0.2 } as const

test('S by the definition; a first item counts, and nothing goes with itself', () => {
  const memory = labMemory([user('u', 'a b c'), user('v', 'd c c')], { moveMin: 0 })
  const near = (actual: number | undefined, expected: number) =>
    assert(actual !== undefined && Math.abs(actual - expected) < 1e-6, `${actual} is not ${expected}`)
  near(memory.get('a')!.get('b'), 1 / (1 + 3))
  near(memory.get('b')!.get('a'), 0.5 / (1 + 3))
  // c: three times; d one and two steps before it.
  near(memory.get('d')!.get('c'), 1.5 / (Math.sqrt(3) + 3))
  assert(!memory.get('c')!.has('c'))
})

test('weight 0 is the model alone; with a weight what the memory knows comes first, newest vote most', () => {
  const memory = new Map([
    ['x', new Map([['2.9', 0.5]])],
    ['y', new Map([['2.8', 0.5]])]
  ])
  const lists = new MemoryLists(encoder, items, memory, score)
  const cases = [{ userId: 'u', history: steps('x y'), targets: ['2.9'] }]
  const alone = lists.listsOf(cases, { weight: 0, decay: 0.8 })[0]!
  // By Σ e^(cos/τ): the axes first, or the angle between them that is near to both.
  const value = (id: string) => Math.exp(Math.cos(Number(id)) / 0.2) + Math.exp(Math.sin(Number(id)) / 0.2)
  const expected = items.map(({ itemId }) => itemId).sort((a, b) => value(b) - value(a))
  assert.deepEqual(alone, expected)
  assert.deepEqual(lists.listsOf(cases, { weight: 1000, decay: 0.8 })[0]!.slice(0, 2), ['2.8', '2.9'])
  assert.deepEqual(lists.choose(cases), { weight: 0, decay: 0.8 }, 'found at any weight: the first is kept')
  assert.deepEqual(lists.choose([]), { weight: 20, decay: 0.8 })
})

test('a user whom the model does not know is answered by the memory', () => {
  const lists = new MemoryLists(encoder, items, new Map([['unknown', new Map([['0.5', 0.1]])]]), score)
  const cases = [{ userId: 'u', history: steps('unknown'), targets: ['0.5'] }]
  assert.deepEqual(lists.listsOf(cases, { weight: 20, decay: 0.8 }), [['0.5']])
})
