// Writes to Kafka: idempotent always; in one transaction a call where an owner is to be fenced.
//
// What makes it safe is bookkeeping that kafkajs' producer does not keep: batches of a failed call are sent again with
// the very sequence numbers that they had, the end of a transaction is asked for until it is known, and a transactional
// id is claimed once, on purpose, never as part of a retry: a former owner who was stopped and runs again must not
// claim it back.

import type { Clock } from '../../core/clock.ts'
import { MtmiError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'
import type { NewRecord } from '../eventLog.ts'
import { partitionOf } from '../partitioner.ts'
import {
  type Cluster,
  type CoordinatorBroker,
  findCoordinator,
  protocolErrorOf,
  type RetryLimits,
  retrying
} from './kafkaClient.ts'
import { produceBatches } from './kafkaRecords.ts'
import { recordBytesMax } from './recordBatch.ts'

export interface KafkaProducerOptions {
  readonly cluster: Cluster
  readonly clock: Clock
  readonly retryMs: number
  readonly requestBytesMax: number
  /** As the protocol numbers codecs. */
  readonly compression: number
  /** Claimed by `claim`; every later claimer, in whatever process, ends this one's appends. */
  readonly transactionalId?: string
}

/**
 * A transaction that its producer left open is aborted by the brokers after this; until then readers wait behind it.
 */
const transactionTimeoutMs = 60_000
const sequenceEnd = 2 ** 31

interface Batch {
  readonly partition: number
  readonly records: NewRecord[]
}

export class KafkaProducer {
  readonly #options: KafkaProducerOptions
  readonly #sequences = new Map<string, number>()
  #identity: { readonly producerId: bigint; readonly producerEpoch: number } | undefined
  /** Set once another has claimed the transactional id, or its state here is not known any more. */
  #refusal: MtmiError | undefined
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: KafkaProducerOptions) {
    this.#options = options
  }

  /**
   * Takes the transactional id, again if need be: whoever had it before is refused from here on, and its open
   * transaction is aborted.
   */
  claim(): Promise<void> {
    return this.#inTurn(() => {
      this.#identity = undefined
      this.#refusal = undefined
      return this.#identify()
    })
  }

  /** Resolves when every record is on the disks of all in-sync replicas, in the order of the calls. */
  append(topic: string, records: readonly NewRecord[]): Promise<void> {
    return this.#inTurn(() => this.#append(topic, records))
  }

  /** Resolves when what was asked for before is done, or has failed. */
  async settled(): Promise<void> {
    await this.#last
  }

  async #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = handledLater(this.#last.then(work))
    this.#last = turn.catch(() => {}) // the caller of this turn gets the error
    await turn
  }

  /** Without a transactional id: gets a number under which the brokers recognise repeats. */
  async #identify(): Promise<void> {
    if (this.#refusal !== undefined) throw this.#refusal
    if (this.#identity !== undefined) return
    const { cluster, transactionalId } = this.#options
    const what =
      transactionalId === undefined ? 'getting a producer id' : `claiming the transactional id ${transactionalId}`
    this.#identity = await retrying(
      what,
      this.#limits,
      async () => {
        await cluster.connect()
        const broker =
          transactionalId === undefined
            ? ((await cluster.findControllerBroker()) as CoordinatorBroker)
            : await findCoordinator(cluster, transactionalId, 'transaction')
        const { producerId, producerEpoch } = await broker.initProducerId(
          transactionalId === undefined ? {} : { transactionalId, transactionTimeout: transactionTimeoutMs }
        )
        return { producerId: BigInt(producerId), producerEpoch }
      },
      () => this.#refresh()
    )
    this.#sequences.clear()
  }

  async #append(topic: string, records: readonly NewRecord[]): Promise<void> {
    if (records.length === 0) return
    await this.#identify()
    const { transactionalId } = this.#options
    const what = `appending ${records.length} records to ${topic}${transactionalId === undefined ? '' : ` as ${transactionalId}`}`
    try {
      const batches = await this.#batches(what, topic, records)
      if (transactionalId === undefined) await this.#produceAll(what, topic, batches)
      else {
        const partitions = [...new Set(batches.flat().map(({ partition }) => partition))]
        await this.#join(what, transactionalId, topic, partitions)
        await this.#produceAll(what, topic, batches)
        await this.#commit(what, transactionalId)
      }
    } catch (error) {
      this.#afterFailure(what, error)
    }
  }

  /**
   * Whether a batch was written is not known: its numbers must not be used again for others. A plain producer gets a
   * new identity; one with a claim ends.
   */
  #afterFailure(what: string, error: unknown): never {
    const { transactionalId } = this.#options
    if (transactionalId === undefined) {
      this.#identity = undefined
      throw error
    }
    const fenced = /INVALID_PRODUCER_EPOCH|PRODUCER_FENCED|INVALID_PRODUCER_ID_MAPPING|INVALID_TXN_STATE/.test(
      protocolErrorOf(error) ?? protocolErrorOf((error as Error).cause) ?? ''
    )
    if (error instanceof RangeError) throw error
    this.#refusal = new MtmiError(
      'UNAVAILABLE',
      fenced
        ? `${what}: refused, for a newer owner has claimed it. This one was taken for dead; it has to begin again from what the log says`
        : `${what}: gave up (${(error as Error).message}). Whether it was written is not known, so this owner has to begin again from what the log says`,
      { cause: error, canRetry: false }
    )
    throw this.#refusal
  }

  /** Rounds of batches: at most one of each partition in a round, none larger than a request may be. */
  async #batches(what: string, topic: string, records: readonly NewRecord[]): Promise<Batch[][]> {
    const { cluster, requestBytesMax } = this.#options
    const partitions = await retrying(
      what,
      this.#limits,
      async () => {
        await cluster.connect()
        await cluster.addTargetTopic(topic)
        await cluster.refreshMetadataIfNecessary()
        return cluster.findTopicPartitionMetadata(topic).length
      },
      () => this.#refresh()
    )
    const open = new Map<number, { batch: Batch; bytes: number; round: number }>()
    const rounds: Batch[][] = []
    for (const record of records) {
      const partition = record.partition ?? partitionOf(record.key, partitions)
      if (!Number.isInteger(partition) || partition < 0 || partition >= partitions)
        throw new RangeError(`append to partition ${partition} of topic ${topic}, which has ${partitions}`)
      const bytes = recordBytesMax(record)
      let current = open.get(partition)
      if (current === undefined || current.bytes + bytes > requestBytesMax) {
        current = { batch: { partition, records: [] }, bytes: 0, round: current === undefined ? 0 : current.round + 1 }
        open.set(partition, current)
        const round = rounds[current.round]
        if (round === undefined) rounds[current.round] = [current.batch]
        else round.push(current.batch)
      }
      current.bytes += bytes
      current.batch.records.push(record)
    }
    return rounds
  }

  async #produceAll(what: string, topic: string, rounds: readonly (readonly Batch[])[]): Promise<void> {
    for (const round of rounds) {
      await this.#produce(what, topic, round)
      for (const { partition, records } of round) {
        this.#sequences.set(
          `${topic}/${partition}`,
          ((this.#sequences.get(`${topic}/${partition}`) ?? 0) + records.length) % sequenceEnd
        )
      }
    }
  }

  /**
   * Sends a round until every leader has acknowledged its part: what was written by an attempt that seemed to fail is
   * recognised by its sequence.
   */
  async #produce(what: string, topic: string, round: readonly Batch[]): Promise<void> {
    const { cluster, clock, compression, transactionalId } = this.#options
    const timestampMs = clock.nowMs()
    const waiting = new Map(round.map((batch) => [batch.partition, batch]))
    await retrying(
      what,
      this.#limits,
      async () => {
        const leaders = cluster.findLeaderForPartitions(topic, [...waiting.keys()])
        const results = await Promise.allSettled(
          Object.entries(leaders).map(async ([nodeId, partitions]) => {
            const broker = await cluster.findBroker({ nodeId })
            try {
              await produceBatches(broker, {
                topic,
                batches: partitions.map((partition) => ({
                  partition,
                  firstSequence: this.#sequences.get(`${topic}/${partition}`) ?? 0,
                  records: waiting.get(partition)!.records
                })),
                ...this.#identity!,
                timestampMs,
                compression,
                ...(transactionalId === undefined ? {} : { transactionalId })
              })
            } catch (error) {
              if (protocolErrorOf(error) !== 'DUPLICATE_SEQUENCE_NUMBER') throw error
            }
            for (const partition of partitions) waiting.delete(partition)
          })
        )
        for (const result of results) if (result.status === 'rejected') throw finalOf(result.reason)
        if (waiting.size > 0)
          throw new UnavailableError(`nobody leads partitions ${[...waiting.keys()].join(', ')} of ${topic}`)
      },
      () => this.#refresh()
    )
  }

  /** Tells the coordinator which partitions the transaction touches. */
  async #join(what: string, transactionalId: string, topic: string, partitions: number[]): Promise<void> {
    await this.#askCoordinator(what, transactionalId, (coordinator) =>
      coordinator.addPartitionsToTxn({ transactionalId, ...this.#identity!, topics: [{ topic, partitions }] })
    )
  }

  /** Asked again until the answer is known: a coordinator that has committed already says so. */
  async #commit(what: string, transactionalId: string): Promise<void> {
    await this.#askCoordinator(what, transactionalId, (coordinator) =>
      coordinator.endTxn({ transactionalId, ...this.#identity!, transactionResult: true })
    )
  }

  /** Waits while the transaction before is still being ended; otherwise looks for the coordinator anew. */
  async #askCoordinator(
    what: string,
    transactionalId: string,
    ask: (coordinator: CoordinatorBroker) => Promise<unknown>
  ): Promise<void> {
    await retrying(
      what,
      this.#limits,
      async () => {
        const coordinator = await findCoordinator(this.#options.cluster, transactionalId, 'transaction')
        try {
          await ask(coordinator)
        } catch (error) {
          throw finalOf(error)
        }
      },
      (error) => (protocolErrorOf(error) === 'CONCURRENT_TRANSACTIONS' ? Promise.resolve() : this.#refresh())
    )
  }

  get #limits(): RetryLimits {
    return { retryMs: this.#options.retryMs }
  }

  async #refresh(): Promise<void> {
    await this.#options.cluster.connect()
    await this.#options.cluster.refreshMetadata()
  }
}

/** What no retry of the same call can mend: the claim is gone, or numbers are out of step. */
function finalOf(error: unknown): unknown {
  const type = protocolErrorOf(error)
  if (
    type === undefined ||
    !/INVALID_PRODUCER_EPOCH|PRODUCER_FENCED|INVALID_PRODUCER_ID_MAPPING|INVALID_TXN_STATE|OUT_OF_ORDER_SEQUENCE|UNKNOWN_PRODUCER_ID/.test(
      type
    )
  )
    return error
  return new MtmiError('UNAVAILABLE', `${type}: ${(error as Error).message}`, { cause: error, canRetry: false })
}
