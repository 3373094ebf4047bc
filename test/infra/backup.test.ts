// What docs/operations.md says about backup and restore, done.

import assert from 'node:assert/strict'
import { cpSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import test from 'node:test'
import { MtmiProcess, withDataDir } from './pipelineProcess.ts'

const events = ['start', '--events', '800', '--once', '--json']
/** The report or answer, which is the one line of standard output; the other lines are of standard error. */
const lastLine = (output: string) => output.split('\n').findLast((line) => line.startsWith('{'))!

interface Report {
  readonly interactions: number
  readonly users: number
  readonly items: number
  readonly examplesTrained: number
}
const run = async (dataDir: string) => JSON.parse(lastLine(await new MtmiProcess(dataDir, events).end())) as Report
const list = async (dataDir: string) => {
  const { version: _, ...answer } = JSON.parse(
    lastLine(await new MtmiProcess(dataDir, ['recommend', '--user', 'u1', '--json']).end())
  ) as Record<string, unknown>
  return answer
}

test('a copy of a stopped run is the run: same answers, and it goes on', async () => {
  await withDataDir(async (folder) => {
    const [original, copy] = [path.join(folder, 'original'), path.join(folder, 'copy')]
    const before = await run(original)
    cpSync(original, copy, { recursive: true })
    const answer = await list(original)
    rmSync(original, { recursive: true })
    assert.deepEqual(await list(copy), answer)
    assert.equal((await run(copy)).examplesTrained, before.examplesTrained, 'nothing is learned again')
  })
})

test('log, schemas and checkpoints are enough: histories and index are made again, nothing is learned twice; without checkpoints all is learned anew', async () => {
  await withDataDir(async (folder) => {
    const original = path.join(folder, 'original')
    const before = await run(original)
    const name = 'simulation-800'
    const restore = async (to: string, parts: readonly string[]) => {
      const copy = path.join(folder, to)
      mkdirSync(path.join(copy, name), { recursive: true })
      for (const part of [`${name}/source.json`, ...parts.map((part) => `${name}/${part}`)])
        cpSync(path.join(original, part), path.join(copy, part), { recursive: true })
      const after = await run(copy)
      assert.equal(after.users, before.users)
      assert.equal(after.items, before.items)
      assert.equal(after.examplesTrained, before.examplesTrained)
      assert.equal(((await list(copy)).items as unknown[]).length, 10)
    }
    await restore('with-checkpoints', ['log', 'schemas', 'checkpoints'])
    await restore('without', ['log', 'schemas'])
  })
})
