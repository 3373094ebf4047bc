// A point as bytes: what the embedded index stores under a point's key. Little-endian.
//
//   0  checksum of the rest   u32        16  updatedAtMs                        f64
//   4  0: a stump (removed)   u32        24  count (item) or newestMs (user)    f64
//   8  step                   f64        32  vectors, [1, D] or [K, D]          f32, then the rest of the payload as JSON

import { CorruptError } from '../../core/errors.ts'
import {
  type ItemPayload,
  popularityPart,
  type UserPayload,
  type VectorPoint,
  type VersionShape
} from '../vectorIndex.ts'

export interface StoredItem {
  readonly step: number
  readonly vector: Float32Array // [D]
  readonly payload: ItemPayload
}

export interface StoredUser {
  readonly step: number
  readonly vectors: Float32Array // [K, D]
  readonly payload: UserPayload
}

const headerBytes = 32
const stumpBytes = 16
const aliveMark = 1

export function encodePoint(step: number, point: VectorPoint): Buffer {
  const { payload } = point
  const vectors = point.role === 'item' ? point.vector : point.vectors
  const rest =
    point.role === 'item'
      ? [
          point.payload.title ?? null,
          point.payload.features ?? null,
          point.payload.popularity ?? 0,
          point.payload.popularityIn ?? null
        ]
      : [point.payload.historyLength, ...point.payload.recent]
  const text = JSON.stringify(rest)
  const bytes = Buffer.allocUnsafe(headerBytes + vectors.byteLength + Buffer.byteLength(text))
  bytes.writeUInt32LE(aliveMark, 4)
  bytes.writeDoubleLE(step, 8)
  bytes.writeDoubleLE(payload.updatedAtMs, 16)
  bytes.writeDoubleLE(point.role === 'item' ? point.payload.count : point.payload.newestMs, 24)
  bytes.set(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength), headerBytes)
  bytes.write(text, headerBytes + vectors.byteLength)
  bytes.writeUInt32LE(checksum(bytes), 0)
  return bytes
}

/** What stays of a removed point: the step it had. */
export function encodeStump(step: number): Buffer {
  const bytes = Buffer.alloc(stumpBytes)
  bytes.writeDoubleLE(step, 8)
  bytes.writeUInt32LE(checksum(bytes), 0)
  return bytes
}

export function pointStep(bytes: Buffer): number {
  return bytes.readDoubleLE(8)
}

export function isStump(bytes: Buffer): boolean {
  return bytes.readUInt32LE(4) !== aliveMark
}

/** @returns undefined for a stump @throws CorruptError if the bytes are not those that were written */
export function decodePoint(
  role: 'item' | 'user',
  id: string,
  bytes: Buffer,
  shape: VersionShape
): StoredItem | StoredUser | undefined {
  const vectorBytes = 4 * shape.dimensions * (role === 'item' ? 1 : shape.interestCount)
  if (
    bytes.length < stumpBytes ||
    bytes.readUInt32LE(0) !== checksum(bytes) ||
    (!isStump(bytes) && bytes.length < headerBytes + vectorBytes)
  ) {
    throw new CorruptError(
      `index: the record of ${role} ${id} is damaged (checksum). Restore the index from a copy, or remove it and publish again`
    )
  }
  if (isStump(bytes)) return undefined
  const step = pointStep(bytes)
  const updatedAtMs = bytes.readDoubleLE(16)
  const number = bytes.readDoubleLE(24)
  const vectors = new Float32Array(vectorBytes / 4)
  // Not by subarray: a load does this once an item, and a Buffer costs more to make than its bytes to copy.
  bytes.copy(new Uint8Array(vectors.buffer), 0, headerBytes, headerBytes + vectorBytes)
  const rest: unknown = JSON.parse(bytes.toString('utf8', headerBytes + vectorBytes))
  if (role === 'item') {
    // The last two are not there in what earlier releases wrote.
    const [title, features, popularity, popularityIn] = rest as [
      string | null,
      ItemPayload['features'] | null,
      number?,
      (ItemPayload['popularityIn'] | null)?
    ]
    const payload: ItemPayload = {
      ...(title === null ? {} : { title }),
      ...(features === null || features === undefined ? {} : { features }),
      count: number,
      ...popularityPart(popularity, popularityIn ?? undefined),
      updatedAtMs
    }
    return { step, vector: vectors, payload }
  }
  const [historyLength, ...recent] = rest as [number, ...string[]]
  return { step, vectors, payload: { recent, historyLength, newestMs: number, updatedAtMs } }
}

/**
 * FNV-1a over 32-bit words (the last bytes one by one), without the checksum itself: finds any single damaged word, at
 * a nanosecond a word.
 */
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
