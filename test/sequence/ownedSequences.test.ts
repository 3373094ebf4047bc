import assert from 'node:assert/strict'
import test from 'node:test'
import { FencedError } from '../../src/core/errors.ts'
import { sequenceFence } from '../../src/sequence/ownedPartition.ts'
import { openOwnedSequences } from '../../src/sequence/ownedSequences.ts'
import type { SequenceStore } from '../../src/sequence/sequenceStore.ts'
import { MemoryLog } from '../support/memoryLog.ts'
import { MemoryDisk, MemorySequenceStore } from '../support/memorySequenceStore.ts'
import { ioWithSequences } from '../support/smallStream.ts'
import type { TestStageIo } from '../support/stageIo.ts'

const topic = 'user-sequences'

function ownDisk() {
  const disk = new MemoryDisk()
  const own = {
    held: 0n,
    open: async () => new MemorySequenceStore(disk),
    readHeld: () => own.held,
    writeHeld: (_partition: number, held: bigint) => {
      own.held = held
    },
    readPartitions: () => undefined,
    writePartitions: () => {}
  }
  return own
}

const windowsOf = (store: SequenceStore) => new Map(store.users())

test('an owner that is ahead of the topic keeps what it has, also where it does not know how much of it it holds', async () => {
  const io = await ioWithSequences()
  const disk = ownDisk()
  const first = await openOwnedSequences({ io, disk }, 0)
  const restored = windowsOf(first)
  assert(restored.size > 10)
  const [[userId, window]] = restored as unknown as [[string, NonNullable<ReturnType<SequenceStore['get']>>]]
  // Committed, and not in the topic: an event that changed nothing that is emitted, or a topic that lost its end.
  const newer = { ...window, newestMs: window.newestMs + 1000 }
  first.put(userId, newer)
  const end = (await io.log.ends('interactions')).get(0)!
  await first.commit(end, newer.newestMs)
  const expected = windowsOf(first)
  for (const held of [disk.held, 0n]) {
    disk.held = held
    const again = await openOwnedSequences({ io, disk }, 0)
    assert.equal(again.committed(), end)
    assert.deepEqual(windowsOf(again), expected)
  }
  io.dispose()
})

test('a partition is claimed before the topic is looked at: its owner before can add nothing that is not seen', async () => {
  const io = await ioWithSequences()
  const { key, value } = io.log.records(topic)[0]!
  const late = () => io.log.append(topic, [{ key, value, partition: 0 }], sequenceFence(0))
  await late() // it is the owner
  const log = new MemoryLog({ partitions: () => 1, clock: io.clock }, io.log)
  const ends = log.ends.bind(log)
  const looked: bigint[] = []
  log.ends = async (name) => {
    if (name === topic) {
      await assert.rejects(late(), FencedError)
      looked.push((await ends(name)).get(0)!)
    }
    return ends(name)
  }
  await openOwnedSequences({ io: { ...io, log } as TestStageIo, disk: ownDisk() }, 0)
  assert(looked.length > 0)
  assert.equal((await ends(topic)).get(0), looked[0])
  io.dispose()
})
