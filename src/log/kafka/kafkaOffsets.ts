// Offsets of consumer groups: shown beside what the topic holds, and reset while no member is active.

import type { Admin } from 'kafkajs'
import type { KafkaOptions } from '../../core/config/config.ts'
import { ConfigError } from '../../core/errors.ts'
import { groupIdOf } from './groupMember.ts'
import { isUnknownTopic, kafkaClient, kafkaError, retrying, startRetryMsMax } from './kafkaClient.ts'

export type ResetTarget = 'earliest' | 'latest' | { readonly timeMs: number }

interface GroupOffsets {
  readonly groupId: string
  readonly members: number
  /** Empty: there is no such topic. */
  readonly partitions: readonly {
    readonly partition: number
    readonly start: bigint
    /** undefined: the group has committed none. */
    readonly next: bigint | undefined
    readonly end: bigint
  }[]
}

export class KafkaOffsets {
  readonly #admin: Admin
  readonly #clientId: string
  readonly #run: string

  /** @throws UnavailableError if no broker answers */
  static async open(options: KafkaOptions, run: string): Promise<KafkaOffsets> {
    const admin = kafkaClient(options).admin()
    const limits = { retryMs: Math.min(options.retryMs, startRetryMsMax) }
    await retrying(`connecting to ${options.brokers.join(', ')}`, limits, () => admin.connect())
    return new KafkaOffsets(admin, options.clientId, run)
  }

  private constructor(admin: Admin, clientId: string, run: string) {
    this.#admin = admin
    this.#clientId = clientId
    this.#run = run
  }

  async ofGroup(group: string, topic: string): Promise<GroupOffsets> {
    const groupId = groupIdOf(this.#clientId, group, this.#run, topic)
    const offsets = await this.#admin.fetchTopicOffsets(topic).catch((error: unknown) => {
      if (isUnknownTopic(error)) return undefined
      throw kafkaError(error, `looking up topic ${topic}`)
    })
    if (offsets === undefined) return { groupId, members: 0, partitions: [] }
    const [committed] = await this.#admin.fetchOffsets({ groupId, topics: [topic] })
    const partitions = offsets.map(({ partition, low, high }) => {
      const found = committed?.partitions.find((one) => one.partition === partition)
      const next = found === undefined || BigInt(found.offset) < 0n ? undefined : BigInt(found.offset)
      return { partition, start: BigInt(low), next, end: BigInt(high) }
    })
    return { groupId, members: await this.#members(groupId), partitions }
  }

  /** @returns the next offset by partition @throws ConfigError while members are active */
  async reset(group: string, topic: string, target: ResetTarget): Promise<Map<number, bigint>> {
    const groupId = groupIdOf(this.#clientId, group, this.#run, topic)
    const members = await this.#members(groupId)
    if (members > 0)
      throw new ConfigError([`group ${groupId} has ${members} active members: stop its processes, then reset again`])
    const offsets =
      typeof target === 'object'
        ? await this.#admin.fetchTopicOffsetsByTimestamp(topic, target.timeMs)
        : (await this.#admin.fetchTopicOffsets(topic)).map(({ partition, low, high }) => ({
            partition,
            offset: target === 'earliest' ? low : high
          }))
    const partitions = offsets.map(({ partition, offset }) => ({ partition, offset }))
    await this.#admin.setOffsets({ groupId, topic, partitions })
    return new Map(partitions.map(({ partition, offset }) => [partition, BigInt(offset)]))
  }

  async close(): Promise<void> {
    await this.#admin.disconnect()
  }

  async #members(groupId: string): Promise<number> {
    const { groups } = await this.#admin.describeGroups([groupId])
    return groups[0]?.members.length ?? 0
  }
}
