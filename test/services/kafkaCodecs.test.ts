// Batches in every codec that there is, written by kafkajs' own producer and by us, beside each other in one topic.

import assert from 'node:assert/strict'
import test from 'node:test'
import { type CompressionName, compressionTypes } from '../../src/log/kafka/compressionCodecs.ts'
import { hangMs, kafka, makeTopic, openLog, removeTopics, skip } from './kafka.ts'

const names = Object.keys(compressionTypes) as CompressionName[]
// More than one of snappy's blocks of 32 KiB in a batch.
const textOf = (name: string, i: number) => `${name} ${i} ${'to be or not to be '.repeat(40)}`

test('every codec is read and written', { skip, timeout: hangMs }, async () => {
  const topic = await makeTopic(1)
  const reader = await openLog()
  const wanted: string[] = []
  try {
    for (const name of names) {
      const producer = kafka.producer({ idempotent: true })
      await producer.connect()
      const foreign = Array.from({ length: 100 }, (_, i) => textOf(`kafkajs ${name}`, i))
      await producer.send({
        topic,
        compression: compressionTypes[name],
        messages: foreign.map((value) => ({ key: 'k', value }))
      })
      await producer.disconnect()
      const log = await openLog({ compression: name })
      const ours = Array.from({ length: 100 }, (_, i) => textOf(`ours ${name}`, i))
      await log.append(
        topic,
        ours.map((value) => ({ key: Buffer.from('k'), value: Buffer.from(value) }))
      )
      await log.close()
      wanted.push(...foreign, ...ours)
    }
    const read: string[] = []
    for await (const event of reader.read(topic, {
      resume: async () => 0n,
      signal: new AbortController().signal,
      untilEnd: true
    })) {
      if (event.kind === 'records') for (const { value } of event.records) read.push(Buffer.from(value!).toString())
    }
    assert.deepEqual(read, wanted)
  } finally {
    await reader.close()
    await removeTopics(topic)
  }
})
