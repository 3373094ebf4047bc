import assert from 'node:assert/strict'
import test from 'node:test'
import { PublisherUsers } from '../../src/publish/publisherUsers.ts'
import type { UserWindow } from '../../src/records/userSequence.ts'
import { memoryUsers } from '../support/memoryUserStore.ts'

const take = { flush: false, sweepAll: false }
const users = () => new PublisherUsers(memoryUsers(), { unknownUsersMax: 10, userWaitMs: 50, sweepIntervalMs: 60_000 })
const windowOf = (itemId: string): UserWindow => ({
  ...{ steps: [{ itemId, type: 'click', eventTimeMs: 1 }], recent: [] },
  newestMs: 1
})

test('an index version that is being filled waits for a user whose items the model has learned meanwhile', () => {
  const queue = users()
  queue.note('u', windowOf('new'), 0, 0)
  queue.beginVersion('a', true)
  const [first] = queue.take(10, 50, take)
  queue.wasUnknown(first!, ['new'])
  queue.settle()
  assert.equal(queue.unfilled, 0, 'looked at: the model knows none of the items')

  queue.itemsKnown(new Set(['new']), 60)
  assert.equal(queue.unfilled, 1)
  const [again] = queue.take(10, 60, take)
  assert.equal(again?.userId, 'u', 'due at once')
  queue.wasEncoded(again!, 'written')
  assert.equal(queue.unfilled, 0)
})

test('a later change does not delay the version', () => {
  const queue = users()
  queue.beginVersion('a', true)
  queue.note('u', windowOf('i'), 0, 0)
  assert.equal(queue.unfilled, 0)
})
