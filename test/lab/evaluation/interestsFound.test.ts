import assert from 'node:assert/strict'
import test from 'node:test'
import { foundInterests, interestsFound, type UserTowers } from '../../../src/lab/evaluation/interestsFound.ts'

// Items are named by topic: `3-7` is of topic 3; `x` has none.
const topicOf = (itemId: string) => (itemId === 'x' ? undefined : Number(itemId.split('-')[0]))
const list = (...counts: [topic: number, count: number][]) =>
  counts.flatMap(([topic, count]) => Array.from({ length: count }, (_, i) => `${topic}-${i}`))

const countFound = (user: UserTowers) => foundInterests(user, topicOf).size

test('an interest is found when some list has five of its items among the first ten', () => {
  assert.equal(countFound({ planted: [1], lists: [list([1, 4], [2, 6])] }), 0)
  assert.equal(countFound({ planted: [1], lists: [list([1, 5], [2, 5])] }), 1)
  assert.equal(countFound({ planted: [1, 2], lists: [list([1, 5], [2, 5])] }), 2)
  assert.equal(countFound({ planted: [1], lists: [list([2, 6], [1, 5])] }), 0) // the fifth is the eleventh
  assert.equal(countFound({ planted: [1, 2], lists: [list([3, 10]), list([2, 7]), []] }), 1)
  assert.equal(countFound({ planted: [1], lists: [['x', 'x', 'x', 'x', 'x', 'x']] }), 0)
  // Four in each of two lists: no tower has found it.
  assert.equal(countFound({ planted: [1], lists: [list([1, 4]), list([1, 4])] }), 0)
  // Two towers at the same interest find one.
  assert.equal(countFound({ planted: [1, 2], lists: [list([1, 9]), list([1, 9])] }), 1)
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
    usersWithMostFound: 2,
    interestsFoundForMost: 0, // nobody's interest has ten users
    interests: 0
  })
  assert.deepEqual(interestsFound([], topicOf), {
    users: 0,
    meanShareFound: 0,
    usersWithAllFound: 0,
    usersWithMostFound: 0,
    interestsFoundForMost: 0,
    interests: 0
  })
})

test('interest by interest: found for most of those who have it, where ten users have it', () => {
  const users = [
    ...Array.from({ length: 6 }, () => ({ planted: [1, 2], lists: [list([1, 9])] })), // 1 found, 2 not
    ...Array.from({ length: 5 }, () => ({ planted: [1, 2, 3], lists: [list([2, 9]), list([3, 9])] })) // 2 and 3 found, 1 not
  ]
  // 1: 6 of 11 users. 2: 5 of 11. 3: five users are too few to say.
  const { interestsFoundForMost, interests } = interestsFound(users, topicOf)
  assert.deepEqual({ interestsFoundForMost, interests }, { interestsFoundForMost: 1, interests: 2 })
})
