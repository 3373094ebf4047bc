// The EventLog on Kafka.
//
// Where a reader goes on is the reader's own business: it says so in `resume`, from the state that it commits together
// with its offsets. Offsets in the group are written as a hint: for dashboards, and for a reader that has no state of
// its own (`committed` of `resume`). Readers see committed records only.

import type { Kafka } from 'kafkajs'
import type { Clock } from '../../core/clock.ts'
import type { KafkaOptions } from '../../core/config/config.ts'
import type { Offsets } from '../../core/offsets.ts'
import { handledLater } from '../../core/promises.ts'
import type { EventLog, LogEvent, NewRecord, ReadOptions } from '../eventLog.ts'
import { compressionTypes, registerCompressionCodecs } from './compressionCodecs.ts'
import { type Cluster, kafkaClient, kafkaError, openCluster, retrying } from './kafkaClient.ts'
import { checkedPositions, KafkaFetcher, logOffsets, recordEnd } from './kafkaFetcher.ts'
import { KafkaGroup } from './kafkaGroup.ts'
import { KafkaProducer } from './kafkaProducer.ts'

/** How often a group's offsets are written for dashboards. */
const hintIntervalMs = 5000
/** How often a member without partitions says that it is idle. */
const restMs = 100

/** Bytes read and not yet processed, for each reader; beyond, nothing more is fetched. */
const readAheadBytesMax = 8 * 1024 * 1024
/** 500 ms at the default session timeout: a member learns of a rebalance with its next heartbeat. */
const heartbeatShare = 1 / 60

export class KafkaLog implements EventLog {
  readonly #kafka: Kafka
  readonly #options: KafkaOptions
  readonly #clock: Clock
  readonly #clusters = new Set<Cluster>()
  readonly #producers = new Map<string, KafkaProducer>()
  readonly #readers = new Set<AbortController>()
  /** Ends that were looked at, and where their records end. */
  readonly #recordEnds = new Map<string, { end: bigint; records: bigint }>()
  #looking: Promise<unknown> = Promise.resolve()
  #admin: Cluster | undefined
  #writing: Cluster | undefined
  #closed = false

  /** Proves the codecs, and that the brokers answer. @throws ConfigError; UnavailableError after `retryMs` */
  static async open(options: KafkaOptions, clock: Clock): Promise<KafkaLog> {
    await registerCompressionCodecs()
    const log = new KafkaLog(kafkaClient(options), options, clock)
    try {
      await retrying(`connecting to ${options.brokers.join(', ')}`, { retryMs: options.retryMs }, () =>
        log.#adminCluster().connect()
      )
    } catch (error) {
      await log.close()
      throw error
    }
    return log
  }

  private constructor(kafka: Kafka, options: KafkaOptions, clock: Clock) {
    this.#kafka = kafka
    this.#options = options
    this.#clock = clock
  }

  /**
   * Of several calls at once the order is kept. With a `fence` the records of a call become readable together, and the
   * first call under it claims it: a transactional id, `<client id>.<topic>.<fence>`. A call of no records claims it
   * each time: whoever gets a partition back has to.
   *
   * @throws MtmiError UNAVAILABLE, canRetry false, for a fence that a newer owner has claimed, or that failed on the
   *   way: nothing more is taken under it
   */
  async append(topic: string, records: readonly NewRecord[], fence?: string): Promise<void> {
    if (this.#closed) throw new Error(`append to topic ${topic} of a log that was closed`)
    if (fence === undefined) {
      if (records.length > 0) await this.#producer('', undefined).append(topic, records)
      return
    }
    const producer = this.#producer(`${topic}/${fence}`, `${this.#options.clientId}.${topic}.${fence}`)
    if (records.length === 0) await producer.claim()
    else await producer.append(topic, records)
  }

  /**
   * @throws ConfigError if there is no such topic; CorruptError if `resume` is beyond the log's end; UnavailableError
   *   after `retryMs` without an answer
   */
  async *read(topic: string, options: ReadOptions): AsyncGenerator<LogEvent, void, undefined> {
    if (options.signal.aborted || this.#closed) return
    const stop = new AbortController()
    const onAbort = () => stop.abort()
    options.signal.addEventListener('abort', onAbort)
    this.#readers.add(stop)
    const cluster = this.#openCluster()
    try {
      const partitions = await this.#partitions(cluster, topic, stop.signal)
      if (stop.signal.aborted) return
      if (options.group === undefined) yield* this.#readAll(cluster, topic, partitions, options, stop.signal)
      else yield* this.#readShare(cluster, topic, options.group, options, stop.signal)
    } catch (error) {
      if (!stop.signal.aborted) throw kafkaError(error, `reading ${topic}`)
    } finally {
      options.signal.removeEventListener('abort', onAbort)
      this.#readers.delete(stop)
      await this.#closeCluster(cluster)
    }
  }

  /**
   * One after the last committed record, by partition: the markers of transactions behind it are nothing that a reader
   * could wait for.
   */
  ends(topic: string): Promise<Offsets> {
    // In turn: kafkajs connects twice for two fetches at once, and forgets one of the sockets.
    const turn = handledLater(this.#looking.then(() => this.#ends(topic)))
    this.#looking = turn.catch(() => {}) // the caller of this turn gets the error
    return turn
  }

  async #ends(topic: string): Promise<Offsets> {
    const cluster = this.#adminCluster()
    return retrying(
      `looking up the ends of ${topic}`,
      { retryMs: this.#options.retryMs },
      async () => {
        await cluster.connect()
        await cluster.addTargetTopic(topic)
        await cluster.refreshMetadataIfNecessary()
        const partitions = partitionsOf(cluster, topic)
        const ends = await logOffsets(cluster, topic, partitions, 'end')
        const found: Offsets = new Map()
        for (const partition of partitions) {
          const end = ends.get(partition) ?? 0n
          const key = `${topic}/${partition}`
          const known = this.#recordEnds.get(key)
          const records = known?.end === end ? known.records : await recordEnd(cluster, topic, partition, end)
          this.#recordEnds.set(key, { end, records })
          found.set(partition, records)
        }
        return found
      },
      () => cluster.refreshMetadata()
    )
  }

  /** Readers end; appends that were begun are finished. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const reader of this.#readers) reader.abort()
    await Promise.all([...this.#producers.values()].map((producer) => producer.settled()))
    for (const cluster of [...this.#clusters]) await this.#closeCluster(cluster)
  }

  /** All partitions, without a group. */
  async *#readAll(
    cluster: Cluster,
    topic: string,
    partitions: readonly number[],
    { resume, untilEnd }: ReadOptions,
    signal: AbortSignal
  ): AsyncGenerator<LogEvent, void, undefined> {
    yield { kind: 'assigned', partitions }
    const wanted = new Map<number, bigint>()
    for (const partition of partitions) wanted.set(partition, await resume(partition))
    if (signal.aborted) return
    const positions = await this.#tried(cluster, topic, signal, () => checkedPositions(cluster, topic, wanted))
    const ends =
      untilEnd === true
        ? await this.#tried(cluster, topic, signal, () => logOffsets(cluster, topic, partitions, 'end'))
        : undefined
    yield* this.#follow(cluster, topic, positions, signal, () => false, ends)
  }

  /** The partitions that the group leaves to this member. */
  async *#readShare(
    cluster: Cluster,
    topic: string,
    name: string,
    { resume, untilEnd }: ReadOptions,
    signal: AbortSignal
  ): AsyncGenerator<LogEvent, void, undefined> {
    const { sessionTimeoutMs, retryMs } = this.#options
    const membership = this.#openCluster()
    let wake = () => {}
    const group = new KafkaGroup({
      cluster: membership,
      dataCluster: cluster,
      groupId: `${this.#options.clientId}.${name}`,
      topic,
      sessionTimeoutMs,
      heartbeatMs: sessionTimeoutMs * heartbeatShare,
      retryMs,
      signal,
      wake: () => wake()
    })
    try {
      let owned: readonly number[] = []
      while (!signal.aborted) {
        const partitions = await group.join(owned)
        if (partitions === undefined) return
        owned = partitions
        yield { kind: 'assigned', partitions }
        const wanted = new Map<number, bigint>()
        const committed = await group.committed(partitions)
        for (const partition of partitions)
          if (!signal.aborted && !group.over) wanted.set(partition, await resume(partition, committed.get(partition)))
        if (!signal.aborted && !group.over) {
          const positions = await this.#tried(cluster, topic, signal, () => checkedPositions(cluster, topic, wanted))
          const ends =
            untilEnd === true
              ? await this.#tried(cluster, topic, signal, () => logOffsets(cluster, topic, partitions, 'end'))
              : undefined
          const given = new Map(positions)
          let hintedMs = performance.now()
          const follow = this.#follow(
            cluster,
            topic,
            positions,
            signal,
            () => group.over,
            ends,
            (woken) => {
              wake = woken
            }
          )
          for await (const event of follow) {
            yield event
            // Asked for more: what was given has been worked off.
            if (event.kind === 'records') given.set(event.partition, event.records.at(-1)!.offset + 1n)
            if (performance.now() - hintedMs < hintIntervalMs) continue
            hintedMs = performance.now()
            void group.commitHint(given)
          }
          if (!group.over) await group.commitHint(given)
        }
        if (partitions.length > 0) yield { kind: 'revoked', partitions }
        if (untilEnd === true && !group.over) return
      }
    } finally {
      await group.leave()
      await this.#closeCluster(membership)
    }
  }

  /** Records as they come, until `over`, abort, or `ends`. */
  async *#follow(
    cluster: Cluster,
    topic: string,
    positions: ReadonlyMap<number, bigint>,
    signal: AbortSignal,
    over: () => boolean,
    ends: ReadonlyMap<number, bigint> | undefined,
    onWake: (wake: () => void) => void = () => {}
  ): AsyncGenerator<LogEvent, void, undefined> {
    const turn = new Turn()
    onWake(() => turn.wake())
    const { retryMs } = this.#options
    const fetcher = new KafkaFetcher({ cluster, topic, readAheadBytesMax, retryMs, wake: () => turn.wake() }, positions)
    const abort = () => turn.wake()
    signal.addEventListener('abort', abort)
    try {
      for (;;) {
        const ended =
          ends !== undefined &&
          !fetcher.queued &&
          [...ends].every(([partition, end]) => fetcher.position(partition) >= end)
        if (ended || signal.aborted || over()) return
        const taken = positions.size === 0 ? 'idle' : fetcher.take()
        if (taken === undefined) await turn.next()
        else if (taken === 'idle') {
          if (positions.size === 0) await turn.next(restMs)
          if (!signal.aborted && !over()) yield { kind: 'idle' }
        } else {
          const end = ends?.get(taken.partition)
          const records = end === undefined ? taken.records : taken.records.filter(({ offset }) => offset < end)
          if (records.length > 0) yield { ...taken, records }
        }
      }
    } finally {
      signal.removeEventListener('abort', abort)
      await fetcher.stop()
    }
  }

  async #partitions(cluster: Cluster, topic: string, signal: AbortSignal): Promise<number[]> {
    return this.#tried(cluster, topic, signal, async () => {
      await cluster.connect()
      await cluster.addTargetTopic(topic)
      await cluster.refreshMetadataIfNecessary()
      return partitionsOf(cluster, topic)
    })
  }

  #tried<T>(cluster: Cluster, topic: string, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    return retrying(`reading ${topic}`, { retryMs: this.#options.retryMs, signal }, attempt, async () => {
      await cluster.connect()
      await cluster.refreshMetadata()
    })
  }

  #producer(key: string, transactionalId: string | undefined): KafkaProducer {
    let producer = this.#producers.get(key)
    if (producer === undefined) {
      producer = new KafkaProducer({
        cluster: this.#writeCluster(),
        clock: this.#clock,
        retryMs: this.#options.retryMs,
        requestBytesMax: this.#options.requestBytesMax,
        compression: compressionTypes[this.#options.compression],
        ...(transactionalId === undefined ? {} : { transactionalId })
      })
      this.#producers.set(key, producer)
    }
    return producer
  }

  /** One for all producers: none of their calls waits for anything but the disk. */
  #writeCluster(): Cluster {
    this.#writing ??= this.#openCluster()
    return this.#writing
  }

  #adminCluster(): Cluster {
    this.#admin ??= this.#openCluster()
    return this.#admin
  }

  #openCluster(): Cluster {
    const cluster = openCluster(this.#kafka)
    this.#clusters.add(cluster)
    return cluster
  }

  async #closeCluster(cluster: Cluster): Promise<void> {
    if (!this.#clusters.delete(cluster)) return
    await cluster.disconnect().catch(() => {}) // the sockets are closed either way; nothing more is sent on them
  }
}

function partitionsOf(cluster: Cluster, topic: string): number[] {
  return cluster
    .findTopicPartitionMetadata(topic)
    .map(({ partitionId }) => partitionId)
    .sort((a, b) => a - b)
}

/** Lets one wait until it is woken; a wake that nobody waited for is remembered. */
class Turn {
  #woken = false
  #resolve: (() => void) | undefined

  wake(): void {
    this.#woken = true
    this.#resolve?.()
  }

  async next(timeoutMs?: number): Promise<void> {
    if (!this.#woken) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#resolve = resolve
        if (timeoutMs !== undefined) timer = setTimeout(resolve, timeoutMs)
      })
      clearTimeout(timer)
      this.#resolve = undefined
    }
    this.#woken = false
  }
}
