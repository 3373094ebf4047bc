// An index version that cannot go live because the publisher cannot hold as many users as the live one has.

import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { blockedBy, type HeldPromotion } from '../../src/publish/publisherReport.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { BatchLedgerMemory } from '../support/batchLedgerMemory.ts'
import { CheckpointMemory } from '../support/checkpointMemory.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { ioWithSequences, learnAll, newTrainer } from '../support/smallStream.ts'
import { SteppedClock } from '../support/steppedClock.ts'

before(async () => {
  await loadBackend()
})

test('up to 1,111,111 users another index version can go live, beyond that none can, and what to do is said', () => {
  assert.equal(blockedBy(1_111_111), undefined)
  assert.match(
    blockedBy(1_111_112)!,
    /at most 1000000 users.*1111112.*sequence\.idleMaxMs.*at most 1111111.*docs\/alerts\.md/
  )
})

test('an index version that cannot go live is reported once, with the reason and what to do, and goes live when the cause is gone', async () => {
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
  const users = Array.from({ length: 60 }, (_, i) => ({
    ...{ role: 'user' as const, id: `old ${i}`, payload },
    vectors: Float32Array.from([...unit, ...unit])
  }))
  await index.upsert('before', 1, [
    { role: 'item', id: 'x', vector: unit, payload: { count: 1, updatedAtMs: 0 } },
    ...users
  ])
  await index.promote('before', { items: 1, users: 60 })
  const problems: string[] = []
  const kept: (HeldPromotion | undefined)[] = []
  const stage = new PublishStage({
    ...{ ...io, index, replica: new ModelReplica(), offsets: { load: () => new Map(), save: () => {} } },
    limits: { usersMax: 50 },
    onProblem: (text) => problems.push(text),
    onHeldPromotion: (held) => kept.push(held)
  })
  stage.drain(true)
  const stop = new AbortController()
  const running = stage.run(stop.signal)
  await clock.pass(20_000)
  assert.equal((await index.live())?.indexVersion, 'before')
  assert.equal(problems.length, 1)
  assert.match(problems[0]!, /index version \S+ does not go live: .*at most 50 users.* of the 60 .*at most 55 users/)
  assert.equal(stage.heldPromotion?.text, problems[0])
  assert.deepEqual(
    kept.map((held) => held?.text),
    [undefined, problems[0]]
  )
  // Idle users expire.
  await index.remove(
    'before',
    'user',
    users.slice(0, 30).map(({ id }) => id)
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
