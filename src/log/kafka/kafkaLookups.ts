// What a reader or writer of topics looks up: where they begin and end, how many partitions they have, how far groups
// are; and what follows from it: gaps, topics that were created again, lag.

import type { Admin, Kafka } from 'kafkajs'
import type { KafkaOptions } from '../../core/config/config.ts'
import { CorruptError, UnavailableError } from '../../core/errors.ts'
import type { Offsets } from '../../core/offsets.ts'
import { Turns } from '../../core/promises.ts'
import type { TopicDescription } from '../eventLog.ts'
import type { LogHealth, PartitionLag } from '../logHealth.ts'
import { newTopic } from '../topicIdentity.ts'
import type { GroupMember } from './groupMember.ts'
import { type RetryLimits, retrying, startRetryMsMax } from './kafkaClient.ts'
import {
  type Cluster,
  commitPosition,
  logOffsets,
  openCluster,
  partitionsOf,
  recordEnd,
  topicId
} from './kafkajsInternals.ts'

/** What is read now. */
export interface TopicRead {
  readonly topic: string
  /** The topic's id when reading began. */
  readonly topicId: string
  /** undefined: the partitions are not shared, and nothing is committed. */
  readonly groupId: string | undefined
  /** Absent: all partitions are read by this process. */
  readonly member?: GroupMember
  /** Next offsets of the partitions that this process reads. */
  readonly processed: Map<number, bigint>
  /** Ends the reader. */
  readonly fail: (error: unknown) => void
}

export interface GroupOffset {
  readonly offset: bigint
  /** Set by tools, and not by a reader since. */
  readonly isReset: boolean
}

/** A position that is not committed is followed by the next. */
const commitRetryMs = 1000

export class KafkaLookups {
  readonly #options: KafkaOptions
  readonly #limits: RetryLimits
  readonly #health: LogHealth
  readonly #cluster: Cluster
  readonly #uncommitted: Cluster
  readonly #admin: Admin
  /** Ends that were looked at, and where their records end. */
  readonly #recordEnds = new Map<string, { end: bigint; records: bigint }>()
  readonly #partitions = new Map<string, number>()
  /** Last stable offsets of the last look, by partition. */
  #stable = new Map<string, bigint>()
  #isWatching = false
  readonly #closed = new AbortController()
  readonly #turns = new Turns()

  constructor(kafka: Kafka, options: KafkaOptions, health: LogHealth) {
    this.#options = options
    this.#limits = { retryMs: options.retryMs, health }
    this.#health = health
    this.#cluster = openCluster(kafka)
    this.#uncommitted = openCluster(kafka, { readUncommitted: true })
    this.#admin = kafka.admin()
  }

  /** @throws UnavailableError if no broker answers */
  connect(): Promise<void> {
    const limits = { ...this.#limits, retryMs: Math.min(this.#options.retryMs, startRetryMsMax) }
    return this.#inTurn(`connecting to ${this.#options.brokers.join(', ')}`, () => this.#cluster.connect(), limits)
  }

  async close(): Promise<void> {
    this.#closed.abort()
    await this.#turns.run(async () => {
      for (const connections of [this.#cluster, this.#uncommitted, this.#admin])
        await connections.disconnect().catch(() => {}) // the sockets are closed either way
    })
  }

  /**
   * As it was when this process first looked: a key stays in its partition, so that no user has two histories. Where the
   * number has changed, stages refuse to start.
   */
  async partitionCount(topic: string): Promise<number> {
    const count = this.#partitions.get(topic) ?? (await this.describe(topic)).partitions
    this.#partitions.set(topic, count)
    return count
  }

  describe(topic: string): Promise<TopicDescription> {
    return this.#inTurn(`looking up topic ${topic}`, async () => {
      const { length } = await partitionsOf(this.#cluster, topic)
      return { id: await topicId(this.#cluster, topic), partitions: length }
    })
  }

  /** One past the last committed record, by partition. */
  recordEnds(topic: string): Promise<Offsets> {
    return this.#inTurn(`looking up the ends of ${topic}`, async () => {
      const ends = await logOffsets(this.#cluster, topic, 'end')
      const found: Offsets = new Map()
      for (const [partition, end] of ends) {
        const key = `${topic}/${partition}`
        const known = this.#recordEnds.get(key)
        const records = known?.end === end ? known.records : await recordEnd(this.#cluster, topic, partition, end)
        this.#recordEnds.set(key, { end, records })
        found.set(partition, records)
      }
      return found
    })
  }

  /** Where committed records and markers end, by partition. */
  stableEnds(topic: string): Promise<Map<number, bigint>> {
    return this.#offsets(topic, 'end')
  }

  /** What a group has committed for this very topic, by partition; empty if it never did. */
  async committed(groupId: string, topic: string, id: string): Promise<Map<number, GroupOffset>> {
    const found = await this.#inTurn(`looking up the offsets of group ${groupId}`, async () => {
      await this.#admin.connect()
      return this.#admin.fetchOffsets({ groupId, topics: [topic] })
    })
    const committed = new Map<number, GroupOffset>()
    for (const { partition, offset, metadata } of found[0]?.partitions ?? []) {
      const isReset = metadata === null || metadata === '' // the tools of Kafka
      if (BigInt(offset) >= 0n && (isReset || metadata === ownMetadata(id)))
        committed.set(partition, { offset: BigInt(offset), isReset })
    }
    return committed
  }

  /**
   * Positions to read from, none before the log's start.
   *
   * @param isReading whether they have been read up to there: 0 is then a position, not "from the beginning"
   * @throws CorruptError for one beyond the log's end, or for a gap where `kafka.onGap` is `stop`
   */
  async positions(topic: string, wanted: ReadonlyMap<number, bigint>, isReading = false): Promise<Map<number, bigint>> {
    if (wanted.size === 0) return new Map()
    const [ends, starts] = [await this.stableEnds(topic), await this.#offsets(topic, 'start')]
    const positions = new Map<number, bigint>()
    for (const [partition, position] of wanted) {
      const [start, end] = [starts.get(partition) ?? 0n, ends.get(partition) ?? 0n]
      if (position > end)
        throw newTopic(topic, `partition ${partition} ends at ${end}, before the stored offset ${position}`)
      positions.set(partition, position < start ? start : position)
      if (position >= start || (position === 0n && !isReading)) continue
      this.#health.gap({ topic, partition, from: position, to: start })
      if (this.#options.onGap === 'stop')
        throw new CorruptError(
          `topic ${topic}, partition ${partition}: retention has removed offsets ${position} to ${start - 1n} before they were read, and kafka.onGap is "stop". Restore them, or set kafka.onGap to "continue" to go on at ${start}`
        )
    }
    return positions
  }

  /** Looks up the lag of every partition of the topics that are read. */
  async watch(reads: Iterable<TopicRead>): Promise<void> {
    if (this.#isWatching || this.#closed.signal.aborted) return
    this.#isWatching = true
    try {
      const before = this.#stable
      this.#stable = new Map()
      const lags = new Map<string, PartitionLag>()
      for (const read of [...reads]) {
        const { id } = await this.describe(read.topic)
        if (id !== read.topicId) read.fail(newTopic(read.topic))
        await this.commit(read)
        for (const lag of await this.#lagsOf(read, before)) lags.set(`${lag.topic}/${lag.partition}`, lag)
      }
      this.#health.observe([...lags.values()])
    } catch {
      // The brokers do not answer: the health has it from the lookup, which has retried.
    } finally {
      this.#isWatching = false
    }
  }

  async #lagsOf(
    { topic, topicId, groupId, processed }: TopicRead,
    before: ReadonlyMap<string, bigint>
  ): Promise<PartitionLag[]> {
    const committed =
      groupId === undefined ? new Map<number, GroupOffset>() : await this.committed(groupId, topic, topicId)
    const stable = await this.stableEnds(topic)
    const starts = await this.#offsets(topic, 'start')
    const highs = await this.#offsets(topic, 'end', this.#uncommitted)
    return [...highs].map(([partition, end]) => {
      const next = processed.get(partition) ?? committed.get(partition)?.offset ?? starts.get(partition) ?? 0n
      const key = `${topic}/${partition}`
      const lastStable = stable.get(partition) ?? end
      this.#stable.set(key, lastStable)
      // Two looks at the same last stable offset, with records behind it.
      return {
        topic,
        partition,
        records: Number(end - next),
        isBlocked: lastStable < end && before.get(key) === lastStable
      }
    })
  }

  /** What is processed: for tools, and for readers without state of their own. */
  async commit({ topic, topicId, groupId, member, processed }: TopicRead): Promise<void> {
    if (member !== undefined) return member.commit(processed)
    if (groupId === undefined || processed.size === 0) return
    const group = { groupId, topic, metadata: ownMetadata(topicId) }
    const what = `committing offsets of group ${groupId}`
    await this.#inTurn(what, () => commitPosition(this.#cluster, group, processed), { retryMs: commitRetryMs })
  }

  #offsets(topic: string, which: 'start' | 'end', cluster = this.#cluster): Promise<Map<number, bigint>> {
    return this.#inTurn(`looking up the ${which} of ${topic}`, () => logOffsets(cluster, topic, which))
  }

  /** One after another: two first requests of kafkajs to a broker at once open two connections, and one stays open. */
  #inTurn<T>(what: string, look: () => Promise<T>, limits = this.#limits): Promise<T> {
    return this.#turns.run(() =>
      retrying(what, { ...limits, signal: this.#closed.signal }, async () => {
        // Whoever has several look-ups to make may be between two of them: the next would connect again, for good.
        if (this.#closed.signal.aborted) throw new UnavailableError(`${what}: the log was closed`)
        try {
          return await look()
        } catch (error) {
          if (this.#closed.signal.aborted) throw error
          await this.#cluster.connect().then(
            () => this.#cluster.refreshMetadata(),
            () => {}
          )
          throw error
        }
      })
    )
  }
}

/** Beside each offset that a stage commits: which topic it is of. */
export function ownMetadata(topicId: string): string {
  return `mtmi ${topicId}`
}
