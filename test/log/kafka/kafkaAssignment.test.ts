import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { assignPartitions } from '../../../src/log/kafka/kafkaAssignment.ts'

const range = (count: number) => Array.from({ length: count }, (_, i) => i)
const plain = (assigned: Map<string, number[]>) => Object.fromEntries(assigned)

test('one member has all; a second takes half of them and leaves the rest where they were', () => {
  assert.deepEqual(plain(assignPartitions([{ id: 'a', owned: [] }], range(5))), { a: [0, 1, 2, 3, 4] })
  const two = [
    { id: 'b', owned: [] },
    { id: 'a', owned: range(5) }
  ]
  assert.deepEqual(plain(assignPartitions(two, range(5))), { a: [0, 1, 2], b: [3, 4] })
})

test('whoever is gone leaves its partitions to the others, who keep their own', () => {
  const left = [
    { id: 'b', owned: [2, 5] },
    { id: 'c', owned: [1, 4] }
  ]
  assert.deepEqual(plain(assignPartitions(left, range(6))), { b: [0, 2, 5], c: [1, 3, 4] })
})

test('every partition has one owner, nobody has two more than another, and the order of the members does not matter', () => {
  const members = fc.uniqueArray(fc.record({ id: fc.string({ minLength: 1 }), owned: fc.uniqueArray(fc.nat(30)) }), {
    minLength: 1,
    maxLength: 8,
    selector: ({ id }) => id
  })
  fc.assert(
    fc.property(members, fc.nat(25), (group, count) => {
      const assigned = assignPartitions(group, range(count))
      assert.deepEqual(
        [...assigned.values()].flat().sort((a, b) => a - b),
        range(count)
      )
      const sizes = [...assigned.values()].map(({ length }) => length)
      assert(Math.max(...sizes) - Math.min(...sizes) <= 1)
      const again = assignPartitions([...group].reverse(), range(count))
      for (const { id } of group) assert.deepEqual(again.get(id), assigned.get(id))
    })
  )
})

test('an even group that stays as it is keeps everything', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.nat(24), (size, count) => {
      const group = range(size).map((i) => ({
        id: `m${i}`,
        owned: range(count).filter((partition) => partition % size === i)
      }))
      const assigned = assignPartitions(group, range(count))
      for (const { id, owned } of group) assert.deepEqual(assigned.get(id), owned)
    })
  )
})
