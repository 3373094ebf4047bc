// How brokers are reached: addresses, TLS, SASL, retries; and what their errors mean to us.

import { readFileSync } from 'node:fs'
import net from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import tls from 'node:tls'
import kafkajs, { type Admin, type ISocketFactoryArgs, type Kafka, type KafkaConfig } from 'kafkajs'
import type { KafkaOptions } from '../../core/config/config.ts'
import { ConfigError, MtmiError, TooLargeError, UnavailableError } from '../../core/errors.ts'
import { handledLater } from '../../core/promises.ts'
import type { LogHealth } from '../logHealth.ts'

/** How long a command, or the start of a stage, waits: its user is looking on, or its supervisor starts it again. */
export const startRetryMsMax = 120_000
const backoffMs = { first: 20, max: 2000 }
/** Until a broker that does not answer is given up; kafkajs adds what a call may wait on purpose. */
const requestTimeoutMs = 30_000
const connectTimeoutMs = 5000
/** Idle time after which TCP probes the other end. */
const keepAliveMs = 60_000

interface ClientLimits {
  readonly connectTimeoutMs?: number
  readonly requestTimeoutMs?: number
  /** Of kafkajs, within one of our attempts. Few: ours follow, with a budget of their own. */
  readonly retries?: number
  /** Once aborted, no connection is made any more. */
  readonly signal?: AbortSignal
  /** In the brokers' logs, metrics and quotas. Default: `kafka.clientId`. */
  readonly clientId?: string
}

/** @throws ConfigError with every problem of the settings at once */
export function kafkaClient(options: KafkaOptions, limits: ClientLimits = {}): Kafka {
  const sasl = saslOf(options)
  const connectionTimeout = limits.connectTimeoutMs ?? connectTimeoutMs
  const config: KafkaConfig = {
    brokers: () => {
      if (limits.signal?.aborted === true) throw Object.assign(new Error('closed'), { retriable: false })
      return options.brokers
    },
    clientId: limits.clientId ?? options.clientId,
    connectionTimeout,
    authenticationTimeout: connectionTimeout * 2,
    requestTimeout: limits.requestTimeoutMs ?? requestTimeoutMs,
    retry: { initialRetryTime: 20, maxRetryTime: 500, multiplier: 2, factor: 0.2, retries: limits.retries ?? 3 },
    socketFactory: kafkaSocket,
    logLevel: kafkajs.logLevel.NOTHING, // every failure is thrown
    ...(sasl === undefined ? {} : { sasl }),
    ...(options.tls.enabled ? { ssl: tlsOf(options) } : {})
  }
  return new kafkajs.Kafka(config)
}

/**
 * A socket as kafkajs makes its own, but for `unref` of a closed one: while a broker is away, kafkajs calls it at each
 * attempt, and Node would add a listener that waits for a connection each time.
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

/** `REBALANCE_IN_PROGRESS` and the like, as the protocol names its errors; undefined for others. */
export function protocolErrorOf(error: unknown): string | undefined {
  for (const { type } of causesOf(error) as (Error & { type?: unknown })[]) if (typeof type === 'string') return type
  return undefined
}

/** Errors that no retry can fix, besides those of rights, credentials and sizes. */
const permanent = new Set([
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_CONFIG',
  'INVALID_REQUEST',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
  'INVALID_SESSION_TIMEOUT',
  'INCONSISTENT_GROUP_PROTOCOL',
  'POLICY_VIOLATION',
  'UNSUPPORTED_VERSION'
])
/** Errors of the code: they are thrown as they are. */
const bugs = new Set(['RangeError', 'TypeError', 'AssertionError', 'KafkaJSNotImplemented'])

/** An error of kafkajs as one of ours. @param what was tried, with its values */
export function kafkaError(error: unknown, what: string): unknown {
  const own = ownError(error)
  if (own !== undefined) return own
  const { name, message } = error as Error
  if (bugs.has(name)) return error
  const type = protocolErrorOf(error)
  if (isUnknownTopic(error))
    return new ConfigError([
      `${what}: the brokers have no such topic or partition. Create it with \`mtmi topics apply\`, or correct the setting`
    ])
  if (isNamed(error, 'KafkaJSSASLAuthenticationError') || /SASL/.test(type ?? ''))
    return new ConfigError([`${what}: the brokers refuse the credentials (${message}): see kafka.sasl`])
  if (type !== undefined && /AUTHORIZATION_FAILED/.test(type))
    return new ConfigError([
      `${what}: not allowed (${type}): grant the right to the user of kafka.sasl, or correct the setting`
    ])
  if (type === 'MESSAGE_TOO_LARGE' || type === 'RECORD_LIST_TOO_LARGE')
    return new TooLargeError(
      `${what}: a record is larger than the topic takes. Raise the topic's max.message.bytes, or make the record smaller`,
      { cause: error }
    )
  if (type !== undefined && permanent.has(type))
    return new MtmiError('UNAVAILABLE', `${what}: ${type}: ${message}`, { cause: error, canRetry: false })
  return new UnavailableError(`${what}: ${type ?? name}: ${message}`, { cause: error })
}

/** Whether a later attempt may succeed. A topic that was just created is not known to every broker at once. */
function isTransient(error: unknown): boolean {
  if (ownError(error) === undefined && isUnknownTopic(error)) return true
  const known = kafkaError(error, '')
  return known instanceof MtmiError && known.canRetry
}

export function isUnknownTopic(error: unknown): boolean {
  return (
    protocolErrorOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION' ||
    isNamed(error, 'KafkaJSTopicMetadataNotLoaded') ||
    isNamed(error, 'KafkaJSMetadataNotLoaded')
  )
}

function isNamed(error: unknown, name: string): boolean {
  return causesOf(error).some((cause) => cause.name === name)
}

/** Ours, though kafkajs has wrapped it. */
function ownError(error: unknown): MtmiError | undefined {
  return causesOf(error).find((cause) => cause instanceof MtmiError)
}

/** The error and its causes. */
function causesOf(error: unknown): Error[] {
  const causes: Error[] = []
  for (let at = error as Error | undefined; at !== undefined && at !== null; at = at.cause as Error | undefined)
    causes.push(at)
  return causes
}

/** A topic that is still unknown then does not exist. */
const unknownTopicMs = 5000

export interface RetryLimits {
  readonly retryMs: number
  /** Is told of failures. */
  readonly health?: LogHealth | undefined
}

/**
 * The time that brokers may be away. It runs from the last progress, so an operation of any length survives outages
 * of this length each.
 */
export class RetryBudget {
  readonly #retryMs: number
  readonly #health: LogHealth | undefined
  #failingSinceMs: number | undefined
  #waitMs = backoffMs.first

  constructor({ retryMs, health }: RetryLimits) {
    this.#retryMs = retryMs
    this.#health = health
  }

  /** An attempt has succeeded, or nobody waits for it any more. */
  progress(): void {
    if (this.#failingSinceMs !== undefined) this.#health?.answering(this)
    this.#failingSinceMs = undefined
    this.#waitMs = backoffMs.first
  }

  /** Waits before the next attempt, longer each time, with jitter. @throws MtmiError: `error`, once no retry is left */
  async backOff(error: unknown, what: string, signal?: AbortSignal): Promise<void> {
    const nowMs = performance.now()
    this.#failingSinceMs ??= nowMs
    const limitMs = isUnknownTopic(error) ? Math.min(unknownTopicMs, this.#retryMs) : this.#retryMs
    const isSpent = nowMs - this.#failingSinceMs + this.#waitMs > limitMs
    if (!isTransient(error) || isSpent || signal?.aborted === true) {
      this.progress()
      throw kafkaError(error, what)
    }
    this.#health?.failing(this, `${what}: ${(error as Error).message}`)
    // Jitter: many members do not come back at the same instant. The clock's last digits differ between processes.
    const jitter = 0.5 + ((nowMs * 1000) % 1)
    await pause(this.#waitMs * jitter, undefined, signal === undefined ? {} : { signal }).catch(() => {}) // aborted: go on
    this.#waitMs = Math.min(this.#waitMs * 2, backoffMs.max)
  }
}

/** Calls `attempt` until it succeeds. @throws MtmiError: the last error, after `retryMs` of failures */
export async function retrying<T>(
  what: string,
  limits: RetryLimits & { readonly signal?: AbortSignal },
  attempt: () => Promise<T>
): Promise<T> {
  const budget = new RetryBudget(limits)
  for (;;) {
    try {
      const result = await attempt()
      budget.progress()
      return result
    } catch (error) {
      await budget.backOff(error, what, limits.signal)
    }
  }
}

/** @throws UnavailableError after `ms`, whatever `work` still tries: its later outcome is ignored */
export async function within<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = handledLater(
    new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new UnavailableError(`${what}: no answer within ${ms} ms`)), ms)
    })
  )
  try {
    return await Promise.race([handledLater(work), late])
  } finally {
    clearTimeout(timer)
  }
}

/** For one look-up or change, with connections of its own. */
export async function withAdmin<T>(
  options: KafkaOptions,
  what: string,
  work: (admin: Admin) => Promise<T>
): Promise<T> {
  const admin = kafkaClient(options).admin()
  try {
    return await retrying(what, { retryMs: Math.min(options.retryMs, startRetryMsMax) }, async () => {
      await admin.connect()
      return work(admin)
    })
  } finally {
    await admin.disconnect().catch(() => {}) // the outcome of the work counts; the sockets are closed either way
  }
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
