// Avro's primitives over bytes, for the records that every event passes through: without a tree of types, and with
// strings that many records share made once.
//
// What is unusual is refused with an exception; whoever calls this then reads or writes the record by its schema, which
// knows what was wrong, or that nothing was.

import { isUtf8 } from 'node:buffer'

/** Strings of at most this many bytes are looked up before they are made: ids of items, names of types. */
const sharedBytesMax = 64
/** Places for shared strings, one string each: a megabyte, enough for the items that make up most of a stream. */
const sharedMax = 2 ** 16

class Unusual extends Error {}

function unusual(what: string): never {
  throw new Unusual(what)
}

const shared = new Array<string>(sharedMax).fill('')

/** The string of these bytes, the very same object as last time where it is still known. */
function sharedString(bytes: Buffer, start: number, end: number): string {
  const length = end - start
  let hash = length
  let all = 0
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!
    hash = Math.imul(hash ^ byte, 0x01000193)
    all |= byte
  }
  if (all >= 0x80) return plainString(bytes, start, end)
  const place = (hash ^ (hash >>> 15)) & (sharedMax - 1)
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

/** avsc reads what is no UTF-8 as U+FFFD: two users whose ids differ there would become one. */
function plainString(bytes: Buffer, start: number, end: number): string {
  for (let i = start; i < end; i++) {
    if (bytes[i]! < 0x80) continue
    if (!isUtf8(bytes.subarray(i, end))) unusual('no UTF-8')
    return bytes.toString('utf8', start, end)
  }
  return bytes.toString('latin1', start, end)
}

export class AvroReader {
  #bytes: Buffer = Buffer.alloc(0)
  at = 0

  start(bytes: Uint8Array, at: number): void {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.at = at
  }

  /** @throws if bytes are left */
  end(): void {
    if (this.at !== this.#bytes.length) unusual('trailing bytes')
  }

  /** An int, or a long with a unit. @throws beyond ±2⁵² */
  number(): number {
    const bytes = this.#bytes
    let byte = bytes[this.at++]
    if (byte === undefined) return unusual('truncated')
    if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1)
    let raw = byte & 0x7f
    let scale = 128
    for (;;) {
      byte = bytes[this.at++]
      if (byte === undefined) return unusual('truncated')
      raw += (byte & 0x7f) * scale
      if (byte < 0x80) break
      scale *= 128
    }
    if (raw > Number.MAX_SAFE_INTEGER) unusual('large')
    return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2
  }

  int(): number {
    const value = this.number()
    return value === (value | 0) ? value : unusual('more than 32 bits')
  }

  /** A plain long. @throws beyond ±2⁵² */
  long(): bigint {
    return BigInt(this.number())
  }

  string(): string {
    const { start, end } = this.#span()
    return plainString(this.#bytes, start, end)
  }

  /** A string that other records have as well. */
  sharedString(): string {
    const { start, end } = this.#span()
    return end - start <= sharedBytesMax ? sharedString(this.#bytes, start, end) : plainString(this.#bytes, start, end)
  }

  skipString(): void {
    this.#span()
  }

  /** Part of the record's memory. */
  bytes(): Buffer {
    const { start, end } = this.#span()
    return this.#bytes.subarray(start, end)
  }

  double(): number {
    if (this.at + 8 > this.#bytes.length) unusual('truncated')
    this.at += 8
    return this.#bytes.readDoubleLE(this.at - 8)
  }

  /** The number of entries of an array that was written as one block, and of its end: 0 after it. */
  count(): number {
    const count = this.number()
    // Each entry takes a byte at least.
    if (count < 0 || count > this.#bytes.length - this.at) unusual('a block of another kind')
    return count
  }

  /** After the entries of an array that was not empty. */
  endOfArray(): void {
    if (this.#bytes[this.at++] !== 0) unusual('several blocks')
  }

  // Reused: who asks takes both at once.
  readonly #found = { start: 0, end: 0 }

  #span(): { start: number; end: number } {
    const length = this.number()
    const start = this.at
    const end = start + length
    if (length < 0 || end > this.#bytes.length) unusual('truncated')
    this.at = end
    this.#found.start = start
    this.#found.end = end
    return this.#found
  }
}

/** A varint takes ten bytes at most. */
const numberBytesMax = 10

export class AvroWriter {
  /** Grows to the longest record seen. */
  #bytes = Buffer.allocUnsafeSlow(4096)
  at = 0

  /** Leaves room before the record. */
  start(at: number): void {
    this.at = at
  }

  /** @param header for the room before the record. @returns owned by the caller */
  take(header: Buffer): Buffer {
    header.copy(this.#bytes, 0)
    return Buffer.from(this.#bytes.subarray(0, this.at))
  }

  int(value: number): void {
    if (value !== (value | 0)) unusual('no int')
    this.number(value)
  }

  /** A long with a unit. @throws beyond ±2⁵² */
  number(value: number): void {
    if (!Number.isSafeInteger(value) || value >= 2 ** 52 || value < -(2 ** 52)) unusual('no long that a number holds')
    this.#room(numberBytesMax)
    const bytes = this.#bytes
    let left = value < 0 ? -2 * value - 1 : 2 * value
    while (left >= 2 ** 31) {
      const rest = Math.floor(left / 128)
      bytes[this.at++] = (left - rest * 128) | 0x80
      left = rest
    }
    while (left > 0x7f) {
      bytes[this.at++] = (left & 0x7f) | 0x80
      left >>>= 7
    }
    bytes[this.at++] = left
  }

  /** A plain long. @throws beyond ±2⁵² */
  long(value: bigint): void {
    if (typeof value !== 'bigint') unusual('no bigint')
    this.number(Number(value))
  }

  string(text: string): void {
    if (typeof text !== 'string') unusual('no string')
    const length = text.length
    this.#room(3 * length + 2 * numberBytesMax)
    if (length <= sharedBytesMax) {
      const start = this.at
      this.number(length)
      const bytes = this.#bytes
      let at = this.at
      let i = 0
      for (; i < length; i++) {
        const code = text.charCodeAt(i)
        if (code >= 0x80) break
        bytes[at++] = code
      }
      if (i === length) {
        this.at = at
        return
      }
      this.at = start
    }
    this.number(Buffer.byteLength(text))
    this.at += this.#bytes.write(text, this.at, 'utf8')
  }

  bytes(value: Uint8Array): void {
    this.number(value.length)
    this.#room(value.length)
    this.#bytes.set(value, this.at)
    this.at += value.length
  }

  double(value: number): void {
    if (typeof value !== 'number') unusual('no number')
    this.#room(8)
    this.at = this.#bytes.writeDoubleLE(value, this.at)
  }

  /** Eight bytes, little-endian, signed. */
  int64(value: bigint): void {
    this.#room(8)
    this.at = this.#bytes.writeBigInt64LE(value, this.at)
  }

  #room(bytes: number): void {
    if (this.at + bytes <= this.#bytes.length) return
    const longer = Buffer.allocUnsafeSlow(2 * (this.at + bytes))
    this.#bytes.copy(longer, 0, 0, this.at)
    this.#bytes = longer
  }
}
