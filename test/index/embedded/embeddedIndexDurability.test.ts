// What only the embedded index promises: it survives, it is shared between threads and processes, and it says when it
// is damaged.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { BackgroundTasks } from '../../../src/core/backgroundTasks.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { CorruptError, UnavailableError } from '../../../src/core/errors.ts'
import { EmbeddedIndex } from '../../../src/index/embedded/embeddedIndex.ts'
import { IndexSearcher } from '../../../src/index/embedded/indexSearcher.ts'
import { IndexStore } from '../../../src/index/embedded/indexStore.ts'
import { SearchThread } from '../../../src/index/embedded/searchThread.ts'
import { itemPoint, userPoint } from '../../conformance/vectorIndexPoints.ts'
import { SteppedClock } from '../../support/steppedClock.ts'

const shape = { dimensions: 4, interestCount: 1 }
const x = [1, 0, 0, 0]
const y = [0, 1, 0, 0]
const toX = { by: { vectors: Float32Array.from(x), count: 1 } }

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-index-'))
  try {
    await body(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** A process that writes numbers `from` … `to` − 1; each number it prints is durable. */
function writer(directory: string, from: number, to: number) {
  const file = fileURLToPath(new URL('./embeddedIndexWriter.ts', import.meta.url))
  const child = spawn(process.execPath, ['--import', 'tsx', file, directory, `${from}`, `${to}`], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const exited = new Promise<number | null>((resolve) => child.on('exit', resolve))
  return { child, exited, lines: createInterface({ input: child.stdout }) }
}

for (const searchThread of [false, true]) {
  const mode = searchThread ? 'with a search thread' : 'searched by the caller'

  test(`what was written is there after closing and opening (${mode})`, () =>
    inDirectory(async (directory) => {
      const first = await EmbeddedIndex.open(directory, { searchThread })
      await first.createVersion('a', shape)
      await first.upsert('a', 5, [
        itemPoint('east', x, { title: 'East', features: { g: ['h'] } }),
        itemPoint('gone', x),
        userPoint('ann', [y], ['z'])
      ])
      await first.remove('a', 'item', ['gone'])
      await first.promote('a', { items: 1, users: 1 })
      const before = [
        await first.live(),
        await first.search({ by: { userId: 'ann' } }, 5),
        await first.popular(5),
        await first.user('ann')
      ]
      await first.close()
      const second = await EmbeddedIndex.open(directory, { searchThread })
      const after = [
        await second.live(),
        await second.search({ by: { userId: 'ann' } }, 5),
        await second.popular(5),
        await second.user('ann')
      ]
      assert.deepEqual(after, before)
      assert.equal(await second.upsert('a', 4, [itemPoint('gone', x), itemPoint('east', y)]), 0)
      await second.close()
    }))

  test(`another process's writes are seen by every search begun after them, whole (${mode})`, () =>
    inDirectory(async (directory) => {
      const index = await EmbeddedIndex.open(directory, { searchThread })
      await index.createVersion('a', shape)
      await index.promote('a', { items: 0, users: 0 })
      const { exited, lines } = writer(directory, 1, 120)
      let last = 0
      for await (const line of lines) {
        last = Number(line)
        const { step, user } = await index.search({ by: { userId: 'ann' } }, 5, { excludeRecent: false })
        assert(step >= last, `write ${last} had resolved, the search saw step ${step}`)
        assert.deepEqual(user?.recent, [`${step}`])
        const titles = [...(await index.items('a', ['first', 'second'])).values()].map(({ payload }) => payload.title)
        assert(
          titles.length === 2 && titles[0] === titles[1] && Number(titles[0]) >= step,
          `step ${step}, then titles ${titles}`
        )
      }
      assert.equal(await exited, 0)
      assert.equal(last, 119)
      await index.close()
    }))
}

test('two indexes on one directory in one process see each other', () =>
  inDirectory(async (directory) => {
    const a = await EmbeddedIndex.open(directory, { searchThread: false })
    const b = await EmbeddedIndex.open(directory, { searchThread: true })
    await a.createVersion('a', shape)
    await a.promote('a', { items: 0, users: 0 })
    for (let step = 1; step <= 30; step++) {
      const [from, to] = step % 2 === 0 ? [a, b] : [b, a]
      await from.upsert('a', step, [itemPoint('east', x, { title: `${step}` })])
      assert.equal((await to.search(toX, 1)).step, step)
      assert.equal((await to.items('a', ['east'])).get('east')?.payload.title, `${step}`)
    }
    await a.close()
    assert.equal((await b.search(toX, 1)).step, 30)
    await b.close()
  }))

test('a writer killed at any moment leaves whole writes only, and everything it had reported', () =>
  inDirectory(async (directory) => {
    let from = 1
    for (const killAfter of [1, 7, 23]) {
      const { child, exited, lines } = writer(directory, from, 1_000_000)
      let reported = 0
      let seen = 0
      for await (const line of lines) {
        reported = Number(line)
        if (++seen === killAfter) child.kill('SIGKILL')
      }
      await exited
      const index = await EmbeddedIndex.open(directory, { searchThread: false })
      await index.promote('a', { items: 2, users: 1 })
      const { indexVersion, step, lists, user } = await index.search({ by: { userId: 'ann' } }, 5, {
        excludeRecent: false
      })
      assert(step === reported || step === reported + 1, `reported ${reported}, found ${step}`)
      const items = await index.items(indexVersion, lists?.[0]?.map(({ itemId }) => itemId) ?? [])
      const titles = [...[...items.values()].map(({ payload }) => payload.title), ...(user?.recent ?? [])]
      assert.deepEqual(titles, [`${step}`, `${step}`, `${step}`])
      await index.close()
      from = step + 1
    }
  }))

test('a searcher that is too far behind loads everything again; removals are remembered as long as their change', () =>
  inDirectory(async (directory) => {
    const store = await IndexStore.open(directory, 10)
    const searcher = new IndexSearcher(store)
    await store.createVersion('a', shape)
    await store.upsert('a', 1, [itemPoint('old', x), itemPoint('gone', x)])
    await store.promote('a', { items: 0, users: 0 })
    assert.equal(searcher.search(toX, 99).lists?.[0]?.length, 2)
    await store.upsert('a', 3, [itemPoint('gone', x)])
    await store.remove('a', 'item', ['gone'])
    assert.equal(await store.upsert('a', 2, [itemPoint('gone', x)]), 0)
    for (let i = 0; i < 30; i++) await store.upsert('a', 3, [itemPoint(`new ${i}`, x)])
    assert(store.state().forgotten > 0)
    assert(store.state().changedPoints <= 10)
    assert.equal(searcher.search(toX, 99).lists?.[0]?.length, 31)
    assert.equal(await store.upsert('a', 2, [itemPoint('gone', x)]), 1)
    assert.equal(searcher.search(toX, 99).lists?.[0]?.length, 32)
    await store.close()
  }))

test('an index version whose drop was interrupted is swept at the next opening', () =>
  inDirectory(async (directory) => {
    const store = await IndexStore.open(directory)
    await store.createVersion('a', shape)
    await store.createVersion('b', shape)
    await store.upsert('a', 1, [itemPoint('east', x)])
    await store.upsert('b', 1, [itemPoint('east', y)])
    const a = store.state().versions.a!
    await store.dropVersion('a')
    store.refresh()
    assert.deepEqual([...store.items(a)], [])
    assert.equal([...store.items(store.state().versions.b!)].length, 1)
    await store.close()
  }))

async function written(directory: string): Promise<string> {
  const index = await EmbeddedIndex.open(directory, { searchThread: false })
  await index.createVersion('a', shape)
  const points = Array.from({ length: 3000 }, (_, i) =>
    itemPoint(`item ${i}`, x, { title: `number ${i}`.padEnd(1000) })
  )
  await index.upsert('a', 1, points)
  await index.promote('a', { items: 3000, users: 0 })
  await index.close()
  return path.join(directory, 'index.mdb')
}

for (const searchThread of [false, true]) {
  test(`a damaged record is reported, not served (search thread: ${searchThread})`, () =>
    inDirectory(async (directory) => {
      const file = await written(directory)
      const bytes = readFileSync(file)
      // One bit of every copy of one title: LMDB itself would not notice.
      for (let at = bytes.indexOf('number 1234'); at >= 0; at = bytes.indexOf('number 1234', at + 1))
        bytes[at] = bytes[at]! ^ 1
      writeFileSync(file, bytes)
      await assert.rejects(
        async () => {
          const index = await EmbeddedIndex.open(directory, { searchThread })
          try {
            await index.search(toX, 1)
          } finally {
            await index.close()
          }
        },
        (error: unknown) => error instanceof CorruptError && error.message.includes('item 1234')
      )
      assert.deepEqual(readFileSync(file).subarray(8192), bytes.subarray(8192))
    }))
}

test('a file that was cut short, or is something else, is refused and left as it is', () =>
  inDirectory(async (directory) => {
    const file = await written(directory)
    const { size } = statSync(file)
    for (const [name, spoil] of [
      ['cut', (copy: string) => truncateSync(copy, Math.floor(size / 2))],
      ['first page only', (copy: string) => truncateSync(copy, 4096)],
      ['a few bytes', (copy: string) => truncateSync(copy, 100)],
      ['text', (copy: string) => writeFileSync(copy, 'not an index at all'.repeat(1000))]
    ] as const) {
      const other = path.join(directory, name)
      mkdirSync(other)
      const copy = path.join(other, 'index.mdb')
      copyFileSync(file, copy)
      spoil(copy)
      const before = readFileSync(copy)
      await assert.rejects(EmbeddedIndex.open(other), CorruptError, name)
      assert(readFileSync(copy).equals(before), name)
    }
  }))

test('a search thread that dies is replaced: what waited is refused, what follows is answered', () =>
  inDirectory(async (directory) => {
    await written(directory)
    const thread = await SearchThread.start(directory)
    const search = () => thread.call('search', [toX, 1])
    const waiting = Array.from({ length: 50 }, search)
    const outcomes = Promise.allSettled(waiting)
    await thread.kill()
    for (const outcome of await outcomes) {
      assert(outcome.status === 'fulfilled' || outcome.reason instanceof UnavailableError)
    }
    assert.equal((await search()).lists?.[0]?.length, 1)
    await thread.close()
    await assert.rejects(search(), UnavailableError)
  }))

test('a search thread that keeps dying is replaced each time, later and later, and readiness says so meanwhile', () =>
  inDirectory(async (directory) => {
    await written(directory)
    const clock = new SteppedClock(0)
    const counted = { failures: 0, restarts: 0 }
    const tasks = new BackgroundTasks<'search'>({
      ...{ clock, onProblem: () => {} },
      onFailure: () => counted.failures++,
      onRestart: () => counted.restarts++
    })
    const readiness = () => tasks.readiness({ ready: true, detail: '' })
    const thread = await SearchThread.start(directory, tasks)
    const search = () => thread.call('search', [toX, 1])
    for (let death = 1; death <= 5; death++) {
      await thread.kill()
      await clock.pass(0)
      if (death > 1) await assert.rejects(search(), UnavailableError, 'refused at once: the next thread is not near')
      assert.match(readiness().detail, /^the search thread of the index fails since .* died before it answered/)
      assert.equal(readiness().ready, false)
      await clock.pass(10_000)
      assert.equal((await search()).lists?.[0]?.length, 1)
      assert.equal(readiness().ready, true)
      assert.deepEqual(counted, { failures: death, restarts: death })
    }
    await tasks.stop()
    await thread.close()
  }))

test('a search thread whose items are damaged when it is replaced ends the process', () =>
  inDirectory(async (directory) => {
    const file = await written(directory)
    const tasks = new BackgroundTasks<'search'>({ clock: systemClock, onProblem: () => {}, onFailure: () => {} })
    const thread = await SearchThread.start(directory, tasks)
    writeFileSync(file, 'not an index at all'.repeat(1000))
    await thread.kill()
    await assert.rejects(tasks.failed, CorruptError)
    await assert.rejects(thread.call('search', [toX, 1]), CorruptError)
    await thread.close()
  }))

test('more searches at once than may wait are refused, the others answered; closing answers what waits', () =>
  inDirectory(async (directory) => {
    await written(directory)
    const index = await EmbeddedIndex.open(directory)
    const outcomes = Promise.allSettled(Array.from({ length: 1500 }, () => index.search(toX, 1)))
    const closed = index.close()
    const all = await outcomes
    await closed
    assert.equal(all.filter(({ status }) => status === 'fulfilled').length, 1024)
    for (const outcome of all) if (outcome.status === 'rejected') assert(outcome.reason instanceof UnavailableError)
    await assert.rejects(index.search(toX, 1), UnavailableError)
  }))
