// A look at an LMDB file before it is mapped into memory: reading past the end of a file that was cut short would kill
// the process with SIGBUS, which no handler turns into an error.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { CorruptError } from '../../core/errors.ts'

// Where a meta page has what (LMDB's MDB_meta behind a page header of 24 bytes, as lmdb-js writes it).
const magicAt = 24
const magic = 0xbeefc0de
const pageSizeAt = 48
const freeRootAt = 88
const mainRootAt = 136
const lastPageAt = 144
const transactionAt = 152
const metaBytes = 160

/**
 * Pages at the end that LMDB gave out but never had to write, so that an undamaged file may be this much shorter than
 * its last page says.
 */
const unwrittenPagesMax = 256

/** @throws CorruptError if the file is not an LMDB environment, or is shorter than its newest meta page says */
export function checkEnvironmentFile(file: string): void {
  const damaged = (what: string) =>
    new CorruptError(`${file} ${what}. It was not touched: restore it from a copy, or remove it and publish again`)
  const descriptor = openSync(file, 'r')
  try {
    const first = Buffer.alloc(metaBytes)
    const second = Buffer.alloc(metaBytes)
    const read = readSync(descriptor, first, 0, metaBytes, 0)
    if (read === 0) return // another process is just making it
    const pageBytes = first.readUInt32LE(pageSizeAt)
    if (read < metaBytes || first.readUInt32LE(magicAt) !== magic || pageBytes < 512 || pageBytes > 65_536)
      throw damaged('is not an LMDB file')
    if (readSync(descriptor, second, 0, metaBytes, pageBytes) < metaBytes || second.readUInt32LE(magicAt) !== magic) {
      throw damaged('has lost its second meta page')
    }
    const newest = second.readBigUInt64LE(transactionAt) > first.readBigUInt64LE(transactionAt) ? second : first
    const none = 2n ** 64n - 1n // the root of an empty tree
    const roots = [newest.readBigUInt64LE(freeRootAt), newest.readBigUInt64LE(mainRootAt)].map((page) =>
      page === none ? 0n : page
    )
    const written = newest.readBigUInt64LE(lastPageAt) - BigInt(unwrittenPagesMax)
    const pagesMin = [written, ...roots].reduce((a, b) => (b > a ? b : a)) + 1n
    const { size } = fstatSync(descriptor)
    if (BigInt(size) < pagesMin * BigInt(pageBytes))
      throw damaged(`has ${size} bytes, but ${pagesMin * BigInt(pageBytes)} or more were written: it was cut short`)
  } finally {
    closeSync(descriptor)
  }
}
