// Rollback, rebuild and resume through trainer and publisher; and a death between any two of their writes.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { arraysOf } from '../../src/model/replica/checkpoint.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { history, Killed, killRollbacks, live, serves } from './modelLives.ts'

before(async () => {
  await loadBackend()
})

test('rollback serves the checkpoint and trains on from it; rebuild and resume serve what the trainer has', async () => {
  const disk = await history(new MemoryVectorIndex())
  const [old, newest] = await disk.checkpoints.steps()
  assert.equal(old, 8)
  assert.deepEqual([await serves(disk, newest!), await serves(disk, old)], [true, false])

  disk.desk.ask('rollback', { version: old })
  assert.equal((await live(disk)).modelVersion, 'mtmi-2x8.1')
  assert.equal(disk.desk.answered?.outcome, 'done')
  assert.equal(await serves(disk, old), true)
  const { checkpoint } = (await disk.checkpoints.latest())!
  assert.deepEqual(arraysOf(checkpoint, 'weights'), arraysOf(await disk.checkpoints.load(old), 'weights'))
  assert.equal(checkpoint.header.step, (await disk.checkpoints.load(old)).header.step)

  disk.desk.ask('rebuild')
  assert.equal((await live(disk)).modelVersion, 'mtmi-2x8.2')
  assert.equal(await serves(disk, old), true)
  assert.deepEqual(await disk.index.versions(), ['mtmi-2x8.1', 'mtmi-2x8.2']) // versionsKept: 2

  // What cannot be done is said, and changes nothing.
  disk.desk.ask('rollback', { version: 5 })
  assert.equal((await live(disk)).modelVersion, 'mtmi-2x8.2')
  assert.deepEqual(
    [disk.desk.answered?.outcome, /no checkpoint of step 5/.test(disk.desk.answered?.message ?? '')],
    ['failed', true]
  )
  disk.io.dispose()
})

test('rollback with hold: the old version is served, the trainer keeps its weights and sends none, until it resumes', async () => {
  const disk = await history(new MemoryVectorIndex())
  const [old, newest] = await disk.checkpoints.steps()
  const weights = async (step: number) => arraysOf(await disk.checkpoints.load(step), 'weights')
  const own = await weights(newest!)
  disk.desk.ask('rollback', { version: old!, hold: true })
  assert.equal((await live(disk)).modelVersion, 'mtmi-2x8.1')
  assert.equal(await serves(disk, old!), true)
  assert.deepEqual(await weights((await disk.checkpoints.latest())!.step), own)
  const sent = (await disk.io.log.ends('model-updates')).get(0)
  await live(disk) // after a restart too
  assert.deepEqual([(await disk.io.log.ends('model-updates')).get(0), await serves(disk, old!)], [sent, true])
  disk.desk.ask('resume')
  assert.equal((await live(disk)).modelVersion, 'mtmi-2x8.2')
  assert.equal(await serves(disk, newest!), true)
  disk.io.dispose()
})

test('killed before any write of a rollback: the old or the new model version is live, whole; the next life finishes it', async () => {
  const writes = await killRollbacks(
    async () => new MemoryVectorIndex(),
    () => true
  )
  assert.ok(writes > 6, `only ${writes} writes`)
})

test('restarted while a rebuild is under way: who clicks then still gets fresh vectors in the model version that is answered from', async () => {
  const disk = await history(new MemoryVectorIndex())
  disk.desk.ask('rebuild')
  const { io, index } = disk
  // The trainer has sent its model for the new model version; the publisher dies before it can switch.
  const refusing: VectorIndex = new Proxy(index, {
    get(target, name) {
      if (name === 'promote') return () => Promise.reject(new Killed())
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
  await assert.rejects(live({ ...disk, index: refusing }), Killed)
  assert.deepEqual(
    [(await index.live())?.indexVersion, await index.versions()],
    ['mtmi-2x8', ['mtmi-2x8', 'mtmi-2x8.1']]
  )
  io.log.compact('model-updates')
  const last = io.log.records('user-sequences').at(-1)!
  const user = io.codecs.userSequence.decode(last.value!)
  const steps = [...user.steps, { ...user.steps[0]!, eventTimeMs: user.newestMs + 1 }]
  const value = io.codecs.userSequence.encode({ ...user, steps, fresh: [], newestMs: user.newestMs + 1 })
  await io.log.append('user-sequences', [{ key: last.key, value, partition: 0 }])
  await assert.rejects(live({ ...disk, index: refusing }), Killed)
  assert.equal((await index.live())?.indexVersion, 'mtmi-2x8')
  assert.equal((await index.user(user.userId))?.payload.newestMs, user.newestMs + 1)
  assert.equal((await live(disk)).modelVersion, 'mtmi-2x8.1')
  assert.equal((await index.user(user.userId))?.payload.newestMs, user.newestMs + 1)
  io.dispose()
})
