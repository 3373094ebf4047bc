// `mtmi erase`, on a run with everything in it: the bytes on disk are searched for the user's id.

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ErasedPlace } from '../../../pipelines/cli/erase.ts'
import { lastLine, MtmiProcess, mtmi } from '../../support/mtmiProcess.ts'

const erased = 'Zaphod-Beeblebrox'
const other = 'Arthur-Dent'
/** Two rounds of clicks a slice, so that several checkpoints know the user. */
const small = ['--set', 'train.batchSize=64']
const patienceMs = 60_000

/** Whether the id is anywhere in the files under `folder`, as UTF-8 or as UTF-16. @returns the files */
function filesWith(folder: string, id: string): string[] {
  const words = [Buffer.from(id), Buffer.from(id, 'utf16le')]
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => words.some((word) => contentOf(file).includes(word)))
    .map((file) => path.relative(folder, file))
}

/** Nothing of a file that went while the folder was read: what is being written has another name first. */
function contentOf(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return Buffer.alloc(0)
  }
}

/**
 * 40 users × 12 clicks on 20 items, minutes apart, the last by the one to be erased, so that it is the one whose list
 * the report shows; and a line that is none.
 */
function writeData(file: string): void {
  const users = [other, ...Array.from({ length: 38 }, (_, i) => `user-${i}`), erased]
  const lines = ['user,item,time']
  for (let step = 0; step < 12; step++)
    for (const [u, user] of users.entries())
      lines.push(`${user},item-${(u * 3 + step * step) % 20},${1_700_000_000 + step * 3600 + u * 60}`)
  lines.push(`${erased},item-1,sometime`)
  writeFileSync(file, `${lines.join('\n')}\n`)
}

/**
 * One more click, by somebody else: the checkpoint after it is another one than that of the replay, and both hold
 * everybody's examples.
 */
async function learnMore(folder: string): Promise<void> {
  writeFileSync(
    path.join(folder, 'mtmi.yaml'),
    'sources: [{ topic: more, format: json, user: u, item: i, type: =click, time: { path: t, unit: s } }]\n'
  )
  writeFileSync(
    path.join(folder, 'more.jsonl'),
    `${JSON.stringify({ u: 'user-7', i: 'item-3', t: 1_700_000_000 + 12 * 3600 })}\n`
  )
  await run(folder, ['produce', '--run', 'clicks.csv', '--topic', 'more', '--data', path.join(folder, 'more.jsonl')])
  for (const stage of ['ingest', 'sequence', 'train']) await run(folder, [stage, '--run', 'clicks.csv', '--once'])
}

async function run(folder: string, args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await mtmi(['--data-dir', path.join(folder, 'data'), ...small, ...args], {
    cwd: folder,
    env: { MTMI_TRAIN_CHECKPOINT_INTERVAL_MS: '50' }
  })
  assert.equal(status, 0, stderr)
  return args.includes('--json') ? lastLine(stdout) : {}
}

function runFolder(folder: string): string {
  return path.join(folder, 'data', 'clicks.csv')
}

const outcomes = ({ places }: { places?: unknown }) =>
  Object.fromEntries((places as ErasedPlace[]).map(({ place, outcome }) => [place.replace(/ \(.*$/s, ''), outcome]))
const dataset = (folder: string) => [
  '--data',
  path.join(folder, 'clicks.csv'),
  '--columns',
  'user=user,item=item,time=time,unit=s'
]

test('while nothing runs: not a byte of the id is left in histories, index, checkpoints and report; the rest is named with its deadline', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-erase-'))
  try {
    writeData(path.join(folder, 'clicks.csv'))
    await run(folder, ['replay', ...dataset(folder), '--once'])
    await learnMore(folder)
    const root = runFolder(folder)
    const before = filesWith(root, erased)
    for (const place of [
      /^sequences\//,
      /^index\//,
      /^checkpoints\//,
      /^report\.json$/,
      /^log\/interactions\//,
      /\.jsonl$/
    ])
      assert(
        before.some((file) => place.test(file)),
        `${place} does not name the user in ${before.join(', ')}: nothing would be proved`
      )
    assert(
      before.filter((file) => file.startsWith('checkpoints/')).length > 1,
      'only one checkpoint: nothing would be proved of older ones'
    )

    const answer = await run(folder, ['erase', '--user', erased, '--json'])
    const left = filesWith(root, erased)
    assert.deepEqual(
      left.filter((file) => !/^log\/|\.jsonl$/.test(file)),
      []
    )
    assert(filesWith(root, other).some((file) => file.startsWith('checkpoints/')))
    const found = outcomes(answer)
    assert.deepEqual(
      [found.histories, found.index, found['examples kept for replay'], found['report.json']],
      Array(4).fill('erased')
    )
    const until = (answer.places as ErasedPlace[]).filter(({ outcome }) => outcome === 'until')
    assert.equal(until.length, 2)
    for (const { detail } of until) assert.match(detail, /20\d\d-\d\d-\d\d \d\d:\d\d UTC/)
    assert(
      (answer.places as ErasedPlace[]).some(
        ({ place, outcome }) => place.endsWith('.jsonl') && outcome === 'left to you'
      )
    )

    // Whoever comes to the event later finds nothing more to do, and nothing comes back.
    for (const stage of ['sequence', 'train', 'publish']) await run(folder, [stage, '--run', 'clicks.csv', '--once'])
    assert.equal((await run(folder, ['recommend', '--user', erased, '--json'])).coldStart, 'popular')
    assert.equal((await run(folder, ['recommend', '--user', other, '--json'])).coldStart, undefined)
    assert.deepEqual(
      filesWith(root, erased).filter((file) => !/^log\/|\.jsonl$|^sequences\/|^index\//.test(file)),
      []
    )
    assert.deepEqual(
      Object.values(outcomes(await run(folder, ['erase', '--user', erased, '--json']))).slice(0, 4),
      Array(4).fill('nothing there')
    )
    assert.deepEqual(
      filesWith(root, erased).filter((file) => !/^log\/|\.jsonl$/.test(file)),
      []
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('while everything runs: the stages do it, by a request as by the command, and say so', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-erase-'))
  writeData(path.join(folder, 'clicks.csv'))
  const service = new MtmiProcess(
    ['--data-dir', path.join(folder, 'data'), ...small, 'replay', ...dataset(folder), '--port', '0'],
    {
      cwd: folder,
      env: { MTMI_TRAIN_CHECKPOINT_INTERVAL_MS: '50' }
    }
  )
  try {
    const base = (await service.says(/Serving on (http:\S+)/))[1]!
    const list = async (user: string) =>
      (await (await fetch(`${base}/v1/users/${user}/recommendations`)).json()) as { coldStart?: string }
    assert.equal((await list(erased)).coldStart, undefined)
    // A mistyped id: nothing is called erased where nothing was.
    const mistyped = await run(folder, ['erase', '--user', 'no-such-user', '--json'])
    assert.equal(mistyped.found, false)
    const missing = outcomes(mistyped)
    assert.deepEqual(
      [missing.histories, missing.index, missing['examples kept for replay'], missing['report.json']],
      Array(4).fill('nothing there')
    )
    const answer = await run(folder, ['erase', '--user', erased, '--json'])
    assert.equal(answer.found, true)
    const found = outcomes(answer)
    assert.deepEqual(
      [found.histories, found.index, found['examples kept for replay'], found['report.json']],
      Array(4).fill('erased')
    )
    assert.equal((await list(erased)).coldStart, 'popular')
    const checkpoints = path.join(runFolder(folder), 'checkpoints')
    assert.deepEqual(filesWith(checkpoints, erased), [])

    assert(filesWith(checkpoints, other).length > 0)
    const deleted = await fetch(`${base}/v1/users/${other}`, { method: 'DELETE' })
    assert.deepEqual([deleted.status, await deleted.json()], [202, { userId: other }])
    // The command waits for what the request began, and finds it done.
    await run(folder, ['erase', '--user', other, '--json'])
    assert.equal((await list(other)).coldStart, 'popular')
    assert.deepEqual(filesWith(checkpoints, other), [])

    // A click afterwards is a new beginning.
    const click = JSON.stringify({ userId: other, itemId: 'item-3', type: 'click' })
    const posted = await fetch(`${base}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: click
    })
    assert.equal(posted.status, 202, await posted.text())
    let profile: { historyLength?: number } = {}
    for (const deadline = performance.now() + patienceMs; profile.historyLength === undefined; await nextTurn()) {
      assert(performance.now() < deadline, 'the click never reached the index')
      profile = (await (await fetch(`${base}/v1/users/${other}`)).json()) as { historyLength?: number }
    }
    assert.equal(profile.historyLength, 1)
  } finally {
    await service.stop('SIGTERM')
    rmSync(folder, { recursive: true, force: true })
  }
})
