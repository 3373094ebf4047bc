// The parts of kafkajs that are not documented, all in one place: its connections to the brokers (the `cluster` that it
// passes to partition assigners), and requests on them.
//
// Needed for what no documented call returns (docs/decisions/0014-kafkajs-documented-api.md): where committed records
// end (kafkajs' admin counts the markers of transactions), the high watermark (the admin returns the last stable offset
// as `high`), the id of a topic (kafkajs speaks versions of Metadata before it), the position of a reader that is in no
// group, from where a batch was requested, and, for `mtmi doctor`, rights without using them.

import type { Batch, Broker, Cluster, Kafka } from 'kafkajs'
import { ByteReader, ByteWriter } from '../../core/bytes.ts'
import { MtmiError, UnavailableError } from '../../core/errors.ts'

export type { Broker, Cluster } from 'kafkajs'

/** What the brokers of kafkajs can do beyond their types. */
interface CoordinatorBroker extends Broker {
  findGroupCoordinator(request: { groupId: string; coordinatorType: number }): Promise<unknown>
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>
  addPartitionsToTxn(request: {
    transactionalId: string
    producerId: string
    producerEpoch: number
    topics: { topic: string; partitions: number[] }[]
  }): Promise<{ errors?: unknown }>
}

const clusterMethods = [
  'addTargetTopic',
  'connect',
  'disconnect',
  'fetchTopicsOffset',
  'findBroker',
  'findControllerBroker',
  'findGroupCoordinator',
  'findLeaderForPartitions',
  'findTopicPartitionMetadata',
  'metadata',
  'refreshMetadata',
  'refreshMetadataIfNecessary'
] as const

/**
 * Connections of their own.
 *
 * @param readUncommitted whether ends are high watermarks, rather than last stable offsets
 * @throws MtmiError UNAVAILABLE, canRetry false, if this version of kafkajs lacks what is used here
 */
export function openCluster(kafka: Kafka, { readUncommitted = false } = {}): Cluster {
  let cluster: Cluster | undefined
  // This consumer is never connected.
  kafka.consumer({
    ...{ groupId: 'unused', readUncommitted },
    allowAutoTopicCreation: false,
    metadataMaxAge: 60_000,
    partitionAssigners: [
      (given) => {
        cluster = given.cluster
        return {
          name: 'unused',
          version: 0,
          assign: async () => [],
          protocol: () => ({ name: 'unused', metadata: Buffer.alloc(0) })
        }
      }
    ]
  })
  const opened = cluster
  const absent = clusterMethods.filter((name) => typeof opened?.[name] !== 'function')
  if (opened === undefined || absent.length > 0) throw lacking(`${absent.join(', ')} of its cluster`)
  return opened
}

/**
 * The offset that a batch was requested from. Another than the reader's position: kafkajs found the position out of the
 * log's range, and continued at the log's start. Its documented part shows only the first record, which compaction, too,
 * may have moved.
 *
 * @throws MtmiError UNAVAILABLE, canRetry false, if this version of kafkajs does not have it
 */
export function fetchedFrom(batch: Batch): bigint {
  const { fetchedOffset } = batch as Batch & { readonly fetchedOffset?: unknown }
  if (typeof fetchedOffset === 'string') return BigInt(fetchedOffset)
  throw lacking('fetchedOffset of its batches')
}

function lacking(what: string): MtmiError {
  const message = `this version of kafkajs lacks ${what}: install the version of package-lock.json`
  return new MtmiError('UNAVAILABLE', message, { canRetry: false })
}

/** @param what kind of coordinator, as the protocol numbers them */
export async function findCoordinator(
  cluster: Cluster,
  id: string,
  what: 'group' | 'transaction'
): Promise<CoordinatorBroker> {
  const request = { groupId: id, coordinatorType: what === 'group' ? 0 : 1 }
  try {
    return (await cluster.findGroupCoordinator(request)) as CoordinatorBroker
  } catch (error) {
    if ((error as Error).name !== 'KafkaJSGroupCoordinatorNotFound') throw error
    // kafkajs drops the reason, such as a missing right; a broker that is asked directly returns it.
    const broker = (await cluster.findControllerBroker()) as CoordinatorBroker
    await broker.findGroupCoordinator(request)
    throw error
  }
}

export async function partitionsOf(cluster: Cluster, topic: string): Promise<number[]> {
  await cluster.connect()
  await cluster.addTargetTopic(topic)
  await cluster.refreshMetadataIfNecessary()
  const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId)
  return partitions.sort((a, b) => a - b)
}

/** By partition the first offset, or the end: what that is, `openCluster` was told. */
export async function logOffsets(
  cluster: Cluster,
  topic: string,
  which: 'start' | 'end'
): Promise<Map<number, bigint>> {
  const partitions = (await partitionsOf(cluster, topic)).map((partition) => ({ partition }))
  const [found] = await cluster.fetchTopicsOffset([{ topic, partitions, fromBeginning: which === 'start' }])
  const offsets = new Map((found?.partitions ?? []).map(({ partition, offset }) => [partition, BigInt(offset)]))
  if (partitions.some(({ partition }) => !offsets.has(partition)))
    throw new UnavailableError(`the brokers did not return the offsets of every partition of ${topic}`)
  return offsets
}

export async function leaderOf(cluster: Cluster, topic: string, partition: number): Promise<Broker> {
  await partitionsOf(cluster, topic)
  const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))
  if (nodeId === undefined) throw new UnavailableError(`partition ${partition} of ${topic} has no leader`)
  return cluster.findBroker({ nodeId })
}

interface FetchedMessage {
  readonly offset: string
  readonly isControlRecord: boolean
  readonly batchContext: { readonly producerId: string; readonly inTransaction: boolean }
}

/** Markers and aborted batches in a row that are looked behind. */
const stepsMax = 64

/** One past the last committed record before `end`, the last stable offset: markers of transactions do not count. */
export async function recordEnd(cluster: Cluster, topic: string, partition: number, end: bigint): Promise<bigint> {
  const broker = await leaderOf(cluster, topic, partition)
  let at = end - 1n
  // A batch comes whole, however few bytes are asked for; a marker is a batch of its own.
  for (let step = 0; at >= 0n && step < stepsMax; step++) {
    const messages = await fetchBatch(broker, topic, partition, at)
    const committed = messages?.findLast(({ isRecord, offset }) => isRecord && offset < end)
    if (committed !== undefined) return committed.offset + 1n
    const first = messages?.[0]
    if (first === undefined) return end
    at = first.offset - 1n
  }
  return end
}

/** @returns the batch that holds the offset; undefined if retention has taken it */
async function fetchBatch(broker: Broker, topic: string, partition: number, offset: bigint) {
  const partitions = [{ partition, fetchOffset: String(offset), maxBytes: 1 }]
  const fetched = (await broker
    .fetch({ isolationLevel: 1, maxWaitTime: 0, minBytes: 0, maxBytes: 1, topics: [{ topic, partitions }] })
    .catch((error: Error) => {
      if (error.name === 'KafkaJSOffsetOutOfRange') return undefined
      throw error
    })) as
    | {
        responses: {
          partitions: {
            abortedTransactions?: readonly { readonly producerId: string; readonly firstOffset: string }[]
            messages: readonly FetchedMessage[]
          }[]
        }[]
      }
    | undefined
  const found = fetched?.responses[0]?.partitions[0]
  const isAborted = ({ offset, batchContext }: FetchedMessage) =>
    batchContext.inTransaction &&
    found?.abortedTransactions?.some(
      ({ producerId, firstOffset }) =>
        String(producerId) === String(batchContext.producerId) && BigInt(firstOffset) <= BigInt(offset)
    ) === true
  return found?.messages.map((message) => ({
    offset: BigInt(message.offset),
    isRecord: !message.isControlRecord && !isAborted(message)
  }))
}

const metadataKey = 3
/** The first version of Metadata whose requests name topics and whose responses have their ids. */
const metadataVersion = 11

/** What kafkajs sends a request by. */
interface RawBroker {
  readonly versions: Readonly<Record<number, { readonly maxVersion: number }>>
  readonly connectionPool: {
    send(message: {
      request: {
        apiKey: number
        apiVersion: number
        apiName: string
        encode(): Promise<{ buf: Buffer; buffer: Buffer }>
      }
      response: { decode(raw: Buffer): Promise<Buffer>; parse(data: Buffer): Promise<Buffer> }
    }): Promise<Buffer>
  }
}

/** The topic's id, as hexadecimal digits; empty from brokers before Kafka 2.8, which give none. */
export async function topicId(cluster: Cluster, topic: string): Promise<string> {
  const broker = (await cluster.findControllerBroker()) as unknown as RawBroker
  if ((broker.versions[metadataKey]?.maxVersion ?? 0) < metadataVersion) return ''
  const body = metadataRequest(topic)
  const response = await broker.connectionPool.send({
    request: {
      ...{ apiKey: metadataKey, apiVersion: metadataVersion, apiName: 'Metadata' },
      encode: async () => ({ buf: body, buffer: body })
    },
    response: { decode: async (raw) => raw, parse: async (data) => data }
  })
  return topicIdIn(response)
}

/** Strings and arrays begin with a varint of their length plus one; tagged fields, of which there are none, with 0. */
function metadataRequest(topic: string): Buffer {
  const out = new ByteWriter()
  out.raw(Uint8Array.of(0, 2)) // tagged fields of the header; one topic
  out.raw(new Uint8Array(16)) // without an id
  out.varint(Buffer.byteLength(topic) + 1)
  out.utf8(topic)
  out.raw(new Uint8Array(4)) // tagged fields, creation of the topic, operations, tagged fields
  return out.copy()
}

function topicIdIn(response: Buffer): string {
  const input = new ByteReader(response)
  const skipText = () => void input.raw(Math.max(0, input.varint() - 1))
  input.raw(1 + 4) // tagged fields of the header, throttle time
  for (let brokers = input.varint() - 1; brokers > 0; brokers--) {
    input.raw(4) // node id
    skipText() // host
    input.raw(4) // port
    skipText() // rack
    input.raw(1)
  }
  skipText() // cluster id
  input.raw(4 + 1 + 2) // controller, number of topics plus one, error code
  skipText() // name
  return input.raw(16).toString('hex')
}

/** Commits to a group without members: for tools that show groups. */
export async function commitPosition(
  cluster: Cluster,
  { groupId, topic, metadata }: { readonly groupId: string; readonly topic: string; readonly metadata: string },
  offsets: ReadonlyMap<number, bigint>
): Promise<void> {
  const partitions = [...offsets].map(([partition, offset]) => ({ partition, offset: String(offset), metadata }))
  const coordinator = await findCoordinator(cluster, groupId, 'group')
  await coordinator.offsetCommit({
    ...{ groupId, groupGenerationId: -1, memberId: '', retentionTime: -1 },
    topics: [{ topic, partitions }]
  })
}
