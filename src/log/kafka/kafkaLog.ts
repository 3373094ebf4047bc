// The EventLog on Kafka.
//
// Where a reader continues is its own decision: it answers `resume` from the state that it commits together with its
// offsets. Offsets are committed to the group as a hint: for dashboards, and for a reader that has no state of its own
// (`committed` of `resume`). Readers see committed records only.

import { randomUUID } from 'node:crypto'
import type { Admin, Kafka } from 'kafkajs'
import type { KafkaOptions } from '../../core/config/config.ts'
import { CorruptError } from '../../core/errors.ts'
import type { Offsets } from '../../core/offsets.ts'
import { handledLater } from '../../core/promises.ts'
import type { EventLog, LogEvent, NewRecord, ReadOptions } from '../eventLog.ts'
import { compressionTypes, registerCompressionCodecs } from './compressionCodecs.ts'
import { GroupMember } from './groupMember.ts'
import { kafkaClient, kafkaError, retrying } from './kafkaClient.ts'
import { type Cluster, logOffsets, openCluster, partitionsOf, recordEnd } from './kafkajsInternals.ts'
import { KafkaProducer } from './kafkaProducer.ts'
import { TopicReader } from './topicReader.ts'

/** How often a group's offsets are committed. */
const hintIntervalMs = 5000
/** How long the number of a topic's partitions is taken as known. */
const partitionsMaxAgeMs = 30_000
/** How long the first offsets are taken as known where a position jumps: compaction makes many holes. */
const startsMaxAgeMs = 1000
/** Of kafkajs, for each second of `retryMs`: a producer repeats its own requests. */
const retriesPerSecond = 2

/** Records that retention removed before they were read. */
export interface LogGap {
  readonly topic: string
  readonly partition: number
  /** The first offset that was not read, and the one that reading continues at. */
  readonly from: bigint
  readonly to: bigint
}

export interface KafkaLogHooks {
  readonly onGap?: (gap: LogGap) => void
}

export class KafkaLog implements EventLog {
  readonly #kafka: Kafka
  readonly #options: KafkaOptions
  readonly #hooks: KafkaLogHooks
  readonly #producers = new Map<string, KafkaProducer>()
  readonly #reading = new Set<AbortController>()
  readonly #readers = new Set<TopicReader>()
  /** Readers that have ended, kept joined for the next of the same topic. */
  readonly #spare = new Map<string, TopicReader>()
  /** Ends that were looked at, and where their records end. */
  readonly #recordEnds = new Map<string, { end: bigint; records: bigint }>()
  readonly #partitions = new Map<string, { count: number; atMs: number }>()
  readonly #starts = new Map<string, { starts: ReadonlyMap<number, bigint>; atMs: number }>()
  readonly #cluster: Cluster
  readonly #admin: Admin
  #lookups: Promise<unknown> = Promise.resolve()
  #isClosed = false

  /** Tests the codecs, and that the brokers answer. @throws ConfigError; UnavailableError after `retryMs` */
  static async open(options: KafkaOptions, _clock?: unknown, hooks: KafkaLogHooks = {}): Promise<KafkaLog> {
    await registerCompressionCodecs()
    const log = new KafkaLog(options, hooks)
    try {
      await log.#lookUp(`connecting to ${options.brokers.join(', ')}`, () => log.#cluster.connect())
    } catch (error) {
      await log.close()
      throw error
    }
    return log
  }

  private constructor(options: KafkaOptions, hooks: KafkaLogHooks) {
    this.#kafka = kafkaClient(options)
    this.#options = options
    this.#hooks = hooks
    this.#cluster = openCluster(this.#kafka)
    this.#admin = this.#kafka.admin()
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
    try {
      if (options.group === undefined) yield* this.#readAll(reader, options, stop.signal)
      else yield* this.#readShare(reader, options.group, options, stop.signal)
    } catch (error) {
      if (!stop.signal.aborted) throw kafkaError(error, `reading ${topic}`)
    } finally {
      options.signal.removeEventListener('abort', onAbort)
      this.#reading.delete(stop)
      await this.#giveBack(reader)
    }
  }

  /** One past the last committed record, by partition: no reader gets the markers of transactions behind it. */
  ends(topic: string): Promise<Offsets> {
    return this.#lookUp(`looking up the ends of ${topic}`, async () => {
      const partitions = await partitionsOf(this.#cluster, topic)
      const ends = await logOffsets(this.#cluster, topic, partitions, 'end')
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

  /** Readers end; appends that were begun are finished. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const reading of this.#reading) reading.abort()
    await Promise.all([...this.#producers.values()].map((producer) => producer.close()))
    await Promise.all([...this.#readers].map((reader) => reader.close()))
    await this.#lookups
    for (const connections of [this.#cluster, this.#admin]) await connections.disconnect().catch(() => {}) // the sockets are closed either way
  }

  /** All partitions, without sharing them. */
  async *#readAll(
    reader: TopicReader,
    { resume, untilEnd }: ReadOptions,
    signal: AbortSignal
  ): AsyncGenerator<LogEvent, void, undefined> {
    await reader.ready(signal)
    const begun = new Set<number>()
    let ends: ReadonlyMap<number, bigint> | undefined
    while (!signal.aborted) {
      const added = reader.partitions.filter((partition) => !begun.has(partition))
      if (added.length > 0) {
        for (const partition of added) begun.add(partition)
        yield { kind: 'assigned', partitions: added }
        const wanted = new Map<number, bigint>()
        for (const partition of added) if (!signal.aborted) wanted.set(partition, await resume(partition))
        if (signal.aborted) return
        reader.begin(await this.#checkedPositions(reader.topic, wanted))
        if (untilEnd === true) ends ??= await this.#stableEnds(reader.topic)
        continue
      }
      const event = nextEvent(reader, ends)
      if (event === 'end') return
      if (event === undefined) await reader.next(signal)
      else yield event
    }
  }

  /** The partitions that the group assigns to this member. */
  async *#readShare(
    reader: TopicReader,
    name: string,
    { resume, untilEnd }: ReadOptions,
    signal: AbortSignal
  ): AsyncGenerator<LogEvent, void, undefined> {
    const { topic } = reader
    const groupId = `${this.#options.clientId}.${name}`
    const processed = new Map<number, bigint>()
    const { sessionTimeoutMs, retryMs } = this.#options
    const member = new GroupMember({
      ...{ kafka: this.#kafka, topic, groupId, sessionTimeoutMs, retryMs },
      offsets: () => processed,
      onChange: () => reader.wake()
    })
    const owned = new Set<number>()
    let hasJoined = false
    let session = 0
    let ends: ReadonlyMap<number, bigint> | undefined
    let hintedMs = performance.now()
    try {
      await reader.ready(signal)
      while (!signal.aborted) {
        const assigned = member.partitions
        const isRemoved = member.session !== session
        session = member.session
        const lost = [...owned].filter((partition) => isRemoved || assigned?.includes(partition) === false)
        if (lost.length > 0) {
          reader.end(lost)
          yield { kind: 'revoked', partitions: lost }
          for (const partition of lost) {
            owned.delete(partition)
            processed.delete(partition)
          }
          await reader.quiet(sessionTimeoutMs)
          continue
        }
        const added = assigned?.filter((partition) => !owned.has(partition)) ?? []
        if (added.length > 0 || (assigned !== undefined && !hasJoined)) {
          hasJoined = true
          for (const partition of added) owned.add(partition)
          yield { kind: 'assigned', partitions: added }
          const committed = await this.#committed(groupId, topic, signal)
          const wanted = new Map<number, bigint>()
          for (const partition of added)
            if (!signal.aborted && member.partitions?.includes(partition) === true)
              wanted.set(partition, await resume(partition, committed.get(partition)))
          if (signal.aborted) break
          const positions = await this.#checkedPositions(topic, wanted)
          reader.begin(positions)
          for (const [partition, position] of positions) processed.set(partition, position)
          if (untilEnd === true) ends = await this.#stableEnds(topic, ends)
          continue
        }
        const event = assigned === undefined ? undefined : nextEvent(reader, ends)
        if (event === 'end') break
        if (event === undefined) {
          await reader.next(signal)
          continue
        }
        yield event
        // The caller asks for more: it has processed what it got.
        if (event.kind === 'records') processed.set(event.partition, event.records.at(-1)!.offset + 1n)
        if (performance.now() - hintedMs < hintIntervalMs) continue
        hintedMs = performance.now()
        void member.commit(processed)
      }
      await member.commit(processed)
      if (owned.size > 0) yield { kind: 'revoked', partitions: [...owned].sort((a, b) => a - b) }
    } finally {
      await member.leave()
    }
  }

  /** What the group has committed, by partition; empty if it never did. */
  async #committed(groupId: string, topic: string, signal: AbortSignal): Promise<ReadonlyMap<number, bigint>> {
    const { retryMs } = this.#options
    const found = await retrying(`looking up the offsets of group ${groupId}`, { retryMs, signal }, async () => {
      await this.#admin.connect()
      return this.#admin.fetchOffsets({ groupId, topics: [topic] })
    })
    // −1 where nothing was committed.
    const committed = (found[0]?.partitions ?? []).map(({ partition, offset }) => [partition, BigInt(offset)] as const)
    return new Map(committed.filter(([, offset]) => offset >= 0n))
  }

  /** Where committed records end now, by partition. @param known the ends that are kept */
  async #stableEnds(topic: string, known: ReadonlyMap<number, bigint> = new Map()): Promise<Map<number, bigint>> {
    const ends = await this.#lookUp(`looking up the ends of ${topic}`, async () =>
      logOffsets(this.#cluster, topic, await partitionsOf(this.#cluster, topic), 'end')
    )
    return new Map([...ends, ...known])
  }

  /**
   * Positions to read from, none before the log's start.
   *
   * @throws CorruptError for one beyond the log's end, or for a gap where `kafka.onGap` is `stop`
   */
  async #checkedPositions(topic: string, positions: ReadonlyMap<number, bigint>): Promise<Map<number, bigint>> {
    if (positions.size === 0) return new Map()
    const ends = await this.#stableEnds(topic)
    const starts = await this.#logStarts(topic)
    const checked = new Map<number, bigint>()
    for (const [partition, position] of positions) {
      const [start, end] = [starts.get(partition) ?? 0n, ends.get(partition) ?? 0n]
      if (position > end) throw replaced(topic, partition, position, end)
      if (position > 0n && position < start) this.#reportGap({ topic, partition, from: position, to: start })
      checked.set(partition, position < start ? start : position)
    }
    return checked
  }

  /** @param position where the reader was @param first what it got next */
  async #checkJump(topic: string, partition: number, position: bigint, first: bigint): Promise<void> {
    if (first < position) {
      const end = (await this.#stableEnds(topic)).get(partition) ?? 0n
      if (end < position) throw replaced(topic, partition, position, end)
      return
    }
    const known = this.#starts.get(topic)
    const isFresh = known !== undefined && performance.now() - known.atMs < startsMaxAgeMs
    const starts = isFresh ? known.starts : await this.#logStarts(topic)
    if ((starts.get(partition) ?? 0n) > position) this.#reportGap({ topic, partition, from: position, to: first })
  }

  async #logStarts(topic: string): Promise<ReadonlyMap<number, bigint>> {
    const starts = await this.#lookUp(`looking up the start of ${topic}`, async () =>
      logOffsets(this.#cluster, topic, await partitionsOf(this.#cluster, topic), 'start')
    )
    this.#starts.set(topic, { starts, atMs: performance.now() })
    return starts
  }

  #reportGap(gap: LogGap): void {
    this.#hooks.onGap?.(gap)
  }

  /** One after another: two first requests of kafkajs to a broker at once open two connections, and one stays open. */
  #lookUp<T>(what: string, look: () => Promise<T>): Promise<T> {
    const { retryMs } = this.#options
    const turn = handledLater(
      this.#lookups.then(() =>
        retrying(what, { retryMs }, async () => {
          try {
            return await look()
          } catch (error) {
            await this.#cluster.connect().then(
              () => this.#cluster.refreshMetadata(),
              () => {}
            )
            throw error
          }
        })
      )
    )
    this.#lookups = turn.catch(() => {}) // the caller of this turn gets the error
    return turn
  }

  #producer(key: string, transactionalId?: string): KafkaProducer {
    let producer = this.#producers.get(key)
    if (producer === undefined) {
      const { retryMs, requestBytesMax, compression } = this.#options
      const retries = Math.ceil((retryMs / 1000) * retriesPerSecond)
      producer = new KafkaProducer({
        ...{ retryMs, requestBytesMax, compression: compressionTypes[compression] },
        open: (signal) => kafkaClient(this.#options, { retries, signal }),
        partitionsOf: (topic) => this.#partitionCount(topic),
        ...(transactionalId === undefined ? {} : { transactionalId })
      })
      this.#producers.set(key, producer)
    }
    return producer
  }

  async #partitionCount(topic: string): Promise<number> {
    const known = this.#partitions.get(topic)
    if (known !== undefined && performance.now() - known.atMs < partitionsMaxAgeMs) return known.count
    const what = `looking up the partitions of ${topic}`
    const count = (await this.#lookUp(what, () => partitionsOf(this.#cluster, topic))).length
    this.#partitions.set(topic, { count, atMs: performance.now() })
    return count
  }

  #takeReader(topic: string): TopicReader {
    const spare = this.#spare.get(topic)
    if (spare !== undefined) {
      this.#spare.delete(topic)
      return spare
    }
    const { clientId, retryMs } = this.#options
    const reader = new TopicReader({
      ...{ kafka: this.#kafka, topic, retryMs },
      groupId: `${clientId}.mtmi-read.${topic}.${randomUUID()}`,
      onJump: (partition, position, first) => this.#checkJump(topic, partition, position, first)
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

function nextEvent(
  reader: TopicReader,
  ends: ReadonlyMap<number, bigint> | undefined
): Exclude<LogEvent, { kind: 'assigned' | 'revoked' }> | 'end' | undefined {
  const taken = reader.take()
  if (ends !== undefined && (taken === undefined || taken === 'idle') && reader.isPast(ends)) return 'end'
  if (taken === undefined) return undefined
  if (taken === 'idle') return { kind: 'idle' }
  const end = ends?.get(taken.partition)
  const records = end === undefined ? taken.records : taken.records.filter(({ offset }) => offset < end)
  return records.length === 0 ? nextEvent(reader, ends) : { ...taken, records }
}

function replaced(topic: string, partition: number, position: bigint, end: bigint): CorruptError {
  return new CorruptError(
    `topic ${topic}, partition ${partition}: the next offset to read is ${position}, but the log ends at ${end}. The topic was deleted or created again while the reader's state was kept: reset both, or restore the topic`
  )
}
