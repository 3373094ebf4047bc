// What the tests with a real broker share: where it is, topics of their own, and a loud skip without one.

import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { type Clock, systemClock } from '../../src/core/clock.ts'
import { type KafkaOptions, resolveConfig } from '../../src/core/config/config.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'

export const brokers = (process.env.KAFKA_BROKERS ?? '').split(',').filter((broker) => broker !== '')

/**
 * Longest time of a test, milliseconds: only for one that hangs. Where many things run at once, what takes seconds
 * takes minutes.
 */
export const hangMs = 900_000

/** For `test`'s options: a reason to skip, or false. */
export const skip: string | false =
  brokers.length > 0 ? false : 'NO BROKER: run `npm run test:services`, or set KAFKA_BROKERS to run the tests on Kafka'

/** As configured, with short waits: a member that is killed is missed after `sessionTimeoutMs`. */
export function kafkaOptions(changes: Partial<KafkaOptions> = {}): KafkaOptions {
  const { kafka } = resolveConfig({}, {}, { kafka: { brokers, sessionTimeoutMs: 6000, retryMs: 60_000 } })
  return { ...kafka, ...changes }
}

export function openLog(changes: Partial<KafkaOptions> = {}, clock: Clock = systemClock): Promise<KafkaLog> {
  return KafkaLog.open(kafkaOptions(changes), clock)
}

export const kafka = new kafkajs.Kafka({
  brokers: brokers.length > 0 ? brokers : ['none:1'],
  logLevel: kafkajs.logLevel.NOTHING
})

/** @returns a name that nobody else uses */
export async function makeTopic(partitions: number, config: Readonly<Record<string, string>> = {}): Promise<string> {
  const topic = `test-${randomUUID().slice(0, 8)}`
  const admin = kafka.admin()
  await admin.connect()
  try {
    const configEntries = Object.entries({ 'message.timestamp.type': 'LogAppendTime', ...config }).map(
      ([name, value]) => ({ name, value })
    )
    await admin.createTopics({
      topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }],
      waitForLeaders: false
    })
    // kafkajs' own wait throws where the broker does not know the topic yet.
    while (
      !(await admin.fetchTopicMetadata({ topics: [topic] }).then(
        () => true,
        () => false
      ))
    )
      await pause(50)
  } finally {
    await admin.disconnect()
  }
  return topic
}

/** As `kafka-consumer-groups --reset-offsets --to-earliest --execute`. */
export async function resetToEarliest(groupId: string, topic: string): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  try {
    const partitions = (await admin.fetchTopicOffsets(topic)).map(({ partition, low: offset }) => ({
      partition,
      offset
    }))
    await admin.setOffsets({ groupId, topic, partitions })
  } finally {
    await admin.disconnect()
  }
}

/** Next offsets of a group, as `kafka-consumer-groups --describe` shows them; -1: none. */
export async function groupPositions(groupId: string, topic: string): Promise<bigint[]> {
  const admin = kafka.admin()
  await admin.connect()
  try {
    const [found] = await admin.fetchOffsets({ groupId, topics: [topic] })
    return (found?.partitions ?? []).map(({ offset }) => BigInt(offset))
  } finally {
    await admin.disconnect()
  }
}

export async function removeTopics(...topics: string[]): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  try {
    await admin.deleteTopics({ topics })
  } finally {
    await admin.disconnect()
  }
}
