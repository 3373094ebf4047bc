// What goes wrong with brokers, topics and partitions while a log is open: reported, counted, survived.

import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import kafkajs, { type Admin } from 'kafkajs'
import { Broker, provideJava } from '../../infra/kafka/broker.mjs'
import { systemClock } from '../../src/core/clock.ts'
import { CorruptError } from '../../src/core/errors.ts'
import type { EventLog, LogRecord } from '../../src/log/eventLog.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { LogHealth } from '../../src/log/logHealth.ts'
import { hangMs, kafka, kafkaOptions, makeTopic, openLog, removeTopics, skip } from './kafka.ts'

const numbered = (count: number, partition = 0, value = Buffer.alloc(10)) =>
  Array.from({ length: count }, (_, i) => ({ key: Buffer.from(String(i)), value, partition }))

async function withAdmin<T>(work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafka.admin()
  await admin.connect()
  try {
    return await work(admin)
  } finally {
    await admin.disconnect()
  }
}

function removeBefore(topic: string, offset: bigint): Promise<void> {
  return withAdmin(async (admin) => {
    await admin.fetchTopicOffsets(topic) // kafkajs knows a topic's leaders only after this
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(offset) }] })
  })
}

/** Reads to the end. @param onFirst awaited at the first records */
async function readFrom(log: EventLog, topic: string, from: bigint, onFirst?: () => Promise<void>) {
  const records: LogRecord[] = []
  const options = { resume: async () => from, signal: new AbortController().signal, untilEnd: true }
  for await (const event of log.read(topic, options)) {
    if (event.kind !== 'records') continue
    if (records.length === 0) await onFirst?.()
    records.push(...event.records)
  }
  return records
}

async function until<T>(what: string, find: () => T | undefined): Promise<T> {
  const startedMs = performance.now()
  for (;;) {
    const found = find()
    if (found !== undefined) return found
    if (performance.now() - startedMs > 120_000) assert.fail(`not within two minutes: ${what}`)
    await pause(50)
  }
}

test('an outage that begins long after the start has the whole budget, and is reported while it lasts', {
  skip: skip === false ? (provideJava() ?? false) : skip,
  timeout: hangMs
}, async () => {
  const broker = await Broker.start()
  const problems: string[] = []
  const health = new LogHealth(systemClock, (problem) => problems.push(problem))
  // The outage is shorter than the budget; outage and uptime together are longer.
  const budgetMs = 60_000
  const log = await KafkaLog.open(kafkaOptions({ brokers: [broker.address], retryMs: budgetMs }), systemClock, {
    health
  })
  const admin = new kafkajs.Kafka({ brokers: [broker.address], logLevel: kafkajs.logLevel.NOTHING }).admin()
  const stop = new AbortController()
  try {
    await admin.connect()
    await admin.createTopics({ topics: [{ topic: 'clicks', numPartitions: 1 }], waitForLeaders: false })
    await admin.disconnect()
    let read = 0
    let next = 0n
    const reading = (async () => {
      for await (const event of log.read('clicks', {
        resume: async () => next,
        signal: stop.signal,
        group: 'readers'
      })) {
        if (event.kind !== 'records') continue
        read += event.records.length
        next = event.records.at(-1)!.offset + 1n
      }
    })()
    await log.append('clicks', numbered(10))
    await Promise.race([until('records before the outage', () => (read === 10 ? true : undefined)), reading])
    await pause(budgetMs - 5000)
    await broker.stop('SIGKILL')
    await Promise.race([until('the outage is reported', () => health.problem()), reading])
    assert.match(health.problem()!, /have not answered for \d+ s/)
    const away = health.takeReport().find(({ metric }) => metric === 'brokersAway')
    assert(away !== undefined && 'value' in away && away.value >= 3)
    await pause(5000)
    await broker.run()
    await log.append('clicks', numbered(10))
    await Promise.race([until('records after the outage', () => (read === 20 ? true : undefined)), reading])
    await until('the outage is over', () => (health.problem() === undefined ? true : undefined))
    assert.equal(problems.filter((problem) => /do not answer/.test(problem)).length >= 1, true)
    stop.abort()
    await reading
  } finally {
    stop.abort()
    await log.close()
    await broker.stop()
    broker.remove()
  }
})

test('records that retention removed before they were read are counted and reported, or end the reader', {
  skip,
  timeout: hangMs
}, async () => {
  const topic = await makeTopic(1)
  const problems: string[] = []
  const health = new LogHealth(systemClock, (problem) => problems.push(problem))
  const log = await KafkaLog.open(kafkaOptions({ compression: 'none' }), systemClock, { health })
  const strict = await openLog({ onGap: 'stop' })
  const skipped = () =>
    health
      .takeReport()
      .flatMap((entry) => (entry.metric === 'skippedRecords' && 'value' in entry ? [entry.value] : []))
      .reduce((sum, value) => sum + value, 0)
  try {
    await log.append(topic, numbered(100))
    await removeBefore(topic, 50n)
    // From the beginning is from what is there.
    assert.equal((await readFrom(log, topic, 0n)).length, 50)
    assert.equal(skipped(), 0)
    assert.equal((await readFrom(log, topic, 10n))[0]?.offset, 50n)
    assert.equal(skipped(), 40)
    assert.match(problems.join(), /offsets 10 to 49 were removed by retention.*continues at 50/)
    await assert.rejects(
      readFrom(strict, topic, 10n),
      (error) => error instanceof CorruptError && /onGap/.test(error.message)
    )
    assert.equal((await readFrom(strict, topic, 50n)).length, 50)

    // While it is read: the reader has queued some 8 MiB of 50.
    const large = await makeTopic(1)
    for (let i = 0; i < 10; i++) await log.append(large, numbered(10, 0, Buffer.alloc(500_000, i)))
    const records = await readFrom(log, large, 0n, async () => {
      await pause(3000)
      await removeBefore(large, 98n)
    })
    const at = records.findIndex(({ offset }, i) => i > 0 && offset !== records[i - 1]!.offset + 1n)
    assert(at > 0, `the reader jumped: ${records.map(({ offset }) => offset)}; ${problems.at(-1)}`)
    assert.equal(records[at]!.offset, 98n)
    assert.equal(BigInt(skipped()), 98n - records[at - 1]!.offset - 1n)
    await removeTopics(large)
  } finally {
    await log.close()
    await strict.close()
    await removeTopics(topic)
  }
})

test('a topic that was created again is not read on from an offset of the former one', {
  skip,
  timeout: hangMs
}, async () => {
  const topic = await makeTopic(1)
  const log = await openLog()
  const stop = new AbortController()
  try {
    await log.append(topic, numbered(100))
    let read = 0
    const reading = (async () => {
      for await (const event of log.read(topic, { resume: async () => 0n, signal: stop.signal }))
        if (event.kind === 'records') read += event.records.length
    })()
    reading.catch(() => {})
    await until('100 records', () => (read === 100 ? true : undefined))
    await removeTopics(topic)
    await pause(1000)
    await withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true }))
    const again = await openLog()
    try {
      await again.append(topic, numbered(5))
      await assert.rejects(
        readFrom(again, topic, 100n),
        (error) => error instanceof CorruptError && /created again/.test(error.message)
      )
      // The one that was reading stops, rather than waiting for offset 100.
      await assert.rejects(reading, /created again|no such topic/)
    } finally {
      await again.close()
    }
  } finally {
    stop.abort()
    await log.close()
    await removeTopics(topic)
  }
})

test('lag counts what nobody has read, and an open transaction is named as what blocks a partition', {
  skip,
  timeout: hangMs
}, async () => {
  const topic = await makeTopic(2)
  let nowMs = 1_000_000
  const health = new LogHealth({ nowMs: () => nowMs }, () => {})
  const log = await KafkaLog.open(kafkaOptions(), systemClock, { health })
  const stop = new AbortController()
  const producer = kafka.producer({ transactionalId: `open-${topic}`, idempotent: true, maxInFlightRequests: 1 })
  const entry = (metric: string, partition: number) =>
    health
      .takeReport()
      .flatMap((one) =>
        one.metric === metric &&
        'value' in one &&
        (one.labels as { partition?: string }).partition === `${topic}/${partition}`
          ? [one.value]
          : []
      )[0]
  try {
    await log.append(topic, [...numbered(10, 0), ...numbered(10, 1)])
    const reading = (async () => {
      for await (const _ of log.read(topic, { resume: async () => 0n, signal: stop.signal }));
    })()
    await until('no lag', () => (entry('partitionLag', 1) === 0 ? true : undefined))
    await producer.connect()
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ value: 'x', partition: 1 }] })
    await log.append(topic, numbered(4, 1))
    await until('lag to the high watermark', () => (entry('partitionLag', 1) === 5 ? true : undefined))
    assert.equal(entry('partitionLag', 0), 0)
    await until('the partition is blocked', () => {
      nowMs += 500
      return (entry('partitionBlocked', 1) ?? 0) > 10 ? true : undefined
    })
    assert.match(health.problem() ?? '', new RegExp(`${topic}/1 is blocked by an open transaction since`))
    assert.equal(entry('partitionBlocked', 0), 0)
    await transaction.commit()
    await until('the partition goes on', () => (health.problem() === undefined ? true : undefined))
    stop.abort()
    await reading
  } finally {
    stop.abort()
    await producer.disconnect()
    await log.close()
    await removeTopics(topic)
  }
})

test('partitions that are added to a topic are read, alone and in a group', { skip, timeout: hangMs }, async () => {
  const topic = await makeTopic(2)
  const log = await openLog()
  const stop = new AbortController()
  const seen = { alone: new Set<number>(), group: new Set<number>() }
  const follow = async (who: 'alone' | 'group') => {
    const group = who === 'group' ? { group: `group-of-${topic}` } : {}
    for await (const event of log.read(topic, { resume: async () => 0n, signal: stop.signal, ...group }))
      if (event.kind === 'records') seen[who].add(event.partition)
  }
  try {
    const reading = Promise.all([follow('alone'), follow('group')])
    await log.append(topic, [...numbered(1, 0), ...numbered(1, 1)])
    await until('two partitions', () => (seen.alone.size === 2 && seen.group.size === 2 ? true : undefined))
    await withAdmin((admin) => admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] }))
    const writer = await openLog()
    await writer.append(topic, [...numbered(1, 2), ...numbered(1, 3)])
    await writer.close()
    await Promise.race([
      until('four partitions', () => (seen.alone.size === 4 && seen.group.size === 4 ? true : undefined)),
      reading
    ])
    stop.abort()
    await reading
  } finally {
    stop.abort()
    await log.close()
    await removeTopics(topic)
  }
})
