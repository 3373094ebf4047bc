import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { open } from 'lmdb'
import { ConfigError, CorruptError } from '../../src/core/errors.ts'
import { idBytesMax } from '../../src/records/admission.ts'
import type { UserWindow } from '../../src/records/userSequence.ts'
import { LmdbSequenceStore } from '../../src/sequence/lmdbSequenceStore.ts'
import { sequenceStoreSuite } from '../conformance/sequenceStoreSuite.ts'

/** Every user has one step, whose item is the commit that wrote it. */
function windowOf(commit: number): UserWindow {
  return { steps: [{ itemId: `item ${commit}`, type: 'click', eventTimeMs: commit }], recent: [], newestMs: commit }
}

const users = ['a', 'b', 'c', 'd']

if (process.argv[2] === 'commit-for-ever') {
  const store = await LmdbSequenceStore.open(process.argv[3]!, 0)
  for (let commit = Number(store.committed()) + 1; ; commit++) {
    for (const user of users) store.put(user, windowOf(commit))
    await store.commit(BigInt(commit), commit)
    process.stdout.write(`${commit}\n`)
  }
}

function withDirectory<T>(use: (directory: string) => Promise<T>): () => Promise<T> {
  return async () => {
    const directory = mkdtempSync(join(tmpdir(), 'mtmi-sequences-'))
    try {
      return await use(directory)
    } finally {
      rmSync(directory, { recursive: true })
    }
  }
}

sequenceStoreSuite('lmdb', () => {
  const directory = mkdtempSync(join(tmpdir(), 'mtmi-sequences-'))
  return {
    open: () => LmdbSequenceStore.open(directory, 0),
    dispose: async () => rmSync(directory, { recursive: true })
  }
})

test(
  'a process killed while it commits leaves all of a commit or nothing of it, and nothing that it had announced is lost',
  withDirectory(async (directory) => {
    let announced = 0
    for (const kills of [1, 7, 40]) {
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', fileURLToPath(import.meta.url), 'commit-for-ever', directory],
        {
          stdio: ['ignore', 'pipe', 'inherit']
        }
      )
      const exit = new Promise((resolve) => child.on('exit', resolve))
      const until = announced + kills
      for await (const line of createInterface({ input: child.stdout })) {
        announced = Number(line)
        if (announced >= until) child.kill('SIGKILL')
      }
      await exit
      const store = await LmdbSequenceStore.open(directory, 0)
      const committed = Number(store.committed())
      assert.ok(committed >= announced, `committed ${committed}, announced ${announced}`)
      assert.equal(store.watermarkMs(), committed)
      for (const user of users) assert.deepEqual(store.get(user), windowOf(committed))
      await store.close()
      announced = committed
    }
  })
)

test(
  'a reader in the same place sees what is committed after it was opened, new items included',
  withDirectory(async (directory) => {
    const writer = await LmdbSequenceStore.open(directory, 0)
    writer.put('a', windowOf(1))
    await writer.commit(1n, 1)
    const reader = await LmdbSequenceStore.open(directory, 0, { readOnly: true })
    assert.deepEqual([...reader.users()], [['a', windowOf(1)]])
    writer.put('b', windowOf(2))
    await writer.commit(2n, 2)
    assert.deepEqual(
      new Map(reader.users()),
      new Map([
        ['a', windowOf(1)],
        ['b', windowOf(2)]
      ])
    )
    assert.throws(() => reader.put('c', windowOf(3)), /reading only/)
    await reader.close()
    await writer.close()
  })
)

test(
  'to read what is not there is an error of the configuration',
  withDirectory(async (directory) => {
    await assert.rejects(LmdbSequenceStore.open(directory, 0, { readOnly: true }), ConfigError)
  })
)

test(
  'a damaged history is reported with its user, and never taken for another',
  withDirectory(async (directory) => {
    const store = await LmdbSequenceStore.open(directory, 2)
    store.put('good', windowOf(1))
    store.put('bad', windowOf(2))
    await store.commit(1n, 1)
    await store.close()
    const raw = open({ path: join(directory, 'sequences-2.lmdb'), noSubdir: true, maxDbs: 5 })
    const windows = raw.openDB<Buffer, string>('windows', { encoding: 'binary' })
    const bytes = Buffer.from(windows.get('bad')!)
    bytes[3]! ^= 4
    await windows.put('bad', bytes)
    await raw.close()
    const after = await LmdbSequenceStore.open(directory, 2)
    assert.deepEqual(after.get('good'), windowOf(1))
    assert.throws(
      () => after.get('bad'),
      (error: unknown) => error instanceof CorruptError && /"bad"/.test(error.message)
    )
    assert.throws(() => [...after.users()], CorruptError)
    await after.close()
  })
)

test(
  'a file that is no store, and the store of another partition, are refused',
  withDirectory(async (directory) => {
    writeFileSync(join(directory, 'sequences-0.lmdb'), 'not a database at all'.repeat(1000))
    await assert.rejects(LmdbSequenceStore.open(directory, 0), CorruptError)
    const store = await LmdbSequenceStore.open(directory, 1)
    await store.commit(1n, 1)
    await store.close()
    const raw = open({ path: join(directory, 'sequences-1.lmdb'), noSubdir: true, maxDbs: 5 })
    const meta = raw.openDB('meta', { encoding: 'json' })
    await meta.put('meta', { ...(meta.get('meta') as object), partition: 4 })
    await raw.close()
    await assert.rejects(LmdbSequenceStore.open(directory, 1), /not a store of partition 1/)
  })
)

test(
  'the longest user id that is admitted is stored and found again',
  withDirectory(async (directory) => {
    const store = await LmdbSequenceStore.open(directory, 0)
    const longest = 'é'.repeat(idBytesMax / 2)
    store.put(longest, windowOf(1))
    await store.commit(1n, 1)
    assert.deepEqual([...store.users()], [[longest, windowOf(1)]])
    assert.deepEqual(store.idle(2, 1), [longest])
    await store.close()
  })
)
