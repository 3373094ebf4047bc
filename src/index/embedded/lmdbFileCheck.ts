// A check of an LMDB file before it is mapped into memory: reading past the end of a truncated file would end the
// process with SIGBUS, which no handler turns into an error.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { CorruptError } from '../../core/errors.ts'

// Offsets in a meta page (LMDB's MDB_meta behind a page header of 24 bytes, as lmdb-js writes it).
const magicAt = 24
const magic = 0xbeefc0de
const pageSizeAt = 48
const freeRootAt = 88
const mainRootAt = 136
const lastPageAt = 144
const transactionAt = 152
const metaBytes = 160

/** Pages at the end that LMDB allocated but never wrote: an undamaged file may be this much shorter. */
const unwrittenPagesMax = 256n
/** The root of an empty tree. */
const noPage = 2n ** 64n - 1n

/** @throws CorruptError if the file is not an LMDB environment, or is shorter than its newest meta page says */
export function checkLmdbFile(file: string): void {
  const damaged = (what: string) =>
    new CorruptError(`${file} ${what}. It was not changed: restore it from a copy, or remove it and publish again`)
  const descriptor = openSync(file, 'r')
  try {
    const first = Buffer.alloc(metaBytes)
    const second = Buffer.alloc(metaBytes)
    const read = readSync(descriptor, first, 0, metaBytes, 0)
    if (read === 0) return // another process is creating it
    const pageBytes = first.readUInt32LE(pageSizeAt)
    if (read < metaBytes || first.readUInt32LE(magicAt) !== magic || pageBytes < 512 || pageBytes > 65_536)
      throw damaged('is not an LMDB file')
    if (readSync(descriptor, second, 0, metaBytes, pageBytes) < metaBytes || second.readUInt32LE(magicAt) !== magic)
      throw damaged('has lost its second meta page')
    const newest = second.readBigUInt64LE(transactionAt) > first.readBigUInt64LE(transactionAt) ? second : first
    const pages = [newest.readBigUInt64LE(lastPageAt) - unwrittenPagesMax]
    for (const at of [freeRootAt, mainRootAt]) {
      const root = newest.readBigUInt64LE(at)
      if (root !== noPage) pages.push(root)
    }
    const bytesMin = (pages.reduce((a, b) => (b > a ? b : a), 0n) + 1n) * BigInt(pageBytes)
    const { size } = fstatSync(descriptor)
    if (BigInt(size) < bytesMin) throw damaged(`has ${size} bytes, but at least ${bytesMin} were written: truncated`)
  } finally {
    closeSync(descriptor)
  }
}
