// Topics of `sequence` that were deleted and created again: histories are kept, new events are not taken for known ones.

import assert from 'node:assert/strict'
import test from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { CorruptError } from '../../src/core/errors.ts'
import { sequenceOf } from '../../src/log/userRecords.ts'
import type { UserSequence } from '../../src/records/userSequence.ts'
import { type OwnedDisk, openOwnedSequences } from '../../src/sequence/ownedSequences.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { RepeatFilter } from '../../src/train/repeatFilter.ts'
import { ownedDisk } from '../support/memoryOwnedDisk.ts'
import { type TestStageIo, testStageIo } from '../support/stageIo.ts'

let clicks = 0

/** Clicks of two users, each a minute after the one before. */
async function click(io: TestStageIo, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const n = clicks++
    const userId = `user-${n % 2}`
    const interaction = {
      ...{ eventId: `click-${n}`, userId, itemId: `item-${n}`, type: 'click' },
      eventTimeMs: Date.UTC(2026, 4, 1) + n * 60_000
    }
    await io.log.append('interactions', [
      { key: Buffer.from(userId), value: io.codecs.interaction.encode(interaction) }
    ])
  }
}

/** Reads everything, and ends. */
async function sequence(
  io: TestStageIo,
  disk: OwnedDisk,
  { acceptNewTopic = false, reset = undefined as bigint | undefined } = {}
): Promise<void> {
  const stop = new AbortController()
  const stage = new SequenceStage({
    ...io,
    openStore: (partition) => openOwnedSequences({ io, disk, acceptNewTopic }, partition, reset)
  })
  stage.drain(true)
  const running = stage.run(stop.signal)
  const end = (await io.log.ends('interactions')).get(0)
  while (!(stage.consumed().get(0) === end && stage.committed)) await Promise.race([running, nextTurn()])
  stop.abort()
  await running
}

const sequencesOf = (io: TestStageIo): UserSequence[] =>
  io.log.records('user-sequences').map((record) => sequenceOf(io.codecs, record))

/** Offsets of the steps that a trainer takes. */
function learned(io: TestStageIo): bigint[] {
  const filter = new RepeatFilter()
  return sequencesOf(io).flatMap((one) => filter.admit(one).fresh.map(({ offset }) => offset))
}

async function windows(io: TestStageIo, disk: OwnedDisk): Promise<Record<string, string[]>> {
  const store = await openOwnedSequences({ io, disk }, 0)
  return Object.fromEntries([...store.users()].map(([user, { steps }]) => [user, steps.map(({ itemId }) => itemId)]))
}

const itemsOf = (from: number, to: number, user: number) =>
  Array.from({ length: to - from }, (_, i) => from + i)
    .filter((n) => n % 2 === user)
    .map((n) => `item-${n}`)

for (const [records, count] of Object.entries({ fewer: 4, equal: 10, more: 16 }))
  test(`interactions that were created again with ${records} records: refused, or read with all histories kept`, async () => {
    const io = await testStageIo()
    const disk = ownedDisk()
    const from = clicks
    await click(io, 10)
    await sequence(io, disk)

    io.log.recreate('interactions')
    await click(io, count)
    const before = sequencesOf(io).length
    await assert.rejects(
      sequence(io, disk),
      (error) => error instanceof CorruptError && /interactions/.test(error.message)
    )
    assert.equal(sequencesOf(io).length, before)

    await sequence(io, disk, { acceptNewTopic: true })
    const expected = { 'user-0': itemsOf(from, clicks, 0), 'user-1': itemsOf(from, clicks, 1) }
    assert.deepEqual(await windows(io, disk), expected)
    assert.equal(new Set(learned(io)).size, 10 + count, 'no new event is taken for one of the former topic')

    // Without the option from then on, also in a process that begins with an empty disk.
    const fresh = ownedDisk()
    for (const each of [disk, fresh]) {
      const length = sequencesOf(io).length
      await sequence(io, each)
      assert.equal(sequencesOf(io).length, length, 'nothing is read twice')
    }
    await click(io, 2)
    await sequence(io, fresh)
    expected['user-0'] = itemsOf(from, clicks, 0)
    expected['user-1'] = itemsOf(from, clicks, 1)
    assert.deepEqual(await windows(io, fresh), expected)
    assert.equal(new Set(learned(io)).size, 12 + count)
    io.dispose()
  })

test('user-sequences that were created again get the histories that the process has, and no example twice', async () => {
  const io = await testStageIo()
  const disk = ownedDisk()
  const from = clicks
  await click(io, 10)
  await sequence(io, disk)
  io.log.recreate('user-sequences')
  await assert.rejects(sequence(io, disk), /user-sequences was created again/)
  await click(io, 2)
  await sequence(io, disk, { acceptNewTopic: true })
  const expected = { 'user-0': itemsOf(from, clicks, 0), 'user-1': itemsOf(from, clicks, 1) }
  assert.deepEqual(await windows(io, ownedDisk()), expected, 'another process restores them from the topic')
  assert.equal(learned(io).length, 2)
  io.dispose()
})

test('both topics created again at once', async () => {
  const io = await testStageIo()
  const disk = ownedDisk()
  const from = clicks
  await click(io, 10)
  await sequence(io, disk)
  io.log.recreate('user-sequences')
  io.log.recreate('interactions')
  await click(io, 6)
  await sequence(io, disk, { acceptNewTopic: true })
  const expected = { 'user-0': itemsOf(from, clicks, 0), 'user-1': itemsOf(from, clicks, 1) }
  assert.deepEqual(await windows(io, disk), expected)
  const fresh = ownedDisk()
  await sequence(io, fresh)
  assert.deepEqual(await windows(io, fresh), expected)
  assert.equal(learned(io).length, 6)
  io.dispose()
})

test('a reset to the beginning changes no history, and what comes later is read once', async () => {
  const io = await testStageIo()
  const disk = ownedDisk()
  const from = clicks
  await click(io, 10)
  await sequence(io, disk)
  const before = learned(io)
  await sequence(io, disk, { reset: 0n })
  assert.deepEqual(learned(io), before)
  await click(io, 2)
  await sequence(io, disk)
  assert.deepEqual(await windows(io, disk), { 'user-0': itemsOf(from, clicks, 0), 'user-1': itemsOf(from, clicks, 1) })
  assert.equal(new Set(learned(io)).size, 12)
  // Skipped events are in no history.
  await click(io, 4)
  await sequence(io, disk, { reset: 16n })
  await click(io, 2)
  await sequence(io, disk)
  assert.deepEqual((await windows(io, disk))['user-0'], [
    ...itemsOf(from, clicks - 6, 0),
    ...itemsOf(clicks - 2, clicks, 0)
  ])
  io.dispose()
})

test('partitions: a grown topic is refused', async () => {
  const io = await testStageIo()
  const disk = ownedDisk()
  await click(io, 4)
  await sequence(io, disk)
  const { describe } = io.log
  io.log.describe = async (topic) => ({
    ...(await describe.call(io.log, topic)),
    partitions: topic === 'items' ? 1 : 2
  })
  await assert.rejects(sequence(io, disk), /2 partitions .*histories were stored with 1.*mtmi topics repartition/s)
  io.log.describe = async (topic) => ({
    ...(await describe.call(io.log, topic)),
    partitions: topic === 'interactions' ? 2 : 1
  })
  await assert.rejects(sequence(io, disk), /interactions has 2 partitions and user-sequences has 1/)
  io.dispose()
})
