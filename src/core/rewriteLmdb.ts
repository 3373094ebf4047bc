// Rewrites an LMDB file with its present records only: LMDB keeps the bytes of deleted records in free pages, and in the
// gaps of others, until they are reused.

import { existsSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { type DatabaseOptions, open, type RootDatabaseOptionsWithPath } from 'lmdb'
import { syncPath } from './files.ts'
import { lmdbFault, openLmdb } from './lmdbTurns.ts'

/** Records copied in one transaction. */
const batch = 5000

export interface LmdbLayout {
  readonly options: Omit<RootDatabaseOptionsWithPath, 'path'>
  /** Every database in the file, opened as its owner opens it. */
  readonly databases: Readonly<Record<string, DatabaseOptions>>
}

/**
 * No other process may have the file open: it would continue with the old one. Killed at any moment it leaves the old
 * file or the new one. Record by record, because a copy by pages (LMDB's compaction) includes the gaps.
 */
export async function rewriteLmdb(file: string, layout: LmdbLayout): Promise<void> {
  if (!existsSync(file)) return
  try {
    await rewritten(file, layout)
  } catch (error) {
    throw await lmdbFault(error, path.dirname(file))
  }
}

async function rewritten(file: string, { options, databases }: LmdbLayout): Promise<void> {
  const temporary = `${file}.rewritten`
  const remove = (name: string) => {
    for (const one of [name, `${name}-lock`]) rmSync(one, { force: true })
  }
  remove(temporary)
  const [from, to] = await openLmdb(
    path.dirname(file),
    () => [open({ ...options, path: file }), open({ ...options, path: temporary })] as const
  )
  try {
    for (const [name, databaseOptions] of Object.entries(databases)) {
      const [source, target] = await openLmdb(
        path.dirname(file),
        () => [from.openDB(name, databaseOptions), to.openDB(name, databaseOptions)] as const
      )
      let pending = 0
      for (const { key, value } of source.getRange()) {
        void target.put(key, value)
        if (++pending % batch === 0) await target.flushed
      }
      await target.flushed
    }
  } finally {
    await to.close()
    await from.close()
  }
  syncPath(temporary)
  renameSync(temporary, file)
  remove(temporary)
  rmSync(`${file}-lock`, { force: true })
  syncPath(path.dirname(file))
}
