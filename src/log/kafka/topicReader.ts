// Reads partitions of one topic from positions that its owner sets, and queues records up to a budget of bytes.
//
// kafkajs assigns partitions through a consumer group only. This reader is the only member of a group of its own, whose
// offsets are never committed: every position comes from `begin`, by `seek`.

import type { EachBatchPayload, Kafka, KafkaMessage } from 'kafkajs'
import { own, setOwn } from '../../core/own.ts'
import type { LogEvent, LogRecord } from '../eventLog.ts'
import { ConsumerLoop } from './consumerLoop.ts'
import type { RetryLimits } from './kafkaClient.ts'
import { fetchedFrom } from './kafkajsInternals.ts'

type Records = Extract<LogEvent, { readonly kind: 'records' }>

/** Records of one partition; those that arrive while it waits are added. */
interface Waiting {
  readonly partition: number
  readonly records: LogRecord[]
  /** The high watermark: the next offset of the partition. */
  end: bigint
  bytes: number
}

interface TopicReaderOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly groupId: string
  readonly limits: RetryLimits
  /** As `KafkaLookups.positions`: where reading continues if it cannot at the position. */
  readonly positions: (wanted: ReadonlyMap<number, bigint>) => Promise<Map<number, bigint>>
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
  /** Fetches begun. */
  #begun = 0
  /** The last two of each node, by number. When the last began, everything that the one before found had been received. */
  readonly #fetches = new Map<string, readonly [before: number, last: number]>()
  #queue: Waiting[] = []
  #queuedBytes = 0
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
      onJoin: () => {
        this.#fetches.clear()
        this.#pause(this.partitions.filter((partition) => !this.#positions.has(partition)))
        this.#seek([...this.#positions.keys()])
        this.wake()
      },
      onFailure: (error) => this.fail(error),
      eachBatch: (payload) => this.#receive(payload)
    })
    const { consumer } = this.#loop
    consumer.on(consumer.events.FETCH_START, ({ payload: { nodeId } }) => {
      this.#fetches.set(String(nodeId), [this.#fetches.get(String(nodeId))?.[1] ?? 0, ++this.#begun])
      this.wake()
    })
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
      // A batch of markers and aborted records only is not passed to eachBatch.
      const { partition, batchSize, firstOffset, lastOffset } = payload
      const position = this.#positions.get(partition)
      if (batchSize > 0 || position === undefined) return
      const next = BigInt(lastOffset) + 1n
      if (BigInt(firstOffset ?? lastOffset) === position) this.#advance(partition, next)
      else void this.#checkJump(partition, position, next)
    })
  }

  /** Of the topic, ascending. Empty until `ready`. */
  get partitions(): readonly number[] {
    return this.#loop.assigned
  }

  /** Resolves once the topic's partitions are known. @throws MtmiError */
  async ready(signal: AbortSignal): Promise<void> {
    while (this.partitions.length === 0 && !signal.aborted) {
      if (this.#failure !== undefined) throw this.#failure
      await this.next(quietMsMax, signal)
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
    return this.partitions.length > 0 && (await this.quiet(quietMsMax)) && this.#failure === undefined
  }

  /** Resolves once no fetch of before this call is under way, or after `msMax`. @returns which */
  async quiet(msMax: number): Promise<boolean> {
    const { mark } = this
    const endMs = performance.now() + msMax
    while ([...this.#fetches.values()].some(([, last]) => last <= mark)) {
      if (performance.now() >= endMs) return false
      await this.next(endMs - performance.now())
    }
    return true
  }

  /** Now, for `isIdleSince`. */
  get mark(): number {
    return this.#begun
  }

  /** Whether every node has been fetched from since then, from the beginning of a fetch to its end, and nothing is left. */
  isIdleSince(mark: number): boolean {
    const fetches = [...this.#fetches.values()]
    return this.#queue.length === 0 && fetches.length > 0 && fetches.every(([before]) => before > mark)
  }

  /** undefined: wait with `next`. @throws MtmiError once nothing is left that was read before the failure */
  take(): Records | undefined {
    const first = this.#queue.shift()
    if (first === undefined) {
      if (this.#failure !== undefined) throw this.#failure
      return undefined
    }
    this.#queuedBytes -= first.bytes
    this.wake()
    const { partition, records, end } = first
    return { kind: 'records', partition, records, end }
  }

  /** Resolves at the next change, or after `ms`. */
  next(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.#waiters.delete(done)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
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

  #pause(partitions: readonly number[]): void {
    const paused = partitions.filter((partition) => this.partitions.includes(partition))
    if (paused.length > 0) this.#loop.consumer.pause([{ topic: this.topic, partitions: paused }])
  }

  /** Those not assigned yet are sought when they are. */
  #seek(partitions: readonly number[]): void {
    const { consumer } = this.#loop
    for (const partition of partitions) {
      if (!this.partitions.includes(partition)) continue
      consumer.seek({ topic: this.topic, partition, offset: String(this.#positions.get(partition)!) })
      consumer.resume([{ topic: this.topic, partitions: [partition] }])
    }
  }

  async #receive({ batch, heartbeat, isRunning, isStale }: EachBatchPayload): Promise<void> {
    const { partition } = batch
    const position = this.#positions.get(partition)
    if (position === undefined || isStale() || this.#failure !== undefined) return
    // Where the position is not in the log, kafkajs continues at the log's start.
    if (fetchedFrom(batch) !== position) return this.#checkJump(partition, position, position)
    this.#enqueue(partition, batch.messages, position, BigInt(batch.highWatermark))
    this.#advance(partition, BigInt(batch.lastOffset()) + 1n)
    let beatAtMs = performance.now() + heartbeatMs
    while (this.#queuedBytes >= readAheadBytesMax && isRunning() && this.#positions.has(partition)) {
      await this.next(Math.max(0, beatAtMs - performance.now()))
      if (performance.now() < beatAtMs) continue
      await heartbeat()
      beatAtMs = performance.now() + heartbeatMs
    }
  }

  /** kafkajs continued elsewhere than at the position. @param next where reading continues, if the log has the position */
  async #checkJump(partition: number, position: bigint, next: bigint): Promise<void> {
    try {
      const found = (await this.#options.positions(new Map([[partition, position]]))).get(partition)!
      if (this.#positions.get(partition) !== position) return // it was ended meanwhile
      this.begin(new Map([[partition, found === position ? next : found]]))
      this.wake()
    } catch (error) {
      this.fail(error)
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
    this.#positions.set(partition, next)
    this.wake()
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
