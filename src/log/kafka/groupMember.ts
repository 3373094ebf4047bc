// Membership in a consumer group: which partitions of a topic this process owns.
//
// The consumer of this file only joins and heartbeats; it fetches nothing. So records are read on while a rebalance
// waits for a member that was killed, and a reader that computes for long keeps its membership. kafkajs joins again
// without waiting for its user: for a moment a partition may have two owners. The newer one claims the fence.

import kafkajs, { type Assigner, type Kafka } from 'kafkajs'
import { ConfigError } from '../../core/errors.ts'
import { ConsumerLoop } from './consumerLoop.ts'
import { assignPartitions } from './kafkaAssignment.ts'
import { protocolErrorOf, type RetryLimits } from './kafkaClient.ts'

const { MemberAssignment, MemberMetadata } = kafkajs.AssignerProtocol

/** Runs that read other topics, or the same topics for themselves, do not share a group. */
export function groupIdOf(clientId: string, group: string, run: string, topic: string): string {
  return `${clientId}.${group}.${run}.${topic}`
}

interface GroupMemberOptions {
  readonly kafka: Kafka
  readonly topic: string
  /** Committed with the offsets, so that those of a former topic, and of tools, are recognized. */
  readonly metadata: string
  readonly groupId: string
  readonly sessionTimeoutMs: number
  readonly limits: RetryLimits
  /** Next offsets of the partitions that are owned, committed when a rebalance begins. */
  readonly offsets: () => ReadonlyMap<number, bigint>
  /** Called when `partitions` or `failure` has changed. */
  readonly onChange: () => void
}

/** Members of one group must agree on it; a change of what the name stands for needs a new name. */
const protocol = 'mtmi-sticky-1'
/** How long the others wait for a member that does not join again. */
const rebalanceTimeout = 60_000
/** 500 ms at the default session timeout: a member learns of a rebalance with its next heartbeat. */
const heartbeatShare = 1 / 60
/** How often the consumer looks whether a heartbeat is due. */
const maxWaitTimeInMs = 100

export class GroupMember {
  readonly #options: GroupMemberOptions
  readonly #loop: ConsumerLoop
  /** As of the last join: others may take over while the consumer is started again, and the fence decides. */
  #partitions: readonly number[] | undefined
  #memberId = ''
  #session = 0
  /** The next join follows a rebalance: the partitions are still this member's. */
  #isRebalancing = false
  #failure: unknown

  constructor(options: GroupMemberOptions) {
    const { kafka, topic, groupId, limits, sessionTimeoutMs } = options
    this.#options = options
    this.#loop = new ConsumerLoop({
      ...{ kafka, topic, limits },
      consumer: {
        ...{
          groupId,
          rebalanceTimeout,
          maxWaitTimeInMs,
          partitionAssigners: [({ cluster }) => this.#assigner(cluster)]
        },
        sessionTimeout: sessionTimeoutMs,
        heartbeatInterval: sessionTimeoutMs * heartbeatShare
      },
      onJoin: (memberId) => {
        this.#loop.consumer.pause([{ topic }])
        if (memberId !== this.#memberId) this.#session++
        this.#memberId = memberId
        this.#isRebalancing = false
        this.#partitions = this.#loop.assigned
        options.onChange()
      },
      onFailure: (error) => {
        const isShared = protocolErrorOf(error) === 'INCONSISTENT_GROUP_PROTOCOL'
        this.#failure ??= isShared ? sharedGroup(groupId, topic, 'it has members of another program') : error
        options.onChange()
      },
      eachBatch: async () => {}
    })
    const { consumer } = this.#loop
    consumer.on(consumer.events.REBALANCING, () => {
      this.#isRebalancing = true
      void this.commit(options.offsets())
    })
  }

  /** Changes when the group has removed this member, which has joined again: others may have owned its partitions. */
  get session(): number {
    return this.#session
  }

  /** Ascending; undefined before the first join. @throws MtmiError once the membership has failed */
  get partitions(): readonly number[] | undefined {
    if (this.#failure !== undefined) throw this.#failure
    return this.#partitions
  }

  /** Whether the partition has been this member's since `session` was read. */
  has(partition: number, session: number): boolean {
    return session === this.#session && this.#partitions?.includes(partition) === true
  }

  /** For dashboards, and for readers without state of their own. A failure repeats work at most. */
  async commit(offsets: ReadonlyMap<number, bigint>): Promise<void> {
    const { topic, metadata } = this.#options
    const entries = [...offsets].filter(([partition]) => this.#partitions?.includes(partition))
    if (entries.length === 0) return
    try {
      await this.#loop.consumer.commitOffsets(
        entries.map(([partition, offset]) => ({ topic, partition, offset: String(offset), metadata }))
      )
    } catch {
      // the next one follows
    }
  }

  leave(): Promise<void> {
    return this.#loop.stop()
  }

  #assigner(cluster: { findTopicPartitionMetadata(topic: string): readonly { partitionId: number }[] }): Assigner {
    const { topic, groupId } = this.#options
    return {
      name: protocol,
      version: 1,
      protocol: ({ topics }) => ({
        name: protocol,
        metadata: MemberMetadata.encode({
          ...{ version: 1, topics },
          userData: Buffer.from(JSON.stringify(this.#isRebalancing ? this.#partitions : []))
        })
      }),
      assign: async ({ members }) => {
        const known = members.map(({ memberId, memberMetadata }) => ({ memberId, ...metadataOf(memberMetadata) }))
        const other = known.find(({ topics }) => topics.length !== 1 || topics[0] !== topic)
        if (other !== undefined)
          throw sharedGroup(
            groupId,
            topic,
            `its member ${other.memberId} reads ${other.topics.join(', ') || 'nothing'}`
          )
        const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId)
        const assigned = assignPartitions(
          known.map(({ memberId, owned }) => ({ id: memberId, owned })),
          partitions.sort((a, b) => a - b)
        )
        return [...assigned].map(([memberId, own]) => ({
          memberId,
          memberAssignment: MemberAssignment.encode({
            version: 1,
            assignment: { [topic]: own },
            userData: Buffer.alloc(0)
          })
        }))
      }
    }
  }
}

/** Partitions that another program gets would be read by no stage. */
function sharedGroup(groupId: string, topic: string, why: string): ConfigError {
  return new ConfigError([
    `group ${groupId} cannot read ${topic}: ${why} (\`kafka-consumer-groups --describe --members\` lists them). Stop the other program, or give one of the two a kafka.clientId of its own`
  ])
}

/** Members of another version may send no list of partitions, or something else. */
function metadataOf(metadata: Buffer): { topics: string[]; owned: number[] } {
  const decoded = MemberMetadata.decode(metadata)
  let owned: unknown
  try {
    owned = JSON.parse(decoded?.userData.toString() ?? '[]')
  } catch {
    owned = [] // of another layout: it claims nothing, and gets partitions by number
  }
  return {
    topics: decoded?.topics ?? [],
    owned: Array.isArray(owned) ? owned.filter((partition): partition is number => Number.isInteger(partition)) : []
  }
}
