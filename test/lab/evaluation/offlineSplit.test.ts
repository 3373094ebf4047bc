import assert from 'node:assert/strict'
import test from 'node:test'
import { ConfigError } from '../../../src/core/errors.ts'
import { coreFilter, lastFifth, splitOffline, splitUsers } from '../../../src/lab/evaluation/offlineSplit.ts'
import { itemsOf, user } from './offlineSteps.ts'

test('one pass: rare items first, then users who have too few left', () => {
  const users = [user('u', 'a b c'), user('v', 'a b'), user('w', 'a d')]
  // With 2: c and d go; w keeps one item and goes; a second pass is not made.
  assert.deepEqual(
    coreFilter(users, 2).map(({ userId, steps }) => [userId, itemsOf(steps)]),
    [
      ['u', 'a b'],
      ['v', 'a b']
    ]
  )
})

test('users 8 : 1 : 1, each in one part, the same for the same seed', () => {
  const users = Array.from({ length: 25 }, (_, i) => i)
  const { train, validation, test: held } = splitUsers(users, 3)
  assert.deepEqual([train.length, validation.length, held.length], [20, 2, 3])
  assert.equal(new Set([...train, ...validation, ...held]).size, 25)
  assert.deepEqual(splitUsers(users, 3).train, train)
  assert.notDeepEqual(splitUsers(users, 4).train, train)
})

test('a held-out user: the first ⌊.8 n⌋ steps are the history, the rest the targets, each once', () => {
  const one = lastFifth(user('u', 'a b c d a y y'))! // ⌊.8 · 7⌋ = 5
  assert.equal(itemsOf(one.history), 'a b c d a')
  assert.deepEqual(one.targets, ['y'])
  assert.equal(lastFifth(user('u', 'a')), undefined) // ⌊.8⌋ = 0: no history
})

test('leave-one-out: the last item tests, the one before validates, the rest is learned', () => {
  const { train, validation, test: held } = splitOffline([user('u', 'a b c d'), user('v', 'x y')], 'leave-one-out', 1)
  assert.deepEqual(
    train.map(({ steps }) => itemsOf(steps)),
    ['a b', '']
  )
  assert.deepEqual(
    validation.map(({ history, targets }) => [itemsOf(history), ...targets]),
    [['a b', 'c']] // v has nothing before its validation target
  )
  assert.deepEqual(
    held.map(({ history, targets }) => [itemsOf(history), ...targets]),
    [
      ['a b c', 'd'],
      ['x', 'y']
    ]
  )
})

test('time: the first 80% of the interactions are learned, the next 10% validate, the last 10% test', () => {
  // 20 interactions in the order of these users: u has 0 … 13, v 14 … 17, w 18 and 19; the cuts are at 16 and 18.
  const users = [user('u', 'a b c d e f g h i j k l m n'), user('v', 'o p q r'), user('w', 's t')]
  const split = splitOffline(users, 'time', 1)
  assert.deepEqual(
    split.train.map(({ steps }) => itemsOf(steps)),
    ['a b c d e f g h i j k l m n', 'o p', '']
  )
  assert.deepEqual(
    split.validation.map(({ userId, history, targets }) => [userId, itemsOf(history), ...targets]),
    [['v', 'o p', 'q', 'r']]
  )
  // w is new: the first ⌊.8 · 2⌋ = 1 of its steps is its history.
  assert.deepEqual(
    split.test.map(({ userId, history, targets }) => [userId, itemsOf(history), ...targets]),
    [['w', 's', 't']]
  )
})

test('too little data: says how much there was and what to do', () => {
  assert.throws(
    () => splitOffline([user('u', 'a b c')], 'users', 1),
    (error: unknown) =>
      error instanceof ConfigError &&
      /nothing to learn from.*1 users with 3 interactions.*interactionsMin/s.test(error.message)
  )
  assert.throws(() => splitOffline([], 'leave-one-out', 1), /no test users; 0 users/)
  // Five users are enough: four to learn from, one to test with, none to validate.
  const five = splitOffline(
    ['u', 'v', 'w', 'x', 'y'].map((id) => user(id, 'a b c')),
    'users',
    1
  )
  assert.deepEqual([five.train.length, five.validation.length, five.test.length], [4, 0, 1])
})
