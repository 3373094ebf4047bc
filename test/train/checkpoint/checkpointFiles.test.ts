import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { copyFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import fc from 'fast-check'
import { CheckpointFiles } from '../../../src/train/checkpoint/checkpointFiles.ts'
import { checkpointOf, checkpointStoreSuite, listed } from '../../conformance/checkpointStoreSuite.ts'
import { CheckpointMemory } from '../../support/checkpointMemory.ts'
import { bigCheckpointOf } from './checkpointFilesChild.ts'

const temporaryDirectory = () => mkdtemp(path.join(tmpdir(), 'mtmi-checkpoint-'))

checkpointStoreSuite('CheckpointFiles', async (keep) => {
  const directory = await temporaryDirectory()
  return { store: new CheckpointFiles({ directory, keep }), dispose: () => rm(directory, { recursive: true }) }
})

checkpointStoreSuite('CheckpointMemory', async (keep) => ({
  store: new CheckpointMemory(keep),
  dispose: async () => {}
}))

async function withDirectory(
  body: (directory: string, fileOf: (step: number) => string) => Promise<void>
): Promise<void> {
  const directory = await temporaryDirectory()
  try {
    await body(directory, (step) => path.join(directory, `checkpoint-${String(step).padStart(12, '0')}.mtmi`))
  } finally {
    await rm(directory, { recursive: true })
  }
}

test('any changed byte, any truncation and any addition is noticed', () =>
  withDirectory(async (directory, fileOf) => {
    await new CheckpointFiles({ directory, keep: 9 }).save(1, checkpointOf(1))
    const good = await readFile(fileOf(1))
    const isRefused = async (bytes: Uint8Array) => {
      await writeFile(fileOf(1), bytes)
      await assert.rejects(new CheckpointFiles({ directory, keep: 9 }).load(1), { code: 'CORRUPT' })
    }
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Buffer.from(good)
        bytes[at]! ^= flip
        await isRefused(bytes)
      }),
      { numRuns: 60, seed: 1 }
    )
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), (length) => isRefused(good.subarray(0, length))),
      { numRuns: 30, seed: 1 }
    )
    await isRefused(Buffer.concat([good, Buffer.of(0)]))
    await writeFile(fileOf(1), good)
    assert.deepEqual(listed(await new CheckpointFiles({ directory, keep: 9 }).load(1)), checkpointOf(1))
  }))

test('a damaged newest one is reported and left as it is; the one before is used', () =>
  withDirectory(async (directory, fileOf) => {
    const store = new CheckpointFiles({ directory, keep: 3 })
    for (const step of [1, 2, 3]) await store.save(step, checkpointOf(step))
    await truncate(fileOf(3), 100)
    const latest = await new CheckpointFiles({ directory, keep: 3 }).latest()
    assert.equal(latest?.step, 2)
    assert.deepEqual(listed(latest.checkpoint), checkpointOf(2))
    assert.equal(latest.skipped.length, 1)
    assert.match(latest.skipped[0]!, /checkpoint-000000000003\.mtmi: /)
    assert.equal((await readFile(fileOf(3))).length, 100)
  }))

test('damaged ones are neither counted nor deleted, by a store that never read them', () =>
  withDirectory(async (directory, fileOf) => {
    const first = new CheckpointFiles({ directory, keep: 2 })
    for (const step of [1, 2]) await first.save(step, checkpointOf(step))
    await truncate(fileOf(2), 100)
    const store = new CheckpointFiles({ directory, keep: 2 })
    await store.save(3, checkpointOf(3))
    // 3 and 1 are the two intact ones.
    assert.deepEqual(await store.steps(), [1, 2, 3])
    await store.save(4, checkpointOf(4))
    assert.deepEqual(await store.steps(), [2, 3, 4])
    assert.equal((await readFile(fileOf(2))).length, 100)
  }))

test('a save of a step whose file is damaged sets the damaged one aside', () =>
  withDirectory(async (directory, fileOf) => {
    const store = new CheckpointFiles({ directory, keep: 2 })
    for (const round of [1, 2]) {
      await store.save(5, checkpointOf(5))
      await writeFile(fileOf(5), `damaged ${round}`)
    }
    await store.save(5, checkpointOf(5))
    assert.deepEqual(listed(await store.load(5)), checkpointOf(5))
    assert.equal(await readFile(`${fileOf(5)}.damaged-1`, 'utf8'), 'damaged 1')
    assert.equal(await readFile(`${fileOf(5)}.damaged-2`, 'utf8'), 'damaged 2')
  }))

test('with nothing intact it says so, and names each file', () =>
  withDirectory(async (directory, fileOf) => {
    const store = new CheckpointFiles({ directory, keep: 2 })
    for (const step of [1, 2]) await store.save(step, checkpointOf(step))
    await writeFile(fileOf(1), '')
    await truncate(fileOf(2), 20)
    await assert.rejects(store.latest(), {
      code: 'CORRUPT',
      message: /none of the 2 .*[\s\S]*0002\.mtmi[\s\S]*0001\.mtmi/
    })
  }))

test('a renamed file and one of a newer format are refused', () =>
  withDirectory(async (directory, fileOf) => {
    const store = new CheckpointFiles({ directory, keep: 9 })
    await store.save(1, checkpointOf(1))
    await copyFile(fileOf(1), fileOf(2))
    await assert.rejects(store.load(2), { code: 'CORRUPT', message: /holds step 1/ })
    const bytes = await readFile(fileOf(1))
    bytes.writeUInt32LE(3, 8)
    await writeFile(fileOf(1), bytes)
    await assert.rejects(store.load(1), { code: 'CORRUPT', message: /format version 3, this program reads 2/ })
  }))

test('a directory that cannot be made or read is UNAVAILABLE', () =>
  withDirectory(async (directory) => {
    const file = path.join(directory, 'a-file')
    await writeFile(file, '')
    assert.throws(() => new CheckpointFiles({ directory: path.join(file, 'below'), keep: 1 }), { code: 'UNAVAILABLE' })
    const gone = path.join(directory, 'gone')
    const store = new CheckpointFiles({ directory: gone, keep: 1 })
    await rm(gone, { recursive: true })
    await assert.rejects(store.save(1, checkpointOf(1)), { code: 'UNAVAILABLE' })
    await assert.rejects(store.latest(), { code: 'UNAVAILABLE' })
  }))

test('killed while it saves, a store has the old checkpoint or the new one, whole', { timeout: 120_000 }, () =>
  withDirectory(async (directory) => {
    let done = 0
    for (const round of [1, 2, 3, 4]) {
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', path.join(import.meta.dirname, 'checkpointFilesChild.ts'), directory],
        {
          stdio: ['ignore', 'pipe', 'inherit']
        }
      )
      const ended = new Promise((resolve) => child.once('exit', resolve))
      let begun = 0
      for await (const line of createInterface({ input: child.stdout })) {
        const [what, step] = line.split(' ')
        if (what === 'saved') done = Number(step)
        // Each round is killed at another moment: the pieces written when the line arrives differ.
        else if (++begun === 2 * round) child.kill('SIGKILL')
      }
      await ended
      const latest = await new CheckpointFiles({ directory, keep: 2 }).latest()
      assert(latest !== undefined, 'the first save of the first round was finished')
      assert.deepEqual(latest.skipped, [])
      assert(latest.step === done || latest.step === done + 1, `step ${latest.step} after ${done} was saved`)
      assert.deepEqual(listed(latest.checkpoint), bigCheckpointOf(latest.step))
    }
    await new CheckpointFiles({ directory, keep: 2 }).save(1_000_000, checkpointOf(1))
    assert.deepEqual(
      (await readdir(directory)).filter((name) => name.endsWith('.tmp')),
      []
    )
  })
)

test('the newest versions are kept beside the newest checkpoints, and described without reading them', async () => {
  const directory = await mkdtemp(path.join(tmpdir(), 'mtmi-versions-'))
  for (const store of [new CheckpointFiles({ directory, keep: 2, versionKeep: 2 }), new CheckpointMemory(2, 2)]) {
    for (let step = 1; step <= 9; step++)
      await store.save(step, checkpointOf(step), { version: step % 2 === 1 && step < 8 })
    assert.deepEqual(
      [await store.steps(), await store.versions()],
      [
        [5, 7, 8, 9],
        [5, 7]
      ]
    )
    await store.rewrite(['first'], (part) => ({ ...part })) // they stay what they were
    await store.save(10, checkpointOf(10), { version: true })
    assert.deepEqual(
      [await store.steps(), await store.versions()],
      [
        [7, 9, 10],
        [7, 10]
      ]
    )
  }
  const files = new CheckpointFiles({ directory, keep: 2 })
  assert.deepEqual((await files.describe(7)).header, checkpointOf(7).header)
  await rm(directory, { recursive: true })
})

/** Whole ones of steps 1 and 4; 2 and 3 tell of changes to 1, 5 and 6 of changes to 4. */
async function chains(directory: string): Promise<CheckpointFiles> {
  const store = new CheckpointFiles({ directory, keep: 2 })
  for (const step of [1, 2, 3, 4, 5, 6])
    await store.save(step, checkpointOf(step), step === 1 || step === 4 ? {} : { since: step - 1 })
  return store
}

test('a link of a chain that is damaged or gone takes those with it that build on it: the one before is used', async () => {
  const cases: readonly [string, (fileOf: (step: number) => string) => Promise<unknown>, number, RegExp[]][] = [
    ['the newest is damaged', (fileOf) => truncate(fileOf(6), 100), 5, [/0006\.mtmi/]],
    ['the newest is gone', (fileOf) => rm(fileOf(6)), 5, []],
    [
      'a middle one is damaged',
      (fileOf) => truncate(fileOf(5), 100),
      4,
      [/0006\.mtmi builds on another.*0005\.mtmi/, /0005\.mtmi/]
    ],
    ['a middle one is gone', (fileOf) => rm(fileOf(5)), 4, [/0006\.mtmi builds on another.*no checkpoint of step 5/]],
    [
      'the whole one is damaged',
      (fileOf) => truncate(fileOf(4), 100),
      3,
      [/0006\.mtmi builds on another.*0004/, /0005\.mtmi builds on another.*0004/, /0004/]
    ],
    ['the whole one is gone', (fileOf) => rm(fileOf(4)), 3, [/0006/, /0005/]]
  ]
  for (const [name, harm, step, reasons] of cases)
    await withDirectory(async (directory, fileOf) => {
      await chains(directory)
      await harm(fileOf)
      const latest = await new CheckpointFiles({ directory, keep: 2 }).latest()
      assert.equal(latest?.step, step, name)
      const parts = [1, 2, 3, 4, 5]
        .filter((each) => each <= step && (each >= 4 || step < 4))
        .flatMap((each) => [...checkpointOf(each).parts])
      assert.deepEqual([...latest.checkpoint.parts], parts, name)
      assert.equal(latest.skipped.length, reasons.length, `${name}: ${latest.skipped.join('\n')}`)
      for (const [i, reason] of reasons.entries()) assert.match(latest.skipped[i]!, reason, name)
    })
})

test('one that was put in the place of what another builds on is noticed', () =>
  withDirectory(async (directory, fileOf) => {
    await chains(directory)
    const elsewhere = await temporaryDirectory()
    await new CheckpointFiles({ directory: elsewhere, keep: 1 }).save(4, checkpointOf(4))
    await copyFile(path.join(elsewhere, path.basename(fileOf(4))), fileOf(4))
    await rm(elsewhere, { recursive: true })
    const latest = await new CheckpointFiles({ directory, keep: 2 }).latest()
    assert.equal(latest?.step, 4)
    assert.match(latest.skipped[1]!, /0005\.mtmi: it builds on another checkpoint of step 4 than the one that is there/)
  }))

test('damage within a chain is never deleted, nor what a kept one builds on', () =>
  withDirectory(async (directory, fileOf) => {
    await chains(directory)
    await truncate(fileOf(5), 100)
    const store = new CheckpointFiles({ directory, keep: 2 })
    await store.save(7, checkpointOf(7))
    assert.deepEqual(await store.steps(), [4, 5, 6, 7])
    await store.save(8, checkpointOf(8))
    assert.deepEqual(await store.steps(), [5, 7, 8])
    assert.equal((await store.describe(7)).since, undefined)
    assert.equal((await readFile(fileOf(5))).length, 100)
  }))
