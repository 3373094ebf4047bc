// `ingest` on a real broker: without any state of its own it goes on where its group was.

import assert from 'node:assert/strict'
import test from 'node:test'
import { IngestStage } from '../../src/ingest/ingestStage.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import { testStageIo } from '../support/stageIo.ts'
import { hangMs, kafka, makeTopic, openLog, removeTopics, skip } from './kafka.ts'

const utf8 = new TextEncoder()

test('a member without a data folder of its own repeats nothing', { skip }, async () => {
  const [clicks, interactions] = [await makeTopic(2), await makeTopic(2)]
  const deadLetters = `${clicks}.mtmi.dlq`
  const io = await testStageIo({
    topics: { interactions },
    sources: [{ topic: clicks, format: 'json', user: 'u', item: 'i', type: '=click', time: 'log:time' }]
  })
  const log = await openLog()
  try {
    const append = (from: number, to: number) =>
      log.append(
        clicks,
        Array.from({ length: to - from }, (_, i) => ({
          key: utf8.encode(String(i)),
          value: utf8.encode(JSON.stringify({ u: `u${i}`, i: 'x' }))
        }))
      )
    const ingest = async () => {
      const forgetful = { load: () => undefined, save: () => {} }
      const stage = new IngestStage({
        ...io,
        log,
        sources: [openSource(io.config.sources[0]!, io)],
        offsets: forgetful
      })
      await stage.run(new AbortController().signal, { untilEnd: true })
      return stage.accounts().get(clicks)
    }
    await append(0, 100)
    const account = (read: number) => ({
      reader: 'ingest',
      read,
      outcomes: { mapped: read, partly: 0, filtered: 0, refused: 0 },
      waiting: 0
    })
    assert.deepEqual(await ingest(), account(100))
    await append(100, 130)
    assert.deepEqual(await ingest(), account(30))
    const total = [...(await log.ends(interactions)).values()].reduce((sum, end) => sum + Number(end), 0)
    assert(total >= 130)
  } finally {
    await log.close()
    await removeTopics(clicks, interactions, deadLetters).catch(() => {})
    io.dispose()
  }
})

test('tombstones, records of headers alone and keys alone have an outcome each, in a compacted source too', {
  skip,
  timeout: hangMs
}, async () => {
  const compaction = { 'cleanup.policy': 'compact', 'segment.ms': '100', 'min.cleanable.dirty.ratio': '0.01' }
  const compacted = await makeTopic(1, { ...compaction, 'message.timestamp.type': 'CreateTime' })
  const [stamped, interactions] = [await makeTopic(1), await makeTopic(2)]
  const deadLetters = [compacted, stamped].map((topic) => `${topic}.mtmi.dlq`)
  const io = await testStageIo({
    topics: { interactions },
    sources: [compacted, stamped].map((topic) => ({
      ...{ topic, format: 'json', user: 'u', item: 'i', type: '=click', time: 'log:time' }
    }))
  })
  const log = await openLog()
  const producer = kafka.producer({ idempotent: true })
  const admin = kafka.admin()
  try {
    await admin.connect()
    await admin.createTopics({ topics: deadLetters.map((topic) => ({ topic })), waitForLeaders: false })
    await producer.connect()
    const event = (user: string) => JSON.stringify({ u: user, i: 'x' })
    const withKey = [
      { key: 'a', value: event('u0') },
      { key: 'b', value: event('u1'), headers: { many: ['1', '2'], none: '' } },
      { key: 'gone', value: null },
      { key: 'only', value: Buffer.alloc(0) }
    ]
    // Kafka refuses records without a key in a compacted topic.
    const withoutKey = [
      { key: null, value: event('u2') },
      { key: null, value: null, headers: { trace: 'alone' } }
    ]
    await producer.send({ topic: compacted, messages: withKey })
    await producer.send({ topic: stamped, messages: [...withKey, ...withoutKey] })
    const stage = new IngestStage({
      ...io,
      log,
      sources: io.config.sources.map((source) => openSource(source, io)),
      offsets: { load: () => undefined, save: () => {} }
    })
    await stage.run(new AbortController().signal, { untilEnd: true })
    // Without a value there is nothing to map; an empty one is no JSON.
    const outcomes = { mapped: 2, partly: 0, filtered: 1, refused: 1 }
    assert.deepEqual(stage.accounts().get(compacted), { reader: 'ingest', read: 4, outcomes, waiting: 0 })
    const more = { ...outcomes, mapped: 3, filtered: 2 }
    assert.deepEqual(stage.accounts().get(stamped), { reader: 'ingest', read: 6, outcomes: more, waiting: 0 })
    for (const topic of deadLetters) assert.equal((await log.ends(topic)).get(0), 1n)
  } finally {
    await producer.disconnect()
    await admin.disconnect()
    await log.close()
    await removeTopics(compacted, stamped, interactions, ...deadLetters).catch(() => {})
    io.dispose()
  }
})
