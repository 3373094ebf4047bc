// How brokers are reached: addresses, TLS, SASL, retries; and what their errors mean to us.
//
// kafkajs gives a connection to the cluster to every partition assigner, with typed calls for fetching, and untyped
// ones for groups and transactions. We use these directly and none of its consumer and producer: their loops re-join
// without telling, reuse sequence numbers after a failure, and cannot end a transaction a second time.

import { readFileSync } from 'node:fs'
import net from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import tls from 'node:tls'
import kafkajs, { type Broker, type Cluster, type ISocketFactoryArgs, type Kafka, type KafkaConfig } from 'kafkajs'
import type { KafkaOptions } from '../../core/config/config.ts'
import { ConfigError, MtmiError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'

export type { Broker, Cluster } from 'kafkajs'

/** Of kafkajs itself, within one of our attempts: short, since ours follow with a limit of their own. */
const innerRetry = { initialRetryTime: 20, maxRetryTime: 500, multiplier: 2, factor: 0.2, retries: 3 }
const retryMs = { first: 20, max: 2000 }
/** Milliseconds until a broker that says nothing is given up; kafkajs adds what a call may wait by itself. */
const requestTimeoutMs = 30_000
const connectTimeoutMs = 5000
/** How long nothing is said until TCP asks whether the other end is still there. */
const keepAliveMs = 60_000

/** How long kafkajs waits within one of our attempts, and how often it tries by itself. */
export interface ClientLimits {
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly retries: number
}

/** @throws ConfigError with every problem of the settings at once */
export function kafkaClient(
  options: KafkaOptions,
  limits: ClientLimits = { connectTimeoutMs, requestTimeoutMs, retries: innerRetry.retries }
): Kafka {
  const sasl = saslOf(options)
  const config: KafkaConfig = {
    brokers: options.brokers,
    clientId: options.clientId,
    connectionTimeout: limits.connectTimeoutMs,
    authenticationTimeout: limits.connectTimeoutMs * 2,
    requestTimeout: limits.requestTimeoutMs,
    retry: { ...innerRetry, retries: limits.retries },
    socketFactory: kafkaSocket,
    logLevel: kafkajs.logLevel.NOTHING, // what fails is thrown, with more to it than a line
    ...(sasl === undefined ? {} : { sasl }),
    ...(options.tls.enabled ? { ssl: tlsOf(options) } : {})
  }
  return new kafkajs.Kafka(config)
}

/**
 * A socket as kafkajs makes them itself, but for its end. While a broker is away kafkajs lets go of the connections
 * that it lost again at each attempt, and `unref` of a socket that is gone waits for it to connect: a listener more
 * each time, and after ten of them Node warns of a leak.
 */
export function kafkaSocket({ host, port, ssl, onConnect }: ISocketFactoryArgs): net.Socket {
  const serverName = net.isIP(host) === 0 ? { servername: host } : {}
  const socket = ssl
    ? tls.connect({ host, port, ...serverName, ...ssl }, onConnect)
    : net.connect({ host, port }, onConnect)
  socket.setKeepAlive(true, keepAliveMs)
  socket.once('close', () => {
    socket.unref = () => socket
  })
  return socket
}

/**
 * A connection pool of its own. A broker answers one request of a connection after the other, so what waits (a fetch, a
 * join) needs one for itself.
 */
export function openCluster(kafka: Kafka): Cluster {
  let cluster: Cluster | undefined
  // Only the cluster is wanted: this consumer is never connected.
  kafka.consumer({
    groupId: 'unused',
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
  if (cluster === undefined) throw new Error('this version of kafkajs does not hand its cluster to partition assigners')
  oneAtATime(cluster)
  return cluster
}

/**
 * Two who ask for the same broker at once would connect to it twice, and one of the sockets would be forgotten, open.
 */
function oneAtATime(cluster: Cluster): void {
  const finding = new Map<string, Promise<Broker>>()
  const findBroker = cluster.findBroker.bind(cluster)
  cluster.findBroker = (node) => {
    const key = String(node.nodeId)
    let found = finding.get(key)
    if (found === undefined) {
      found = handledLater(findBroker(node).finally(() => finding.delete(key)))
      finding.set(key, found)
    }
    return found
  }
  let connecting: Promise<void> | undefined
  const connect = cluster.connect.bind(cluster)
  cluster.connect = () => {
    connecting ??= handledLater(
      connect().finally(() => {
        connecting = undefined
      })
    )
    return connecting
  }
}

/** What kafkajs' brokers can do beyond what its types say. */
export interface CoordinatorBroker extends Broker {
  findGroupCoordinator(request: { groupId: string; coordinatorType: number }): Promise<unknown>
  joinGroup(request: {
    groupId: string
    sessionTimeout: number
    rebalanceTimeout: number
    memberId: string
    groupProtocols: { name: string; metadata: Buffer }[]
  }): Promise<{
    generationId: number
    leaderId: string
    memberId: string
    members: { memberId: string; memberMetadata: Buffer }[]
  }>
  syncGroup(request: {
    groupId: string
    generationId: number
    memberId: string
    groupAssignment: { memberId: string; memberAssignment: Buffer }[]
  }): Promise<{ memberAssignment: Buffer }>
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>
  leaveGroup(request: { groupId: string; memberId: string }): Promise<unknown>
  initProducerId(request: {
    transactionalId?: string
    transactionTimeout?: number
  }): Promise<{ producerId: string; producerEpoch: number }>
  addPartitionsToTxn(
    request: TransactionRequest & { topics: { topic: string; partitions: number[] }[] }
  ): Promise<{ errors?: unknown }>
  endTxn(request: TransactionRequest & { transactionResult: boolean }): Promise<unknown>
}

export interface TransactionRequest {
  readonly transactionalId: string
  readonly producerId: bigint | string
  readonly producerEpoch: number
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
    // kafkajs forgets why nobody named one, such as that we may not: a broker that is asked by itself says so.
    const broker = (await cluster.findControllerBroker()) as CoordinatorBroker
    await broker.findGroupCoordinator(request)
    throw error
  }
}

/** `REBALANCE_IN_PROGRESS` and the like, as the protocol names its errors; undefined for others. */
export function protocolErrorOf(error: unknown): string | undefined {
  for (
    let at = error as { type?: unknown; cause?: unknown } | undefined;
    at !== undefined && at !== null;
    at = at.cause as typeof at
  ) {
    if (typeof at.type === 'string') return at.type
  }
  return undefined
}

/** What waiting does not mend: rights, sizes, settings. */
const hopeless = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_CONFIG',
  'INVALID_REQUEST',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
  'INVALID_SESSION_TIMEOUT',
  'INCONSISTENT_GROUP_PROTOCOL',
  'POLICY_VIOLATION',
  'UNSUPPORTED_VERSION',
  'SASL_AUTHENTICATION_FAILED',
  'ILLEGAL_SASL_STATE',
  'UNSUPPORTED_SASL_MECHANISM'
])

/** An error of kafkajs as one of ours. @param what was tried, with its values */
export function kafkaError(error: unknown, what: string): unknown {
  if (error instanceof MtmiError || error instanceof RangeError || error instanceof TypeError) return error
  const { name, message } = error as Error
  const type = protocolErrorOf(error)
  if (type === 'UNKNOWN_TOPIC_OR_PARTITION' || name === 'KafkaJSTopicMetadataNotLoaded')
    return new ConfigError([
      `${what}: the brokers have no such topic or partition. Make it with \`mtmi topics apply\`, or mend the setting`
    ])
  if (name === 'KafkaJSSASLAuthenticationError' || /SASL/.test(type ?? ''))
    return new ConfigError([`${what}: the brokers refuse the credentials (${message}): see kafka.sasl`])
  if (type !== undefined && /AUTHORIZATION_FAILED/.test(type))
    return new ConfigError([
      `${what}: not allowed (${type}): give the user of kafka.sasl the right, or mend the setting`
    ])
  if (type === 'MESSAGE_TOO_LARGE' || type === 'RECORD_LIST_TOO_LARGE')
    return new ConfigError([
      `${what}: larger than the topic takes. Raise its max.message.bytes, or lower kafka.requestBytesMax`
    ])
  if (type !== undefined && hopeless.has(type))
    return new MtmiError('UNAVAILABLE', `${what}: ${type}: ${message}`, { cause: error, canRetry: false })
  return new UnavailableError(`${what}: ${type ?? name}: ${message}`, { cause: error })
}

/** Whether the same call may succeed in a while, with a topic being as good as there: it may just have been made. */
function mayHeal(error: unknown): boolean {
  if (error instanceof MtmiError) return error.canRetry
  const { name } = error as Error
  if (name === 'RangeError' || name === 'TypeError' || name === 'AssertionError' || name === 'KafkaJSNotImplemented')
    return false
  if (name === 'KafkaJSSASLAuthenticationError') return false
  const type = protocolErrorOf(error)
  return type === undefined || !hopeless.has(type)
}

/**
 * A topic that was just made is not known to every broker at once; one that is not there now will not come by itself.
 */
const unknownTopicMs = 5000

export interface RetryLimits {
  /** Gives up after this. */
  readonly retryMs: number
  readonly signal?: AbortSignal
}

/**
 * Calls `attempt` until it succeeds, ever less often, with jitter.
 *
 * @param heal between two attempts: find the new leader, look up the coordinator
 * @throws MtmiError: what was wrong at last
 */
export async function retrying<T>(
  what: string,
  limits: RetryLimits,
  attempt: () => Promise<T>,
  heal: (error: unknown) => Promise<void> = async () => {}
): Promise<T> {
  const started = performance.now()
  let waitMs = retryMs.first
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      const spentMs = performance.now() - started
      const unknownTopic =
        protocolErrorOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION' ||
        (error as Error).name === 'KafkaJSTopicMetadataNotLoaded'
      const limitMs = unknownTopic ? Math.min(unknownTopicMs, limits.retryMs) : limits.retryMs
      if (!mayHeal(error) || limits.signal?.aborted === true || spentMs + waitMs > limitMs)
        throw kafkaError(error, what)
      // Jitter, so that many members do not come back at the same instant. Its seed is nobody's business.
      await pause(
        waitMs * (0.5 + jitter()),
        undefined,
        limits.signal === undefined ? {} : { signal: limits.signal }
      ).catch(() => {})
      waitMs = Math.min(waitMs * 2, retryMs.max)
      await heal(error).catch(() => {}) // the next attempt shows whether it helped
    }
  }
}

/** 0 … 1, from the clock's last digits: no two processes have the same. */
function jitter(): number {
  return (performance.now() * 1000) % 1
}

function tlsOf({ tls }: KafkaOptions): NonNullable<KafkaConfig['ssl']> {
  const problems: string[] = []
  const read = (setting: string, file: string): Buffer | undefined => {
    if (file === '') return undefined
    try {
      return readFileSync(file)
    } catch (cause) {
      problems.push(`kafka.tls.${setting}: ${file} cannot be read: ${(cause as Error).message}`)
      return undefined
    }
  }
  const [ca, cert, key] = [read('caFile', tls.caFile), read('certFile', tls.certFile), read('keyFile', tls.keyFile)]
  if ((tls.certFile === '') !== (tls.keyFile === '')) problems.push('kafka.tls: certFile and keyFile belong together')
  if (problems.length > 0) throw new ConfigError(problems)
  return {
    rejectUnauthorized: true,
    ...(ca === undefined ? {} : { ca: [ca] }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(tls.keyPassword === '' ? {} : { passphrase: tls.keyPassword })
  }
}

function saslOf({ sasl }: KafkaOptions): KafkaConfig['sasl'] {
  const { mechanism, username, password, tokenFile } = sasl
  if (mechanism === 'none') return undefined
  if (mechanism === 'oauthbearer') {
    if (tokenFile === '') throw new ConfigError(['kafka.sasl: oauthbearer needs a tokenFile'])
    return { mechanism, oauthBearerProvider: async () => ({ value: readToken(tokenFile) }) }
  }
  if (username === '' || password === '')
    throw new ConfigError([`kafka.sasl: ${mechanism} needs username and password`])
  if (mechanism === 'plain') return { mechanism, username, password }
  return mechanism === 'scram-sha-256' ? { mechanism, username, password } : { mechanism, username, password }
}

function readToken(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (cause) {
    throw new ConfigError([`kafka.sasl.tokenFile: ${file} cannot be read: ${(cause as Error).message}`])
  }
}
