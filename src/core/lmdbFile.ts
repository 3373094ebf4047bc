// A look at an LMDB file before it is mapped into memory: reading beyond the end of a file that was cut short would end
// the process with SIGBUS, which no handler turns into an error.

import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { CorruptError } from './errors.ts'

// Where a meta page has what (LMDB's MDB_meta behind a page header of 24 bytes, as lmdb-js writes it).
const magicAt = 24
const magic = 0xbeefc0de
const pageSizeAt = 48
const rootsAt = [88, 136] as const
const transactionAt = 152
const metaBytes = 160
/** The root of an empty tree. */
const noRoot = 2n ** 64n - 1n

/**
 * @param file may be absent or empty: a store that begins
 * @param remedy what to do, as the end of a sentence: "restore it, or reset it"
 * @throws CorruptError if the file is not an LMDB environment, or ends before the roots of its newest meta page
 */
export function checkLmdbFile(file: string, remedy: string): void {
  if (!existsSync(file)) return
  const damaged = (what: string) => new CorruptError(`${file} ${what}: ${remedy}`)
  const descriptor = openSync(file, 'r')
  try {
    const metas = [Buffer.alloc(metaBytes), Buffer.alloc(metaBytes)] as const
    const read = readSync(descriptor, metas[0], 0, metaBytes, 0)
    if (read === 0) return // another process is just creating it
    const pageBytes = metas[0].readUInt32LE(pageSizeAt)
    if (read < metaBytes || metas[0].readUInt32LE(magicAt) !== magic || pageBytes < 256 || pageBytes > 65_536)
      throw damaged('is not an LMDB database')
    if (readSync(descriptor, metas[1], 0, metaBytes, pageBytes) < metaBytes || metas[1].readUInt32LE(magicAt) !== magic)
      throw damaged('is not a whole LMDB database, its second page is missing')
    const transactions = metas.map((meta) => meta.readBigUInt64LE(transactionAt))
    const newest = transactions[1]! > transactions[0]! ? metas[1] : metas[0]
    // The length comes last: another process may be writing, and a root is written after its page.
    const { size } = fstatSync(descriptor)
    for (const root of rootsAt.map((at) => newest.readBigUInt64LE(at))) {
      if (root !== noRoot && (root + 1n) * BigInt(pageBytes) > BigInt(size))
        throw damaged(`is not a whole LMDB database, page ${root} is missing`)
    }
  } finally {
    closeSync(descriptor)
  }
}
