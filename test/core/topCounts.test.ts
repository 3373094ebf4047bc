import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { TopCounts } from '../../src/core/topCounts.ts'

test('the total is exact, the names are bounded, and no count is more than there was, whatever the names are', () => {
  const name = fc.oneof(fc.constantFrom('constructor', '__proto__', 'other', ''), fc.string())
  fc.assert(
    fc.property(fc.array(name), fc.integer({ min: 1, max: 4 }), (added, max) => {
      const counts = new TopCounts(max)
      for (const one of added) counts.add(one)
      const { named, other } = counts.state()
      assert.equal(
        named.reduce((sum, [, count]) => sum + count, other),
        added.length
      )
      assert(named.length <= max)
      for (const [one, count] of named) assert(count > 0 && count <= added.filter((each) => each === one).length)
      assert.deepEqual(new TopCounts(max, JSON.parse(JSON.stringify(counts.state()))).state(), counts.state())
    })
  )
})

test('a frequent name keeps its place among any number of rare ones', () => {
  const counts = new TopCounts(4)
  for (let i = 0; i < 1000; i++) {
    counts.add('view')
    counts.add(`rare ${i}`)
  }
  assert.deepEqual(counts.state().named[0], ['view', 1000])
})
