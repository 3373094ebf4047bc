// Items that the catalogue lacks: `events.catalogueOnly`.

import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { loadBackend } from '../../src/model/backend.ts'
import { PopularityWatch } from '../../src/publish/popularityWatch.ts'
import { Catalogue } from '../../src/records/catalogue.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { history, live } from '../train/modelLives.ts'
import { catalogue, click, everywhere, places, withIndex, write } from './places.ts'

before(async () => {
  await loadBackend()
})

const ghost = 'i1'
const others = catalogue.filter(({ itemId }) => itemId !== ghost)

for (const name of ['memory', 'embedded'])
  test(`an item that the catalogue lacks is in no list, clicked or not, until the catalogue has it (${name} index)`, async () => {
    await withIndex(name, async (index) => {
      const disk = await history(index)
      const { io } = disk
      const here = async () => (await places(index, disk, ghost)).sort()
      const all = async () => [...everywhere, `index version ${(await index.live())!.indexVersion}`].sort()
      assert.deepEqual(await here(), await all(), 'without a catalogue every item may be listed')

      // The catalogue arrives while nothing runs: the next start takes out what it lacks.
      for (const item of others) await write(io, item)
      await live(disk)
      assert.deepEqual([await here(), (await index.live())!.items], [[], others.length])
      for (const user of ['a', 'b', 'c']) await click(io, user, ['i2', ghost, 'i3', ghost])
      await live(disk)
      assert.deepEqual(await here(), [])
      assert.equal((await index.user('c'))?.payload.recent[0], ghost, 'it is in histories all the same')
      disk.desk.ask('rebuild')
      await live(disk)
      assert.deepEqual(await here(), [])

      await write(io, catalogue.find(({ itemId }) => itemId === ghost)!)
      await live(disk)
      assert.deepEqual(await here(), await all())
      const { payload } = (await index.item(ghost))!
      assert(payload.count > 0 && payload.popularity! > 0, 'it is as popular as if it had been there all the time')

      await write(io, ghost)
      await live(disk)
      assert.deepEqual(await here(), [])
      await write(io, catalogue.find(({ itemId }) => itemId === ghost)!)
      await live(disk)
      assert.deepEqual(await here(), await all())

      // A catalogue that is empty again is none.
      for (const { itemId } of others) await write(io, itemId)
      await write(io, catalogue.find(({ itemId }) => itemId === ghost)!)
      await live(disk)
      assert.equal((await index.live())!.items, 1)
      io.dispose()
    })
  })

test('a catalogue that arrives while the publisher writes leaves none of the items in the index that it lacks', async () => {
  const index = new MemoryVectorIndex()
  const disk = await history(index)
  let arrived = false
  index.beforeUpsert = async () => {
    if (arrived) return
    arrived = true
    for (const item of others) await write(disk.io, item)
  }
  await click(disk.io, 'a', ['i2', ghost])
  await live(disk)
  assert(arrived)
  assert.deepEqual([await places(index, disk, ghost), (await index.live())!.items], [[], others.length])
  disk.io.dispose()
})

test('popularity counts what the catalogue lacks, and the account reports it apart', async () => {
  const index = new MemoryVectorIndex()
  const disk = await history(index)
  const { io } = disk
  const known = new Catalogue()
  for (const [i, item] of others.entries()) known.apply(item.itemId, BigInt(i), item)
  const watch = new PopularityWatch(io, undefined, (itemId) => known.isCandidate(itemId, true))
  await click(io, 'a', ['i2', ghost, 'never in a catalogue'])
  for (const record of io.log.records('interactions').slice(-3)) watch.take(record)
  const { read, outcomes } = watch.account()
  assert.deepEqual([read, outcomes.counted, outcomes.unlisted], [3, 1, 2])
  assert(watch.of(ghost).popularity > 0)
  assert.deepEqual([known.isCandidate(ghost, false), new Catalogue().isCandidate(ghost, true)], [true, true])
  io.dispose()
})
