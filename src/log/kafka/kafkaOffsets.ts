// Offsets of consumer groups: shown beside what the topic holds, and reset while no member is active.

import type { Admin } from 'kafkajs'
import type { KafkaOptions } from '../../core/config/config.ts'
import { ConfigError } from '../../core/errors.ts'
import { groupIdOf } from './groupMember.ts'
import { isUnknownTopic, withAdmin } from './kafkaClient.ts'

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

/** Which group of a run, and the topic that it reads. */
export interface GroupTopic {
  readonly group: string
  readonly run: string
  readonly topic: string
}

/** @throws UnavailableError if no broker answers */
export function groupOffsets(options: KafkaOptions, { group, run, topic }: GroupTopic): Promise<GroupOffsets> {
  const groupId = groupIdOf(options.clientId, group, run, topic)
  return withAdmin(options, `looking up the offsets of group ${groupId}`, async (admin) => {
    const offsets = await admin.fetchTopicOffsets(topic).catch((error: unknown) => {
      if (isUnknownTopic(error)) return undefined
      throw error
    })
    if (offsets === undefined) return { groupId, members: 0, partitions: [] }
    const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] })
    const partitions = offsets.map(({ partition, low, high }) => {
      const found = committed?.partitions.find((one) => one.partition === partition)
      const next = found === undefined || BigInt(found.offset) < 0n ? undefined : BigInt(found.offset)
      return { partition, start: BigInt(low), next, end: BigInt(high) }
    })
    return { groupId, members: await membersOf(admin, groupId), partitions }
  })
}

/** @returns the next offset by partition @throws ConfigError while members are active */
export function resetOffsets(
  options: KafkaOptions,
  { group, run, topic }: GroupTopic,
  target: ResetTarget
): Promise<Map<number, bigint>> {
  const groupId = groupIdOf(options.clientId, group, run, topic)
  return withAdmin(options, `resetting the offsets of group ${groupId}`, async (admin) => {
    const members = await membersOf(admin, groupId)
    if (members > 0)
      throw new ConfigError([`group ${groupId} has ${members} active members: stop its processes, then reset again`])
    const offsets =
      typeof target === 'object'
        ? await admin.fetchTopicOffsetsByTimestamp(topic, target.timeMs)
        : (await admin.fetchTopicOffsets(topic)).map(({ partition, low, high }) => ({
            partition,
            offset: target === 'earliest' ? low : high
          }))
    const partitions = offsets.map(({ partition, offset }) => ({ partition, offset }))
    await admin.setOffsets({ groupId, topic, partitions })
    return new Map(partitions.map(({ partition, offset }) => [partition, BigInt(offset)]))
  })
}

async function membersOf(admin: Admin, groupId: string): Promise<number> {
  const { groups } = await admin.describeGroups([groupId])
  return groups[0]?.members.length ?? 0
}
