// Numbers of any width, one after the other, without bytes between them.

import { CorruptError } from '../core/errors.ts'

const two24 = 2 ** 24
const two31 = 2 ** 31
/** Of messages that are handed out. */
const blockBytes = 64 * 1024

/** Bits of a safe integer ≥ 0; 0 has none. */
export function bitLength(value: number): number {
  return value < two31 ? 32 - Math.clz32(value) : 63 - Math.clz32(Math.floor(value / two31))
}

/** Most significant bit first. One writer serves many messages. */
export class BitWriter {
  #bytes = new Uint8Array(4096)
  #at = 0
  #held = 0
  #heldBits = 0
  #block = new Uint8Array(0)
  #blockAt = blockBytes

  /** Begins a message, whatever became of the one before. */
  start(): void {
    this.#at = 0
    this.#held = 0
    this.#heldBits = 0
  }

  /** @param value a safe integer, 0 ≤ value < 2^width  @param width 0 … 53 */
  write(value: number, width: number): void {
    if (width > 24) {
      const high = Math.floor(value / two24)
      this.write(high, width - 24)
      this.#put(value - high * two24, 24)
    } else this.#put(value, width)
  }

  /** A safe integer ≥ 0 of unknown size: 6 bits and its own. */
  number(value: number): void {
    const length = bitLength(value)
    this.#put(length, 6)
    this.mantissa(value, length)
  }

  /** What `bitLength` does not tell already: all bits but the leading one. */
  mantissa(value: number, length: number): void {
    if (length > 25) this.write(value - 2 ** (length - 1), length - 1)
    else if (length > 1) this.#put(value ^ (1 << (length - 1)), length - 1)
  }

  /** 64 bits; signed and unsigned are not told apart. */
  bits64(value: bigint): void {
    const low = Number(BigInt.asUintN(32, value))
    const high = Number(BigInt.asUintN(32, value >> 32n))
    this.write(high, 32)
    this.write(low, 32)
  }

  /** The bytes so far, padded with zero bits, followed by a checksum of four bytes. The caller owns them. */
  finish(): Uint8Array {
    if (this.#heldBits > 0) this.#put(0, 8 - this.#heldBits)
    const length = this.#at
    this.write(checksum(this.#bytes, length), 32)
    return this.#own(this.#at)
  }

  /** A copy, cut from memory that many messages share: memory of its own costs each more than its packing. */
  #own(length: number): Uint8Array {
    if (length > blockBytes / 16) return this.#bytes.slice(0, length)
    if (this.#blockAt + length > blockBytes) {
      this.#block = new Uint8Array(blockBytes)
      this.#blockAt = 0
    }
    const own = this.#block.subarray(this.#blockAt, this.#blockAt + length)
    for (let i = 0; i < length; i++) own[i] = this.#bytes[i]!
    this.#blockAt += length
    return own
  }

  #put(value: number, width: number): void {
    if (this.#at + 4 > this.#bytes.length) {
      const longer = new Uint8Array(this.#bytes.length * 2)
      longer.set(this.#bytes)
      this.#bytes = longer
    }
    let held = (this.#held << width) | value // at most 7 + 24 bits
    let bits = this.#heldBits + width
    while (bits >= 8) {
      bits -= 8
      this.#bytes[this.#at++] = held >>> bits
    }
    held &= (1 << bits) - 1
    this.#held = held
    this.#heldBits = bits
  }
}

/** Reads what a BitWriter wrote. */
export class BitReader {
  readonly #bytes: Uint8Array
  readonly #end: number
  #at = 0
  #held = 0
  #heldBits = 0

  /**
   * @param length how many of `bytes` are the message
   * @throws CorruptError if the checksum is wrong
   */
  constructor(bytes: Uint8Array, length = bytes.length) {
    this.#bytes = bytes
    this.#end = length - 4
    const stored = this.#end < 0 ? -1 : new DataView(bytes.buffer, bytes.byteOffset + this.#end, 4).getUint32(0)
    if (stored !== checksum(bytes, Math.max(0, this.#end)))
      throw new CorruptError(`checksum of ${length} bytes is wrong`)
  }

  read(width: number): number {
    return width > 24 ? this.read(width - 24) * two24 + this.#take(24) : this.#take(width)
  }

  number(): number {
    return this.mantissa(this.#take(6))
  }

  mantissa(length: number): number {
    if (length <= 1) return length
    return length <= 25 ? (1 << (length - 1)) | this.#take(length - 1) : 2 ** (length - 1) + this.read(length - 1)
  }

  /** As a signed integer. */
  bits64(): bigint {
    const high = this.read(32)
    return BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(this.read(32)))
  }

  #take(width: number): number {
    let held = this.#held
    let bits = this.#heldBits
    while (bits < width) {
      if (this.#at >= this.#end) throw new CorruptError('bytes end too early')
      held = (held << 8) | this.#bytes[this.#at++]!
      bits += 8
    }
    bits -= width
    const value = held >>> bits
    this.#held = held & ((1 << bits) - 1)
    this.#heldBits = bits
    return value
  }
}

/** MurmurHash3's rounds over bytes, four at a time: against torn and mixed-up values, not against an adversary. */
function checksum(bytes: Uint8Array, length: number): number {
  let h = length
  const whole = length & ~3
  for (let i = 0; i < whole; i += 4) {
    let k = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    k = Math.imul(k, 0xcc9e2d51)
    h ^= Math.imul((k << 15) | (k >>> 17), 0x1b873593)
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0
  }
  for (let i = whole; i < length; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
