import assert from 'node:assert/strict'
import test from 'node:test'
import { CorruptError } from '../../../src/core/errors.ts'
import type { Example } from '../../../src/records/example.ts'
import { FloodGuard, guardWithout } from '../../../src/train/batch/floodGuard.ts'

const step = (itemId: string) => ({ itemId, type: 'click', eventTimeMs: 0 })
const example = (userId: string, itemId: string): Example => ({
  userId,
  history: [step('before')],
  target: step(itemId),
  source: { partition: 0, offset: 0n },
  weight: 1
})
/** So many examples of different users and items, named by `name` and their number. */
const crowd = (name: string, count: number) =>
  Array.from({ length: count }, (_, i) => example(`${name}${i}`, `${name}${i}`))

test('a user has no more than his share of what is learned', () => {
  const guard = new FloodGuard({ examplesMax: 1000, userShareMax: 0.05, itemShareMax: 1 })
  guard.admit(crowd('u', 950))
  const flood = () => Array.from({ length: 400 }, (_, i) => example('bot', `x${i}`))
  // .05 · 1,000 = 50; eight times the mean, 8 · 1000 / 951, is 8.
  assert.equal(guard.admit(flood()).length, 50)
  assert.equal(guard.admit(flood()).length, 0)
  // As others push his out, he is heard again. His 50 are the newest of the 1,000: 950 others change nothing.
  guard.admit(crowd('v', 950))
  assert.equal(guard.admit(flood()).length, 0)
  // 10 more leave him 40; 40 of the flood come in for these, the oldest, and 10 besides.
  guard.admit(crowd('w', 10))
  assert.equal(guard.admit(flood()).length, 50)
})

test('so has an item, and others pass in their order', () => {
  const guard = new FloodGuard({ examplesMax: 100, userShareMax: 1, itemShareMax: 0.1 })
  guard.admit(crowd('u', 90))
  const mixed = Array.from({ length: 40 }, (_, i) => example(`s${i}`, i % 2 === 0 ? 'spam' : `n${i}`))
  const admitted = guard.admit(mixed)
  // Ten of 'spam', all 20 others.
  assert.deepEqual(
    admitted.map(({ userId }) => userId),
    mixed.filter(({ target }, i) => target.itemId !== 'spam' || i < 20).map(({ userId }) => userId)
  )
})

test('a small crowd is not refused for being small', () => {
  const guard = new FloodGuard({ examplesMax: 1000, userShareMax: 0.05, itemShareMax: 0.1 })
  // Five users and five items have a fifth each: eight times the mean is more than all there is.
  const few = Array.from({ length: 3000 }, (_, i) => example(`u${i % 5}`, `i${(i * 7) % 5}`))
  assert.deepEqual(guard.admit(few), few)
})

test('shares of 1 switch it off', () => {
  const guard = new FloodGuard({ examplesMax: 100, userShareMax: 1, itemShareMax: 1 })
  guard.admit(crowd('u', 50))
  const flood = Array.from({ length: 500 }, () => example('bot', 'spam'))
  assert.deepEqual(guard.admit(flood), flood)
})

test('state: goes on as if nothing had happened, also with another length', () => {
  const options = { examplesMax: 100, userShareMax: 0.05, itemShareMax: 0.1 }
  const guard = new FloodGuard(options)
  guard.admit([...crowd('u', 120), ...Array.from({ length: 9 }, () => example('bot', 'spam'))])
  const copy = new FloodGuard(options)
  copy.restore(guard.copy()())
  assert.deepEqual(copy.copy()(), guard.copy()())
  const more = [...crowd('v', 40), ...Array.from({ length: 30 }, (_, i) => example('bot', `x${i}`)), ...crowd('w', 70)]
  assert.deepEqual(copy.admit(more), guard.admit(more))
  assert.deepEqual(copy.copy()(), guard.copy()())
  const shorter = new FloodGuard({ ...options, examplesMax: 30 })
  shorter.restore(guard.copy()())
  assert.equal(shorter.copy()().get('userLengths')!.length, 30)
  assert.throws(() => copy.restore(new Map([['users', new Uint8Array(0)]])), CorruptError)
})

test('an erased user is nobody, in memory as in a state that was kept', () => {
  const guard = new FloodGuard({ examplesMax: 10, userShareMax: 0.5, itemShareMax: 1 })
  guard.admit([...crowd('u', 4), example('x', 'a'), example('x', 'b')])
  const before = guard.copy()()
  const without = guardWithout(before, 'x')
  guard.remove('x')
  assert.notDeepEqual(without, before)
  assert.deepEqual(without, guard.copy()())
  assert.equal(guardWithout(without, 'x'), without)
  guard.remove('x')
  assert.deepEqual(without, guard.copy()())
  // Still 10 in the ring at most, and what leaves it is discounted as nobody's.
  guard.admit([...crowd('v', 10), ...crowd('w', 3)])
  assert.equal(guard.copy()().get('userLengths')!.length, 10)
})
