// Keys of points, as the embedded index stores them.

import type { Role } from '../vectorIndex.ts'

const prefixBytes = 5
const roleByte = { item: 0x69, user: 0x75 } as const

/** Generation (big-endian, so that a version's points lie together), role, id. */
export function keyOf(generation: number, role: Role, id: string): Buffer {
  const key = Buffer.allocUnsafe(prefixBytes + Buffer.byteLength(id))
  key.writeUInt32BE(generation, 0)
  key[4] = roleByte[role]
  key.write(id, prefixBytes)
  return key
}

export function idOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset + prefixBytes, key.byteLength - prefixBytes).toString()
}
