import assert from 'node:assert/strict'
import test from 'node:test'
import { UserItemListsBuilder } from '../../../src/lab/dataset/userItemLists.ts'

test('users and items by first appearance, steps by time, equal times by arrival', () => {
  const builder = new UserItemListsBuilder(true)
  for (const [user, item, time] of [
    ['b', 'x', 3],
    ['a', 'y', 5],
    ['b', 'y', 1],
    ['b', 'z', 3],
    ['a', 'x', 5]
  ] as const)
    builder.add(user, item, time)
  const lists = builder.build()
  assert.deepEqual(lists.users, ['b', 'a'])
  assert.deepEqual(lists.items, ['x', 'y', 'z'])
  assert.deepEqual([...lists.starts], [0, 3, 5])
  // b: y (1), x (3), z (3); a: y (5), x (5)
  assert.deepEqual([...lists.steps], [1, 0, 2, 1, 0])
  assert.deepEqual([...lists.eventTimesMs!], [1, 3, 3, 5, 5])
})

test('without times the order of arrival stays, past the first growth', () => {
  const builder = new UserItemListsBuilder(false)
  for (let i = 0; i < 3000; i++) builder.add(`u${i % 2}`, `i${i}`, Number.NaN)
  const lists = builder.build()
  assert.equal(lists.eventTimesMs, undefined)
  assert.deepEqual(
    [...lists.steps.subarray(lists.starts[1]!, lists.starts[2]!)],
    Array.from({ length: 1500 }, (_, i) => 2 * i + 1)
  )
})

test('nothing', () => assert.deepEqual([...new UserItemListsBuilder(false).build().starts], [0]))
