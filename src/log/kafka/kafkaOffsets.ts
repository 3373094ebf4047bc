// Offsets of consumer groups beside what their topic holds.

import type { Admin } from 'kafkajs'
import type { KafkaOptions } from '../../core/config/config.ts'
import { groupIdOf } from './groupMember.ts'
import { isUnknownTopic, withAdmin } from './kafkaClient.ts'

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
interface GroupTopic {
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

async function membersOf(admin: Admin, groupId: string): Promise<number> {
  const { groups } = await admin.describeGroups([groupId])
  return groups[0]?.members.length ?? 0
}
