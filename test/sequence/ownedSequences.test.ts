import assert from 'node:assert/strict'
import test from 'node:test'
import { FencedError } from '../../src/core/errors.ts'
import { deadLetterTopic } from '../../src/log/deadLetter.ts'
import { erasedSequence } from '../../src/log/erasure.ts'
import type { NewRecord } from '../../src/log/eventLog.ts'
import { sequenceFence } from '../../src/sequence/ownedPartition.ts'
import { openOwnedSequences, type StoredPosition, type StoredTopics } from '../../src/sequence/ownedSequences.ts'
import type { SequenceStore } from '../../src/sequence/sequenceStore.ts'
import { MemoryLog } from '../support/memoryLog.ts'
import { MemoryDisk, MemorySequenceStore } from '../support/memorySequenceStore.ts'
import { ioWithSequences } from '../support/smallStream.ts'
import type { TestStageIo } from '../support/stageIo.ts'

const topic = 'user-sequences'

function ownDisk() {
  let disk = new MemoryDisk()
  const own = {
    position: undefined as StoredPosition | undefined,
    topics: undefined as StoredTopics | undefined,
    open: async () => new MemorySequenceStore(disk),
    load: () => own.position,
    save: (_partition: number, position: StoredPosition) => {
      own.position = position
    },
    remove: () => {
      disk = new MemoryDisk()
    },
    loadTopics: () => own.topics,
    saveTopics: (topics: StoredTopics) => {
      own.topics = topics
    }
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
  for (const position of [disk.position, undefined]) {
    disk.position = position
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

/** An owner that is ahead of the topic's newest record of one of its users. */
async function ownerWithRepeat(repeat: (io: TestStageIo, userId: string) => Promise<NewRecord>) {
  const io = await ioWithSequences()
  const disk = ownDisk()
  const first = await openOwnedSequences({ io, disk }, 0)
  const expected = windowsOf(first)
  const [userId] = [...expected].find(([, { steps }]) => steps.length > 2)!
  await first.commit((await io.log.ends('interactions')).get(0)!, first.watermarkMs())
  // Another owner, whose disk had nothing, began from an earlier offset and ended in between.
  await io.log.append(topic, [await repeat(io, userId)])
  const before = (await io.log.ends(topic)).get(0)!
  const again = await openOwnedSequences({ io, disk }, 0)
  assert.deepEqual(windowsOf(again), expected)
  const emitted = io.log.records(topic).filter(({ offset }) => offset >= before)
  return { io, userId, window: expected.get(userId)!, committed: again.committed(), emitted }
}

test('a user whose erasure another owner repeated without what came after it is emitted again, before anything else', async () => {
  // Found by the simulator (seed 5393): the topic ended with the erasure, and no stage behind it knew the user any more.
  const found = await ownerWithRepeat(async (_, userId) => erasedSequence(userId, 0, 0n))
  const { io, userId, window, committed, emitted } = found
  assert.equal(emitted.length, 1)
  const sequence = io.codecs.userSequence.decode(emitted[0]!.value!)
  assert.deepEqual(
    { ...sequence, acceptedAtMs: 0 },
    { userId, ...window, fresh: [], partition: 0, committed, watermarkMs: sequence.watermarkMs, acceptedAtMs: 0 }
  )
  io.dispose()
})

test('so is one of whom another owner emitted a part of the window; one whose newest record is whole is not', async () => {
  const part = (share: number) => async (io: TestStageIo, userId: string) => {
    const records = io.log.records(topic).filter(({ key }) => new TextDecoder().decode(key) === userId)
    const last = io.codecs.userSequence.decode(records.at(-1)!.value!)
    const steps = last.steps.slice(-Math.ceil(share * last.steps.length))
    const value = io.codecs.userSequence.encode({
      ...last,
      ...{ steps, fresh: [{ position: 0, offset: 0n }], committed: 0n }
    })
    return { key: records[0]!.key, value, partition: 0 }
  }
  const cut = await ownerWithRepeat(part(0.5))
  assert.deepEqual(
    cut.emitted.map(({ value }) => cut.io.codecs.userSequence.decode(value!).steps),
    [cut.window.steps]
  )
  const whole = await ownerWithRepeat(part(1))
  assert.deepEqual(whole.emitted, [])
  for (const { io } of [cut, whole]) io.dispose()
})

test('a record that a newer owner appended during the restore is no dead letter, whatever was committed since', async () => {
  // Found by the simulator (seed 6529): the end of interactions was looked up before the records were read.
  const io = await ioWithSequences()
  const last = io.codecs.userSequence.decode(io.log.records(topic).at(-1)!.value!)
  const log = new MemoryLog({ partitions: () => 1, clock: io.clock }, io.log)
  const ends = log.ends.bind(log)
  let isAdded = false
  log.ends = async (name) => {
    const found = await ends(name)
    if (name !== topic || isAdded) return found
    isAdded = true
    const event = io.log.records('interactions').at(-1)!
    await io.log.append('interactions', [{ key: event.key, value: event.value, partition: 0 }])
    const committed = (await ends('interactions')).get(0)!
    const value = io.codecs.userSequence.encode({ ...last, fresh: [], committed })
    await io.log.append(topic, [{ key: new TextEncoder().encode(last.userId), value, partition: 0 }])
    return ends(name)
  }
  await openOwnedSequences({ io: { ...io, log } as TestStageIo, disk: ownDisk() }, 0)
  assert.deepEqual(io.log.records(deadLetterTopic(topic, 'mtmi')), [])
  io.dispose()
})
