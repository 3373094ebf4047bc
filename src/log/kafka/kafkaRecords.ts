// Fetching and producing through kafkajs' connections, with the records read and written by us: kafkajs makes the
// request and understands the answer around them.

import type { LogRecord, NewRecord } from '../eventLog.ts'
import type { Broker } from './kafkaClient.ts'
import { type RecordBatch, readRecordBatches, readRecords, writeRecordBatch } from './recordBatch.ts'

/** Only records of committed transactions. */
const readCommitted = 1
/** A broker answers once all in-sync replicas have it. */
const allReplicas = -1

export interface FetchPosition {
  readonly partition: number
  readonly offset: bigint
  readonly bytesMax: number
}

export interface FetchedPartition {
  readonly partition: number
  readonly highWatermark: bigint
  /** Before the first open transaction; −1: the broker does not say. */
  readonly lastStableOffset: bigint
  readonly aborted: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[]
  readonly batches: readonly RecordBatch[]
}

/** @throws what kafkajs throws */
export async function fetchBatches(
  broker: Broker,
  topic: string,
  positions: readonly FetchPosition[],
  limits: { readonly maxWaitMs: number; readonly minBytes: number; readonly bytesMax: number }
): Promise<readonly FetchedPartition[]> {
  const partitions = positions.map(({ partition, offset, bytesMax }) => ({
    partition,
    fetchOffset: String(offset),
    maxBytes: bytesMax
  }))
  const request = {
    isolationLevel: readCommitted,
    maxWaitTime: limits.maxWaitMs,
    minBytes: limits.minBytes,
    maxBytes: limits.bytesMax,
    topics: [{ topic, partitions }]
  }
  const reading = withExchange(broker, ({ request, response, ...rest }) => ({
    ...rest,
    request,
    response: { ...response, decode: (payload) => readFetchResponse(payload, request.apiVersion, response.decode) }
  }))
  const { responses } = (await reading.fetch(request)) as unknown as FetchResponse
  return responses.flatMap(({ partitions }) => partitions)
}

export interface ProduceBatch {
  readonly partition: number
  readonly firstSequence: number
  readonly records: readonly NewRecord[]
}

export interface ProduceOptions {
  readonly topic: string
  readonly batches: readonly ProduceBatch[]
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly transactionalId?: string
  readonly timestampMs: number
  /** As the protocol numbers codecs. */
  readonly compression: number
}

/** How long a broker waits for its replicas, milliseconds: less than kafkajs waits for the broker. */
const produceTimeoutMs = 30_000

/** Resolves when all in-sync replicas have every batch. @throws what kafkajs throws */
export async function produceBatches(broker: Broker, options: ProduceOptions): Promise<void> {
  const { topic, batches, producerId, producerEpoch, transactionalId, timestampMs, compression } = options
  const transactional = transactionalId !== undefined
  const written: { partition: number; bytes: Buffer }[] = []
  for (const { partition, firstSequence, records } of batches) {
    const bytes = await writeRecordBatch(records, timestampMs, compression, {
      producerId,
      producerEpoch,
      firstSequence,
      transactional
    })
    written.push({ partition, bytes })
  }
  const writing = withExchange(broker, ({ request, ...rest }) => ({
    ...rest,
    request: { ...request, encode: async () => encoded(produceRequest(topic, written, transactionalId)) }
  }))
  await writing.produce({
    topicData: [],
    acks: allReplicas,
    ...(transactional ? { transactionalId } : {})
  } as Parameters<Broker['produce']>[0])
}

// Versions 3 to 7, those that kafkajs asks for, are alike.
function produceRequest(
  topic: string,
  batches: readonly { partition: number; bytes: Buffer }[],
  transactionalId: string | undefined
): Buffer {
  const id = transactionalId === undefined ? undefined : Buffer.from(transactionalId)
  const name = Buffer.from(topic)
  const head = Buffer.alloc(2 + (id?.length ?? 0) + 2 + 4 + 4 + 2 + name.length + 4)
  let at = head.writeInt16BE(id?.length ?? -1, 0)
  if (id !== undefined) at += id.copy(head, at)
  at = head.writeInt16BE(allReplicas, at)
  at = head.writeInt32BE(produceTimeoutMs, at)
  at = head.writeInt32BE(1, at)
  at = head.writeInt16BE(name.length, at)
  at += name.copy(head, at)
  head.writeInt32BE(batches.length, at)
  const parts: Buffer[] = [head]
  for (const { partition, bytes } of batches) {
    const start = Buffer.alloc(8)
    start.writeInt32BE(partition, 0)
    start.writeInt32BE(bytes.length, 4)
    parts.push(start, bytes)
  }
  return Buffer.concat(parts)
}

interface FetchResponse {
  readonly responses: { topicName: string; partitions: (FetchedPartition & { readonly errorCode: number })[] }[]
}

/** @param older kafkajs' own: for formats of before Kafka 0.11, which segments from then may still be in */
async function readFetchResponse(payload: Buffer, version: number, older: Decode): Promise<unknown> {
  const cursor = new Cursor(payload)
  const clientSideThrottleTime = cursor.int32()
  if (version >= 7) cursor.at += 6 // error code and id of a fetch session, which we have not
  const responses: FetchResponse['responses'] = []
  for (let topics = cursor.int32(); topics > 0; topics--) {
    const topicName = cursor.text()
    const partitions: FetchResponse['responses'][0]['partitions'] = []
    for (let count = cursor.int32(); count > 0; count--) {
      const partition = cursor.int32()
      const errorCode = cursor.int16()
      const highWatermark = cursor.int64()
      const lastStableOffset = cursor.int64()
      if (version >= 5) cursor.at += 8 // the log's start
      const aborted: { producerId: bigint; firstOffset: bigint }[] = []
      for (let left = cursor.int32(); left > 0; left--)
        aborted.push({ producerId: cursor.int64(), firstOffset: cursor.int64() })
      if (version >= 11) cursor.at += 4 // a replica to read from instead
      const batches = await readRecordBatches(cursor.bytes())
      if (batches === undefined) return readOldResponse(payload, older)
      partitions.push({ partition, errorCode, highWatermark, lastStableOffset, aborted, batches })
    }
    responses.push({ topicName, partitions })
  }
  return { throttleTime: 0, clientSideThrottleTime, responses }
}

interface OldMessage {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly offset: string
  readonly timestamp?: string
}

/** Every message becomes a batch of its own: transactions are younger than these formats. */
async function readOldResponse(payload: Buffer, older: Decode): Promise<unknown> {
  const decoded = (await older(payload)) as {
    responses: {
      topicName: string
      partitions: { partition: number; errorCode: number; highWatermark: string; messages: OldMessage[] }[]
    }[]
  }
  const rewritten: FetchResponse['responses'] = []
  for (const { topicName, partitions } of decoded.responses) {
    const found: FetchResponse['responses'][0]['partitions'] = []
    for (const { partition, errorCode, highWatermark, messages } of partitions) {
      const batches: RecordBatch[] = []
      for (const { key, value, offset, timestamp } of messages) {
        const record = { key: key ?? Buffer.alloc(0), value }
        const plain = { producerId: -1n, producerEpoch: -1, firstSequence: -1, transactional: false }
        const [batch] =
          (await readRecordBatches(await writeRecordBatch([record], Number(timestamp ?? 0), 0, plain))) ?? []
        batches.push({ ...batch!, firstOffset: BigInt(offset), next: BigInt(offset) + 1n })
      }
      found.push({
        partition,
        errorCode,
        highWatermark: BigInt(highWatermark),
        lastStableOffset: -1n,
        aborted: [],
        batches
      })
    }
    rewritten.push({ topicName, partitions: found })
  }
  return { ...decoded, responses: rewritten }
}

/**
 * The records of a fetched partition from `from` on: without those of aborted transactions and without the markers that
 * end transactions.
 *
 * @returns `next`: where to read on, beyond markers and beyond what compaction has removed
 */
export function recordsOf(
  fetched: FetchedPartition,
  from: bigint
): { records: LogRecord[]; next: bigint; bytes: number } {
  const aborted = [...fetched.aborted].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))
  const aborting = new Set<bigint>()
  const records: LogRecord[] = []
  let next = from
  let bytes = 0
  for (const batch of fetched.batches) {
    while (aborted.length > 0 && aborted[0]!.firstOffset < batch.next) aborting.add(aborted.shift()!.producerId)
    if (batch.isControl) {
      // A commit of the same producer cannot come before the abort of its aborted transaction.
      if (isAbort(batch)) aborting.delete(batch.producerId)
    } else if (batch.next > from && !(batch.inTransaction && aborting.has(batch.producerId))) {
      bytes += readRecords(batch, fetched.partition, from, records)
    }
    if (batch.next > next) next = batch.next
  }
  return { records, next, bytes }
}

/** A marker's key: version int16, type int16; type 0 is an abort. */
function isAbort(batch: RecordBatch): boolean {
  const markers: LogRecord[] = []
  readRecords(batch, 0, batch.firstOffset, markers)
  const key = markers[0]?.key
  return key !== undefined && key.length >= 4 && key[2] === 0 && key[3] === 0
}

type Decode = (payload: Buffer) => Promise<unknown>

/** What kafkajs hands to a connection. */
interface Exchange {
  readonly request: { readonly apiVersion: number; readonly encode: () => Promise<unknown> }
  readonly response: { readonly decode: Decode; readonly parse: (decoded: unknown) => Promise<unknown> }
}

/** The broker, whose exchanges are changed before they are sent. */
function withExchange(broker: Broker, change: (exchange: Exchange) => Exchange): Broker {
  const { connectionPool } = broker as unknown as { connectionPool: { send: (exchange: Exchange) => Promise<unknown> } }
  const send = (exchange: Exchange) => connectionPool.send(change(exchange))
  return Object.create(broker, {
    connectionPool: { value: Object.create(connectionPool, { send: { value: send } }) }
  }) as Broker
}

/** As kafkajs wants what it is to send. */
function encoded(bytes: Buffer): { buf: Buffer; buffer: Buffer } {
  return { buf: bytes, buffer: bytes }
}

class Cursor {
  readonly #bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  int16(): number {
    this.at += 2
    return this.#bytes.readInt16BE(this.at - 2)
  }

  int32(): number {
    this.at += 4
    return this.#bytes.readInt32BE(this.at - 4)
  }

  int64(): bigint {
    this.at += 8
    return this.#bytes.readBigInt64BE(this.at - 8)
  }

  text(): string {
    const length = this.int16()
    this.at += length
    return this.#bytes.toString('utf8', this.at - length, this.at)
  }

  /** Of a length before them; none for a negative one. */
  bytes(): Buffer {
    const length = Math.max(0, this.int32())
    this.at += length
    return this.#bytes.subarray(this.at - length, this.at)
  }
}
