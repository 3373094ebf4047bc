// Membership in a consumer group, by Kafka's classic protocol: join, share out, sync, beat. Every rebalance is a full
// stop: the reader gives up what it has, with its state, before it asks to join again, so that no partition has two
// owners but for one that was taken for dead; and that one is fenced where it writes.

import kafkajs from 'kafkajs'
import { own } from '../../core/own.ts'
import { handledLater } from '../../core/promises.ts'
import { assignPartitions } from './kafkaAssignment.ts'
import { type Cluster, type CoordinatorBroker, findCoordinator, protocolErrorOf, retrying } from './kafkaClient.ts'

const { MemberAssignment, MemberMetadata } = kafkajs.AssignerProtocol

export interface KafkaGroupOptions {
  /** For joining and beating alone: a join waits for the slowest member, and nothing else must wait behind it. */
  readonly cluster: Cluster
  /** For leaving while a join waits, and for metadata. */
  readonly dataCluster: Cluster
  readonly groupId: string
  readonly topic: string
  readonly sessionTimeoutMs: number
  readonly heartbeatMs: number
  readonly retryMs: number
  readonly signal: AbortSignal
  /** Called when the membership is over: a rebalance, or it was taken for dead. */
  readonly wake: () => void
}

/** Members of one group must agree on it; a change of what the name stands for needs a new name. */
const protocol = 'mtmi-sticky-1'
/** Others wait this long for a member that is finishing its work. */
const rebalanceTimeoutMs = 60_000

export class KafkaGroup {
  readonly #options: KafkaGroupOptions
  #coordinator: CoordinatorBroker | undefined
  #memberId = ''
  #generationId = -1
  #beating: NodeJS.Timeout | undefined
  #lastBeatMs = 0
  #over = true

  constructor(options: KafkaGroupOptions) {
    this.#options = options
  }

  /** Whether the partitions have to be given up, and joined for again. */
  get over(): boolean {
    return this.#over
  }

  /**
   * Waits for all members to come, and beats from then on.
   *
   * @param owned what this member had last: it gets as many of them as is fair
   * @returns partitions, ascending; may be none. undefined: aborted meanwhile
   */
  async join(owned: readonly number[]): Promise<number[] | undefined> {
    const { groupId, retryMs, signal, cluster } = this.#options
    clearInterval(this.#beating)
    const partitions = await retrying(
      `joining group ${groupId}`,
      { retryMs, signal },
      () => this.#untilAborted(this.#joinOnce(owned)),
      async (error) => {
        if (protocolErrorOf(error) === 'UNKNOWN_MEMBER_ID') this.#memberId = ''
        this.#coordinator = undefined
        await cluster.connect()
        await cluster.refreshMetadata()
      }
    ).catch((error: unknown) => {
      if (signal.aborted) return undefined
      throw error
    })
    if (partitions === undefined || signal.aborted) return undefined
    this.#over = false
    this.#lastBeatMs = performance.now()
    let beating = false
    this.#beating = setInterval(() => {
      if (beating) return
      beating = true
      void this.#beat().finally(() => {
        beating = false
      })
    }, this.#options.heartbeatMs)
    return partitions
  }

  /** What the group has let the broker know, by partition; empty where it never did, or the broker does not say now. */
  async committed(partitions: readonly number[]): Promise<Map<number, bigint>> {
    const { groupId, topic } = this.#options
    const known = new Map<number, bigint>()
    if (this.#coordinator === undefined || partitions.length === 0) return known
    try {
      const { responses } = await this.#coordinator.offsetFetch({
        groupId,
        topics: [{ topic, partitions: partitions.map((partition) => ({ partition, offset: '-1' })) }]
      })
      for (const response of responses) {
        // -1 where nothing was committed.
        for (const { partition, offset } of response.partitions)
          if (BigInt(offset) >= 0n) known.set(partition, BigInt(offset))
      }
    } catch {
      // A hint: whoever has state of their own does not need it.
    }
    return known
  }

  /** Offsets for dashboards, and for readers without state of their own. A failure repeats work at most. */
  async commitHint(offsets: ReadonlyMap<number, bigint>): Promise<void> {
    const { groupId, topic } = this.#options
    if (this.#coordinator === undefined || offsets.size === 0) return
    try {
      await this.#coordinator.offsetCommit({
        groupId,
        groupGenerationId: this.#generationId,
        memberId: this.#memberId,
        topics: [
          { topic, partitions: [...offsets].map(([partition, offset]) => ({ partition, offset: String(offset) })) }
        ]
      })
    } catch {
      // the next one will do
    }
  }

  /** The others get the partitions at once, not after the session's timeout. */
  async leave(): Promise<void> {
    clearInterval(this.#beating)
    this.#over = true
    if (this.#memberId === '') return
    const { dataCluster, groupId } = this.#options
    try {
      const coordinator = await findCoordinator(dataCluster, groupId, 'group')
      await coordinator.leaveGroup({ groupId, memberId: this.#memberId })
    } catch {
      // Then they get them when the session times out.
    }
    this.#memberId = ''
  }

  async #joinOnce(owned: readonly number[]): Promise<number[]> {
    const { cluster, groupId, topic, sessionTimeoutMs } = this.#options
    await cluster.connect()
    const coordinator = await findCoordinator(cluster, groupId, 'group')
    this.#coordinator = coordinator
    const userData = Buffer.from(JSON.stringify(owned))
    const joined = await coordinator.joinGroup({
      groupId,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: rebalanceTimeoutMs,
      memberId: this.#memberId,
      groupProtocols: [{ name: protocol, metadata: MemberMetadata.encode({ version: 1, topics: [topic], userData }) }]
    })
    this.#memberId = joined.memberId
    this.#generationId = joined.generationId
    const groupAssignment = joined.memberId === joined.leaderId ? await this.#shareOut(joined.members) : []
    const { memberAssignment } = await coordinator.syncGroup({
      groupId,
      generationId: joined.generationId,
      memberId: joined.memberId,
      groupAssignment
    })
    const assigned = own(MemberAssignment.decode(memberAssignment)?.assignment ?? {}, topic) ?? []
    return [...assigned].sort((a, b) => a - b)
  }

  async #shareOut(
    members: readonly { memberId: string; memberMetadata: Buffer }[]
  ): Promise<{ memberId: string; memberAssignment: Buffer }[]> {
    const { dataCluster, topic } = this.#options
    await dataCluster.refreshMetadata()
    const partitions = dataCluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId)
    const asking = members.map(({ memberId, memberMetadata }) => ({ id: memberId, owned: ownedOf(memberMetadata) }))
    return [...assignPartitions(asking, partitions)].map(([memberId, own]) => ({
      memberId,
      memberAssignment: MemberAssignment.encode({ version: 1, assignment: { [topic]: own }, userData: Buffer.alloc(0) })
    }))
  }

  async #beat(): Promise<void> {
    const { groupId, sessionTimeoutMs, cluster } = this.#options
    try {
      this.#coordinator ??= await findCoordinator(cluster, groupId, 'group')
      await this.#coordinator.heartbeat({ groupId, groupGenerationId: this.#generationId, memberId: this.#memberId })
      this.#lastBeatMs = performance.now()
    } catch (error) {
      const type = protocolErrorOf(error)
      if (type === 'REBALANCE_IN_PROGRESS') {
        this.#lastBeatMs = performance.now() // heard, and alive: it goes on beating until it has given up what it has
        this.#end()
      } else if (type === 'UNKNOWN_MEMBER_ID' || type === 'ILLEGAL_GENERATION') {
        if (type === 'UNKNOWN_MEMBER_ID') this.#memberId = ''
        clearInterval(this.#beating)
        this.#end()
      } else {
        this.#coordinator = undefined
        await cluster
          .connect()
          .then(() => cluster.refreshMetadata())
          .catch(() => {}) // the session time-out below decides
        if (performance.now() - this.#lastBeatMs > sessionTimeoutMs) {
          clearInterval(this.#beating) // by now the others have taken over
          this.#end()
        }
      }
    }
  }

  #end(): void {
    this.#over = true
    this.#options.wake()
  }

  async #untilAborted<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#options
    let abort: () => void = () => {}
    const aborted = handledLater(
      new Promise<never>((_, reject) => {
        abort = () => reject(new Error('aborted'))
        if (signal.aborted) abort()
        else signal.addEventListener('abort', abort)
      })
    )
    void handledLater(work) // once aborted nobody waits for it
    try {
      return await Promise.race([work, aborted])
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }
}

/** Members of another version may send nothing, or something else. */
function ownedOf(metadata: Buffer): number[] {
  try {
    const owned: unknown = JSON.parse(MemberMetadata.decode(metadata)?.userData.toString() ?? '[]')
    return Array.isArray(owned) ? owned.filter((partition): partition is number => Number.isInteger(partition)) : []
  } catch {
    return [] // not JSON, or of another layout: they claim nothing, and get partitions by number
  }
}
