// Another number of partitions: no history is lost, doubled or cut, also where topics were grown by other means before.

import assert from 'node:assert/strict'
import test from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ConfigError } from '../../src/core/errors.ts'
import { erasureEvent } from '../../src/log/erasure.ts'
import { partitionOf } from '../../src/log/partitioner.ts'
import { sequenceOf } from '../../src/log/userRecords.ts'
import { hashEventId } from '../../src/sequence/eventIdHash.ts'
import { type OwnedDisk, openOwnedSequences } from '../../src/sequence/ownedSequences.ts'
import { repartition } from '../../src/sequence/repartition.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { RepeatFilter } from '../../src/train/repeatFilter.ts'
import { ownedDisk } from '../support/memoryOwnedDisk.ts'
import { type TestStageIo, testStageIo } from '../support/stageIo.ts'

const users = 200
const former = { interactions: 'interactions', userSequences: 'user-sequences' }
const target = { interactions: 'interactions.p3', userSequences: 'user-sequences.p3' }

async function begin(partitions: number): Promise<TestStageIo> {
  const io = await testStageIo()
  for (const topic of Object.values(former)) io.log.recreate(topic, partitions)
  return io
}

const on = (io: TestStageIo, topics: typeof former): TestStageIo => ({
  ...io,
  config: { ...io.config, topics: { ...io.config.topics, ...topics } }
})

/** Events number `from` to `to`, of all users in turn. */
async function click(io: TestStageIo, from: number, to: number): Promise<void> {
  const records = Array.from({ length: to - from }, (_, i) => {
    const n = from + i
    const userId = `user-${n % users}`
    const event = {
      eventId: `e${n}`,
      userId,
      itemId: `item-${n}`,
      type: 'click',
      eventTimeMs: Date.UTC(2026, 4, 1) + n * 1000
    }
    return { key: Buffer.from(userId), value: io.codecs.interaction.encode(event) }
  })
  await io.log.append(io.config.topics.interactions, records)
}

async function sequence(io: TestStageIo, disk: OwnedDisk, acceptNewTopic = false): Promise<void> {
  const stop = new AbortController()
  const openStore = (partition: number) => openOwnedSequences({ io, disk, acceptNewTopic }, partition)
  const stage = new SequenceStage({ ...io, openStore })
  stage.drain(true)
  const running = stage.run(stop.signal)
  const ends = await io.log.ends(io.config.topics.interactions)
  const isDone = () => [...ends].every(([partition, end]) => stage.consumed().get(partition) === end) && stage.committed
  while (!isDone()) await Promise.race([running, nextTurn()])
  stop.abort()
  await running
}

/** Items of each user, in the partition that the user belongs to. */
async function histories(io: TestStageIo): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>()
  const partitions = (await io.log.ends(io.config.topics.userSequences)).size
  for (const record of io.log.records(io.config.topics.userSequences)) {
    const user = Buffer.from(record.key).toString()
    assert.equal(record.partition, partitionOf(record.key, partitions))
    if (record.value === null) found.delete(user)
    else
      found.set(
        user,
        sequenceOf(io.codecs, record).steps.map(({ itemId }) => itemId)
      )
  }
  return found
}

function expected(events: number): Map<string, string[]> {
  const items = (user: number) =>
    Array.from({ length: events }, (_, n) => n)
      .filter((n) => n % users === user)
      .map((n) => `item-${n}`)
  return new Map(Array.from({ length: users }, (_, user) => [`user-${user}`, items(user)]))
}

const sorted = (map: Map<string, string[]>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1))

test('two partitions become three, with all histories, and every example once', async () => {
  const io = await begin(2)
  const disk = ownedDisk()
  await click(io, 0, 600)
  await sequence(io, disk)
  await io.log.append(former.interactions, [erasureEvent('user-7')])
  await click(io, 600, 800)
  await sequence(io, disk)
  await click(io, 800, 1000) // not sequenced
  for (const topic of Object.values(target)) io.log.recreate(topic, 3)
  const report = await repartition(io, former, target)
  assert.deepEqual({ users: report.users, merged: report.merged }, { users, merged: 0 })
  assert(report.events >= 200)

  const after = on(io, target)
  await assert.rejects(sequence(after, disk), /--accept-new-topic/)
  await sequence(after, disk, true)
  await click(after, 1000, 1200)
  await sequence(after, disk)
  const wanted = expected(1200)
  wanted.set('user-7', wanted.get('user-7')!.slice(3))
  assert.deepEqual(sorted(await histories(after)), sorted(wanted))
  await sequence(after, ownedDisk()) // another machine

  const filter = new RepeatFilter()
  let examples = 0
  for (const topic of [former.userSequences, target.userSequences])
    for (const record of io.log.records(topic))
      if (record.value !== null) examples += filter.admit(sequenceOf(io.codecs, record)).fresh.length
  assert.equal(examples, 1200)
  await assert.rejects(repartition(io, former, target), ConfigError)
  io.dispose()
})

test('topics that were grown from two to four partitions: split histories become one', async () => {
  const io = await begin(2)
  const disk = ownedDisk()
  await click(io, 0, 600)
  await sequence(io, disk)
  for (const topic of Object.values(former)) io.log.grow(topic, 4)
  await click(io, 600, 1000)
  const moved = [...expected(1).keys()].filter((user) => partitionOf(Buffer.from(user), 4) >= 2)
  assert(moved.length > 80, `${moved.length} of ${users} users are elsewhere now`)
  await assert.rejects(sequence(io, disk), /histories were stored with 2.*mtmi topics repartition/s)

  // What an earlier process would have made of the added partitions: histories that begin with the growth.
  const split = moved.slice(0, 20)
  for (const userId of split) {
    const partition = partitionOf(Buffer.from(userId), 4)
    const events = io.log
      .records(former.interactions)
      .filter((record) => record.partition === partition)
      .map(({ offset, value }) => ({ offset, event: io.codecs.interaction.decode(value!) }))
      .filter(({ event }) => event.userId === userId)
    const steps = events.map(({ offset, event: { itemId, type, eventTimeMs } }) => ({
      ...{ itemId, type, eventTimeMs },
      source: { partition, offset }
    }))
    const recent = events.map(({ event }) => ({ idHash: hashEventId(event.eventId), eventTimeMs: event.eventTimeMs }))
    const newestMs = steps.at(-1)!.eventTimeMs
    const rest = { recent, newestMs, fresh: [], partition, committed: 0n, watermarkMs: newestMs, acceptedAtMs: 0 }
    const value = io.codecs.userSequence.encode({ userId, steps, ...rest })
    await io.log.append(former.userSequences, [{ key: Buffer.from(userId), value, partition }])
  }
  for (const topic of Object.values(target)) io.log.recreate(topic, 3)
  const report = await repartition(io, former, target)
  assert.deepEqual({ users: report.users, merged: report.merged }, { users, merged: 20 })
  const after = on(io, target)
  await sequence(after, disk, true)
  assert.deepEqual(sorted(await histories(after)), sorted(expected(1000)))
  io.dispose()
})
