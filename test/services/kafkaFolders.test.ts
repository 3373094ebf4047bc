// Each stage loses its data folder, and each finds its disk full. What it has committed is in the log: histories are the
// same afterwards, and every example is there once.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'node:test'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'
import { hangMs, skip } from './kafka.ts'
import { Run } from './kafkaRun.ts'

const stages = ['ingest', 'sequence', 'train', 'publish'] as const
type Stage = (typeof stages)[number]

/** Stages with a data folder each, as on machines of their own; the schema registry is elsewhere. */
class Machines extends Run {
  #clicksSent = 0

  folderOf(stage: Stage): string {
    return path.join(this.folder, `machine-${stage}`)
  }

  async once(stage: Stage): Promise<{ status: number | null; stderr: string }> {
    const schemas = path.join(this.folder, 'schemas')
    mkdirSync(schemas, { recursive: true })
    mkdirSync(path.join(this.folderOf(stage), 'a'), { recursive: true })
    try {
      symlinkSync(schemas, path.join(this.folderOf(stage), 'a', 'schemas'))
    } catch (error) {
      if ((error as { code?: string }).code !== 'EEXIST') throw error
    }
    const words = ['--config', path.join(this.folder, 'mtmi.json'), '--data-dir', this.folderOf(stage)]
    return mtmi([...words, stage, '--once'], { cwd: this.folder })
  }

  async succeeds(stage: Stage): Promise<void> {
    const { status, stderr } = await this.once(stage)
    assert.equal(status, 0, `${stage}: ${stderr.slice(-3000)}`)
  }

  async clickOn(): Promise<void> {
    await this.click(20)
    this.#clicksSent += 20
  }

  /** Histories hold every click once, each was an example once, and a list for a user comes from the newest vectors. */
  async isRight(after: string): Promise<void> {
    assert.deepEqual(await this.sequences(), { fresh: this.#clicksSent, steps: this.#clicksSent }, after)
    const words = ['--data-dir', this.folderOf('publish'), 'recommend', '--user', 'user-1', '--limit', '3', '--json']
    const { items } = lastLine(await this.mtmi(...words)) as { items: unknown[] }
    assert.equal(items.length, 3, after)
  }
}

test('a stage that lost its data folder continues with the right histories', { skip, timeout: hangMs }, async (t) => {
  const run = new Machines()
  await run.begin()
  try {
    for (const lost of [undefined, ...stages]) {
      if (lost !== undefined) rmSync(run.folderOf(lost), { recursive: true })
      await run.clickOn()
      for (const stage of stages) await run.succeeds(stage)
      await run.isRight(`without the folder of ${lost}`)
      t.diagnostic(`${lost ?? 'nothing'} lost: histories and examples are right`)
    }
  } finally {
    await run.remove()
  }
})

const mountable = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0
const noMount = mountable ? false : 'FULL DISKS ARE NOT TESTED: this needs root and a mount of a tmpfs'
if (noMount !== false) process.stderr.write(`${noMount}\n`)

test('a stage whose disk is full ends with status 1, and continues when there is room', {
  skip: skip === false ? noMount : skip,
  timeout: hangMs
}, async (t) => {
  const run = new Machines()
  await run.begin()
  const mounted: string[] = []
  const must = (command: string, ...words: string[]) => assert.equal(spawnSync(command, words).status, 0, command)
  try {
    for (const stage of stages) {
      mkdirSync(run.folderOf(stage), { recursive: true })
      must('mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', run.folderOf(stage))
      mounted.push(run.folderOf(stage))
    }
    await run.clickOn()
    for (const stage of stages) await run.succeeds(stage)
    for (const full of stages) {
      await run.clickOn()
      for (const stage of stages) {
        if (stage === full) {
          const filler = path.join(run.folderOf(stage), 'filler')
          const { bavail, bsize } = statfsSync(run.folderOf(stage))
          writeFileSync(filler, Buffer.alloc(bavail * bsize, 1))
          const { status, stderr } = await run.once(stage)
          assert.equal(status, 1, `${stage}: ${stderr.slice(-3000)}`)
          assert.match(stderr, new RegExp(`mtmi: no room on ${run.folderOf(stage)}`))
          assert.doesNotMatch(stderr, /report it|\n {4}at /)
          t.diagnostic(`${stage}: ${/mtmi: (no room[^.]*)/.exec(stderr)?.[1]?.replaceAll(run.folder, '')}`)
          rmSync(filler)
        }
        await run.succeeds(stage)
      }
      await run.isRight(`after a full disk of ${full}`)
    }
  } finally {
    for (const folder of mounted) spawnSync('umount', [folder])
    await run.remove()
  }
})
