// The disk of the only broker is full: it ends itself. Writers and readers wait; with room on the disk everything that
// was acknowledged is there, once.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { Broker, provideJava } from '../../infra/kafka/broker.mjs'
import { systemClock } from '../../src/core/clock.ts'
import { FencedError } from '../../src/core/errors.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { LogHealth } from '../../src/log/logHealth.ts'
import { hangMs, kafkaOptions, skip as noBroker } from './kafka.ts'

const mountable = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0
const noMount = mountable
  ? undefined
  : 'A FULL DISK OF THE BROKER IS NOT TESTED: this needs root and a mount of a tmpfs'
if (noMount !== undefined) process.stderr.write(`${noMount}\n`)
const skip = noBroker === false ? (noMount ?? provideJava() ?? false) : noBroker
const valueBytes = 100_000

test('a broker whose disk is full ends; with room everything that was acknowledged is there, once', {
  skip,
  timeout: hangMs
}, async (t) => {
  const broker = await Broker.start(undefined, { diskMiB: 48 })
  const health = new LogHealth(systemClock, () => {})
  const options = kafkaOptions({ brokers: [broker.address], retryMs: hangMs })
  const log = await KafkaLog.open(options, systemClock, { health })
  const stop = new AbortController()
  try {
    const admin = new kafkajs.Kafka({ brokers: [broker.address], logLevel: kafkajs.logLevel.NOTHING }).admin()
    await admin.connect()
    await admin.createTopics({ topics: ['plain', 'fenced'].map((topic) => ({ topic, numPartitions: 1 })) })
    await admin.disconnect()

    const seen = { plain: new Map<string, number>(), fenced: new Map<string, number>() }
    const read = async (topic: 'plain' | 'fenced') => {
      for await (const event of log.read(topic, { resume: async () => 0n, signal: stop.signal }))
        if (event.kind === 'records')
          for (const { key } of event.records) {
            const name = Buffer.from(key).toString()
            seen[topic].set(name, (seen[topic].get(name) ?? 0) + 1)
          }
    }
    const acknowledged = { plain: [] as string[], fenced: [] as string[] }
    let isWriting = true
    const write = async (topic: 'plain' | 'fenced') => {
      for (let n = 0; isWriting; n++) {
        const record = { key: Buffer.from(String(n)), value: randomBytes(valueBytes) }
        try {
          await log.append(topic, [record], topic === 'fenced' ? 'owner' : undefined)
          acknowledged[topic].push(String(n))
        } catch (error) {
          // Whether it was written is not known: its owner claims the fence again, and continues with another record.
          if (topic !== 'fenced' || !(error instanceof FencedError)) throw error
          await log.append(topic, [], 'owner')
        }
      }
    }
    const readers = [read('plain'), read('fenced')]
    const writers = [write('plain'), write('fenced')]
    while (broker.isRunning) await Promise.race([pause(50), ...readers, ...writers])
    const before = acknowledged.plain.length + acknowledged.fenced.length
    t.diagnostic(`the broker ended after ${before} records of ${valueBytes} bytes`)
    while (health.problem() === undefined) await Promise.race([pause(50), ...readers, ...writers])
    assert.match(health.problem()!, /brokers have not answered for \d+ s/)

    broker.resizeDisk(256)
    await broker.run()
    while (acknowledged.plain.length + acknowledged.fenced.length < before + 20)
      await Promise.race([pause(50), ...readers, ...writers])
    isWriting = false
    await Promise.all(writers)
    for (const topic of ['plain', 'fenced'] as const) {
      while (!acknowledged[topic].every((name) => seen[topic].has(name))) await Promise.race([pause(50), ...readers])
      assert.deepEqual(
        [...seen[topic]].filter(([, count]) => count > 1),
        [],
        `${topic}: records that are there twice`
      )
    }
    stop.abort()
    await Promise.all(readers)
  } finally {
    stop.abort()
    await broker.stop('SIGKILL')
    await log.close()
    broker.remove()
  }
})
