// Reads partitions of one topic ahead of whoever takes the records, as far as a budget of bytes allows. Knows no
// groups.

import { CorruptError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'
import type { LogRecord } from '../eventLog.ts'
import { type Cluster, kafkaError, protocolErrorOf, retrying } from './kafkaClient.ts'
import { type FetchedPartition, fetchBatches, recordsOf } from './kafkaRecords.ts'

export interface Fetched {
  readonly kind: 'records'
  readonly partition: number
  readonly records: LogRecord[]
  readonly end: bigint
}

/** What waits to be taken: grows while it waits. */
interface Waiting {
  readonly partition: number
  readonly records: LogRecord[]
  end: bigint
  bytes: number
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
/** Records given at once, as many as `sequence` emits together: others of the thread get their turn in between. */
const chunkMax = 4096

export class KafkaFetcher {
  readonly #options: KafkaFetcherOptions
  readonly #positions: Map<number, bigint>
  readonly #stop = new AbortController()
  #queue: Waiting[] = []
  #queuedBytes = 0
  #room: (() => void) | undefined
  #quiet = false
  #failure: unknown
  readonly #running: Promise<void>

  /**
   * @param positions next offset to read, by partition; checked against the log's start and end with `checkedPositions`
   *   before
   */
  constructor(options: KafkaFetcherOptions, positions: ReadonlyMap<number, bigint>) {
    this.#options = options
    this.#positions = new Map(positions)
    this.#running = handledLater(this.#run())
  }

  /** Next offset to be fetched: everything before it has been given to the queue, or is no record. */
  position(partition: number): bigint {
    return this.#positions.get(partition) ?? 0n
  }

  /**
   * Records, or `idle` once after each look that found nothing while the queue was empty, or undefined: wait to be
   * woken. @throws what reading failed with
   */
  take(): Fetched | 'idle' | undefined {
    const next = this.#queue.shift()
    if (next !== undefined) {
      this.#queuedBytes -= next.bytes
      if (this.#queuedBytes < this.#options.readAheadBytesMax) this.#room?.()
      const { partition, records, end } = next
      return { kind: 'records', partition, records, end }
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
            if (Object.keys(leaders).length === 0)
              throw new UnavailableError(`no broker leads any partition of ${topic}`)
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

  async #follow(
    nodeId: string,
    partitions: readonly number[],
    round: AbortSignal,
    onFetched: () => void
  ): Promise<void> {
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
      const positions = partitions.map((partition) => ({
        partition,
        offset: this.position(partition),
        bytesMax: partitionBytesMax
      }))
      const bytesMax = Math.max(partitionBytesMax, readAheadBytesMax - this.#queuedBytes)
      const found = await fetchBatches(broker, topic, positions, { maxWaitMs, minBytes: 1, bytesMax })
      onFetched()
      if (stopped()) return
      let any = false
      for (const fetched of found) any = this.#receive(fetched) || any
      if (!any && this.#queue.length === 0) this.#quiet = true
      wake()
    }
  }

  #receive(fetched: FetchedPartition): boolean {
    const { partition } = fetched
    const from = this.position(partition)
    const { records, next, bytes } = recordsOf(fetched, from)
    if (next > from) this.#positions.set(partition, next)
    const end = endOf(fetched)
    // A reader slower than the fetches gets what came meanwhile together: each time it takes costs it the same, be it
    // for one record or for thousands.
    let open = this.#queue.findLast((waiting) => waiting.partition === partition)
    for (let at = 0; at < records.length; ) {
      if (open === undefined || open.records.length >= chunkMax) {
        open = { partition, records: [], end, bytes: 0 }
        this.#queue.push(open)
      }
      const taken = Math.min(chunkMax - open.records.length, records.length - at)
      const share = Math.ceil((bytes * taken) / records.length)
      for (let i = at; i < at + taken; i++) open.records.push(records[i]!)
      open.end = end
      open.bytes += share
      this.#queuedBytes += share
      at += taken
    }
    return next > from
  }
}

/** A reader of committed records sees nothing from the first open transaction on. */
function endOf({ lastStableOffset, highWatermark }: FetchedPartition): bigint {
  return lastStableOffset >= 0n ? lastStableOffset : highWatermark
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
  const [starts, ends] = [
    await logOffsets(cluster, topic, partitions, 'start'),
    await logOffsets(cluster, topic, partitions, 'end')
  ]
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
 * One after the last committed record, by partition: unlike the log's end it does not count the markers of
 * transactions, which nobody is ever given.
 *
 * @param ends the log's ends
 */
export async function recordEnd(cluster: Cluster, topic: string, partition: number, end: bigint): Promise<bigint> {
  const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))
  if (nodeId === undefined) return end
  const broker = await cluster.findBroker({ nodeId })
  // The batch that holds the offset comes whole, however few bytes are asked for; a marker is a batch of its own.
  for (let at = end - 1n; at >= 0n && end - at <= BigInt(markersMax); at--) {
    const found = await fetchBatches(broker, topic, [{ partition, offset: at, bytesMax: 1 }], {
      maxWaitMs: 0,
      minBytes: 0,
      bytesMax: 1
    }).catch((error: unknown) => {
      if (protocolErrorOf(error) === 'OFFSET_OUT_OF_RANGE') return [] // retention has taken everything
      throw error
    })
    if (found[0] === undefined) return end
    const { records } = recordsOf(found[0], at)
    const last = records.at(-1)
    if (last !== undefined) return last.offset + 1n
  }
  return end
}

/** Markers in a row that are looked behind: claims and aborts without a record in between are rare. */
const markersMax = 64
