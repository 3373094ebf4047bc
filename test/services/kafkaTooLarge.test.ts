// Records that a topic does not take: batches are made smaller, dead letters are truncated, an event becomes a dead
// letter, and a history ends the stage with its reason.

import assert from 'node:assert/strict'
import test from 'node:test'
import { TooLargeError } from '../../src/core/errors.ts'
import { readDeadLetter } from '../../src/log/deadLetter.ts'
import { DeadLetters } from '../../src/log/deadLetters.ts'
import type { LogRecord } from '../../src/log/eventLog.ts'
import type { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { hangMs, makeTopic, openLog, removeTopics, skip } from './kafka.ts'

async function recordsOf(log: KafkaLog, topic: string): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  const options = { resume: async () => 0n, signal: new AbortController().signal, untilEnd: true }
  for await (const event of log.read(topic, options)) if (event.kind === 'records') records.push(...event.records)
  return records
}

const bytes = (count: number, size: number) =>
  Array.from({ length: count }, (_, i) => ({ key: Buffer.from(String(i)), value: Buffer.alloc(size, i) }))

test('a topic that takes small requests only gets small ones', { skip, timeout: hangMs }, async () => {
  const topic = await makeTopic(2, { 'max.message.bytes': '20000' })
  const log = await openLog({ compression: 'none' })
  try {
    await log.append(topic, bytes(100, 2000))
    const found = await recordsOf(log, topic)
    assert.equal(new Set(found.map(({ key }) => Buffer.from(key).toString())).size, 100, 'none is lost')
    assert.equal(found.length, 100, 'none is there twice')
    // Under a fence the owner begins again from the log: nothing of what was refused is there.
    await assert.rejects(log.append(topic, bytes(100, 2000), 'owner'), /begin again/)
    const before = (await recordsOf(log, topic)).length
    for (let attempt = 0; ; attempt++) {
      await log.append(topic, [], 'owner')
      try {
        await log.append(topic, bytes(100, 2000), 'owner')
        break
      } catch (error) {
        assert(attempt < 5, String(error))
      }
    }
    assert.equal((await recordsOf(log, topic)).length - before, 100)
    // One record alone that does not fit can only be reported.
    await assert.rejects(log.append(topic, bytes(1, 30_000)), TooLargeError)
    await log.append(topic, [], 'owner')
    await assert.rejects(log.append(topic, bytes(1, 30_000), 'owner'), TooLargeError)
  } finally {
    await log.close()
    await removeTopics(topic)
  }
})

test('a record of 3 MB, and one of just the size of a topic, become dead letters', {
  skip,
  timeout: hangMs
}, async () => {
  const [topic, dlq] = [await makeTopic(1, { 'max.message.bytes': '10000000' }), await makeTopic(1)]
  const log = await openLog({ compression: 'none', requestBytesMax: 8_000_000 })
  try {
    await log.append(topic, [...bytes(1, 3_000_000), ...bytes(1, 1_048_399), ...bytes(1, 10)])
    const letters = new DeadLetters({ log, topic, stage: 'ingest', to: dlq })
    for (const record of await recordsOf(log, topic)) letters.add(record, new Error('no user'))
    await letters.flush()
    const found = (await recordsOf(log, dlq)).map((record) => readDeadLetter(record)!)
    assert.deepEqual(
      found.map(({ offset, truncated }) => [offset, truncated?.bytes]),
      [
        [0n, 3_000_000],
        [1n, 1_048_399],
        [2n, undefined]
      ]
    )
  } finally {
    await log.close()
    await removeTopics(topic, dlq)
  }
})
