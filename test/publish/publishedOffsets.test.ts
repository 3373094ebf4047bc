// How far a restart of the publisher goes back, while somebody always waits.

import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
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

test('a publisher that always has users waiting repeats after a crash no more than the changes of a second and those that waited', async () => {
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
  const users = new MemoryUserDisk()
  const saved = () => users.at(0).committed()
  let answered = 0
  const start = () =>
    new PublishStage({
      ...io,
      index,
      replica: new ModelReplica(),
      users,
      onPublished: ({ users }) => (answered += users?.answeredIds.length ?? 0)
    })
  const last = io.codecs.userSequence.decode(io.log.records('user-sequences').at(-1)!.value!)
  const click = async (userId: string, newestMs: number) => {
    const value = io.codecs.userSequence.encode({ ...last, userId, newestMs, fresh: [], acceptedAtMs: clock.nowMs() })
    await io.log.append('user-sequences', [{ key: new TextEncoder().encode(userId), value }])
  }
  const stop = new AbortController()
  const crash = new Error('crash')
  const stage = start()
  const running = stage.run(stop.signal).catch((error: Error) => assert.equal(error, crash))
  await clock.pass(5000)
  const everyMs = 10
  let waitedAlways = true
  for (let i = 0; i < 2000; i++) {
    await click(i % 2 === 0 ? 'busy' : `visitor ${i}`, last.newestMs + i) // one of them never stops clicking
    await clock.pass(everyMs)
    waitedAlways &&= stage.waiting().users > 0 || i < 2
  }
  assert(waitedAlways, 'nothing is proved where nobody waits for a moment')
  const end = (await io.log.ends('user-sequences')).get(0)!
  // Waiting is gathering: userWaitMs; a batch follows within a turn of the loop.
  const boundMs = 1000 + io.config.publish.userWaitMs + 100
  const lag = Number(end - saved())
  assert(
    lag > 0 && lag <= boundMs / everyMs,
    `${lag} of ${end} changes would be published again; ${boundMs / everyMs} are allowed`
  )
  index.beforeUpsert = async () => Promise.reject(crash)
  await clock.pass(1000)
  await running
  const repeated = Number(end - saved())
  assert(repeated > 0 && repeated <= lag)

  // The next life: no change is lost, and only those are repeated.
  index.beforeUpsert = async () => {}
  answered = 0
  const next = start()
  const again = next.run(stop.signal)
  await clock.pass(5000)
  assert(answered <= repeated, `${answered} users were published again as changed`)
  assert.equal((await index.user('busy'))?.payload.newestMs, last.steps.at(-1)!.eventTimeMs)
  for (let i = 1; i < 2000; i += 2) assert((await index.user(`visitor ${i}`)) !== undefined, `visitor ${i} is lost`)
  assert.equal(saved(), end)
  stop.abort()
  await clock.pass(1000)
  await again
  io.dispose()
})
