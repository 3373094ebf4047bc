// Opening LMDB takes turns with writing, in each thread.
//
// Opening an LMDB environment, or a database in it, takes its write lock, and lmdb-js waits for it on the calling
// thread. A write transaction holds the lock of its environment until its callback has run, on the thread that
// requested it. So two threads or processes, each of which opens what the other one is writing, would wait for each
// other for ever. A thread that opens with no transaction of its own under way holds nothing that anybody could wait
// for.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { explained, refuseFullDisk } from './diskFault.ts'

/** Running transactions. */
let writes = 0
/** Resolves when the opening that is running or waiting is done; no transaction begins before. */
let opening: Promise<void> | undefined
let lastWriteEnded: (() => void) | undefined

/**
 * @param folder of the environment; it is there
 * @param open opens environments and databases, at once
 * @throws UnavailableError if there is no room
 */
export async function openLmdb<T>(folder: string, open: () => T): Promise<T> {
  refuseFullDisk(folder)
  while (opening !== undefined) await opening
  let through = () => {}
  opening = new Promise((resolve) => {
    through = resolve
  })
  try {
    if (writes > 0) {
      await new Promise<void>((resolve) => {
        lastWriteEnded = resolve
      })
    }
    return open()
  } finally {
    opening = undefined
    through()
  }
}

/**
 * @param folder of the environment, for what a full disk is reported with
 * @param write a transaction whose callback runs on this thread. It must not wait for `openLmdb`
 * @throws UnavailableError if there is no room
 */
export async function writeLmdb<T>(folder: string, write: () => Promise<T>): Promise<T> {
  while (opening !== undefined) await opening
  writes++
  try {
    return await write()
  } catch (error) {
    throw await lmdbFault(error, folder)
  } finally {
    if (--writes === 0) {
      lastWriteEnded?.()
      lastWriteEnded = undefined
    }
  }
}

/** Awaits a flush or a close. @throws UnavailableError if what was still to be written has no room */
export async function endLmdb(folder: string, ending: PromiseLike<unknown>): Promise<void> {
  try {
    await ending
  } catch (error) {
    throw await lmdbFault(error, folder)
  }
}

/**
 * The error that a failed write of LMDB is: lmdb-js gives the reason of a failed commit as a promise, which is rejected
 * in the same turn.
 */
export async function lmdbFault(error: unknown, folder: string): Promise<unknown> {
  const { commitError } = (error ?? {}) as { commitError?: unknown }
  if (!(error instanceof Error && commitError instanceof Promise)) return explained(error, folder)
  const reason = await Promise.race([commitError.catch((cause: unknown) => cause), nextTurn()])
  return explained(
    new Error(reason instanceof Error ? `commit failed: ${reason.message}` : error.message, { cause: reason }),
    folder
  )
}
