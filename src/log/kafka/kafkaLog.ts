// The EventLog on Kafka.
//
// Where a reader continues is its own decision: it answers `resume` from the state that it commits together with its
// offsets. Offsets are committed to the group as a hint: for dashboards, and for a reader that has no state of its own
// (`committed` of `resume`). Readers see committed records only.

import { randomUUID } from 'node:crypto'
import type { Kafka } from 'kafkajs'
import type { Clock } from '../../core/clock.ts'
import type { KafkaOptions } from '../../core/config/config.ts'
import type { Offsets } from '../../core/offsets.ts'
import type { EventLog, LogEvent, NewRecord, ReadOptions, TopicDescription } from '../eventLog.ts'
import { LogHealth } from '../logHealth.ts'
import { compressionTypes, registerCompressionCodecs } from './compressionCodecs.ts'
import { GroupMember, groupIdOf } from './groupMember.ts'
import { kafkaClient, kafkaError, type RetryLimits } from './kafkaClient.ts'
import { KafkaLookups, ownMetadata, type TopicRead } from './kafkaLookups.ts'
import { KafkaProducer } from './kafkaProducer.ts'
import { TopicReader } from './topicReader.ts'

/** How often lag is looked up, and what is processed is committed to the group. */
const watchIntervalMs = 5000
/** What a reader waits for wakes it; this is only for what does not. */
const waitMsMax = 1000
/** Of kafkajs, for each second of `retryMs`: a producer repeats its own requests. */
const retriesPerSecond = 2

interface KafkaLogContext {
  readonly health?: LogHealth
  /** Part of the names of consumer groups. */
  readonly run?: string
  /** The process, as the brokers name it: client ID and the beginning of member IDs. Default: `kafka.clientId`. */
  readonly clientId?: string
}

export class KafkaLog implements EventLog {
  readonly #kafka: Kafka
  readonly #options: KafkaOptions
  readonly #clock: Clock
  readonly #limits: RetryLimits
  readonly #run: string
  readonly #clientId: string
  readonly #producers = new Map<string, KafkaProducer>()
  readonly #reading = new Set<AbortController>()
  readonly #readers = new Set<TopicReader>()
  /** Readers that have ended, kept joined for the next of the same topic. */
  readonly #spare = new Map<string, TopicReader>()
  readonly #lookups: KafkaLookups
  /** What is read now, and how far. */
  readonly #reads = new Set<TopicRead>()
  readonly #watching: NodeJS.Timeout
  #isClosed = false

  /** Tests the codecs, and that the brokers answer. @throws ConfigError; UnavailableError if they do not */
  static async open(options: KafkaOptions, clock: Clock, context: KafkaLogContext = {}): Promise<KafkaLog> {
    await registerCompressionCodecs()
    const defaults = { health: new LogHealth(clock, () => {}), run: 'live', clientId: options.clientId }
    const log = new KafkaLog(options, clock, { ...defaults, ...context })
    try {
      await log.#lookups.connect()
    } catch (error) {
      await log.close()
      throw error
    }
    return log
  }

  private constructor(options: KafkaOptions, clock: Clock, { health, run, clientId }: Required<KafkaLogContext>) {
    this.#clock = clock
    this.#run = run
    this.#clientId = clientId
    this.#kafka = kafkaClient(options, { clientId })
    this.#options = options
    this.#limits = { retryMs: options.retryMs, health }
    this.#lookups = new KafkaLookups(this.#kafka, options, health)
    this.#watching = setInterval(() => void this.#lookups.watch(this.#reads), watchIntervalMs).unref()
  }

  /**
   * The order of concurrent calls is kept. With a `fence` the records of a call become readable together, and the first
   * call under it claims it: a transactional id, `<client id>.<topic>.<fence>`. A call of no records claims it each
   * time.
   *
   * @throws FencedError for a fence that a newer owner has claimed, or whose last append has an unknown outcome: every
   *   append under it is refused until it is claimed again
   */
  async append(topic: string, records: readonly NewRecord[], fence?: string): Promise<void> {
    if (this.#isClosed) throw new Error(`append to topic ${topic} of a log that was closed`)
    const { clientId } = this.#options
    const producer =
      fence === undefined ? this.#producer('') : this.#producer(`${topic}/${fence}`, `${clientId}.${topic}.${fence}`)
    if (records.length > 0) await producer.append(topic, records)
    else if (fence !== undefined) await producer.claim()
  }

  /**
   * @throws ConfigError if there is no such topic; CorruptError if `resume` is beyond the log's end; UnavailableError
   *   after `retryMs` without an answer
   */
  async *read(topic: string, options: ReadOptions): AsyncGenerator<LogEvent, void, undefined> {
    if (options.signal.aborted || this.#isClosed) return
    const stop = new AbortController()
    const onAbort = () => stop.abort()
    options.signal.addEventListener('abort', onAbort)
    this.#reading.add(stop)
    const reader = this.#takeReader(topic)
    let read: TopicRead | undefined
    try {
      read = await this.#begin(reader, options)
      this.#reads.add(read)
      yield* this.#follow(reader, read, options, stop.signal)
    } catch (error) {
      if (!stop.signal.aborted) throw kafkaError(error, `reading ${topic}`)
    } finally {
      options.signal.removeEventListener('abort', onAbort)
      this.#reading.delete(stop)
      if (read !== undefined) {
        this.#reads.delete(read)
        await this.#lookups.commit(read).catch(() => {}) // tools show an earlier one
        await read.member?.leave()
      }
      await this.#giveBack(reader)
    }
  }

  async #begin(reader: TopicReader, { group, name }: ReadOptions): Promise<TopicRead> {
    const { topic } = reader
    const { id } = await this.describe(topic)
    const shown = group ?? name
    const groupId = shown === undefined ? undefined : groupIdOf(this.#options.clientId, shown, this.#run, topic)
    const read = { topic, topicId: id, groupId, processed: new Map(), fail: (error: unknown) => reader.fail(error) }
    if (group === undefined) return read
    const member = new GroupMember({
      ...{ kafka: this.#kafka, topic, groupId: groupId!, metadata: ownMetadata(id), limits: this.#limits },
      sessionTimeoutMs: this.#options.sessionTimeoutMs,
      offsets: () => read.processed,
      onChange: () => reader.wake()
    })
    return { ...read, member }
  }

  /** One past the last committed record, by partition: no reader gets the markers of transactions behind it. */
  ends(topic: string): Promise<Offsets> {
    return this.#lookups.recordEnds(topic)
  }

  describe(topic: string): Promise<TopicDescription> {
    return this.#lookups.describe(topic)
  }

  /** Readers end; appends that were begun are finished. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    clearInterval(this.#watching)
    for (const reading of this.#reading) reading.abort()
    await Promise.all([...this.#producers.values()].map((producer) => producer.close()))
    await Promise.all([...this.#readers].map((reader) => reader.close()))
    await this.#lookups.close()
  }

  /** All partitions, or those that the group assigns to this member. */
  async *#follow(
    reader: TopicReader,
    read: TopicRead,
    { resume, untilEnd }: ReadOptions,
    signal: AbortSignal
  ): AsyncGenerator<LogEvent, void, undefined> {
    const { topic, processed, member } = read
    const owned = new Set<number>()
    let hasJoined = false
    let session = 0
    let ends: ReadonlyMap<number, bigint> | undefined
    let mark = reader.mark
    await reader.ready(signal)
    while (!signal.aborted) {
      const assigned = member === undefined ? reader.partitions : member.partitions
      const lost = member === undefined ? [] : [...owned].filter((partition) => !member.has(partition, session))
      session = member?.session ?? 0
      if (lost.length > 0) {
        reader.end(lost)
        yield { kind: 'revoked', partitions: lost }
        for (const partition of lost) {
          owned.delete(partition)
          processed.delete(partition)
        }
        await reader.quiet(this.#options.sessionTimeoutMs)
        continue
      }
      const added = assigned?.filter((partition) => !owned.has(partition)) ?? []
      if (added.length > 0 || (assigned !== undefined && !hasJoined)) {
        hasJoined = true
        for (const partition of added) owned.add(partition)
        yield { kind: 'assigned', partitions: added }
        const isOwned = (partition: number) =>
          !signal.aborted && (member === undefined || member.has(partition, session))
        const positions = await this.#positions(read, resume, added, isOwned)
        if (signal.aborted) break
        for (const [partition, position] of positions) processed.set(partition, position)
        reader.begin(positions)
        mark = reader.mark
        if (untilEnd === true) ends = new Map([...(await this.#lookups.stableEnds(topic)), ...(ends ?? [])])
        continue
      }
      const records = assigned === undefined ? undefined : takeBefore(reader, ends)
      if (records !== undefined) {
        yield records
        // The caller asks for more: it has processed what it got.
        processed.set(records.partition, records.records.at(-1)!.offset + 1n)
      } else {
        if (assigned !== undefined && ends !== undefined && reader.isPast(ends)) break
        if (assigned === undefined || !reader.isIdleSince(mark)) {
          await reader.next(waitMsMax, signal)
          continue
        }
        yield { kind: 'idle' }
      }
      mark = reader.mark
    }
    if (member !== undefined && owned.size > 0) yield { kind: 'revoked', partitions: [...owned].sort((a, b) => a - b) }
  }

  /** Where the caller resumes, of those partitions that are still owned when their turn comes. */
  async #positions(
    { topic, topicId, groupId }: TopicRead,
    resume: ReadOptions['resume'],
    partitions: readonly number[],
    isOwned: (partition: number) => boolean
  ): Promise<Map<number, bigint>> {
    const committed = groupId === undefined ? undefined : await this.#lookups.committed(groupId, topic, topicId)
    const wanted = new Map<number, bigint>()
    for (const partition of partitions) {
      if (!isOwned(partition)) continue
      const known = committed?.get(partition)
      wanted.set(partition, await resume(partition, known?.offset, known?.isReset === true ? known.offset : undefined))
    }
    return this.#lookups.positions(topic, wanted)
  }

  #producer(key: string, transactionalId?: string): KafkaProducer {
    let producer = this.#producers.get(key)
    if (producer === undefined) {
      const { retryMs, requestBytesMax, compression } = this.#options
      const retries = Math.ceil((retryMs / 1000) * retriesPerSecond)
      producer = new KafkaProducer({
        ...{ clock: this.#clock, limits: this.#limits, requestBytesMax, compression: compressionTypes[compression] },
        open: (signal) => kafkaClient(this.#options, { retries, signal, clientId: this.#clientId }),
        partitionsOf: (topic) => this.#lookups.partitionCount(topic),
        ...(transactionalId === undefined ? {} : { transactionalId })
      })
      this.#producers.set(key, producer)
    }
    return producer
  }

  #takeReader(topic: string): TopicReader {
    const spare = this.#spare.get(topic)
    if (spare !== undefined) {
      this.#spare.delete(topic)
      return spare
    }
    const { clientId } = this.#options
    const reader = new TopicReader({
      ...{ kafka: this.#kafka, topic, limits: this.#limits },
      groupId: `${clientId}.mtmi-read.${topic}.${randomUUID()}`,
      positions: (wanted) => this.#lookups.positions(topic, wanted, true)
    })
    this.#readers.add(reader)
    return reader
  }

  async #giveBack(reader: TopicReader): Promise<void> {
    if (!this.#isClosed && (await reader.isReusable()) && !this.#spare.has(reader.topic)) {
      this.#spare.set(reader.topic, reader)
      return
    }
    this.#readers.delete(reader)
    await reader.close()
  }
}

/** @param ends of the read; undefined: it follows the log */
function takeBefore(reader: TopicReader, ends: ReadonlyMap<number, bigint> | undefined) {
  for (let taken = reader.take(); taken !== undefined; taken = reader.take()) {
    const end = ends?.get(taken.partition)
    const records = end === undefined ? taken.records : taken.records.filter(({ offset }) => offset < end)
    if (records.length > 0) return { ...taken, records }
  }
  return undefined
}
