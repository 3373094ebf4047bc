// An index version that does not go live because it has fewer items than the live one; the live one's users are no bound.

import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import type { HeldPromotion } from '../../src/publish/publisherReport.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { BatchLedgerMemory } from '../support/batchLedgerMemory.ts'
import { CheckpointMemory } from '../support/checkpointMemory.ts'
import { MemoryUserDisk } from '../support/memoryUserStore.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { ioWithSequences, learnAll, newTrainer } from '../support/smallStream.ts'
import { SteppedClock } from '../support/steppedClock.ts'

before(async () => {
  await loadBackend()
})

test('an index version that has too few items is reported once, with the reason, and goes live when the cause is gone, whatever users the live one has', async () => {
  const small = await ioWithSequences()
  await learnAll(
    new TrainStage({
      ...small,
      trainer: newTrainer(small),
      checkpoints: new CheckpointMemory(3),
      ledger: new BatchLedgerMemory()
    }),
    small
  )
  const clock = new SteppedClock(small.clock.nowMs())
  const io = { ...small, clock }
  const index = new MemoryVectorIndex()
  const shape = { dimensions: 8, interestCount: 2 }
  const unit = Float32Array.from([1, 0, 0, 0, 0, 0, 0, 0])
  await index.createVersion('before', shape)
  const payload = { recent: [], historyLength: 1, newestMs: 0, updatedAtMs: 0 }
  const users = Array.from({ length: 2000 }, (_, i) => ({
    ...{ role: 'user' as const, id: `old ${i}`, payload },
    vectors: Float32Array.from([...unit, ...unit])
  }))
  const items = Array.from({ length: 500 }, (_, i) => ({
    ...{ role: 'item' as const, id: `old ${i}`, vector: unit, payload: { count: 1, updatedAtMs: 0 } }
  }))
  await index.upsert('before', 1, [...items, ...users])
  await index.promote('before', { items: 500, users: 2000 })
  const kept: (HeldPromotion | undefined)[] = []
  const stage = new PublishStage({
    ...{ ...io, index, replica: new ModelReplica(), users: new MemoryUserDisk() },
    onHeldPromotion: (held) => kept.push(held)
  })
  stage.drain(true)
  const stop = new AbortController()
  const running = stage.run(stop.signal)
  await clock.pass(20_000)
  assert.equal((await index.live())?.indexVersion, 'before')
  const text = stage.heldPromotion?.text ?? ''
  assert.match(
    text,
    /index version \S+ does not go live: .* items, less than 0.9 of the 500 of live index version before/
  )
  assert.deepEqual(
    kept.map((held) => held?.text),
    [undefined, text]
  )
  await index.remove(
    'before',
    'item',
    items.slice(10).map(({ id }) => id)
  )
  await io.log.append(
    'user-sequences',
    [small.log.records('user-sequences').at(-1)!].map(({ key, value }) => ({ key, value }))
  )
  await clock.pass(20_000)
  assert.notEqual((await index.live())?.indexVersion, 'before')
  assert.equal(stage.heldPromotion, undefined)
  assert.equal(kept.at(-1), undefined)
  stop.abort()
  await clock.pass(1000)
  await running
  small.dispose()
})
