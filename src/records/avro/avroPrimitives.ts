// Varints, bytes and text of Avro records, checked against the bytes that are there.

import { isUtf8 } from 'node:buffer'

/** Where the record is read, and how deep. */
export interface Cursor {
  readonly bytes: Buffer
  at: number
  depth: number
}

export type Read = (cursor: Cursor, field: string) => unknown
/** Moves the cursor over `count` bytes. @returns where they began */
export function take(cursor: Cursor, count: number, field: string): number {
  const start = cursor.at
  if (count > cursor.bytes.length - start)
    throw new RangeError(`truncated in ${field}: the record ends after ${cursor.bytes.length} bytes`)
  cursor.at += count
  return start
}

/** A varint of at most `bytesMax` bytes: a number where that is exact. */
function readVarint(cursor: Cursor, field: string, bytesMax: 5 | 10): number | bigint {
  const { bytes } = cursor
  const start = take(cursor, 1, field)
  let byte = bytes[start]!
  if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1)
  let value = byte & 0x7f
  let scale = 128
  do {
    if (cursor.at - start >= bytesMax) throw outOfRange(start, field, bytesMax)
    byte = bytes[take(cursor, 1, field)]!
    value += (byte & 0x7f) * scale
    scale *= 128
  } while (byte >= 0x80)
  if (value <= Number.MAX_SAFE_INTEGER) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  let exact = 0n
  for (let at = cursor.at - 1; at >= start; at--) exact = (exact << 7n) | BigInt(bytes[at]! & 0x7f)
  if (exact > 0xffffffffffffffffn) throw outOfRange(start, field, bytesMax)
  exact = (exact & 1n) === 0n ? exact >> 1n : ~(exact >> 1n)
  return Number.isSafeInteger(Number(exact)) ? Number(exact) : exact
}

function outOfRange(start: number, field: string, bytesMax: 5 | 10): RangeError {
  const bits = bytesMax === 5 ? 32 : 64
  return new RangeError(`${field}: out of range, the number at byte ${start} has more than ${bits} bits`)
}

export function readInt(cursor: Cursor, field: string): number {
  return Number(readVarint(cursor, field, 5))
}

export function readLong(cursor: Cursor, field: string): number | bigint {
  return readVarint(cursor, field, 10)
}

export function readBytes(cursor: Cursor, field: string): Buffer {
  const length = Number(readLong(cursor, field))
  if (length < 0) throw new RangeError(`${field}: negative length ${length}`)
  const start = take(cursor, length, field)
  return cursor.bytes.subarray(start, start + length)
}

/** Text that is not UTF-8 is refused: read with replacement characters, two ids could become one. */
export function readString(cursor: Cursor, field: string): string {
  const { bytes, at } = cursor
  const length = Number(readLong(cursor, field))
  if (length < 0) throw new RangeError(`${field}: negative length ${length}`)
  const start = take(cursor, length, field)
  const end = cursor.at
  // Nearly all text is short and ASCII, for which a loop is faster than a call.
  let i = start
  while (i < end && bytes[i]! < 0x80) i++
  if (i === end)
    return length <= sharedBytesMax ? sharedString(bytes, start, end) : bytes.toString('latin1', start, end)
  if (!isUtf8(bytes.subarray(i, end))) throw new RangeError(`${field}: not UTF-8, the text at byte ${at}`)
  return bytes.toString('utf8', start, end)
}

/** Ids of items, names of types: many records have them, and the steps of windows keep them. */
const sharedBytesMax = 32
/** Places of strings that may be shared, one each: enough for the items that make up most of a stream. */
const shared = new Array<string>(2 ** 16).fill('')

/** The string of these ASCII bytes: the same object as last time where its place still has it. */
function sharedString(bytes: Buffer, start: number, end: number): string {
  const length = end - start
  let hash = length
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  const place = (hash ^ (hash >>> 15)) & (shared.length - 1)
  const known = shared[place]!
  if (known.length === length) {
    let i = 0
    while (i < length && known.charCodeAt(i) === bytes[start + i]) i++
    if (i === length) return known
  }
  const made = bytes.toString('latin1', start, end)
  shared[place] = made
  return made
}
