// Two threads that each open what the other one is writing: once both were waiting for a lock that the other's
// transaction held until its thread was free.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os, { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { lmdbFault, openLmdb, writeLmdb } from '../../src/core/lmdbTurns.ts'

const script = new URL('./lmdbTurnsThread.ts', import.meta.url)

/** A thread that writes one topic and opens another in between. @returns its exit status */
function writerOf(directory: string, writes: string, opens: string): { worker: Worker; exit: Promise<number> } {
  const worker = new Worker(
    `import('tsx/esm/api').then(({ register }) => { register(); return import(${JSON.stringify(script.href)}) })`,
    {
      eval: true,
      argv: [directory, writes, opens]
    }
  )
  return { worker, exit: once(worker, 'exit').then(([status]) => status as number) }
}

test('threads that open what the others write all come to their end', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-turns-'))
  const threads = [writerOf(directory, 'a', 'b'), writerOf(directory, 'b', 'a')]
  try {
    const ended = Promise.all(threads.map(({ exit }) => exit))
    // A thread that waits for a lock cannot be ended either: the process has to be left.
    const late = setTimeout(() => {
      process.stderr.write('two threads wait for each other\n')
      process.kill(process.pid, 'SIGKILL')
    }, 30_000)
    assert.deepEqual(await ended, [0, 0])
    clearTimeout(late)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})

test('opening waits for the transactions under way, and the next ones for it', async () => {
  const order: string[] = []
  const first = writeLmdb('folder', async () => {
    order.push('write begins')
    await pause(5)
    order.push('write ends')
  })
  const opened = openLmdb(os.tmpdir(), () => order.push('open'))
  const second = writeLmdb('folder', async () => order.push('next write'))
  const again = openLmdb(os.tmpdir(), () => order.push('open again'))
  await Promise.all([first, opened, second, again])
  assert.deepEqual(order.slice(0, 3), ['write begins', 'write ends', 'open'])
  assert.deepEqual(order.slice(3).sort(), ['next write', 'open again'])
})

test('what fails to open, or to be written, keeps nobody waiting', async () => {
  const failing = (): never => {
    throw new Error('no')
  }
  await assert.rejects(openLmdb(os.tmpdir(), failing), /no/)
  await assert.rejects(
    writeLmdb('folder', async () => failing()),
    /no/
  )
  assert.equal(await openLmdb(os.tmpdir(), () => 1), 1)
  assert.equal(await writeLmdb('folder', async () => 2), 2)
})

test('a commit that fails for want of room is an error of ours: lmdb-js gives the reason in a promise', async () => {
  const reason = Object.assign(new Error('No space left on device'), { code: 28 })
  const failed = (commitError: unknown) =>
    Object.assign(new Error('Commit failed (see commitError for details)'), { commitError })
  const fault = (await lmdbFault(failed(Promise.reject(reason)), '/data')) as Error
  assert.match(fault.message, /^no room on \/data: the disk is full \(commit failed: No space left on device\)/)
  // One that is never settled is not waited for.
  assert.match(((await lmdbFault(failed(new Promise(() => {})), '/data')) as Error).message, /^Commit failed/)
  await assert.rejects(
    writeLmdb('/data', async () => {
      throw failed(Promise.reject(reason))
    }),
    /^UnavailableError: no room on \/data/
  )
})
