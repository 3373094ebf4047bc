// An item that the catalogue deletes, from the record without a value to the lists.

import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { loadItems } from '../../src/ingest/load.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { BatchLedgerMemory } from '../support/batchLedgerMemory.ts'
import { CheckpointMemory } from '../support/checkpointMemory.ts'
import { allArrays } from '../support/copies.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { ioWithSequences, newTrainer } from '../support/smallStream.ts'
import { history, live } from '../train/modelLives.ts'
import { catalogue, click, everywhere, places, withIndex, write } from './places.ts'

before(async () => {
  await loadBackend()
})

for (const name of ['memory', 'embedded'])
  test(`an item that the catalogue deletes is in no index version and in no list until the catalogue has it again (${name} index)`, async () => {
    await withIndex(name, async (index) => {
      const disk = await history(index)
      const { io, desk } = disk
      await loadItems(catalogue, {
        log: io.log,
        codecs: io.codecs,
        topic: 'items',
        signal: new AbortController().signal
      })
      const [earliest] = await disk.checkpoints.steps()
      desk.ask('rebuild')
      const { modelVersion: kept } = await live(disk)
      desk.ask('rebuild')
      const { modelVersion } = await live(disk)
      const item = catalogue.find(({ itemId }) => itemId === 'i1')!
      const here = async () => (await places(index, disk, item.itemId)).sort()
      assert.deepEqual(await here(), [...everywhere, `index version ${modelVersion}`, `index version ${kept}`].sort())

      // Deleted while nothing runs: the next start takes it out, of what is live and of what is kept for a rollback.
      await write(io, item.itemId)
      await live(disk)
      assert.deepEqual(await here(), [])
      // Clicks train its embedding and count for popularity; the user who clicked has vectors all the same.
      await click(io, 'newcomer', ['i2', item.itemId, 'i3', item.itemId])
      await live(disk)
      assert.deepEqual(await here(), [])
      assert.equal((await index.user('newcomer'))?.payload.recent[0], item.itemId)
      // After compaction the tombstone is all that is left of it.
      io.log.compact('items')
      desk.ask('rebuild')
      assert.notEqual((await live(disk)).modelVersion, modelVersion)
      assert.deepEqual(await here(), [])
      desk.ask('rollback', { version: earliest! })
      await live(disk)
      assert.deepEqual(await here(), [])
      await live(disk)
      assert.deepEqual(await here(), [])

      await write(io, item)
      await click(io, 'another', ['i2', 'i3'])
      const again = await live(disk)
      assert.deepEqual(await here(), [...everywhere, `index version ${again.modelVersion}`].sort())
      const { payload } = (await index.item(item.itemId))!
      assert.equal(payload.title, item.title)
      assert(payload.count > 0, 'its interactions are counted as before')
      io.dispose()
    })
  })

test('an item that is deleted while a write of it is under way leaves the index right after, without a restart', async () => {
  const index = new MemoryVectorIndex()
  const disk = await history(index)
  const { io } = disk
  await loadItems(catalogue, {
    log: io.log,
    codecs: io.codecs,
    topic: 'items',
    signal: new AbortController().signal
  })
  let deleted = false
  index.beforeUpsert = async () => {
    if (deleted) return
    deleted = true
    await write(io, 'i1')
  }
  await live(disk)
  assert(deleted)
  assert.deepEqual(await places(index, disk, 'i1'), [])
  io.dispose()
})

test('feeding the same catalogue once more, as a restart does, does not bring a deleted item back', async () => {
  const io = await ioWithSequences()
  const feed = () =>
    loadItems(catalogue, { log: io.log, codecs: io.codecs, topic: 'items', signal: new AbortController().signal })
  await feed()
  await write(io, 'i1')
  const end = (await io.log.ends('items')).get(0)
  await feed()
  assert.equal((await io.log.ends('items')).get(0), end)
  io.dispose()
})

test('a batch that is learned again after a crash knows of its items what it knew then, though they were deleted or changed since', async () => {
  const learn = async (change: 'never' | 'after the crash' | 'before') => {
    const io = await ioWithSequences()
    await loadItems(catalogue, {
      log: io.log,
      codecs: io.codecs,
      topic: 'items',
      signal: new AbortController().signal
    })
    const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
    const changeAll = async () => {
      for (const item of catalogue)
        await write(
          io,
          Number(item.itemId.slice(1)) % 2 === 0 ? item.itemId : { ...item, features: { topic: ['other'] } }
        )
    }
    const life = async (crash: boolean) => {
      const trainer = newTrainer(io)
      const stop = new AbortController()
      const onBatch = ({ batch }: { batch: number }) => {
        if (batch < 5) return
        if (crash) throw new Error('crash')
        stop.abort()
      }
      const stage = new TrainStage({ ...io, ...stores, trainer, onBatch })
      await stage.run(stop.signal).catch((error: Error) => assert.equal(error.message, 'crash'))
      return [...allArrays(trainer.checkpoint()).entries()].filter(([name]) => !name.startsWith('progressive'))
    }
    if (change === 'before') await changeAll()
    if (change === 'after the crash') {
      await life(true)
      assert.equal(stores.ledger.after(0).length, 5, 'nothing would be learned again')
      await changeAll()
    }
    const arrays = await life(false)
    io.dispose()
    return arrays
  }
  const undisturbed = await learn('never')
  assert.deepEqual(await learn('after the crash'), undisturbed)
  assert.notDeepEqual(await learn('before'), undisturbed, 'features make no difference: nothing is proved')
})
