import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { OffsetSet } from '../../src/core/offsetSet.ts'

test('neighbours join', () => {
  const set = new OffsetSet()
  for (const offset of [5n, 7n, 6n, 2n, 8n, 6n]) set.add(offset)
  assert.deepEqual(set.ranges(), [
    [2n, 3n],
    [5n, 9n]
  ])
})

test('is a set, whatever the order, and survives being written down', () => {
  fc.assert(
    fc.property(fc.array(fc.bigInt(0n, 40n), { maxLength: 60 }), (offsets) => {
      const set = new OffsetSet()
      for (const offset of offsets) set.add(offset)
      const again = new OffsetSet(set.ranges())
      for (let offset = -1n; offset <= 41n; offset++)
        assert.equal(again.has(offset), offsets.includes(offset), String(offset))
      // As few ranges as can be: none touches the next.
      for (const [i, [from, to]] of set.ranges().entries()) {
        assert(from < to)
        assert(to < (set.ranges()[i + 1]?.[0] ?? to + 1n))
      }
    })
  )
})
