import assert from 'node:assert/strict'
import test from 'node:test'
import { accountText, unaccounted } from '../../src/core/account.ts'
import { ManualClock } from '../../src/core/clock.ts'
import { UnavailableError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { Publisher } from '../../src/publish/publisher.ts'
import { memoryUsers } from '../support/memoryUserStore.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { PlainEncoder } from './publisherEncoder.ts'

test('every change of a user has one outcome or waits, whatever fails, is forgotten or has to make room, and while a batch is written', async () => {
  const met = new Map<string, number>()
  for (let seed = 1; seed <= 40; seed++) {
    const rng = new Rng(seed)
    const clock = new ManualClock(1_000_000)
    const encoder = new PlainEncoder()
    const index = new MemoryVectorIndex()
    const options = { userWaitMs: 50, sweepIntervalMs: 1000 }
    const publisher = new Publisher({
      encoder,
      index,
      users: memoryUsers(),
      options,
      clock,
      catalogue: new Map(),
      limits: { unknownUsersMax: 3 }
    })
    let noted = 0
    const check = () => {
      const account = publisher.account()
      assert.equal(unaccounted(account), 0, `seed ${seed}: ${accountText(account)}`)
      assert.equal(account.read, noted, `seed ${seed}: ${accountText(account)}`)
    }
    const change = () => {
      noted++
      const userId = `u${rng.integer(16)}`
      const steps = Array.from({ length: 1 + rng.integer(3) }, (_, i) => ({
        itemId: `i${rng.integer(9)}`,
        eventTimeMs: 100_000 + i
      }))
      const kind = rng.integer(10)
      if (kind === 0) publisher.forget(userId)
      else if (kind === 1) publisher.noteSequence({ userId, steps, acceptedAtMs: clock.nowMs() }, true)
      else publisher.noteSequence({ userId, steps, acceptedAtMs: clock.nowMs() })
    }
    index.beforeUpsert = async () => {
      check()
      if (rng.integer(2) === 0) change()
      check()
      if (rng.integer(4) === 0) throw new UnavailableError('once')
    }
    for (let i = 0; i < 120; i++) {
      change()
      clock.advance(rng.integer(60))
      if (rng.integer(8) === 0) {
        const itemId = `i${rng.integer(9)}`
        encoder.angles.set(itemId, rng.integer(9))
        publisher.noteModel({
          changedItems: [itemId],
          expired: [],
          weightsChanged: rng.integer(2) === 0,
          counts: new Map()
        })
      }
      if (rng.integer(3) > 0) await publisher.publishItems().catch(retryable)
      await publisher.publishUsers(4, { flush: rng.integer(2) === 0 }).catch(retryable)
      check()
    }
    for (const [outcome, count] of Object.entries(publisher.account().outcomes))
      met.set(outcome, (met.get(outcome) ?? 0) + count)
  }
  for (const outcome of ['written', 'merged', 'removed', 'restored', 'forgotten', 'dropped'])
    assert(met.get(outcome)! > 0, `${outcome} never occurred: nothing is shown of it`)
})

function retryable(error: unknown): void {
  if (!(error instanceof UnavailableError)) throw error
}
