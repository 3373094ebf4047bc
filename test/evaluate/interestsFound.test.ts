import assert from 'node:assert/strict'
import test from 'node:test'
import { countFound, interestsFound } from '../../src/evaluate/interestsFound.ts'

// Items are named by topic: `3-7` is of topic 3; `x` has none.
const topicOf = (itemId: string) => (itemId === 'x' ? undefined : Number(itemId.split('-')[0]))
const list = (...counts: [topic: number, count: number][]) =>
  counts.flatMap(([topic, count]) => Array.from({ length: count }, (_, i) => `${topic}-${i}`))

test('an interest is found when some list has five of its items among the first ten', () => {
  assert.equal(countFound({ planted: [1], lists: [list([1, 4], [2, 6])] }, topicOf), 0)
  assert.equal(countFound({ planted: [1], lists: [list([1, 5], [2, 5])] }, topicOf), 1)
  assert.equal(countFound({ planted: [1, 2], lists: [list([1, 5], [2, 5])] }, topicOf), 2)
  assert.equal(countFound({ planted: [1], lists: [list([2, 6], [1, 5])] }, topicOf), 0) // the fifth is the eleventh
  assert.equal(countFound({ planted: [1, 2], lists: [list([3, 10]), list([2, 7]), []] }, topicOf), 1)
  assert.equal(countFound({ planted: [1], lists: [['x', 'x', 'x', 'x', 'x', 'x']] }, topicOf), 0)
  // Four in each of two lists: no tower has found it.
  assert.equal(countFound({ planted: [1], lists: [list([1, 4]), list([1, 4])] }, topicOf), 0)
  // Two towers at the same interest find one.
  assert.equal(countFound({ planted: [1, 2], lists: [list([1, 9]), list([1, 9])] }, topicOf), 1)
})

test('summed up over users', () => {
  const users = [
    { planted: [1, 2], lists: [list([1, 9]), list([2, 9])] }, // 2 of 2
    { planted: [1, 2, 3], lists: [list([1, 9]), list([2, 9])] }, // 2 of 3: most
    { planted: [1, 2], lists: [list([1, 9])] }, // 1 of 2: not most
    { planted: [], lists: [list([1, 9])] } // nothing to find: not counted
  ]
  assert.deepEqual(interestsFound(users, topicOf), {
    users: 3,
    meanShareFound: (1 + 2 / 3 + 1 / 2) / 3,
    usersWithAllFound: 1,
    usersWithMostFound: 2
  })
  assert.deepEqual(interestsFound([], topicOf), { users: 0, meanShareFound: 0, usersWithAllFound: 0, usersWithMostFound: 0 })
})
