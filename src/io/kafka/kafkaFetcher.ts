// Reads partitions of one topic ahead of whoever takes the records, as far as a budget of bytes allows. Knows no groups.

import { CorruptError, UnavailableError } from '../../base/errors.ts'
import type { LogRecord } from '../../event/eventLog.ts'
import { type Cluster, kafkaError, protocolErrorOf, retrying } from './kafkaClient.ts'

export interface Fetched {
  readonly kind: 'records'
  readonly partition: number
  readonly records: LogRecord[]
  readonly end: bigint
}

export interface KafkaFetcherOptions {
  readonly cluster: Cluster
  readonly topic: string
  readonly readAheadBytesMax: number
  readonly retryMs: number
  /** Called when something may be taken. */
  readonly wake: () => void
}

/** A broker holds a request that finds nothing this long: how often a quiet reader says that it is idle. */
const maxWaitMs = 100
const partitionBytesMax = 1024 * 1024
/** Records given at once: others of the thread get their turn in between. */
const chunkMax = 512

/** Only records of committed transactions. */
const readCommitted = 1

interface RawRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, Buffer | string | (Buffer | string)[] | null | undefined>> | undefined
  readonly offset: string
  readonly timestamp: string
  readonly isControlRecord?: boolean
  /** Absent from the message format before Kafka 0.11. */
  readonly batchContext?: {
    readonly producerId: string
    readonly inTransaction: boolean
    readonly firstOffset: string
    readonly lastOffsetDelta: number
  }
}

export interface RawPartition {
  readonly partition: number
  readonly highWatermark: string
  readonly lastStableOffset?: string
  readonly abortedTransactions?: readonly { readonly producerId: string; readonly firstOffset: string }[]
  readonly messages: readonly RawRecord[]
}

export class KafkaFetcher {
  readonly #options: KafkaFetcherOptions
  readonly #positions: Map<number, bigint>
  readonly #stop = new AbortController()
  #queue: { fetched: Fetched; bytes: number }[] = []
  #queuedBytes = 0
  #room: (() => void) | undefined
  #quiet = false
  #failure: unknown
  readonly #running: Promise<void>

  /** @param positions next offset to read, by partition; checked against the log's start and end with `checkedPositions` before */
  constructor(options: KafkaFetcherOptions, positions: ReadonlyMap<number, bigint>) {
    this.#options = options
    this.#positions = new Map(positions)
    this.#running = this.#run()
  }

  /** Next offset to be fetched: everything before it has been given to the queue, or is no record. */
  position(partition: number): bigint {
    return this.#positions.get(partition) ?? 0n
  }

  /** Records, or `idle` once after each look that found nothing while the queue was empty, or undefined: wait to be woken. @throws what reading failed with */
  take(): Fetched | 'idle' | undefined {
    const next = this.#queue.shift()
    if (next !== undefined) {
      this.#queuedBytes -= next.bytes
      if (this.#queuedBytes < this.#options.readAheadBytesMax) this.#room?.()
      return next.fetched
    }
    if (this.#failure !== undefined) throw this.#failure
    if (!this.#quiet) return undefined
    this.#quiet = false
    return 'idle'
  }

  get queued(): boolean {
    return this.#queue.length > 0
  }

  /** What is queued is dropped. */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#queue = []
    this.#room?.()
    await this.#running
  }

  async #run(): Promise<void> {
    const { cluster, topic, retryMs, wake } = this.#options
    const signal = this.#stop.signal
    if (this.#positions.size === 0) return
    try {
      while (!signal.aborted) {
        let fetched = 0
        await retrying(
          `reading ${topic}`,
          { retryMs, signal },
          async () => {
            // Time without progress is what is limited: after a success the next failure starts afresh.
            const before = fetched
            const round = new AbortController()
            const leaders = cluster.findLeaderForPartitions(topic, [...this.#positions.keys()])
            if (Object.keys(leaders).length === 0) throw new UnavailableError(`no broker leads any partition of ${topic}`)
            try {
              await Promise.all(
                Object.entries(leaders).map(async ([nodeId, partitions]) => {
                  try {
                    await this.#follow(nodeId, partitions, round.signal, () => fetched++)
                  } finally {
                    round.abort()
                  }
                })
              )
            } catch (error) {
              if (fetched === before) throw error
              await this.#heal(error)
            }
          },
          (error) => this.#heal(error)
        )
      }
    } catch (error) {
      if (!signal.aborted) this.#failure = kafkaError(error, `reading ${topic}`)
    }
    wake()
  }

  async #heal(error: unknown): Promise<void> {
    const { cluster } = this.#options
    if (protocolErrorOf(error) === 'OFFSET_OUT_OF_RANGE') await this.#moveIntoRange()
    await cluster.connect()
    await cluster.refreshMetadata()
  }

  /** Retention has passed the reader: it goes on at what is still there. */
  async #moveIntoRange(): Promise<void> {
    const starts = await logOffsets(this.#options.cluster, this.#options.topic, [...this.#positions.keys()], 'start')
    for (const [partition, start] of starts) if (start > this.position(partition)) this.#positions.set(partition, start)
  }

  async #follow(nodeId: string, partitions: readonly number[], round: AbortSignal, onFetched: () => void): Promise<void> {
    const { cluster, topic, readAheadBytesMax, wake } = this.#options
    const stopped = () => round.aborted || this.#stop.signal.aborted
    while (!stopped()) {
      if (this.#queuedBytes >= readAheadBytesMax) {
        await new Promise<void>((resolve) => {
          const before = this.#room
          this.#room = () => {
            before?.()
            resolve()
          }
        })
        this.#room = undefined
        continue
      }
      const broker = await cluster.findBroker({ nodeId })
      const { responses } = (await broker.fetch({
        isolationLevel: readCommitted,
        maxWaitTime: maxWaitMs,
        minBytes: 1,
        maxBytes: Math.max(partitionBytesMax, readAheadBytesMax - this.#queuedBytes),
        topics: [
          {
            topic,
            partitions: partitions.map((partition) => ({
              partition,
              fetchOffset: String(this.position(partition)),
              maxBytes: partitionBytesMax
            }))
          }
        ]
      })) as { responses: { partitions: RawPartition[] }[] }
      onFetched()
      if (stopped()) return
      let any = false
      for (const response of responses) for (const raw of response.partitions) any = this.#receive(raw) || any
      if (!any && this.#queue.length === 0) this.#quiet = true
      wake()
    }
  }

  #receive(raw: RawPartition): boolean {
    const from = this.position(raw.partition)
    const { records, next, bytes } = readRecords(raw, from)
    if (next > from) this.#positions.set(raw.partition, next)
    const end = endOf(raw)
    for (let at = 0; at < records.length; at += chunkMax) {
      const chunk = records.length <= chunkMax ? records : records.slice(at, at + chunkMax)
      const share = Math.ceil((bytes * chunk.length) / records.length)
      this.#queue.push({ fetched: { kind: 'records', partition: raw.partition, records: chunk, end }, bytes: share })
      this.#queuedBytes += share
    }
    return next > from
  }
}

/** A reader of committed records sees nothing from the first open transaction on. */
function endOf(raw: RawPartition): bigint {
  const stable = BigInt(raw.lastStableOffset ?? -1)
  return stable >= 0n ? stable : BigInt(raw.highWatermark)
}

/**
 * The records of a fetched partition from `from` on: without those of aborted transactions and without the markers that end transactions.
 *
 * @returns `next`: where to read on, beyond markers and beyond what compaction has removed
 */
export function readRecords(raw: RawPartition, from: bigint): { records: LogRecord[]; next: bigint; bytes: number } {
  const aborted = [...(raw.abortedTransactions ?? [])].map(({ producerId, firstOffset }) => ({
    producerId,
    firstOffset: BigInt(firstOffset)
  }))
  aborted.sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))
  const aborting = new Set<string>()
  const records: LogRecord[] = []
  let next = from
  let bytes = 0
  for (const message of raw.messages) {
    const offset = BigInt(message.offset)
    const batch = message.batchContext
    while (aborted.length > 0 && aborted[0]!.firstOffset <= offset) aborting.add(aborted.shift()!.producerId)
    if (message.isControlRecord === true) {
      // Key: version int16, type int16; type 0 is an abort. A commit of the same producer cannot come before the abort of its aborted transaction.
      if (batch !== undefined && message.key !== null && message.key.length >= 4 && message.key.readInt16BE(2) === 0)
        aborting.delete(batch.producerId)
    } else if (offset >= from && !(batch?.inTransaction === true && aborting.has(batch.producerId))) {
      records.push(recordOf(message, raw.partition, offset))
      bytes += (message.key?.length ?? 0) + (message.value?.length ?? 0) + 100
    }
    const after = batch === undefined ? offset + 1n : BigInt(batch.firstOffset) + BigInt(batch.lastOffsetDelta) + 1n
    if (after > next) next = after
  }
  return { records, next, bytes }
}

const noHeaders: Readonly<Record<string, Uint8Array>> = {}
const noBytes = new Uint8Array(0)

function recordOf(message: RawRecord, partition: number, offset: bigint): LogRecord {
  const { key, value, headers, timestamp } = message
  return {
    key: key ?? noBytes,
    value,
    headers: headers === undefined ? noHeaders : headersOf(headers),
    partition,
    offset,
    timestampMs: Number(timestamp)
  }
}

function headersOf(raw: NonNullable<RawRecord['headers']>): Readonly<Record<string, Uint8Array>> {
  let headers: Record<string, Uint8Array> | undefined
  for (const name in raw) {
    headers ??= {}
    const given = raw[name]
    const last = Array.isArray(given) ? given.at(-1) : given // of headers with one name the last counts
    headers[name] = last === undefined || last === null ? noBytes : typeof last === 'string' ? Buffer.from(last) : last
  }
  return headers ?? noHeaders
}

/** The first offset that is there, or the one that committed records will get next, by partition. */
export async function logOffsets(
  cluster: Cluster,
  topic: string,
  partitions: readonly number[],
  which: 'start' | 'end'
): Promise<Map<number, bigint>> {
  if (partitions.length === 0) return new Map()
  const [found] = await cluster.fetchTopicsOffset([
    { topic, partitions: partitions.map((partition) => ({ partition })), fromBeginning: which === 'start' }
  ])
  return new Map((found?.partitions ?? []).map(({ partition, offset }) => [partition, BigInt(offset)]))
}

/** Positions to read from, none before the log's start. @throws CorruptError for one beyond the log's end */
export async function checkedPositions(
  cluster: Cluster,
  topic: string,
  positions: ReadonlyMap<number, bigint>
): Promise<Map<number, bigint>> {
  const partitions = [...positions.keys()]
  const [starts, ends] = [await logOffsets(cluster, topic, partitions, 'start'), await logOffsets(cluster, topic, partitions, 'end')]
  const checked = new Map<number, bigint>()
  for (const [partition, position] of positions) {
    const [start, end] = [starts.get(partition) ?? 0n, ends.get(partition) ?? 0n]
    if (position > end)
      throw new CorruptError(
        `topic ${topic}, partition ${partition}: asked to read on from offset ${position}, but the log ends at ${end}. It was reset or replaced while the reader's state was kept: reset both, or restore the log`
      )
    checked.set(partition, position < start ? start : position)
  }
  return checked
}

/**
 * One after the last committed record, by partition: unlike the log's end it does not count the markers of transactions, which nobody is ever given.
 *
 * @param ends the log's ends
 */
export async function recordEnd(cluster: Cluster, topic: string, partition: number, end: bigint): Promise<bigint> {
  const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))
  if (nodeId === undefined) return end
  const broker = await cluster.findBroker({ nodeId })
  // The batch that holds the offset comes whole, however few bytes are asked for; a marker is a batch of its own.
  for (let at = end - 1n; at >= 0n && end - at <= BigInt(markersMax); at--) {
    const { responses } = (await broker
      .fetch({
        isolationLevel: readCommitted,
        maxWaitTime: 0,
        minBytes: 0,
        maxBytes: 1,
        topics: [{ topic, partitions: [{ partition, fetchOffset: String(at), maxBytes: 1 }] }]
      })
      .catch((error: unknown) => {
        if (protocolErrorOf(error) === 'OFFSET_OUT_OF_RANGE') return { responses: [] } // retention has taken everything
        throw error
      })) as { responses: { partitions: RawPartition[] }[] }
    const raw = responses[0]?.partitions[0]
    if (raw === undefined) return end
    const { records } = readRecords(raw, at)
    const last = records.at(-1)
    if (last !== undefined) return last.offset + 1n
  }
  return end
}

/** Markers in a row that are looked behind: claims and aborts without a record in between are rare. */
const markersMax = 64
