// Rollback, rebuild and resume through trainer and publisher; and a death between any two of their writes.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import type { ControlRequest, ControlResult, ModelControl } from '../../../pipelines/stages/modelControl.ts'
import { PublishStage } from '../../../pipelines/stages/publishStage.ts'
import { TrainStage } from '../../../pipelines/stages/trainStage.ts'
import { BatchLedgerMemory } from '../../../src/io/state/batchLedgerMemory.ts'
import { CheckpointMemory } from '../../../src/io/state/checkpointMemory.ts'
import { loadBackend } from '../../../src/model/backend.ts'
import type { VectorIndex } from '../../../src/retrieval/vectorIndex.ts'
import { arraysOf, type CheckpointStore } from '../../../src/train/checkpoint.ts'
import type { BatchLedger } from '../../../src/train/ledger.ts'
import { ModelReplica } from '../../../src/train/modelReplica.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'
import { newTrainer, until, wireWithSequences } from './smallStream.ts'
import type { TestWire } from './wire.ts'

before(async () => {
  await loadBackend()
})

class Desk implements ModelControl {
  asked: ControlRequest | undefined
  answered: ControlResult | undefined
  ask(action: ControlRequest['action'], more: { version?: number; hold?: boolean } = {}): void {
    this.asked = { id: (this.asked?.id ?? 0) + 1, action, ...more, requestedAtMs: 0 }
  }
  request(): ControlRequest | undefined {
    return this.asked
  }
  result(): ControlResult | undefined {
    return this.answered
  }
  finish(result: ControlResult): void {
    this.answered = result
  }
}

/** Everything that outlives a process. */
interface Disk {
  readonly wire: TestWire
  readonly checkpoints: CheckpointStore
  readonly ledger: BatchLedger
  readonly index: VectorIndex
  readonly desk: ModelControl
  /** What the publisher has put into effect. */
  readonly liveModel: CheckpointStore
}

class Killed extends Error {}

/** Dies before the n-th write of all parts together, counted from 1; 0: never. */
function mortal(disk: Disk, nth: number): { disk: Disk; writes: () => number } {
  let writes = 0
  const around = <T extends object>(part: T, names: readonly string[]): T =>
    new Proxy(part, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]): unknown => {
          if (names.includes(String(name)) && ++writes === nth) throw new Killed()
          return Reflect.apply(value, target, args)
        }
      }
    })
  const { wire } = disk
  return {
    writes: () => writes,
    disk: {
      wire: { ...wire, log: around(wire.log, ['append']) },
      checkpoints: around(disk.checkpoints, ['save']),
      liveModel: around(disk.liveModel, ['save']),
      ledger: around(disk.ledger, ['append', 'truncateBefore']),
      index: around(disk.index, ['createSpace', 'upsert', 'promote', 'dropSpace', 'remove']),
      desk: around(disk.desk, ['finish'])
    }
  }
}

/** Trains and publishes in one life, until there is nothing to do. @param batches to learn at most */
async function live(disk: Disk, batches = Number.POSITIVE_INFINITY): Promise<{ space: string; trained: number }> {
  const { wire, desk: control } = disk
  const stop = new AbortController()
  const replica = new ModelReplica({ gated: true })
  const { index, liveModel } = disk
  const publish = new PublishStage({ ...wire, index, liveModel, replica, offsets: { load: () => new Map(), save: () => {} } })
  const trainer = newTrainer(wire)
  const train = new TrainStage({
    ...{ ...wire, trainer, control, checkpoints: disk.checkpoints, ledger: disk.ledger },
    onBatch: ({ batch }) => {
      if (batch >= batches) stop.abort()
    }
  })
  for (const stage of [train, publish]) stage.hurry(true)
  const running = Promise.all([train.run(stop.signal), publish.run(stop.signal)]).then(() => {})
  running.catch(() => stop.abort())
  const sequences = (await wire.log.ends('user-sequences')).get(0)
  await Promise.race([
    running,
    until(async () => {
      const { sequences: read, model } = publish.consumed()
      const { items, users } = publish.waiting()
      const updates = (await wire.log.ends('model-updates')).get(0) ?? 0n
      const done = train.consumed().get(0) === sequences && train.updatesSent && control.request()?.id === control.result()?.id
      return stop.signal.aborted || (done && read.get(0) === sequences && model === updates && items === 0 && users === 0)
    }, running)
  ])
  stop.abort()
  await running
  return { space: (await disk.index.live())?.space ?? '', trained: train.batch }
}

/** Learned to the end, with a checkpoint after 8 batches, and published. */
async function history(): Promise<Disk & { desk: Desk }> {
  const disk = {
    ...{ wire: await wireWithSequences(), checkpoints: new CheckpointMemory(3, 2), ledger: new BatchLedgerMemory() },
    ...{ index: new MemoryVectorIndex(), desk: new Desk(), liveModel: new CheckpointMemory(1) }
  }
  await live(disk, 8)
  await live(disk)
  return disk
}

/** Whether what is live was made by the checkpoint's weights. */
async function serves(disk: Disk, step: number): Promise<boolean> {
  const trainer = newTrainer(disk.wire)
  trainer.restore(await disk.checkpoints.load(step))
  trainer.resendAll()
  const replica = new ModelReplica()
  for (const update of trainer.takeUpdates(true, 0)) replica.apply(update)
  const ids = [...trainer.items.admitted()].map((row) => trainer.items.idOf(row))
  const { vectors } = replica.itemVectors(ids.map((itemId) => ({ itemId, features: [] })))
  let worst = 0
  for (const [i, itemId] of ids.entries()) {
    const found = await disk.index.item(itemId)
    if (found === undefined) return false
    for (const [d, x] of found.vector.entries()) worst = Math.max(worst, Math.abs(x - vectors[i * 8 + d]!))
  }
  return worst < 0.02 // ε: an item that moved less is not written again
}

test('rollback serves the checkpoint and trains on from it; rebuild and resume serve what the trainer has', async () => {
  const disk = await history()
  const [old, newest] = await disk.checkpoints.steps()
  assert.equal(old, 8)
  assert.deepEqual([await serves(disk, newest!), await serves(disk, old)], [true, false])

  disk.desk.ask('rollback', { version: old })
  assert.equal((await live(disk)).space, 'mtmi-2x8.1')
  assert.equal(disk.desk.answered?.outcome, 'done')
  assert.equal(await serves(disk, old), true)
  const { checkpoint } = (await disk.checkpoints.latest())!
  assert.deepEqual(arraysOf(checkpoint, 'weights'), arraysOf(await disk.checkpoints.load(old), 'weights'))
  assert.equal(checkpoint.header.step, (await disk.checkpoints.load(old)).header.step)

  disk.desk.ask('rebuild')
  assert.equal((await live(disk)).space, 'mtmi-2x8.2')
  assert.equal(await serves(disk, old), true)
  assert.deepEqual(await disk.index.spaces(), ['mtmi-2x8.1', 'mtmi-2x8.2']) // spacesKept: 2

  // What cannot be done is said, and changes nothing.
  disk.desk.ask('rollback', { version: 5 })
  assert.equal((await live(disk)).space, 'mtmi-2x8.2')
  assert.deepEqual([disk.desk.answered?.outcome, /no checkpoint of step 5/.test(disk.desk.answered?.message ?? '')], ['failed', true])
  disk.wire.dispose()
})

test('rollback with hold: the old version is served, the trainer keeps its weights and sends none, until it resumes', async () => {
  const disk = await history()
  const [old, newest] = await disk.checkpoints.steps()
  const weights = async (step: number) => arraysOf(await disk.checkpoints.load(step), 'weights')
  const own = await weights(newest!)
  disk.desk.ask('rollback', { version: old!, hold: true })
  assert.equal((await live(disk)).space, 'mtmi-2x8.1')
  assert.equal(await serves(disk, old!), true)
  assert.deepEqual(await weights((await disk.checkpoints.latest())!.step), own)
  const sent = (await disk.wire.log.ends('model-updates')).get(0)
  await live(disk) // after a restart too
  assert.deepEqual([(await disk.wire.log.ends('model-updates')).get(0), await serves(disk, old!)], [sent, true])
  disk.desk.ask('resume')
  assert.equal((await live(disk)).space, 'mtmi-2x8.2')
  assert.equal(await serves(disk, newest!), true)
  disk.wire.dispose()
})

test('killed before any write of a rollback: the old or the new space is live, whole; the next life finishes it', async () => {
  let nth = 0
  for (let last = false; !last; ) {
    nth++
    const disk = await history()
    const [old, newest] = await disk.checkpoints.steps()
    const counts = await disk.index.live()
    disk.desk.ask('rollback', { version: old! })
    const life = mortal(disk, nth)
    await live(life.disk).catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error
    })
    last = life.writes() < nth
    const now = await disk.index.live()
    assert.equal(now?.users, counts?.users, `kill ${nth}: users of ${now?.space}`)
    assert.equal(await serves(disk, now?.space === 'mtmi-2x8.1' ? old! : newest!), true, `kill ${nth}: ${now?.space}`)
    assert.equal((await live(disk)).space, 'mtmi-2x8.1', `kill ${nth}`)
    assert.equal(await serves(disk, old!), true, `kill ${nth}: after the restart`)
    disk.wire.dispose()
  }
  assert.ok(nth > 6, `only ${nth} writes`)
})

test('restarted while a rebuild is under way: who clicks then still gets fresh vectors in the space that is answered from', async () => {
  const disk = await history()
  disk.desk.ask('rebuild')
  const { wire, index } = disk
  // The trainer has sent its model for the new space; the publisher dies before it can switch.
  const refusing: VectorIndex = new Proxy(index, {
    get(target, name) {
      if (name === 'promote') return () => Promise.reject(new Killed())
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
  await assert.rejects(live({ ...disk, index: refusing }), Killed)
  assert.deepEqual([(await index.live())?.space, await index.spaces()], ['mtmi-2x8', ['mtmi-2x8', 'mtmi-2x8.1']])
  wire.log.compact('model-updates')
  const last = wire.log.records('user-sequences').at(-1)!
  const user = wire.codecs.userSequence.decode(last.value!)
  const steps = [...user.steps, { ...user.steps[0]!, eventTimeMs: user.newestMs + 1 }]
  const value = wire.codecs.userSequence.encode({ ...user, steps, fresh: [], newestMs: user.newestMs + 1 })
  await wire.log.append('user-sequences', [{ key: last.key, value, partition: 0 }])
  await assert.rejects(live({ ...disk, index: refusing }), Killed)
  assert.equal((await index.live())?.space, 'mtmi-2x8')
  assert.equal((await index.user(user.userId))?.payload.newestMs, user.newestMs + 1)
  assert.equal((await live(disk)).space, 'mtmi-2x8.1')
  assert.equal((await index.user(user.userId))?.payload.newestMs, user.newestMs + 1)
  wire.dispose()
})
