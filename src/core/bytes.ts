// The layout of bytes that we write ourselves: varints, 64-bit integers and runs of bytes, and a checksum.
//
// A varint is a whole number from 0 to 2⁵³ − 1 in groups of 7 bits, the least significant first, the highest bit of a
// byte set while more follow (LEB128).

import { CorruptError } from './errors.ts'

const varintBytesMax = 8

/** Writes into memory of its own, which grows to the longest message: one writer serves many, one after the other. */
export class ByteWriter {
  #bytes = Buffer.allocUnsafeSlow(4096)
  #at = 0

  /** Begins a message. */
  start(): void {
    this.#at = 0
  }

  get length(): number {
    return this.#at
  }

  varint(value: number): void {
    if (this.#at + varintBytesMax > this.#bytes.length) this.#grow(varintBytesMax)
    const bytes = this.#bytes
    let left = value
    while (left > 0x7fffffff) {
      const rest = Math.floor(left / 128)
      bytes[this.#at++] = (left - rest * 128) | 0x80
      left = rest
    }
    while (left > 0x7f) {
      bytes[this.#at++] = (left & 0x7f) | 0x80
      left >>>= 7
    }
    bytes[this.#at++] = left
  }

  byte(value: number): void {
    if (this.#at + 1 > this.#bytes.length) this.#grow(1)
    this.#bytes[this.#at++] = value
  }

  /** Signed, little-endian. */
  int64(value: bigint): void {
    if (this.#at + 8 > this.#bytes.length) this.#grow(8)
    this.#at = this.#bytes.writeBigInt64LE(value, this.#at)
  }

  uint32(value: number): void {
    if (this.#at + 4 > this.#bytes.length) this.#grow(4)
    this.#at = this.#bytes.writeUInt32LE(value, this.#at)
  }

  /** Its characters are below U+0080; the bytes alone. */
  ascii(text: string): void {
    const { length } = text
    if (this.#at + length > this.#bytes.length) this.#grow(length)
    for (let i = 0; i < length; i++) this.#bytes[this.#at + i] = text.charCodeAt(i)
    this.#at += length
  }

  /** The bytes alone. */
  utf8(text: string): void {
    if (this.#at + 3 * text.length > this.#bytes.length) this.#grow(3 * text.length)
    this.#at += this.#bytes.write(text, this.#at)
  }

  float64(value: number): void {
    if (this.#at + 8 > this.#bytes.length) this.#grow(8)
    this.#at = this.#bytes.writeDoubleLE(value, this.#at)
  }

  /** The bytes alone: the reader must know how many. */
  raw(value: Uint8Array): void {
    if (this.#at + value.length > this.#bytes.length) this.#grow(value.length)
    this.#bytes.set(value, this.#at)
    this.#at += value.length
  }

  /** The message so far, until the next call. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#at)
  }

  /** A copy that the caller owns. */
  copy(): Buffer {
    return Buffer.from(this.view())
  }

  #grow(by: number): void {
    const longer = Buffer.allocUnsafeSlow(2 * (this.#at + by))
    this.#bytes.copy(longer, 0, 0, this.#at)
    this.#bytes = longer
  }
}

/** Reads what a ByteWriter wrote. Every method throws a CorruptError at the end of the bytes. */
export class ByteReader {
  readonly #bytes: Buffer
  readonly #end: number
  at: number

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.at = start
    this.#end = end
  }

  varint(): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      if (this.at >= this.#end || scale > 2 ** 49) throw new CorruptError(`no number at byte ${this.at}`)
      const byte = this.#bytes[this.at++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
  }

  int64(): bigint {
    return this.#bytes.readBigInt64LE(this.#take(8))
  }

  /** A view of the bytes that are read. */
  raw(length: number): Buffer {
    const start = this.#take(length)
    return this.#bytes.subarray(start, this.at)
  }

  #take(length: number): number {
    const start = this.at
    if (length > this.#end - start) throw new CorruptError(`the bytes end within the ${length} at byte ${start}`)
    this.at += length
    return start
  }
}

/** Any number for which no value of up to three bytes has the checksum of itself without its last byte. */
const checksumSeed = 0x9747b28c

/**
 * 32 bits over the bytes from `start` to `end`, by MurmurHash3's rounds: against torn and mixed-up values, not against
 * an adversary. (`zlib.crc32` is not in every Node that we support.)
 */
export function checksum(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let h = (end - start) ^ checksumSeed
  const whole = end - ((end - start) & 3)
  for (let i = start; i < whole; i += 4) {
    let k = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    k = Math.imul(k, 0xcc9e2d51)
    h ^= Math.imul((k << 15) | (k >>> 17), 0x1b873593)
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0
  }
  for (let i = whole; i < end; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
