// Brokers are killed and restarted while members write and read, and come back: nothing that was acknowledged is lost, and
// everything gets on by itself.

import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { Broker, provideJava } from '../../infra/kafka/broker.mjs'
import { systemClock } from '../../src/core/clock.ts'
import { FencedError, UnavailableError } from '../../src/core/errors.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { LogHealth } from '../../src/log/logHealth.ts'
import { hangMs, kafkaOptions, skip as noBroker } from './kafka.ts'

/** Records of one append. */
const batchSize = 20

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

/**
 * Writes and reads, plain and fenced, while each of `disturbances` happens: nothing is lost or doubled, nobody ends.
 *
 * @returns the longest time for which brokers did not answer, seconds
 */
async function survives(cluster: readonly Broker[], disturbances: readonly (() => Promise<void>)[]): Promise<number> {
  const brokers = cluster.map(({ address }) => address)
  const options = kafkaOptions({ brokers, retryMs: 120_000 })
  const health = new LogHealth(systemClock, () => {})
  const writer = await KafkaLog.open(options, systemClock, { health })
  const reader = await KafkaLog.open(options, systemClock, { health })
  const admin = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).admin()
  let awaySecondsMax = 0
  const watching = setInterval(() => {
    for (const entry of health.takeReport())
      if (entry.metric === 'brokersAway' && 'value' in entry) awaySecondsMax = Math.max(awaySecondsMax, entry.value)
  }, 200)
  const stop = new AbortController()
  try {
    await admin.connect()
    await admin.createTopics({
      topics: [
        { topic: 'plain', numPartitions: 2, replicationFactor: cluster.length },
        { topic: 'fenced', numPartitions: 1, replicationFactor: cluster.length }
      ],
      waitForLeaders: false
    })
    await admin.disconnect()
    let writing = true
    let beganAgain = 0
    const sent = { plain: 0, fenced: 0 }
    const write = async (topic: 'plain' | 'fenced') => {
      while (writing) {
        const records = Array.from({ length: batchSize }, (_, i) => ({
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
    for (const disturb of disturbances) {
      const before = { ...sent }
      while (sent.plain < before.plain + 200 || sent.fenced < before.fenced + 200)
        await Promise.race([pause(20), ...work, ...readers])
      await Promise.race([disturb(), ...work, ...readers])
    }
    const after = { ...sent }
    while (sent.plain < after.plain + 200 || sent.fenced < after.fenced + 200)
      await Promise.race([pause(20), ...work, ...readers])
    writing = false
    await Promise.all(work)
    for (const topic of ['plain', 'fenced'] as const) {
      while (seen[topic].size < sent[topic]) await Promise.race([pause(20), ...readers])
      assert.equal(seen[topic].size, sent[topic])
      // Brokers recognise repeats by their sequence numbers, also after the leader has moved.
      const repeated = [...seen[topic]].filter(([, count]) => count !== 1)
      assert.deepEqual(repeated.slice(0, 3), [], `${topic}: ${repeated.length} repeated records`)
    }
    const most = 2 * disturbances.length
    assert(beganAgain <= most, `the owner began again ${beganAgain} times in ${disturbances.length} outages`)
    stop.abort()
    await Promise.all(readers)
    return awaySecondsMax
  } finally {
    clearInterval(watching)
    stop.abort()
    await writer.close()
    await reader.close()
    await Promise.all(cluster.map((broker) => broker.stop('SIGKILL')))
    for (const broker of cluster) broker.remove()
  }
}

test('a broker that is killed twice for some seconds costs nothing', { skip, timeout: hangMs }, async () => {
  const broker = await Broker.start()
  const killed = async () => {
    await broker.stop('SIGKILL')
    await pause(3000)
    await broker.run()
  }
  await survives([broker], [killed, killed])
})

test('a rolling restart of three brokers, and one of them killed, cost nothing and are no outage', {
  skip,
  timeout: hangMs
}, async (t) => {
  const cluster = await Broker.startCluster(3)
  const restarted = (broker: Broker, signal: 'SIGTERM' | 'SIGKILL', awayMs: number) => async () => {
    await broker.stop(signal)
    await pause(awayMs)
    await broker.run()
    await inSync(cluster)
  }
  const rolling = cluster.map((broker) => restarted(broker, 'SIGTERM', 0))
  const awaySeconds = await survives(cluster, [...rolling, restarted(cluster[0]!, 'SIGKILL', 10_000)])
  t.diagnostic(`brokers were away for ${awaySeconds} s at most`)
})

/** Until every replica is in sync: what a rolling restart waits for before the next broker. */
async function inSync(cluster: readonly Broker[]): Promise<void> {
  const brokers = cluster.map(({ address }) => address)
  const admin = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    for (;;) {
      const { topics } = await admin.fetchTopicMetadata()
      const partitions = topics.flatMap((topic) => topic.partitions)
      if (partitions.every(({ isr, replicas }) => isr.length === replicas.length)) return
      await pause(200)
    }
  } finally {
    await admin.disconnect()
  }
}

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
