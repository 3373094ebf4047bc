// Writes Avro's primitive types and arrays. It refuses values that the types cannot hold, for no schema is looked at.

import { ByteWriter } from '../../core/bytes.ts'

/** Beyond it twice the number is not exact. */
const exactMax = 2 ** 52
const longMin = -(2n ** 63n)
const longMax = 2n ** 63n - 1n
/** Shorter texts are copied in a loop, which is faster than a call. */
const shortChars = 64

export class AvroWriter extends ByteWriter {
  /** @throws RangeError if it is not a whole number that is exact */
  long(value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`${String(value)} is not a whole number that is exact`)
    if (value < exactMax && value >= -exactMax) this.varint(value < 0 ? -2 * value - 1 : 2 * value)
    else this.bigint(BigInt(value))
  }

  int(value: number): void {
    if (value !== (value | 0)) throw new RangeError(`${String(value)} is not a whole number of 32 bits`)
    this.long(value)
  }

  /** A long in all of its 64 bits. */
  bigint(value: bigint): void {
    const number = Number(value)
    if (typeof value === 'bigint' && number < exactMax && number >= -exactMax) {
      this.long(number)
      return
    }
    if (typeof value !== 'bigint' || value < longMin || value > longMax)
      throw new RangeError(`${String(value)} is not a bigint of 64 bits`)
    let left = BigInt.asUintN(64, value < 0n ? ~(value << 1n) : value << 1n)
    for (; left > 0x7fn; left >>= 7n) this.byte(Number(left & 0x7fn) | 0x80)
    this.byte(Number(left))
  }

  string(text: string): void {
    if (typeof text !== 'string') throw new RangeError(`${String(text)} is not text`)
    const { length } = text
    let i = 0
    if (length <= shortChars) while (i < length && text.charCodeAt(i) < 0x80) i++
    if (i === length) {
      this.long(length)
      this.ascii(text)
    } else {
      this.long(Buffer.byteLength(text))
      this.utf8(text)
    }
  }

  bytes(value: Uint8Array): void {
    this.long(value.length)
    this.raw(value)
  }

  double(value: number): void {
    if (typeof value !== 'number') throw new RangeError(`${String(value)} is not a number`)
    this.float64(value)
  }

  boolean(value: boolean): void {
    this.byte(value ? 1 : 0)
  }

  /** Branch 0 of a union with null where there is no value, otherwise branch 1 and what `write` writes. */
  optional<T>(value: T | null | undefined, write: (value: T) => void): void {
    const isThere = value !== undefined && value !== null
    this.long(isThere ? 1 : 0)
    if (isThere) write(value)
  }

  /** An array or a map: one block, and the empty one that ends it. */
  entries<T>(entries: readonly T[], write: (entry: T, index: number) => void): void {
    if (entries.length > 0) this.long(entries.length)
    for (let i = 0; i < entries.length; i++) write(entries[i]!, i)
    this.long(0)
  }
}
