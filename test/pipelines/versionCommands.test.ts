// `mtmi versions`, `rollback`, `publish --rebuild` and `--resume`, `erase`: what a stranger reads, and what is refused.
// In this process, on files made by hand.

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { publishNewest, rollback } from '../../pipelines/cli/changeModel.ts'
import { erase } from '../../pipelines/cli/erase.ts'
import { versions } from '../../pipelines/cli/versions.ts'
import { controlRequest, controlResult } from '../../pipelines/modelControlFile.ts'
import { openIndex } from '../../pipelines/parts.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { type GateHistory, type GateRecord, gateHistory } from '../../src/publish/modelGate.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import { itemPoint, userPoint } from '../conformance/vectorIndexPoints.ts'

const root = mkdtempSync(path.join(os.tmpdir(), 'mtmi-versions-'))
after(() => rmSync(root, { recursive: true, force: true }))

let folders = 0
/** A data folder with nothing in it, not made yet. */
function nowhere() {
  const dataDir = path.join(root, `data-${++folders}`)
  return { config: resolveConfig({ dataDir }, {}), run: new RunDirectory(dataDir, 'live') }
}

/** What `work` prints, and what it fails with. */
async function said(work: () => Promise<void>): Promise<{ out: string; err: string; code: string; problem: string }> {
  const texts = { out: '', err: '' }
  const own = { out: process.stdout.write.bind(process.stdout), err: process.stderr.write.bind(process.stderr) }
  // The test runner talks on standard output too, in bytes: only texts are the command's.
  const take = (to: 'out' | 'err') => (text: string | Uint8Array) => {
    if (typeof text !== 'string') return own[to](text)
    texts[to] += text
    return true
  }
  process.stdout.write = take('out')
  process.stderr.write = take('err')
  try {
    await work()
    return { ...texts, code: '', problem: '' }
  } catch (error) {
    return { ...texts, code: (error as { code?: string }).code ?? '', problem: (error as Error).message }
  } finally {
    process.stdout.write = own.out
    process.stderr.write = own.err
  }
}

const atMs = Date.UTC(2026, 4, 1, 12)
const figures: GateRecord['figures'] = {
  ...{ items: 900, targets: 2000, hits: { live: 840, candidate: 851 }, lost: 10, gained: 21, chance: 0.98 },
  ...{ cosine: { live: 0.41, candidate: 0.42 }, broken: { live: 0, candidate: 0 }, canaries: 64, overlap: 0.87 }
}
const accepted: GateRecord = {
  outcome: 'accepted',
  reasons: [],
  figures,
  step: 40,
  modelVersion: 'mtmi-1x2',
  atMs,
  workMs: 12,
  tookMs: 30
}
const refused: GateRecord = {
  ...{ outcome: 'refused', step: 60, modelVersion: 'mtmi-1x2', atMs: atMs + 60_000, workMs: 13, tookMs: 31 },
  reasons: [{ check: 'collapse', text: 'two interests of a user have a cosine of 0.97' }],
  figures: { ...figures, hits: { live: 840, candidate: 700 } }
}

/** A run with two index versions, three checkpoints, of which the first is a version and the second damaged, and a refusal. */
async function furnished() {
  const made = nowhere()
  const { config, run } = made
  run.make({ configFile: null })
  const index = await openIndex(config, run, { searchThread: false })
  for (const indexVersion of ['mtmi-1x2', 'mtmi-1x2.1']) {
    await index.createVersion(indexVersion, { dimensions: 2, interestCount: 1 })
    await index.upsert(indexVersion, 40, [itemPoint('x', [1, 0]), userPoint('ann', [[1, 0]], ['x'])])
  }
  await index.promote('mtmi-1x2', { items: 1, users: 1 })
  await index.close()
  const checkpoints = new CheckpointFiles({ directory: run.path('checkpoints'), keep: 3, versionKeep: 2 })
  for (const [i, step] of [20, 40, 60].entries()) {
    const stage = { savedAtMs: atMs + i * 60_000, examplesTrained: 1000 * step, modelVersion: 'mtmi-1x2' }
    await checkpoints.save(step, { header: { stage }, parts: [] }, { version: step === 20 })
  }
  const file = run.path('checkpoints', 'checkpoint-000000000040.mtmi')
  writeFileSync(file, readFileSync(file).subarray(0, 30))
  const history: GateHistory = {
    records: [accepted, refused],
    held: { step: 60, sinceMs: atMs + 60_000, text: refused.reasons[0]!.text }
  }
  run.state(gateHistory).save(history)
  return made
}

test('versions: of a run that is not there, and of one with everything in it', async () => {
  const { config, run } = nowhere()
  const empty = await said(() => versions(config, {}))
  assert.equal(empty.out, 'nothing is live yet\n\nno checkpoints\n\nno weights have been tried yet\n')
  assert.equal(existsSync(run.root), false, 'who only asks leaves nothing behind')

  const full = await furnished()
  const { out } = await said(() => versions(full.config, {}))
  assert.deepEqual(out.replace(/checkpoint \S+?: cut off.*/, 'DAMAGED').split('\n'), [
    'live   mtmi-1x2, step 40, 1 items, 1 users',
    'kept   mtmi-1x2.1',
    'held   weights up to step 60 are held back since 2026-05-01T12:01:00.000Z: two interests of a user have a cosine of 0.97',
    '',
    'checkpoints (`mtmi rollback STEP`)',
    '        60           2026-05-01 12:02:00  60000 examples  0.0 MB',
    '        40           DAMAGED',
    '        20  version  2026-05-01 12:00:00  20000 examples  0.0 MB',
    '',
    'newest gates',
    '        60  refused  2026-05-01 12:01:00  found 700 of 2000, live 840  lists keep 87%  two interests of a user have a cosine of 0.97  13 ms',
    '        40  accepted  2026-05-01 12:00:00  found 851 of 2000, live 840  lists keep 87%  12 ms',
    ''
  ])
  const report = JSON.parse((await said(() => versions(full.config, { json: true }))).out) as Record<string, unknown>
  assert.deepEqual(
    [(report.live as { indexVersion: string }).indexVersion, report.updatesHeld, report.pending],
    ['mtmi-1x2', false, null]
  )
})

test('rollback, rebuild, resume, erase: where there is no run they say so, and leave none behind', async () => {
  for (const work of [
    (config: ReturnType<typeof resolveConfig>) => rollback(config, undefined, { wait: 0, hold: false }),
    (config: ReturnType<typeof resolveConfig>) => rollback(config, 5, { wait: 0, hold: false }),
    (config: ReturnType<typeof resolveConfig>) => publishNewest(config, 'rebuild', { wait: 0 }),
    (config: ReturnType<typeof resolveConfig>) => publishNewest(config, 'resume', { wait: 0 }),
    (config: ReturnType<typeof resolveConfig>) => erase(config, { user: 'ann' })
  ]) {
    const { config, run } = nowhere()
    const { code, problem, out } = await said(() => work(config))
    assert.deepEqual([code, out, existsSync(run.root)], ['CONFIG', '', false])
    assert.match(problem, /^there is no run in .*(`mtmi start`|choose another --data-dir)/)
  }
})

test('rollback: a version that is unknown or damaged is refused; without a version they are listed and nothing is asked for', async () => {
  const { config, run } = await furnished()
  const to = (version?: number) => said(() => rollback(config, version, { wait: 0, hold: false }))
  const unknown = await to(50)
  assert.equal(unknown.code, 'CONFIG')
  assert.match(unknown.problem, /^there is no checkpoint of step 50 in .*; there are: 20, 40, 60$/)
  const damaged = await to(40)
  assert.equal(damaged.code, 'CORRUPT')
  assert.match(damaged.problem, /^checkpoint .*40\.mtmi: cut off/)
  const none = await to()
  assert.equal(none.code, 'CONFIG')
  assert.match(none.problem, /^rollback needs the step of a checkpoint: `mtmi rollback STEP`\. Nothing was changed$/)
  assert.match(
    none.out,
    /^served now: mtmi-1x2, step 40\n +60 {2}newest .*\n +40 .*cut off.*\n +20 {2}version .*20000 examples/
  )
  assert.equal(existsSync(run.path('control.json')), false, 'nothing was asked for')
})

test('while no trainer runs a request is written down for the next one, and shown; the last one counts', async () => {
  const { config, run } = await furnished()
  const first = await said(() => rollback(config, 20, { wait: 0, hold: true, json: true }))
  assert.match(
    first.err,
    /^run live in .*\nthere is no served model yet to compare it with\ngoing back to version 20; the trainer continues with its own weights, and publishes none until `mtmi publish --resume`\n/
  )
  assert.match(
    first.err,
    /\nno trainer is running in .*: the request is carried out when `mtmi start`, or `train` and `publish`, run next\n$/
  )
  const { request } = JSON.parse(first.out) as { request: Record<string, unknown> }
  assert.deepEqual([request.id, request.action, request.version, request.hold], [1, 'rollback', 20, true])
  assert.match(
    (await said(() => versions(config, {}))).out,
    /^held {3}requested and not carried out yet: rollback to 20$/m
  )
  assert.equal((await said(() => publishNewest(config, 'rebuild', { wait: 0 }))).out, '')
  assert.match((await said(() => versions(config, {}))).out, /^held {3}requested and not carried out yet: rebuild$/m)
  assert.equal((run.state(controlRequest).load() ?? { id: 0 }).id, 2)
})

test('while a trainer runs: what it has not come to, what it could not do, and what is served in the end', async () => {
  const { config, run } = await furnished()
  const trainer = run.lock('mtmi train', ['train'])
  try {
    const slow = await said(() => publishNewest(config, 'resume', { wait: 0 }))
    assert.match(
      slow.err,
      /^run live in .*\nthere is no served model yet .*\nthe trainer has not answered within 0 s; the request stays, and will be carried out\n$/
    )
    const impatient = await said(() => publishNewest(config, 'rebuild', { wait: 0 }))
    assert.equal(impatient.code, 'UNAVAILABLE')
    assert.match(
      impatient.problem,
      /^an earlier request \(resume, number 1\) is still being carried out: wait for it, then request again$/
    )
    const answer = { id: 2, action: 'rebuild', outcome: 'failed', message: 'its disk is full', atMs } as const
    run.state(controlResult).save(answer)
    const failed = await said(() => publishNewest(config, 'rebuild', { wait: 0 }))
    assert.deepEqual([failed.code, failed.problem], ['CONFIG', 'the trainer could not do it: its disk is full'])
    run.state(controlResult).save({ id: 3, action: 'rebuild', outcome: 'done', modelVersion: 'mtmi-1x2.1', atMs })
    const waiting = await said(() => publishNewest(config, 'rebuild', { wait: 0 }))
    assert.match(
      waiting.err,
      /^run live in .*\nthere is no served model yet .*\nthe trainer has sent index version mtmi-1x2\.1; waiting until it is complete\n/
    )
    assert.match(
      waiting.err,
      /\nindex version mtmi-1x2\.1 is not live after 0 s; the earlier one is served meanwhile\. `mtmi versions` shows its state\n$/
    )
    run.state(controlResult).save({ id: 4, action: 'rebuild', outcome: 'done', modelVersion: 'mtmi-1x2', atMs })
    const done = await said(() => publishNewest(config, 'rebuild', { wait: 0, json: true }))
    assert.match(done.err, /\nlive: index version mtmi-1x2, step 40, 1 items, 1 users\n$/)
    assert.deepEqual((JSON.parse(done.out) as { live: { indexVersion: string } }).live.indexVersion, 'mtmi-1x2')
  } finally {
    trainer.release()
  }
})

test('erase: an id that cannot be one; every place by name, with what became of it', async () => {
  const { config, run } = await furnished()
  for (const user of ['', 'x'.repeat(1025)]) {
    const { code, problem } = await said(() => erase(config, { user }))
    assert.equal(code, 'CONFIG')
    assert.match(
      problem,
      /^user id (is "": expected text that is not empty|has 1025 bytes, .* at most 1024 are allowed)/
    )
  }
  rmSync(run.path('checkpoints'), { recursive: true }) // of the format of a trainer's there are none
  const { out } = await said(() => erase(config, { user: 'ann' }))
  const lines = out.trimEnd().split('\n')
  const outcomeOf = (place: string) =>
    lines
      .find((line) => line.slice(15).startsWith(place))
      ?.slice(0, 13)
      .trimEnd()
  assert.deepEqual(
    [
      'histories (sequences/)',
      'histories to encode (published-users/)',
      'index (index/), all index versions',
      'examples kept for replay',
      'report.json',
      'topics interactions',
      'topic user-sequences'
    ].map(outcomeOf),
    ['nothing there', 'nothing there', 'erased', 'nothing there', 'nothing there', 'until', 'until']
  )
  assert.equal(lines.length, 7)
  const index = await openIndex(config, run, { searchThread: false })
  assert.deepEqual([await index.user('ann'), (await index.item('x'))?.payload.count], [undefined, 1])
  await index.close()
  assert.match((await said(() => erase(config, { user: 'ann' }))).out, /^nothing there {2}index/m)
  assert.ok(readdirSync(run.path('log')).includes('interactions'), 'stages that come later read of it')
})
