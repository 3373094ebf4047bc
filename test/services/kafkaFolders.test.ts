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

  /** The stages up to this one process everything. */
  async reach(last: Stage): Promise<void> {
    for (const stage of stages.slice(0, stages.indexOf(last) + 1)) {
      const { status, stderr } = await this.once(stage)
      assert.equal(status, 0, `${stage}: ${stderr.slice(-3000)}`)
    }
  }

  /** Few: lists need items that the user has not had. */
  async clickOn(): Promise<void> {
    await this.click(8)
    this.#clicksSent += 8
  }

  /** Histories hold every click once, and each was an example once. */
  async hasRightHistories(after: string): Promise<void> {
    assert.deepEqual(await this.sequences(), { fresh: this.#clicksSent, steps: this.#clicksSent }, after)
  }

  async recommends(after: string): Promise<void> {
    const words = ['--data-dir', this.folderOf('publish'), 'recommend', '--user', 'user-1', '--limit', '3', '--json']
    const list = lastLine(await this.mtmi(...words)) as { items: unknown[] }
    assert.equal(list.items.length, 3, `${after}: ${JSON.stringify(list)}`)
  }
}

test('a stage that lost its data folder continues with the right histories', { skip, timeout: hangMs }, async (t) => {
  const run = new Machines()
  await run.begin()
  try {
    await run.clickOn()
    await run.reach('publish')
    for (const lost of stages) {
      rmSync(run.folderOf(lost), { recursive: true })
      await run.clickOn()
      await run.reach(lost === 'ingest' ? 'sequence' : lost)
      await run.hasRightHistories(`without the folder of ${lost}`)
      t.diagnostic(`the folder of ${lost} lost: every click is in one history, once, and one example`)
    }
    await run.recommends('all folders were lost')
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
    await run.reach('publish')
    await run.clickOn()
    for (const full of stages) {
      const filler = path.join(run.folderOf(full), 'filler')
      const { bavail, bsize } = statfsSync(run.folderOf(full))
      writeFileSync(filler, Buffer.alloc(bavail * bsize, 1))
      const { status, stderr } = await run.once(full)
      assert.equal(status, 1, `${full}: ${stderr.slice(-3000)}`)
      assert.match(stderr, new RegExp(`mtmi: no room on ${run.folderOf(full)}`))
      assert.doesNotMatch(stderr, /report it|\n {4}at /)
      t.diagnostic(`${full}: ${/mtmi: (no room[^.]*)/.exec(stderr)?.[1]?.replaceAll(run.folder, '')}`)
      rmSync(filler)
      await run.reach(full)
    }
    await run.hasRightHistories('after full disks')
    await run.recommends('after full disks')
  } finally {
    for (const folder of mounted) spawnSync('umount', [folder])
    await run.remove()
  }
})
