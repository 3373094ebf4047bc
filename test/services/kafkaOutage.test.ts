// The broker is killed while members write and read, and comes back: nothing that was acknowledged is lost, and
// everything gets on by itself.

import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { Broker, provideJava } from '../../infra/kafka/broker.mjs'
import { systemClock } from '../../src/core/clock.ts'
import { FencedError, UnavailableError } from '../../src/core/errors.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { hangMs, kafkaOptions, skip as noBroker } from './kafka.ts'

// It kills a broker, so it needs one of its own.
const missing = noBroker === false ? provideJava() : noBroker
const skip = missing === undefined ? false : missing
const bytes = (value: string) => new TextEncoder().encode(value)

async function recordsIn(log: KafkaLog, topic: string): Promise<number> {
  let count = 0
  const options = { resume: async () => 0n, signal: new AbortController().signal, untilEnd: true }
  for await (const event of log.read(topic, options)) if (event.kind === 'records') count += event.records.length
  return count
}

test('a broker that is killed twice for some seconds costs nothing', { skip, timeout: hangMs }, async () => {
  const broker = await Broker.start()
  const options = kafkaOptions({ brokers: [broker.address], retryMs: 60_000 })
  const writer = await KafkaLog.open(options, systemClock)
  const reader = await KafkaLog.open(options, systemClock)
  const admin = new kafkajs.Kafka({ brokers: [broker.address], logLevel: kafkajs.logLevel.NOTHING }).admin()
  const stop = new AbortController()
  try {
    await admin.connect()
    await admin.createTopics({
      topics: [
        { topic: 'plain', numPartitions: 2 },
        { topic: 'fenced', numPartitions: 1 }
      ],
      waitForLeaders: false
    })
    await admin.disconnect()
    let writing = true
    let beganAgain = 0
    const sent = { plain: 0, fenced: 0 }
    const write = async (topic: 'plain' | 'fenced') => {
      while (writing) {
        const records = Array.from({ length: 20 }, (_, i) => ({
          key: bytes(`k${i % 5}`),
          value: bytes(String(sent[topic] + i))
        }))
        try {
          await writer.append(topic, records, topic === 'fenced' ? 'owner' : undefined)
          sent[topic] += records.length
        } catch (error) {
          // The outcome of a commit is not known: the owner claims its fence again, and continues from what the log says.
          if (!(error instanceof FencedError)) throw error
          assert.equal(topic, 'fenced')
          await writer.append(topic, [], 'owner')
          sent.fenced = await recordsIn(writer, topic)
          beganAgain++
        }
        await pause(5)
      }
    }
    const seen = { plain: new Map<string, number>(), fenced: new Map<string, number>() }
    const read = async (topic: 'plain' | 'fenced', group?: string) => {
      const next = new Map<number, bigint>()
      const resume = async (partition: number) => next.get(partition) ?? 0n
      for await (const event of reader.read(topic, {
        resume,
        signal: stop.signal,
        ...(group === undefined ? {} : { group })
      })) {
        if (event.kind !== 'records') continue
        next.set(event.partition, event.records.at(-1)!.offset + 1n)
        for (const { value } of event.records) {
          const text = new TextDecoder().decode(value!)
          seen[topic].set(text, (seen[topic].get(text) ?? 0) + 1)
        }
      }
    }
    const work = [write('plain'), write('fenced')]
    const readers = [read('plain', 'group'), read('fenced')]
    for (let outage = 0; outage < 2; outage++) {
      const before = { ...sent }
      while (sent.plain < before.plain + 200 || sent.fenced < before.fenced + 200)
        await Promise.race([pause(20), ...work, ...readers])
      await broker.stop('SIGKILL')
      await pause(3000)
      await broker.run()
    }
    const after = { ...sent }
    while (sent.plain < after.plain + 200 || sent.fenced < after.fenced + 200)
      await Promise.race([pause(20), ...work, ...readers])
    writing = false
    await Promise.all(work)
    for (const topic of ['plain', 'fenced'] as const) {
      while (seen[topic].size < sent[topic]) await Promise.race([pause(20), ...readers])
      assert.equal(seen[topic].size, sent[topic])
      assert.deepEqual(
        [...seen[topic]].filter(([, count]) => count !== 1),
        [],
        `${topic}: repeats are recognised by their sequence numbers`
      )
    }
    assert(beganAgain <= 4, `the owner began again ${beganAgain} times in 2 outages`)
    stop.abort()
    await Promise.all(readers)
  } finally {
    stop.abort()
    await writer.close()
    await reader.close()
    await broker.stop()
    broker.remove()
  }
})

test('brokers that stay away are given up after retryMs, with their addresses', {
  skip: noBroker,
  timeout: hangMs
}, async () => {
  const options = kafkaOptions({ brokers: ['127.0.0.1:1'], retryMs: 500 })
  await assert.rejects(
    KafkaLog.open(options, systemClock),
    (error) => error instanceof UnavailableError && /127\.0\.0\.1:1/.test(error.message)
  )
})
