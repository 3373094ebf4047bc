// A point as bytes, as the embedded index stores it. Little-endian.
//
//    0  checksum of the rest   u32        24  bytes of the neighbours' ids   u32
//    4  1; 0: a tombstone      u32        32  when the list last changed     f64
//    8  step                   f64        40  vectors, [1, D] or [K, D]      f32
//   16  floats of the vectors  u32            the list in the memory: weights f32, then ids as JSON
//   20  neighbours             u32            the payload as JSON
//
// A tombstone ends after its step.

import { CorruptError } from '../../core/errors.ts'
import type { ItemId } from '../../records/interaction.ts'
import type { Neighbours } from '../memory.ts'
import type { Role, VectorPoint } from '../vectorIndex.ts'

export interface DecodedPoint<Payload> {
  readonly step: number
  readonly vectors: Float32Array // [1, D] or [K, D], or none of a user
  readonly payload: Payload
  readonly list: StoredList
}

/** An item's list in the memory, read when it is needed. */
export interface StoredList {
  /** As `encodePoint` was given it. */
  readonly changedAt: number
  /** Only before another record is read. */
  read(): Neighbours | undefined
}

const tombstoneBytes = 16
const headerBytes = 40

export function encodePoint(step: number, point: VectorPoint): Buffer {
  const payload = Buffer.from(JSON.stringify(point.payload))
  return point.role === 'item'
    ? encoded(step, point.vector, listBytes(point.memory), payload)
    : encoded(step, point.vectors, listBytes(undefined), payload)
}

/** The point with another list. @param bytes of an item, no tombstone */
export function withList(step: number, bytes: Buffer, memory: Neighbours): Buffer {
  const { listAt, payloadAt, floats } = partsOf(bytes)
  const vectors = new Float32Array(floats)
  bytes.copy(new Uint8Array(vectors.buffer), 0, headerBytes, listAt)
  return encoded(step, vectors, listBytes(memory), bytes.subarray(payloadAt))
}

/**
 * Notes when the list last changed: as in the record before, if its list is the same. To be called once, before the
 * record is written.
 *
 * @param now greater than any before
 */
export function sealPoint(bytes: Buffer, before: Buffer | undefined, now: number): Buffer {
  bytes.writeDoubleLE(before !== undefined && hasSameList(bytes, before) ? before.readDoubleLE(32) : now, 32)
  bytes.writeUInt32LE(checksum(bytes), 0)
  return bytes
}

function hasSameList(bytes: Buffer, before: Buffer): boolean {
  if (isTombstone(before)) return false
  const [a, b] = [partsOf(bytes), partsOf(before)]
  return bytes.subarray(a.listAt, a.payloadAt).equals(before.subarray(b.listAt, b.payloadAt))
}

interface ListBytes {
  readonly weights: Float32Array
  readonly ids: Buffer
}

function listBytes(memory: Neighbours | undefined): ListBytes {
  if (memory === undefined || memory.neighbours.length === 0)
    return { weights: new Float32Array(0), ids: Buffer.alloc(0) }
  return { weights: memory.weights, ids: Buffer.from(JSON.stringify(memory.neighbours)) }
}

/** Without checksum, and without when the list changed: see `sealPoint`. */
function encoded(step: number, vectors: Float32Array, { weights, ids }: ListBytes, payload: Buffer): Buffer {
  const bytes = Buffer.alloc(headerBytes + vectors.byteLength + weights.byteLength + ids.length + payload.length)
  bytes.writeUInt32LE(1, 4)
  bytes.writeDoubleLE(step, 8)
  bytes.writeUInt32LE(vectors.length, 16)
  bytes.writeUInt32LE(weights.length, 20)
  bytes.writeUInt32LE(ids.length, 24)
  let at = headerBytes
  for (const floats of [vectors, weights]) {
    bytes.set(new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength), at)
    at += floats.byteLength
  }
  bytes.set(ids, at)
  bytes.set(payload, at + ids.length)
  return bytes
}

function partsOf(bytes: Buffer): { floats: number; listAt: number; idsAt: number; payloadAt: number } {
  const floats = bytes.readUInt32LE(16)
  const listAt = headerBytes + 4 * floats
  const idsAt = listAt + 4 * bytes.readUInt32LE(20)
  return { floats, listAt, idsAt, payloadAt: idsAt + bytes.readUInt32LE(24) }
}

/** What remains of a removed point: the step it had. */
export function encodeTombstone(step: number): Buffer {
  const bytes = Buffer.alloc(tombstoneBytes)
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
 * @param floats of the vectors; a user may have none
 * @returns undefined for a tombstone @throws CorruptError if the bytes are not those that were written
 */
export function decodePoint<Payload>(
  role: Role,
  id: string,
  bytes: Buffer,
  floats: number
): DecodedPoint<Payload> | undefined {
  const damaged = () =>
    new CorruptError(
      `index: the record of ${role} ${id} is damaged (checksum). Restore the index from a copy, or remove it and publish again`
    )
  if (bytes.length < tombstoneBytes || bytes.readUInt32LE(0) !== checksum(bytes)) throw damaged()
  if (isTombstone(bytes)) return undefined
  if (bytes.length < headerBytes) throw damaged()
  const { floats: stored, listAt, idsAt, payloadAt } = partsOf(bytes)
  if (payloadAt > bytes.length || !(stored === floats || (stored === 0 && role === 'user'))) throw damaged()
  const payload = JSON.parse(bytes.toString('utf8', payloadAt)) as Payload
  const list = { changedAt: bytes.readDoubleLE(32), read: () => readList(bytes, listAt, idsAt, payloadAt) }
  return { step: pointStep(bytes), vectors: floatsAt(bytes, headerBytes, stored), payload, list }
}

function readList(bytes: Buffer, listAt: number, idsAt: number, payloadAt: number): Neighbours | undefined {
  if (idsAt === payloadAt) return undefined
  const neighbours = JSON.parse(bytes.toString('utf8', idsAt, payloadAt)) as ItemId[]
  return { neighbours, weights: floatsAt(bytes, listAt, neighbours.length) }
}

function floatsAt(bytes: Buffer, at: number, count: number): Float32Array {
  const floats = new Float32Array(count)
  // Not by subarray: making a Buffer costs more than copying its bytes, and loading does this once an item.
  bytes.copy(new Uint8Array(floats.buffer), 0, at, at + 4 * count)
  return floats
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
