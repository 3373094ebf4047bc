import assert from 'node:assert/strict'
import test from 'node:test'
import { PendingCounts } from '../../../src/train/batch/pendingCounts.ts'

test('counts go on over one change of generations, and are forgotten after two', () => {
  const counts = new PendingCounts(2)
  assert.equal(counts.add('a'), 1)
  assert.equal(counts.add('a'), 2)
  counts.add('b')
  counts.add('c') // a and b are old now
  assert.equal(counts.add('a'), 3) // and a is young again
  counts.add('d') // a and c are old, b is forgotten
  assert.equal(counts.add('b'), 1)
  assert.equal(counts.add('a'), 4)
})

test('a state comes back', () => {
  const counts = new PendingCounts(2)
  for (const id of ['a', 'b', 'c', 'c', 'ä']) counts.add(id)
  const copy = new PendingCounts(2)
  copy.restore(counts.copy()())
  assert.deepEqual(copy.copy()(), counts.copy()())
  assert.equal(copy.add('c'), 3)
  copy.delete('c')
  assert.equal(copy.add('c'), 1)
})
