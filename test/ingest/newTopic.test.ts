// A source that was deleted and created again is not read on from an offset of the former one.

import assert from 'node:assert/strict'
import test from 'node:test'
import { CorruptError } from '../../src/core/errors.ts'
import { type IngestOffset, IngestStage } from '../../src/ingest/ingestStage.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import { readDeadLetter } from '../../src/log/deadLetter.ts'
import { type TestStageIo, testStageIo } from '../support/stageIo.ts'

const never = new AbortController().signal
const source = { topic: 'clicks', format: 'json', user: 'u', item: 'i', type: '=click', time: 'log:time' }

const click = (user: string) => ({ key: Buffer.alloc(0), value: Buffer.from(JSON.stringify({ u: user, i: 'x' })) })
const bad = { key: Buffer.alloc(0), value: Buffer.from('{') }

async function ingest(io: TestStageIo, saved: Map<number, IngestOffset>, acceptNewTopic = false): Promise<void> {
  const offsets = {
    load: (_: string, partition: number) => saved.get(partition),
    save: (_: string, partition: number, offset: IngestOffset) => void saved.set(partition, offset)
  }
  const sources = io.config.sources.map((each) => openSource(each, io))
  await new IngestStage({ ...io, sources, offsets, acceptNewTopic }).run(never, { untilEnd: true })
}

const eventIds = (io: TestStageIo) =>
  io.log.records('interactions').map(({ value }) => io.codecs.interaction.decode(value!).eventId)

for (const [records, count] of Object.entries({ fewer: 3, equal: 5, more: 8 }))
  test(`a source that was created again with ${records} records ends the stage, or is read from its beginning`, async () => {
    const io = await testStageIo({ sources: [source] })
    const saved = new Map<number, IngestOffset>()
    await io.log.append('clicks', [bad, ...['a', 'b', 'c', 'd'].map(click)])
    await ingest(io, saved)
    assert.equal(saved.get(0)?.next, 5n)

    io.log.recreate('clicks')
    await io.log.append('clicks', [bad, ...Array.from({ length: count - 1 }, (_, i) => click(`new-${i}`))])
    await assert.rejects(
      ingest(io, saved),
      (error) => error instanceof CorruptError && /clicks was created again.*--accept-new-topic/s.test(error.message)
    )
    assert.equal(eventIds(io).length, 4, 'nothing of the new topic was read')

    await ingest(io, saved, true)
    assert.equal(new Set(eventIds(io)).size, 4 + count - 1, 'every event has an id of its own')
    assert.deepEqual(saved.get(0), { next: BigInt(count), topicId: '1' })
    const letters = io.log.records('clicks.mtmi.dlq').map((record) => readDeadLetter(record)!)
    assert.deepEqual(
      letters.map(({ topicId, offset }) => [topicId, offset]),
      [
        ['', 0n],
        ['1', 0n]
      ]
    )
    await ingest(io, saved)
    assert.equal(eventIds(io).length, 4 + count - 1, 'a restart without the option goes on')
    io.dispose()
  })

test('offsets that tools have set for the group win over what the process remembers', async () => {
  const io = await testStageIo({ sources: [source] })
  await io.log.append('clicks', ['a', 'b', 'c'].map(click))
  const saved = new Map<number, IngestOffset>()
  await ingest(io, saved)
  const read = io.log.read.bind(io.log)
  io.log.read = (topic, options) =>
    read(topic, {
      ...options,
      resume: (partition) => options.resume(partition, 1n, topic === 'clicks' ? 1n : undefined)
    })
  await ingest(io, saved)
  assert.deepEqual(eventIds(io), ['clicks/0/0', 'clicks/0/1', 'clicks/0/2', 'clicks/0/1', 'clicks/0/2'])
  io.dispose()
})
