import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import {
  Account,
  accountSince,
  accountText,
  outcomesOf,
  type Reader,
  readers,
  sumAccounts,
  unaccounted
} from '../../src/core/account.ts'

const names = Object.keys(readers) as Reader[]

test('an account balances if every record that was read has one outcome or waits, and otherwise says by how many it does not', () => {
  for (const reader of names) {
    fc.assert(
      fc.property(
        fc.array(fc.nat(1000), { minLength: 12, maxLength: 12 }),
        fc.nat(100),
        fc.integer({ min: -5, max: 5 }),
        (counts, waiting, off) => {
          const account = new Account(reader)
          let read = waiting + off
          for (const [i, outcome] of outcomesOf(reader).entries()) {
            account.add(outcome, counts[i]!)
            read += counts[i]!
          }
          account.read(read)
          const numbers = account.numbers(waiting)
          assert.equal(unaccounted(numbers), off)
          assert.equal(/UNACCOUNTED/.test(accountText(numbers)), off !== 0)
        }
      )
    )
  }
})

test('accounts of partitions add up, and what came since is what a later one has more', () => {
  const first = new Account('sequence')
  first.read(5)
  first.add('placed', 3)
  first.add('late', 2)
  const before = first.numbers()
  const second = new Account('sequence', before)
  second.read(2)
  second.add('ignored')
  const now = second.numbers(1)
  assert.deepEqual(sumAccounts('sequence', [before, now]).outcomes, {
    ...before.outcomes,
    placed: 6,
    late: 4,
    ignored: 1
  })
  const since = accountSince(now, before)
  assert.deepEqual([since.read, since.outcomes.ignored, since.outcomes.placed, since.waiting], [2, 1, 0, 1])
  assert.equal(before.read, 5, 'an account that goes on from another one leaves it as it was')
  assert.equal(
    accountText(now),
    '7 events read: 3 placed in a history, 2 too late (sequence.graceMs), 1 of a type without a weight (events.types), 1 waiting'
  )
})
