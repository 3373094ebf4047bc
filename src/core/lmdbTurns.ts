// Opening takes turns with writing, in each thread.
//
// Opening an LMDB environment, or a database in it, takes its write lock, and lmdb-js waits for it on the calling thread. A write transaction holds the lock of its
// environment until its callback has run, on the thread that asked for it. So two threads or processes, each of which opens what the other one is writing, would wait
// for each other for ever. A thread that opens with no transaction of its own under way holds nothing that anybody could wait for.

/** Transactions under way. */
let writes = 0
/** Whoever opens, now or as soon as no transaction is under way: no other begins before he is through. */
let opening: Promise<void> | undefined
let lastWriteEnded: (() => void) | undefined

/** @param open opens environments and databases, at once */
export async function openLmdb<T>(open: () => T): Promise<T> {
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

/** @param write a transaction whose callback runs on this thread. It must not wait for `openLmdb` */
export async function writeLmdb<T>(write: () => Promise<T>): Promise<T> {
  while (opening !== undefined) await opening
  writes++
  try {
    return await write()
  } finally {
    if (--writes === 0) {
      lastWriteEnded?.()
      lastWriteEnded = undefined
    }
  }
}
