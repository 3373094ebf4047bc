// Reads partitions of one topic from positions that its owner sets, and queues records up to a budget of bytes.
//
// kafkajs assigns partitions through a consumer group only. This reader is the only member of a group of its own, whose
// offsets are never committed: every position comes from `begin`, by `seek`.

import type { EachBatchPayload, Kafka, KafkaMessage } from 'kafkajs'
import { own, setOwn } from '../../core/own.ts'
import type { LogRecord } from '../eventLog.ts'
import { ConsumerLoop } from './consumerLoop.ts'
import type { RetryLimits } from './kafkaClient.ts'

interface Fetched {
  readonly kind: 'records'
  readonly partition: number
  readonly records: LogRecord[]
  /** The high watermark: the next offset of the partition. */
  readonly end: bigint
}

/** Records of one partition; those that arrive while it waits are added. */
interface Waiting {
  readonly partition: number
  readonly records: LogRecord[]
  end: bigint
  bytes: number
}

interface TopicReaderOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly groupId: string
  readonly limits: RetryLimits
  /** A partition continued at another offset than its position. Resolves once the reader may continue. */
  readonly onJump: (partition: number, position: bigint, first: bigint) => Promise<void>
}

/** A broker holds a fetch that finds nothing for this long. */
const maxWaitMs = 100
const partitionBytesMax = 1024 * 1024
const fetchBytesMax = 8 * 1024 * 1024
const heartbeatMs = 3000
/** Ten times what a fetch takes that finds nothing. */
const quietMsMax = 1000
/** Bytes queued, beyond which nothing more is fetched. */
const readAheadBytesMax = 8 * 1024 * 1024
/** Records returned at once, as many as `sequence` emits together: other work of the thread gets its turn in between. */
const chunkMax = 4096
/** What a record takes besides its key and value. */
const recordOverheadBytes = 100

export class TopicReader {
  readonly topic: string
  readonly #options: TopicReaderOptions
  readonly #loop: ConsumerLoop
  /** Of the partitions that are read: the next offset to queue. Everything before it has been queued, or is no record. */
  readonly #positions = new Map<number, bigint>()
  /** Assigned to the consumer. Empty until it has joined. */
  #assigned: readonly number[] = []
  /** Fetches begun, by node: now, and when a partition was last begun. */
  readonly #cycles = new Map<string, number>()
  #cyclesAtBegin: ReadonlyMap<string, number> = new Map()
  #queue: Waiting[] = []
  #queuedBytes = 0
  #isIdle = false
  /** The owner has not requested more since it took the last records or `idle`. */
  #isOwnerAway = false
  #hasNewBatch = false
  #failure: unknown
  readonly #waiters = new Set<() => void>()

  constructor(options: TopicReaderOptions) {
    const { kafka, topic, groupId, limits } = options
    this.topic = topic
    this.#options = options
    this.#loop = new ConsumerLoop({
      ...{ kafka, topic, limits },
      consumer: {
        ...{ groupId, maxWaitTimeInMs: maxWaitMs, maxBytesPerPartition: partitionBytesMax, maxBytes: fetchBytesMax },
        heartbeatInterval: heartbeatMs
      },
      onJoin: (partitions) => this.#joined(partitions),
      onCrash: () => {
        this.#assigned = []
        this.#cycles.clear()
      },
      onFailure: (error) => this.fail(error),
      eachBatch: (payload) => this.#receive(payload)
    })
    const { consumer } = this.#loop
    consumer.on(consumer.events.FETCH_START, ({ payload }) => this.#cycled(String(payload.nodeId)))
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
      // A batch of markers and aborted records only is not passed to eachBatch.
      if (payload.batchSize === 0) this.#advance(payload.partition, BigInt(payload.lastOffset) + 1n)
    })
  }

  /** Of the topic, ascending. Empty until `ready`. */
  get partitions(): readonly number[] {
    return this.#assigned
  }

  /** Resolves once the topic's partitions are known. @throws MtmiError */
  async ready(signal: AbortSignal): Promise<void> {
    while (this.#assigned.length === 0 && !signal.aborted) {
      if (this.#failure !== undefined) throw this.#failure
      await this.next(signal)
    }
  }

  /** Whether everything before `ends` has been taken, of the partitions that are read. */
  isPast(ends: ReadonlyMap<number, bigint>): boolean {
    return (
      this.#queue.length === 0 && [...this.#positions].every(([partition, at]) => at >= (ends.get(partition) ?? 0n))
    )
  }

  begin(positions: ReadonlyMap<number, bigint>): void {
    for (const [partition, position] of positions) this.#positions.set(partition, position)
    this.#cyclesAtBegin = new Map(this.#cycles)
    this.#isIdle = false
    this.#seek([...positions.keys()])
  }

  /** Stops reading partitions; nothing of them is queued any more. May be begun again after `quiet`. */
  end(partitions: readonly number[]): void {
    for (const partition of partitions) this.#positions.delete(partition)
    this.#pause(partitions)
    this.#queue = this.#queue.filter(({ partition }) => this.#positions.has(partition))
    this.#queuedBytes = this.#queue.reduce((sum, { bytes }) => sum + bytes, 0)
    this.wake()
  }

  /** Ends all partitions. @returns whether others can be begun: soon, no fetch of before is under way */
  async isReusable(): Promise<boolean> {
    this.end([...this.#positions.keys()])
    return this.#assigned.length > 0 && (await this.quiet(quietMsMax)) && this.#failure === undefined
  }

  /** Resolves once no fetch of before this call is under way, or after `msMax`. @returns which */
  async quiet(msMax: number): Promise<boolean> {
    const before = new Map(this.#cycles)
    const startedMs = performance.now()
    while ([...before].some(([node, count]) => this.#cycles.get(node) === count)) {
      const leftMs = startedMs + msMax - performance.now()
      if (leftMs <= 0) return false
      await this.#nextWithin(leftMs)
    }
    return true
  }

  /** Records; or `idle` once after each fetch that found nothing; or undefined: wait with `next`. @throws MtmiError */
  take(): Fetched | 'idle' | undefined {
    // A fetch that ended while the owner was at work may be older than what the owner has done since.
    if (this.#isOwnerAway) this.#isIdle = false
    this.#isOwnerAway = false
    const first = this.#queue.shift()
    if (first !== undefined) {
      this.#isOwnerAway = true
      this.#queuedBytes -= first.bytes
      this.wake()
      const { partition, records, end } = first
      return { kind: 'records', partition, records, end }
    }
    if (this.#failure !== undefined) throw this.#failure
    if (!this.#isIdle) return undefined
    this.#isIdle = false
    this.#isOwnerAway = true
    return 'idle'
  }

  /** Resolves at the next change. */
  next(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#waiters.delete(done)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      this.#waiters.add(done)
      signal?.addEventListener('abort', done)
      if (signal?.aborted === true) done()
    })
  }

  wake(): void {
    for (const waiter of [...this.#waiters]) waiter()
  }

  /** What is queued may still be taken. */
  fail(error: unknown): void {
    this.#failure ??= error
    this.wake()
  }

  async close(): Promise<void> {
    this.end([...this.#positions.keys()])
    await this.#loop.stop()
  }

  #joined(partitions: readonly number[]): void {
    this.#assigned = partitions
    this.#cycles.clear()
    this.#cyclesAtBegin = new Map()
    this.#pause(partitions.filter((partition) => !this.#positions.has(partition)))
    this.#seek([...this.#positions.keys()])
    this.wake()
  }

  #pause(partitions: readonly number[]): void {
    const paused = partitions.filter((partition) => this.#assigned.includes(partition))
    if (paused.length > 0) this.#loop.consumer.pause([{ topic: this.topic, partitions: paused }])
  }

  /** Those not assigned yet are sought when they are. */
  #seek(partitions: readonly number[]): void {
    const { consumer } = this.#loop
    for (const partition of partitions) {
      if (!this.#assigned.includes(partition)) continue
      consumer.seek({ topic: this.topic, partition, offset: String(this.#positions.get(partition)!) })
      consumer.resume([{ topic: this.topic, partitions: [partition] }])
    }
  }

  #cycled(node: string): void {
    this.#cycles.set(node, (this.#cycles.get(node) ?? 0) + 1)
    // The fetch that was under way at `begin` did not include the new partitions; the one after it has ended.
    const areFetched = [...this.#cycles].every(([id, count]) => count >= (this.#cyclesAtBegin.get(id) ?? 0) + 2)
    if (areFetched && !this.#hasNewBatch && this.#queue.length === 0) this.#isIdle = true
    this.#hasNewBatch = false
    this.wake()
  }

  async #receive({ batch, heartbeat, isRunning, isStale }: EachBatchPayload): Promise<void> {
    const { onJump } = this.#options
    const { partition } = batch
    const position = this.#positions.get(partition)
    const isCurrent = () =>
      this.#failure === undefined && isRunning() && !isStale() && this.#positions.get(partition) === position
    if (position === undefined || !isCurrent()) return
    this.#hasNewBatch = true
    const next = BigInt(batch.lastOffset()) + 1n
    const first = BigInt(batch.firstOffset() ?? next)
    if (first > position || next <= position) {
      try {
        await onJump(partition, position, first)
      } catch (error) {
        return this.fail(error)
      }
      if (!isCurrent()) return
    }
    this.#enqueue(partition, batch.messages, position, BigInt(batch.highWatermark))
    this.#advance(partition, next)
    this.wake()
    let beatAtMs = performance.now() + heartbeatMs
    while (this.#queuedBytes >= readAheadBytesMax && isRunning() && this.#positions.has(partition)) {
      await this.#nextWithin(beatAtMs - performance.now())
      if (performance.now() < beatAtMs) continue
      await heartbeat()
      beatAtMs = performance.now() + heartbeatMs
    }
  }

  #enqueue(partition: number, messages: readonly KafkaMessage[], position: bigint, end: bigint): void {
    // A slow reader gets what arrived meanwhile together: each `take` costs it the same, for one record or thousands.
    let open = this.#queue.findLast((waiting) => waiting.partition === partition)
    for (const message of messages) {
      const record = recordOf(partition, message)
      if (record.offset < position) continue
      if (open === undefined || open.records.length >= chunkMax) {
        open = { partition, records: [], end, bytes: 0 }
        this.#queue.push(open)
      }
      const bytes = recordOverheadBytes + record.key.length + (record.value?.length ?? 0)
      open.records.push(record)
      open.end = end
      open.bytes += bytes
      this.#queuedBytes += bytes
    }
  }

  #advance(partition: number, next: bigint): void {
    const position = this.#positions.get(partition)
    if (position === undefined || next <= position) return
    this.#positions.set(partition, next)
    this.wake()
  }

  async #nextWithin(ms: number): Promise<void> {
    const timer = setTimeout(() => this.wake(), Math.max(0, ms))
    await this.next()
    clearTimeout(timer)
  }
}

const noBytes = Buffer.alloc(0)
const noHeaders: Readonly<Record<string, Uint8Array>> = {}

function recordOf(partition: number, message: KafkaMessage): LogRecord {
  return {
    key: message.key ?? noBytes,
    value: message.value,
    headers: headersOf(message),
    partition,
    offset: BigInt(message.offset),
    timestampMs: Number(message.timestamp)
  }
}

/** Of several with one name the last counts. */
function headersOf({ headers }: KafkaMessage): Readonly<Record<string, Uint8Array>> {
  let found: Record<string, Uint8Array> | undefined
  for (const name in headers) {
    const value = own(headers, name)
    const last = Array.isArray(value) ? value.at(-1) : value
    found ??= {}
    setOwn(found, name, typeof last === 'string' ? Buffer.from(last) : (last ?? noBytes))
  }
  return found ?? noHeaders
}
