// Dead-letter records: a record that cannot be used, bytes unchanged, in a topic of its own, with headers that say why
// (KIP-1034).

import { createHash } from 'node:crypto'
import { own } from '../core/own.ts'
import type { LogRecord, NewRecord } from './eventLog.ts'

const prefix = '__streams.errors.'
/**
 * Longest message and stack trace kept, in characters: brokers bound a record's size, and the bytes of the record
 * matter more.
 */
const textMax = 8192

export interface DeadLetterRecord {
  /** The stage that could not use the record; empty in records of other programs. */
  readonly stage: string
  /** Class of the error. */
  readonly exception: string
  readonly message: string
  readonly stacktrace: string
  /** Where the record was read. */
  readonly topic: string
  /** Of the topic, as `EventLog.describe` has it; empty where that is not known. */
  readonly topicId: string
  readonly partition: number
  readonly offset: bigint
  /** As it was before, or what is left of it: what a replay appends. */
  readonly original: NewRecord
  /** Where the topic did not take the whole record: what its value was. */
  readonly truncated: TruncatedValue | undefined
}

export interface TruncatedValue {
  readonly bytes: number
  /** Of the whole value, in hexadecimal. */
  readonly sha256: string
}

/** `<topic>.<app>.dlq` */
export function deadLetterTopic(topic: string, app: string): string {
  return `${topic}.${app}.dlq`
}

/**
 * @param from where `record` was read @param stage that could not use it. The original's own headers stay beside ours;
 *   those of an earlier failure are replaced.
 */
export function deadLetterOf(
  record: LogRecord,
  from: Pick<DeadLetterRecord, 'topic' | 'topicId'>,
  error: Error,
  stage: string
): NewRecord {
  return {
    key: record.key,
    value: record.value,
    headers: {
      ...record.headers,
      [`${prefix}exception`]: utf8(error.name),
      [`${prefix}message`]: utf8(error.message),
      [`${prefix}stacktrace`]: utf8(error.stack ?? ''),
      [`${prefix}stage`]: utf8(stage),
      [`${prefix}topic`]: utf8(from.topic),
      ...(from.topicId === '' ? {} : { [`${prefix}topic.id`]: utf8(from.topicId) }),
      [`${prefix}partition`]: utf8(String(record.partition)),
      [`${prefix}offset`]: utf8(String(record.offset))
    }
  }
}

/** Bytes of the value that are kept, one size after another, until the topic takes the record. */
const keptBytes = [512 * 1024, 64 * 1024, 4096, 0]
/** At the last size the error's stack and the record's own headers go as well, and long keys are cut. */
const keyBytesMax = 1024

/** Smaller ones of a dead-letter record that its topic does not take, largest first. */
export function* truncations({ key, value, headers = {} }: NewRecord): Generator<NewRecord> {
  const bytes = value ?? new Uint8Array(0)
  const truncated = {
    [`${prefix}value.bytes`]: utf8(String(bytes.length)),
    [`${prefix}value.sha256`]: utf8(createHash('sha256').update(bytes).digest('hex'))
  }
  for (const size of keptBytes)
    if (size < bytes.length) yield { key, value: bytes.subarray(0, size), headers: { ...headers, ...truncated } }
  const ours = Object.entries(headers).filter(([name]) => name.startsWith(prefix) && name !== `${prefix}stacktrace`)
  yield {
    key: key.subarray(0, keyBytesMax),
    value: bytes.subarray(0, 0),
    headers: { ...Object.fromEntries(ours), ...truncated }
  }
}

/** What `deadLetterOf` wrote; undefined for a record that lacks its headers. */
export function readDeadLetter(record: LogRecord): DeadLetterRecord | undefined {
  const text = (name: string) => {
    const bytes = own(record.headers, prefix + name)
    return bytes === undefined ? undefined : new TextDecoder().decode(bytes)
  }
  const topic = text('topic')
  const partition = text('partition')
  const offset = text('offset')
  if (topic === undefined || !/^\d{1,9}$/.test(partition ?? '') || !/^\d{1,19}$/.test(offset ?? '')) return undefined
  const [bytes, sha256] = [text('value.bytes'), text('value.sha256')]
  const headers = Object.fromEntries(Object.entries(record.headers).filter(([name]) => !name.startsWith(prefix)))
  return {
    stage: text('stage') ?? '',
    exception: text('exception') ?? '',
    message: text('message') ?? '',
    stacktrace: text('stacktrace') ?? '',
    topic,
    topicId: text('topic.id') ?? '',
    partition: Number(partition),
    offset: BigInt(offset!),
    original: { key: record.key, value: record.value, headers },
    truncated: bytes === undefined ? undefined : { bytes: Number(bytes), sha256: sha256 ?? '' }
  }
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text.slice(0, textMax))
}
