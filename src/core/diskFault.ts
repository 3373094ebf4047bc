// What the operating system or LMDB refuses (no room, no permission, a read-only file system, a broken disk), as an
// error of ours that says where and what to do.

import { statfsSync } from 'node:fs'
import path from 'node:path'
import { ConfigError, CorruptError, MtmiError, UnavailableError } from './errors.ts'
import { own } from './own.ts'

/** LMDB gives errors of the operating system as numbers (Linux's), its own as negative ones. */
const namesByNumber: Readonly<Record<number, string>> = {
  1: 'EPERM',
  2: 'ENOENT',
  5: 'EIO',
  12: 'ENOMEM',
  13: 'EACCES',
  20: 'ENOTDIR',
  24: 'EMFILE',
  28: 'ENOSPC',
  30: 'EROFS',
  122: 'EDQUOT',
  [-30792]: 'MDB_MAP_FULL'
}

const noRoom: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'MDB_MAP_FULL'])
const refused: Readonly<Record<string, string>> = {
  EACCES: 'correct its permissions, or choose another --data-dir',
  EPERM: 'correct its permissions, or choose another --data-dir',
  ENOTDIR: 'a part of its path is a file: remove it, or choose another --data-dir',
  EROFS: 'the file system is read-only: mount it for writing, or choose another --data-dir'
}

/**
 * LMDB reports a write that ended early as EIO, which a full disk causes far more often than a broken one does: below
 * this it is full.
 */
const fullBytes = 1024 * 1024

/** An error and all that caused it. */
function* causes(error: unknown): Generator<{ code?: string | number; path?: unknown }> {
  const seen = new Set<unknown>()
  for (let next = error; typeof next === 'object' && next !== null && !seen.has(next); ) {
    seen.add(next)
    yield next
    next = (next as { cause?: unknown }).cause
  }
}

/** Name of the operating system's error that this is or was caused by: `ENOSPC`. */
export function systemCode(error: unknown): string | undefined {
  for (const { code } of causes(error)) {
    const name = typeof code === 'number' ? namesByNumber[code] : code
    if (name !== undefined && /^(E[A-Z0-9]+|MDB_[A-Z_]+)$/.test(name)) return name
  }
  return undefined
}

/**
 * @param folder where the work was, for errors that do not name a file
 * @returns undefined where the disk is not to blame
 */
export function diskFault(error: unknown, folder: string): MtmiError | undefined {
  if (error instanceof MtmiError && error.message.startsWith(noRoomPrefix)) return error
  const code = systemCode(error)
  if (code === undefined) return undefined
  const at = [...causes(error)].map(({ path: file }) => file).find((file) => typeof file === 'string')
  const where = typeof at === 'string' ? path.dirname(at) : folder
  const what = error instanceof Error ? error.message : String(error)
  if (noRoom.has(code) || (code === 'EIO' && isFull(where))) {
    const kind =
      code === 'EDQUOT'
        ? 'the quota is used up'
        : code === 'MDB_MAP_FULL'
          ? 'the memory map cannot grow'
          : 'the disk is full'
    return new UnavailableError(
      `${noRoomPrefix} ${where}: ${kind} (${what}). Make room there and start again; nothing that was committed is lost`,
      {
        cause: error
      }
    )
  }
  // What a caller has made of it already says more than the code does.
  if (error instanceof MtmiError) return undefined
  const advice = own(refused, code)
  if (advice !== undefined) return new ConfigError([`${where} cannot be used: ${what}; ${advice}`], { cause: error })
  if (code === 'EIO')
    return new CorruptError(`the disk under ${where} does not read or write as it should: ${what}`, { cause: error })
  return undefined
}

const noRoomPrefix = 'no room on'

/** What a caller throws: the fault of the disk where it is one, the error as it is otherwise. */
export function explained(error: unknown, folder: string): unknown {
  return diskFault(error, folder) ?? error
}

/**
 * LMDB maps its lock file into memory as it opens; a page of it that the disk has no room for ends the process with a
 * signal.
 */
const mappedBytes = 128 * 1024

/**
 * To be called before something is opened that is mapped into memory. @throws UnavailableError if there is no room for
 * it
 */
export function refuseFullDisk(folder: string): void {
  if (!isFull(folder, mappedBytes)) return
  throw new UnavailableError(
    `${noRoomPrefix} ${folder}: the disk is full. Make room there and start again; nothing that was committed is lost`
  )
}

function isFull(folder: string, bytes = fullBytes): boolean {
  try {
    const { bavail, bsize } = statfsSync(folder)
    return bavail * bsize < bytes
  } catch {
    return false // the folder is gone, or cannot be read: not known to be full
  }
}
