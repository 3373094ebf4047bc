// Bounded tables: reference windows, heavy hitters, faded counts.

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { DecayedCounts } from '../../../src/monitor/drift/decayedCounts.ts'
import { HeavyHitters } from '../../../src/monitor/drift/heavyHitters.ts'
import { ReferenceWindow } from '../../../src/monitor/drift/referenceWindow.ts'

function fill(window: ReferenceWindow, blocks: readonly number[]): void {
  for (const bin of blocks) {
    window.add(bin)
    window.closeBlock()
  }
}

test('blocks move through the window into the windows of the reference, and out of it', () => {
  const options = { bins: 8, windowBlocks: 1, referenceWindows: 2 }
  const windows = new ReferenceWindow(options)
  fill(windows, [0, 1])
  assert.equal(windows.full, false)
  fill(windows, [2, 3])
  assert.equal(windows.full, true)
  const named = [windows.window(), ...windows.referenceWindows()].map((counts) => counts.indexOf(1))
  assert.deepEqual(named, [3, 1, 2]) // the newest block; of the reference the oldest first
  const again = new ReferenceWindow(options)
  assert.equal(again.restore(JSON.parse(JSON.stringify(windows.state()))), true)
  assert.deepEqual(again.state(), windows.state())
  assert.equal(new ReferenceWindow({ ...options, bins: 9 }).restore(windows.state()), false)
})

test('merging bins loses no count', () => {
  const windows = new ReferenceWindow({ bins: 3, windowBlocks: 2, referenceWindows: 1 })
  fill(windows, [0, 1, 1])
  windows.merge(1, 2)
  assert.deepEqual([...windows.window()], [0, 0, 2])
})

test('heavy hitters by hand: the rarest name gives up its place, and its count is the error of the next', () => {
  const names = new HeavyHitters(2)
  for (const name of ['a', 'a', 'b']) names.add(name)
  assert.deepEqual(names.add('c'), { slot: 1, evicted: true })
  // Name, slot, count, error.
  assert.deepEqual(names.state().entries, [
    ['a', 0, 2, 0],
    ['c', 1, 2, 1]
  ])
  assert.equal(names.slotOf('b'), undefined)
})

test('heavy hitters keep what they promise, in any order', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...'aaaaaabbbbcccdefghijkl'), { minLength: 1, maxLength: 200 }), (stream) => {
      const names = new HeavyHitters(5)
      for (const name of stream) names.add(name)
      const followed = new Map(names.state().entries.map(([name, , count, error]) => [name, { count, error }]))
      for (const name of new Set(stream)) {
        const count = stream.filter((other) => other === name).length
        const entry = followed.get(name)
        if (count > stream.length / 5)
          assert(entry !== undefined, `${name}, ${count} of ${stream.length}, is not followed`)
        if (entry !== undefined) assert(entry.count >= count && entry.count - entry.error <= count)
      }
      const other = new HeavyHitters(5)
      other.restore(JSON.parse(JSON.stringify(names.state())))
      assert.deepEqual(other.state(), names.state())
    })
  )
})

test('shares: half of all, after a lag, and forgotten with the half-life', () => {
  const counts = new DecayedCounts(1e9)
  assert.equal(counts.add('a'), 0)
  counts.add('b')
  assert(Math.abs(counts.add('a') - 1 / 2) < 1e-6) // 1 of 2
  const late = new DecayedCounts(1e9, 2)
  assert.deepEqual(
    ['a', 'a', 'a'].map((key) => late.add(key)),
    [0, 0, 0]
  )
  assert(Math.abs(late.add('a') - 1) < 1e-6) // the first of them counts now, and is all there is
  const fading = new DecayedCounts(10)
  for (let i = 0; i < 10; i++) fading.add('old')
  for (let i = 0; i < 1000; i++) fading.add('new')
  assert(fading.add('old') < 1e-6)
})

test('shares go on from their state, the ones not counted yet included', () => {
  const one = new DecayedCounts(100, 7)
  for (let i = 0; i < 1234; i++) one.add(`k${i % 13}`)
  const other = new DecayedCounts(100, 7)
  other.restore(JSON.parse(JSON.stringify(one.state())))
  for (let i = 0; i < 100; i++) assert(Math.abs(one.add(`k${i % 17}`) - other.add(`k${i % 17}`)) < 1e-3)
})
