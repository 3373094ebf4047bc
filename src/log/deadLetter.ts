// Dead-letter records: a record that cannot be used, bytes unchanged, in a topic of its own, with headers that say why
// (KIP-1034).

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
  readonly partition: number
  readonly offset: bigint
  /** As it was before: what a replay appends. */
  readonly original: NewRecord
}

/** `<topic>.<app>.dlq` */
export function deadLetterTopic(topic: string, app: string): string {
  return `${topic}.${app}.dlq`
}

/**
 * @param topic where `record` was read @param stage that could not use it. The original's own headers stay beside ours;
 *   those of an earlier failure are replaced.
 */
export function deadLetterOf(record: LogRecord, topic: string, error: Error, stage: string): NewRecord {
  return {
    key: record.key,
    value: record.value,
    headers: {
      ...record.headers,
      [`${prefix}exception`]: utf8(error.name),
      [`${prefix}message`]: utf8(error.message),
      [`${prefix}stacktrace`]: utf8(error.stack ?? ''),
      [`${prefix}stage`]: utf8(stage),
      [`${prefix}topic`]: utf8(topic),
      [`${prefix}partition`]: utf8(String(record.partition)),
      [`${prefix}offset`]: utf8(String(record.offset))
    }
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
  const headers = Object.fromEntries(Object.entries(record.headers).filter(([name]) => !name.startsWith(prefix)))
  return {
    stage: text('stage') ?? '',
    exception: text('exception') ?? '',
    message: text('message') ?? '',
    stacktrace: text('stacktrace') ?? '',
    topic,
    partition: Number(partition),
    offset: BigInt(offset!),
    original: { key: record.key, value: record.value, headers }
  }
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text.slice(0, textMax))
}
