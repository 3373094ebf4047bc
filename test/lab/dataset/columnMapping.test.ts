import assert from 'node:assert/strict'
import test from 'node:test'
import { ConfigError } from '../../../src/core/errors.ts'
import { completeMapping, parseColumnMapping } from '../../../src/lab/dataset/columnMapping.ts'

test('a mapping is read from the command line', () => {
  assert.deepEqual(parseColumnMapping('user=who, item=what,unit=ms'), { user: 'who', item: 'what', unit: 'ms' })
})

test('every problem of a mapping is named', () => {
  const problems = (text: string) => {
    try {
      parseColumnMapping(text)
    } catch (error) {
      assert(error instanceof ConfigError)
      return error.problems.length
    }
    return 0
  }
  assert.equal(problems('usr=a'), 1)
  assert.equal(problems('user=,item=b,item=c'), 2)
  assert.equal(problems('unit=minutes'), 1)
  assert.equal(problems(''), 1)
})

test('known names complete a mapping, whatever their case; the likeliest wins', () => {
  assert.deepEqual(completeMapping({}, {}, ['userId', 'movieId', 'rating', 'timestamp'], 'f'), {
    user: 'userId',
    item: 'movieId',
    time: 'timestamp',
    value: 'rating'
  })
  assert.deepEqual(completeMapping({ user: 'session' }, {}, ['user', 'session', 'item'], 'f'), {
    user: 'session',
    item: 'item'
  })
})

test('a column that is not there, or a role nobody has, is an error that lists what is there', () => {
  assert.throws(
    () => completeMapping({ user: 'who' }, {}, ['user', 'item'], 'f.csv'),
    /f\.csv: there is no column "who" for user; there are user, item/
  )
  assert.throws(
    () => completeMapping({}, {}, ['a', 'b'], 'f.csv'),
    /no column is known to be the user[\s\S]*no column is known to be the item/
  )
  assert.throws(() => completeMapping({ user: 'item', item: 'item' }, {}, ['item'], 'f.csv'), /both column item/)
})
