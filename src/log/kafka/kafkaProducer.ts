// Writes to Kafka: idempotent always; in one transaction a call where an owner can be fenced.
//
// One call at a time and one partition a request, so that kafkajs repeats a failed request with the sequence numbers that
// it had, and brokers recognise what they have. (Of a request for several partitions kafkajs would repeat those that
// were acknowledged too, with new numbers, if their leader has moved meanwhile.) A producer whose call has failed for
// good is not used again: whether its last batches were written is not known, and their numbers must not be given to
// others. A transactional id is claimed on purpose only, never by a retry: an owner that was suspended must not claim it
// back.

import type { Kafka, Message, Producer } from 'kafkajs'
import type { Clock } from '../../core/clock.ts'
import { FencedError, TooLargeError, UnavailableError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import { Turns } from '../../core/promises.ts'
import type { NewRecord } from '../eventLog.ts'
import { partitionOf } from '../partitioner.ts'
import { kafkaError, protocolErrorOf, RetryBudget, type RetryLimits, retrying, within } from './kafkaClient.ts'

interface KafkaProducerOptions {
  /** A client that makes no connection once `signal` is aborted, and repeats its requests for `retryMs`. */
  readonly open: (signal: AbortSignal) => Kafka
  readonly limits: RetryLimits
  readonly requestBytesMax: number
  /** As the protocol numbers codecs. */
  readonly compression: number
  readonly clock: Clock
  readonly partitionsOf: (topic: string) => Promise<number>
  /** Claimed by `claim`; every later claim, by any process, ends the appends of this producer. */
  readonly transactionalId?: string
}

/** A transaction that its producer left open is aborted by the brokers after this; until then readers wait. */
const transactionTimeout = 60_000
/** How long a broker waits for its replicas, milliseconds. */
const replicasTimeoutMs = 30_000
/** kafkajs groups the records of a request in time that grows with the square of their number. */
const recordsMax = 2000
const fencing =
  /INVALID_PRODUCER_EPOCH|PRODUCER_FENCED|INVALID_PRODUCER_ID_MAPPING|INVALID_TXN_STATE|TRANSACTION_COORDINATOR_FENCED/

/** Errors that the same request meets again. */
const final = new RegExp(`${fencing.source}|OUT_OF_ORDER_SEQUENCE|UNKNOWN_PRODUCER_ID`)

/** Of one partition. */
interface Batch {
  readonly partition: number
  readonly records: NewRecord[]
  readonly messages: Message[]
  bytes: number
}

interface Connected {
  readonly producer: Producer
  readonly closed: AbortController
}

export class KafkaProducer {
  readonly #options: KafkaProducerOptions
  #connected: Connected | undefined
  #refusal: FencedError | undefined
  readonly #turns = new Turns()
  /** Of a request, by topic: lowered where a topic takes less. */
  readonly #bytesMax = new Map<string, number>()

  constructor(options: KafkaProducerOptions) {
    this.#options = options
  }

  /** Takes the transactional id: its former owner is refused from here on, and its open transaction is aborted. */
  claim(): Promise<void> {
    return this.#turns.run(async () => {
      await this.#discard()
      this.#refusal = undefined
      await this.#connect()
    })
  }

  /** Resolves when every record is on all in-sync replicas, in the order of the calls. */
  append(topic: string, records: readonly NewRecord[]): Promise<void> {
    return this.#turns.run(() => this.#append(topic, records))
  }

  /** Waits for the calls before it. */
  close(): Promise<void> {
    return this.#turns.run(() => this.#discard())
  }

  async #append(topic: string, records: readonly NewRecord[]): Promise<void> {
    if (this.#refusal !== undefined) throw this.#refusal
    const { transactionalId, partitionsOf, limits } = this.#options
    const what = `appending ${records.length} records to ${topic}${transactionalId === undefined ? '' : ` as ${transactionalId}`}`
    const producer = await this.#connect()
    let batches: Batch[] = []
    let acknowledged = 0
    try {
      batches = this.#batches(topic, records, await partitionsOf(topic))
      const write = async () => {
        const transaction = transactionalId === undefined ? undefined : await producer.transaction()
        for (const batch of batches) {
          await this.#send(transaction?.send ?? producer.send, topic, batch)
          acknowledged++
        }
        await transaction?.commit()
      }
      await within(limits.retryMs, what, write())
    } catch (error) {
      await this.#discard()
      const known = kafkaError(error, what)
      const isTooLarge = known instanceof TooLargeError
      if (isTooLarge && batches[acknowledged]!.records.length > 1) {
        this.#bytesMax.set(topic, this.#bytesMaxOf(topic) / 4)
        // Under a fence nothing of the call is in the log, and the owner begins again from what the log says.
        const left = batches.slice(acknowledged).flatMap((batch) => batch.records)
        if (transactionalId === undefined) return this.#append(topic, left)
      } else if (transactionalId === undefined || isTooLarge) throw known
      const hasNewerOwner = fencing.test(protocolErrorOf(error) ?? '')
      this.#refusal = new FencedError(
        hasNewerOwner
          ? `${what}: refused, since a newer owner has claimed it. This owner has to begin again from what the log says`
          : `${what}: ${(error as Error).message}. Whether it was written is not known: this owner has to begin again from what the log says`,
        { cause: error, hasNewerOwner }
      )
      throw error instanceof RangeError ? error : this.#refusal
    }
  }

  #bytesMaxOf(topic: string): number {
    return this.#bytesMax.get(topic) ?? this.#options.requestBytesMax
  }

  /** With a transactional id: claims it. */
  async #connect(): Promise<Producer> {
    if (this.#connected !== undefined) return this.#connected.producer
    const { open, transactionalId, limits } = this.#options
    const closed = new AbortController()
    const producer = open(closed.signal).producer({
      ...{ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false, transactionTimeout },
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition!,
      ...(transactionalId === undefined ? {} : { transactionalId })
    })
    const connected = { producer, closed }
    try {
      const what =
        transactionalId === undefined ? 'getting a producer id' : `claiming the transactional id ${transactionalId}`
      const claim = async () => {
        await producer.connect()
        if (transactionalId !== undefined) await (await producer.transaction()).abort()
      }
      await within(limits.retryMs, what, retrying(what, limits, claim))
    } catch (error) {
      await disconnect(connected)
      throw error
    }
    this.#connected = connected
    return producer
  }

  async #discard(): Promise<void> {
    const connected = this.#connected
    this.#connected = undefined
    if (connected !== undefined) await disconnect(connected)
  }

  /** In the order of the records of each partition, none larger than a request may be. */
  #batches(topic: string, records: readonly NewRecord[], partitions: number): Batch[] {
    const bytesMax = this.#bytesMaxOf(topic)
    const open = new Map<number, Batch>()
    const batches: Batch[] = []
    const timestamp = String(this.#options.clock.nowMs())
    for (const record of records) {
      const partition = record.partition ?? partitionOf(record.key, partitions)
      if (!Number.isInteger(partition) || partition < 0 || partition >= partitions)
        throw new RangeError(`append to partition ${partition} of topic ${topic}, which has ${partitions}`)
      const bytes = recordBytesMax(record)
      let batch = open.get(partition)
      if (batch === undefined || batch.bytes + bytes > bytesMax || batch.messages.length >= recordsMax) {
        batch = { partition, records: [], messages: [], bytes: 0 }
        open.set(partition, batch)
        batches.push(batch)
      }
      batch.bytes += bytes
      batch.records.push(record)
      batch.messages.push({ ...messageOf(record, partition), timestamp })
    }
    return batches
  }

  /** kafkajs gives up where it finds no coordinator; the batch keeps its sequence number when it is sent again. */
  async #send(send: Producer['send'], topic: string, { messages }: Batch): Promise<void> {
    const { compression, limits } = this.#options
    const budget = new RetryBudget(limits)
    for (;;) {
      try {
        const sent = await send({ topic, messages, acks: -1, timeout: replicasTimeoutMs, compression })
        if (sent.length === 0) throw new UnavailableError(`no broker has acknowledged records of ${topic}`)
        return budget.progress()
      } catch (error) {
        if (final.test(protocolErrorOf(error) ?? '')) throw error
        await budget.backOff(error, `appending to ${topic}`)
      }
    }
  }
}

async function disconnect({ producer, closed }: Connected): Promise<void> {
  closed.abort()
  await producer.disconnect().catch(() => {}) // the sockets are closed either way
}

function messageOf({ key, value, headers }: NewRecord, partition: number): Message & { readonly partition: number } {
  const message = { key: bufferOf(key), value: value === null ? null : bufferOf(value), partition }
  if (headers === undefined) return message
  return {
    ...message,
    headers: Object.fromEntries(Object.entries(headers).map(([name, bytes]) => [name, bufferOf(bytes)]))
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** What a record takes in a batch, at most: lengths of five bytes each, attributes, two deltas. */
export function recordBytesMax({ key, value, headers }: NewRecord): number {
  let bytes = 32 + key.length + (value?.length ?? 0)
  if (headers !== undefined) for (const name in headers) bytes += 10 + 3 * name.length + own(headers, name)!.length
  return bytes
}
