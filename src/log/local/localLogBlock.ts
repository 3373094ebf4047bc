// How records lie on disk: blocks of records that were appended together, as Kafka's batches are.
//
//     byte 0    format version
//     byte 4    uint32   checksum of byte 8 to the end
//     byte 8    float64  when the log took the records, milliseconds since 1970
//     byte 16   uint32   span: the block covers the offsets base … base + span − 1
//     byte 20   uint32   count of the records still in it
//     byte 24   records: varints (offset − base, key bytes, value bytes + 1 or 0 for null, headers), headers, key, value
//
// All numbers little-endian. The base is in the key that the block is stored under, so that a block can be made before
// its offsets are known.

import { ByteReader, ByteWriter, checksum } from '../../core/bytes.ts'
import { CorruptError } from '../../core/errors.ts'
import type { LogRecord, NewRecord } from '../eventLog.ts'

const format = 1
const headerBytes = 24

/**
 * Most records and bytes of one block: enough that a block costs little beside its records, little enough to read for
 * one of them.
 */
export const blockRecordsMax = 512
const blockBytesMax = 256 * 1024

const noHeaders: Readonly<Record<string, Uint8Array>> = Object.freeze({})

export interface Block {
  /** Without the time, which `stamp` fills in. */
  readonly bytes: Buffer
  readonly span: number
}

/** One block is written at a time, synchronously. */
const writer = new ByteWriter()

/**
 * Records of one partition as blocks, in order.
 *
 * @param recordsMax at most in one block
 */
export function packBlocks(records: readonly NewRecord[], recordsMax: number): Block[] {
  const blocks: Block[] = []
  let count = 0
  const finish = () => {
    blocks.push({ bytes: finishBlock(count, count), span: count })
    count = 0
  }
  for (const record of records) {
    if (count === recordsMax || (count > 0 && writer.length + sizeOf(record) > blockBytesMax)) finish()
    if (count === 0) startBlock()
    writeRecord(record, count++)
  }
  if (count > 0) finish()
  return blocks
}

/** A block again, with those of its records that are kept. @param base offset of its first record, kept or not */
export function repackBlock(kept: readonly LogRecord[], base: bigint, span: number, timestampMs: number): Buffer {
  startBlock()
  for (const record of kept) writeRecord(record, Number(record.offset - base))
  const bytes = finishBlock(kept.length, span)
  stamp(bytes, timestampMs)
  return bytes
}

/** Fills in when the log took the block, and the checksum over it. */
export function stamp(bytes: Buffer, timestampMs: number): void {
  bytes.writeDoubleLE(timestampMs, 8)
  bytes.writeUInt32LE(checksum(bytes, 8), 4)
}

/** What is known of a block without reading its records. */
export function blockHead(bytes: Buffer): {
  readonly timestampMs: number
  readonly span: number
  readonly count: number
} {
  return { timestampMs: bytes.readDoubleLE(8), span: bytes.readUInt32LE(16), count: bytes.readUInt32LE(20) }
}

/**
 * Appends the block's records from `position` on to `into`; keys and values are views of `bytes`.
 *
 * @param where for the error: the topic's directory
 * @returns the offset after the block
 * @throws CorruptError if the block is not what was written
 */
export function unpackBlock(
  bytes: Buffer,
  partition: number,
  base: bigint,
  position: bigint,
  into: LogRecord[],
  where: string
): bigint {
  const corrupt = (what: string) =>
    new CorruptError(
      `${where}, partition ${partition}, block at offset ${base}: ${what}. Its bytes are not what was written: restore the directory, or reset it`
    )
  if (bytes.length < headerBytes || bytes[0] !== format) throw corrupt(`format ${bytes[0]}, expected ${format}`)
  if (checksum(bytes, 8) !== bytes.readUInt32LE(4)) throw corrupt('the checksum differs')
  const { timestampMs, span, count } = blockHead(bytes)
  const skip = Number(position - base)
  const reader = new ByteReader(bytes, headerBytes)
  try {
    for (let i = 0; i < count; i++) {
      const delta = reader.varint()
      const keyBytes = reader.varint()
      const valueBytes = reader.varint() - 1
      const headers = readHeaders(reader)
      const key = reader.raw(keyBytes)
      const value = valueBytes < 0 ? null : reader.raw(valueBytes)
      if (delta >= span) throw corrupt(`record ${i} of ${count} is beyond its ${span} offsets`)
      if (delta >= skip) into.push({ key, value, headers, partition, offset: base + BigInt(delta), timestampMs })
    }
  } catch (error) {
    throw corrupt((error as Error).message)
  }
  if (reader.at !== bytes.length) throw corrupt(`${bytes.length - reader.at} bytes after its last record`)
  return base + BigInt(span)
}

function readHeaders(reader: ByteReader): Readonly<Record<string, Uint8Array>> {
  const count = reader.varint()
  if (count === 0) return noHeaders
  const entries: [string, Uint8Array][] = []
  for (let h = 0; h < count; h++) {
    const name = reader.raw(reader.varint()).toString()
    entries.push([name, reader.raw(reader.varint())])
  }
  return Object.fromEntries(entries)
}

/** About as many bytes as `writeRecord` writes. */
function sizeOf({ key, value, headers = {} }: NewRecord): number {
  let size = 20 + key.length + (value?.length ?? 0)
  for (const [name, header] of Object.entries(headers)) size += 10 + name.length + header.length
  return size
}

function startBlock(): void {
  writer.start()
  writer.raw(blockStart)
}

const blockStart = Buffer.alloc(headerBytes)
blockStart[0] = format

function finishBlock(count: number, span: number): Buffer {
  const bytes = writer.copy()
  bytes.writeUInt32LE(span, 16)
  bytes.writeUInt32LE(count, 20)
  return bytes
}

function writeRecord({ key, value, headers = noHeaders }: NewRecord | LogRecord, delta: number): void {
  writer.varint(delta)
  writer.varint(key.length)
  writer.varint(value === null ? 0 : value.length + 1)
  const entries = headers === noHeaders ? [] : Object.entries(headers)
  writer.varint(entries.length)
  for (const [name, header] of entries) {
    writer.varint(Buffer.byteLength(name))
    writer.utf8(name)
    writer.varint(header.length)
    writer.raw(header)
  }
  writer.raw(key)
  if (value !== null) writer.raw(value)
}
