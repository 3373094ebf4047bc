// A point as bytes, as the embedded index stores it. Little-endian.
//
//   0  checksum of the rest   u32        16  vectors, [1, D] or [K, D]   f32, then the payload as JSON
//   4  1; 0: a tombstone      u32
//   8  step                   f64

import { CorruptError } from '../../core/errors.ts'
import type { Role, VectorPoint } from '../vectorIndex.ts'

export interface DecodedPoint<Payload> {
  readonly step: number
  readonly vectors: Float32Array // [1, D] or [K, D]
  readonly payload: Payload
}

const headerBytes = 16

export function encodePoint(step: number, point: VectorPoint): Buffer {
  const vectors = point.role === 'item' ? point.vector : point.vectors
  const payload = Buffer.from(JSON.stringify(point.payload))
  const bytes = Buffer.allocUnsafe(headerBytes + vectors.byteLength + payload.length)
  bytes.writeUInt32LE(1, 4)
  bytes.writeDoubleLE(step, 8)
  bytes.set(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength), headerBytes)
  bytes.set(payload, headerBytes + vectors.byteLength)
  bytes.writeUInt32LE(checksum(bytes), 0)
  return bytes
}

/** What remains of a removed point: the step it had. */
export function encodeTombstone(step: number): Buffer {
  const bytes = Buffer.alloc(headerBytes)
  bytes.writeDoubleLE(step, 8)
  bytes.writeUInt32LE(checksum(bytes), 0)
  return bytes
}

export function pointStep(bytes: Buffer): number {
  return bytes.readDoubleLE(8)
}

export function isTombstone(bytes: Buffer): boolean {
  return bytes.readUInt32LE(4) === 0
}

/**
 * @param floats of the vectors
 * @returns undefined for a tombstone @throws CorruptError if the bytes are not those that were written
 */
export function decodePoint<Payload>(
  role: Role,
  id: string,
  bytes: Buffer,
  floats: number
): DecodedPoint<Payload> | undefined {
  const payloadAt = headerBytes + 4 * floats
  const isWhole = bytes.length >= headerBytes && bytes.readUInt32LE(0) === checksum(bytes)
  if (!isWhole || (!isTombstone(bytes) && bytes.length < payloadAt)) {
    throw new CorruptError(
      `index: the record of ${role} ${id} is damaged (checksum). Restore the index from a copy, or remove it and publish again`
    )
  }
  if (isTombstone(bytes)) return undefined
  const vectors = new Float32Array(floats)
  // Not by subarray: making a Buffer costs more than copying its bytes, and loading does this once an item.
  bytes.copy(new Uint8Array(vectors.buffer), 0, headerBytes, payloadAt)
  const payload = JSON.parse(bytes.toString('utf8', payloadAt)) as Payload
  return { step: pointStep(bytes), vectors, payload }
}

/** FNV-1a over 32-bit words, the last bytes one by one: finds any single damaged word, at a nanosecond a word. */
function checksum(bytes: Buffer): number {
  let hash = 0x811c9dc5
  const words = bytes.length & ~3
  let at = 4
  for (; at < words; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    hash = Math.imul(hash ^ word, 0x01000193)
  }
  for (; at < bytes.length; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
  return hash >>> 0
}
