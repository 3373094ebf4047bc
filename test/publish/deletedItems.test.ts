// An item that the catalogue deletes, from the record without a value to the lists.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test, { before } from 'node:test'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import { feedItems } from '../../src/ingest/feed.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import { loadBackend } from '../../src/model/backend.ts'
import type { CatalogueItem } from '../../src/records/catalogueItem.ts'
import { Recommender } from '../../src/serve/recommender.ts'
import { BatchLedgerMemory } from '../../src/train/checkpoint/batchLedgerMemory.ts'
import { CheckpointMemory } from '../../src/train/checkpoint/checkpointMemory.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { allArrays } from '../support/copies.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { newTrainer, wireWithSequences } from '../support/smallStream.ts'
import type { TestWire } from '../support/wire.ts'
import { type Disk, history, live } from '../train/modelLives.ts'

before(async () => {
  await loadBackend()
})

const text = new TextEncoder()
const catalogue = [...simulate({ events: 600, users: 40, items: 60, topics: 4, badShare: 0, features: 'topic' }).items()]

async function write(wire: TestWire, item: CatalogueItem | string): Promise<void> {
  const [itemId, value] = typeof item === 'string' ? [item, null] : [item.itemId, wire.codecs.item.encode(item)]
  await wire.log.append('items', [{ key: text.encode(itemId), value }])
}

/** A new user clicks on the items, in this order. */
async function click(wire: TestWire, userId: string, itemIds: readonly string[]): Promise<void> {
  const last = wire.codecs.userSequence.decode(wire.log.records('user-sequences').at(-1)!.value!)
  const end = (await wire.log.ends('interactions')).get(0)!
  const steps = itemIds.map((itemId, i) => ({ itemId, type: 'click', eventTimeMs: last.newestMs + 1000 * (i + 1) }))
  const fresh = steps.map((_, position) => ({ position, offset: end + BigInt(position) }))
  for (const { itemId, eventTimeMs, type } of steps) {
    const value = wire.codecs.interaction.encode({ eventId: `${userId}${itemId}`, userId, itemId, type, eventTimeMs })
    await wire.log.append('interactions', [{ key: text.encode(userId), value }])
  }
  const sequence = { ...last, userId, steps, fresh, newestMs: steps.at(-1)!.eventTimeMs }
  await wire.log.append('user-sequences', [{ key: text.encode(userId), value: wire.codecs.userSequence.encode(sequence) }])
}

/** Where an item still is: index versions, and lists of every kind. */
async function places(index: VectorIndex, { wire }: Disk, itemId: string): Promise<string[]> {
  const found: string[] = []
  for (const space of await index.spaces()) if ((await index.items(space, [itemId])).size > 0) found.push(`index version ${space}`)
  const recommender = new Recommender({ index, clock: wire.clock })
  const holds = (items: readonly { readonly itemId: string }[]) => items.some((item) => item.itemId === itemId)
  const users = new Set(wire.log.records('user-sequences').map(({ key }) => new TextDecoder().decode(key)))
  for (const userId of [...users, 'never seen']) {
    const { items, coldStart } = await recommender.recommend({ userId, limit: 100, repeats: true })
    if (holds(items)) found.push(coldStart ?? 'list of a user')
  }
  if ((await recommender.similar({ itemId, limit: 10 })) !== undefined) found.push('items similar to it')
  const other = catalogue.find((item) => item.itemId !== itemId)!.itemId
  if (holds((await recommender.similar({ itemId: other, limit: 100 }))!.items)) found.push('items similar to another')
  return [...new Set(found)]
}

const everywhere = ['list of a user', 'popular', 'items similar to it', 'items similar to another']

async function withIndex(name: string, use: (index: VectorIndex) => Promise<void>): Promise<void> {
  if (name === 'memory') return use(new MemoryVectorIndex())
  const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-deleted-'))
  const index = await EmbeddedIndex.open(directory, { searchThread: false })
  try {
    await use(index)
  } finally {
    await index.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

for (const name of ['memory', 'embedded'])
  test(`an item that the catalogue deletes is in no index version and in no list until the catalogue has it again (${name} index)`, async () => {
    await withIndex(name, async (index) => {
      const disk = await history(index)
      const { wire, desk } = disk
      await feedItems(catalogue, { log: wire.log, codecs: wire.codecs, topic: 'items', signal: new AbortController().signal })
      const [earliest] = await disk.checkpoints.steps()
      desk.ask('rebuild')
      const { space: kept } = await live(disk)
      desk.ask('rebuild')
      const { space } = await live(disk)
      const item = catalogue.find(({ itemId }) => itemId === 'i1')!
      const here = async () => (await places(index, disk, item.itemId)).sort()
      assert.deepEqual(await here(), [...everywhere, `index version ${space}`, `index version ${kept}`].sort())

      // Deleted while nothing runs: the next start takes it out, of what is live and of what is kept for a rollback.
      await write(wire, item.itemId)
      await live(disk)
      assert.deepEqual(await here(), [])
      // Clicks train its embedding and count for popularity; the user who clicked has vectors all the same.
      await click(wire, 'newcomer', ['i2', item.itemId, 'i3', item.itemId])
      await live(disk)
      assert.deepEqual(await here(), [])
      assert.equal((await index.user('newcomer'))?.payload.recent[0], item.itemId)
      // After compaction the tombstone is all that is left of it.
      wire.log.compact('items')
      desk.ask('rebuild')
      assert.notEqual((await live(disk)).space, space)
      assert.deepEqual(await here(), [])
      desk.ask('rollback', { version: earliest! })
      await live(disk)
      assert.deepEqual(await here(), [])
      await live(disk)
      assert.deepEqual(await here(), [])

      await write(wire, item)
      await click(wire, 'another', ['i2', 'i3'])
      const again = await live(disk)
      assert.deepEqual(await here(), [...everywhere, `index version ${again.space}`].sort())
      const { payload } = (await index.item(item.itemId))!
      assert.equal(payload.title, item.title)
      assert(payload.count > 0, 'its interactions are counted as before')
      wire.dispose()
    })
  })

test('an item that is deleted while a write of it is under way leaves the index right after, without a restart', async () => {
  const index = new MemoryVectorIndex()
  const disk = await history(index)
  const { wire } = disk
  await feedItems(catalogue, { log: wire.log, codecs: wire.codecs, topic: 'items', signal: new AbortController().signal })
  let deleted = false
  index.beforeUpsert = async () => {
    if (deleted) return
    deleted = true
    await write(wire, 'i1')
  }
  await live(disk)
  assert(deleted)
  assert.deepEqual(await places(index, disk, 'i1'), [])
  wire.dispose()
})

test('feeding the same catalogue once more, as a restart does, does not bring a deleted item back', async () => {
  const wire = await wireWithSequences()
  const feed = () => feedItems(catalogue, { log: wire.log, codecs: wire.codecs, topic: 'items', signal: new AbortController().signal })
  await feed()
  await write(wire, 'i1')
  const end = (await wire.log.ends('items')).get(0)
  await feed()
  assert.equal((await wire.log.ends('items')).get(0), end)
  wire.dispose()
})

test('a batch that is learned again after a crash knows of its items what it knew then, though they were deleted or changed since', async () => {
  const learn = async (change: 'never' | 'after the crash' | 'before') => {
    const wire = await wireWithSequences()
    await feedItems(catalogue, { log: wire.log, codecs: wire.codecs, topic: 'items', signal: new AbortController().signal })
    const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
    const changeAll = async () => {
      for (const item of catalogue)
        await write(wire, Number(item.itemId.slice(1)) % 2 === 0 ? item.itemId : { ...item, features: { topic: ['other'] } })
    }
    const life = async (crash: boolean) => {
      const trainer = newTrainer(wire)
      const stop = new AbortController()
      const onBatch = ({ batch }: { batch: number }) => {
        if (batch < 5) return
        if (crash) throw new Error('crash')
        stop.abort()
      }
      const stage = new TrainStage({ ...wire, ...stores, trainer, onBatch })
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
    wire.dispose()
    return arrays
  }
  const undisturbed = await learn('never')
  assert.deepEqual(await learn('after the crash'), undisturbed)
  assert.notDeepEqual(await learn('before'), undisturbed, 'features make no difference: nothing is proved')
})
