// How records lie on disk: blocks of records that were appended together, as Kafka's batches are.
//
//     byte 0    format version
//     byte 1    flags: 1 the checksum is filled in
//     byte 4    uint32   CRC-32 of byte 8 to the end
//     byte 8    float64  when the log took the records, milliseconds since 1970
//     byte 16   uint32   span: the block covers the offsets base … base + span − 1
//     byte 20   uint32   count of the records still in it
//     byte 24   records: varints (offset − base, key bytes, value bytes + 1 or 0 for null, headers), headers, key, value
//
// All numbers little-endian. The base is in the key that the block is stored under, so that a block can be made before
// its offsets are known.

import { ok as assert } from 'node:assert'
import * as zlib from 'node:zlib'
import { CorruptError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import type { LogRecord, NewRecord } from '../eventLog.ts'

const format = 1
const flagChecksum = 1
const headerBytes = 24

/** `zlib.crc32` came with Node 20.15: before it, blocks are written and read unchecked. */
const crc32: ((data: Uint8Array, value?: number) => number) | undefined = zlib.crc32

/**
 * Most records and bytes of one block: enough that a block costs little beside its records, little enough to read for
 * one of them.
 */
export const blockRecordsMax = 512
export const blockBytesMax = 256 * 1024

const noHeaders: Readonly<Record<string, Uint8Array>> = Object.freeze({})

export interface Block {
  /** Without the time, which `stamp` fills in. */
  readonly bytes: Buffer
  readonly span: number
}

/**
 * Records of one partition as blocks, in order.
 *
 * @param recordsMax at most in one block
 */
export function packBlocks(records: readonly NewRecord[], recordsMax: number): Block[] {
  const blocks: Block[] = []
  let from = 0
  while (from < records.length) {
    let bytes = sizeMax(records[from]!)
    let to = from + 1
    while (to < records.length && to - from < recordsMax) {
      const size = sizeMax(records[to]!)
      if (bytes + size > blockBytesMax) break
      bytes += size
      to++
    }
    const deltas = to - from === 1 ? undefined : Array.from({ length: to - from }, (_, i) => i)
    blocks.push(pack(records.slice(from, to), deltas, to - from, bytes))
    from = to
  }
  return blocks
}

/** A block again, of those of its records that are kept. @param base offset of the block's first record, kept or not */
export function repackBlock(kept: readonly LogRecord[], base: bigint, span: number, timestampMs: number): Buffer {
  const deltas = kept.map((record) => Number(record.offset - base))
  const { bytes } = pack(
    kept,
    deltas,
    span,
    kept.reduce((sum, record) => sum + sizeMax(record), 0)
  )
  stamp(bytes, timestampMs)
  return bytes
}

/** Fills in when the log took the block, and the checksum over it. */
export function stamp(bytes: Buffer, timestampMs: number): void {
  bytes.writeDoubleLE(timestampMs, 8)
  if (crc32 !== undefined) bytes.writeUInt32LE(crc32(bytes.subarray(8)), 4)
}

/** What can be said of a block without reading its records. */
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
  if (crc32 !== undefined && (bytes[1]! & flagChecksum) !== 0) {
    const sum = crc32(bytes.subarray(8))
    if (sum !== bytes.readUInt32LE(4)) throw corrupt('the checksum differs')
  }
  const { timestampMs, span, count } = blockHead(bytes)
  const skip = Number(position - base)
  at = headerBytes
  for (let i = 0; i < count; i++) {
    const delta = readVarint(bytes)
    const keyBytes = readVarint(bytes)
    const valueBytes = readVarint(bytes) - 1
    const headerCount = readVarint(bytes)
    let headers = noHeaders
    if (headerCount > 0) {
      if (headerCount > bytes.length) throw corrupt(`${headerCount} headers in a record`)
      const entries: [string, Uint8Array][] = []
      for (let h = 0; h < headerCount; h++) {
        const nameBytes = readVarint(bytes)
        const name = bytes.toString('utf8', at, at + nameBytes)
        at += nameBytes
        const length = readVarint(bytes)
        entries.push([name, bytes.subarray(at, at + length)])
        at += length
      }
      headers = Object.fromEntries(entries)
    }
    const key = at
    const value = key + keyBytes
    at = value + Math.max(0, valueBytes)
    if (at > bytes.length || delta >= span) throw corrupt(`record ${i} of ${count} reaches beyond it`)
    if (delta < skip) continue
    into.push({
      key: bytes.subarray(key, value),
      value: valueBytes < 0 ? null : bytes.subarray(value, at),
      headers,
      partition,
      offset: base + BigInt(delta),
      timestampMs
    })
  }
  if (at !== bytes.length) throw corrupt(`${bytes.length - at} bytes after its last record`)
  return base + BigInt(span)
}

// One block is read or written at a time, synchronously: where in it we are.
let at = 0

function readVarint(bytes: Buffer): number {
  let byte = bytes[at++]!
  if (byte < 0x80) return byte
  let value = byte & 0x7f
  let scale = 128
  for (;;) {
    // Past the end there is 0, which ends the number; the caller compares `at` with the length.
    byte = bytes[at++] ?? 0
    value += (byte & 0x7f) * scale
    if (byte < 0x80) return value
    scale *= 128
  }
}

function writeVarint(bytes: Buffer, value: number): void {
  let left = value
  while (left > 0x7f) {
    bytes[at++] = (left & 0x7f) | 0x80
    left = left > 0x7fffffff ? Math.floor(left / 128) : left >>> 7
  }
  bytes[at++] = left
}

/** Four varints of at most 5 bytes each before the content. */
function sizeMax(record: NewRecord | LogRecord): number {
  let size = 20 + record.key.length + (record.value?.length ?? 0)
  if (record.headers !== undefined) {
    for (const name in record.headers) size += 10 + 3 * name.length + own(record.headers, name)!.length
  }
  return size
}

function pack(
  records: readonly (NewRecord | LogRecord)[],
  deltas: readonly number[] | undefined,
  span: number,
  contentMax: number
): Block {
  const bytes = Buffer.allocUnsafeSlow(headerBytes + contentMax)
  bytes.fill(0, 0, headerBytes)
  bytes[0] = format
  bytes[1] = crc32 === undefined ? 0 : flagChecksum
  bytes.writeUInt32LE(span, 16)
  bytes.writeUInt32LE(records.length, 20)
  at = headerBytes
  for (let i = 0; i < records.length; i++) {
    const { key, value, headers } = records[i]!
    const names = headers === undefined ? [] : Object.keys(headers)
    writeVarint(bytes, deltas === undefined ? i : deltas[i]!)
    writeVarint(bytes, key.length)
    writeVarint(bytes, value === null ? 0 : value.length + 1)
    writeVarint(bytes, names.length)
    for (const name of names) {
      const header = own(headers!, name)!
      writeVarint(bytes, Buffer.byteLength(name))
      at += bytes.write(name, at)
      writeVarint(bytes, header.length)
      bytes.set(header, at)
      at += header.length
    }
    bytes.set(key, at)
    at += key.length
    if (value !== null) {
      bytes.set(value, at)
      at += value.length
    }
  }
  assert(at <= bytes.length, 'sizeMax is an upper bound')
  return { bytes: bytes.subarray(0, at), span }
}
