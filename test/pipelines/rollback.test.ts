// `mtmi rollback` on a run with a real model: what it shows, what it refuses, and what it leaves behind.

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { largeLosses } from '../../pipelines/modelPreview.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import type { GateFigures } from '../../src/publish/publisherGate.ts'
import { gateOptions } from '../../src/publish/publisherGate.ts'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'

const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-rollback-'))
after(() => rmSync(cwd, { recursive: true, force: true }))

test('a loss is large from half of the hits on, if it is not by chance; lists and collapse count as at the gate', () => {
  const options = gateOptions(resolveConfig({}, {}).publish.gate)
  const figures = (candidate: number, more: Partial<GateFigures> = {}): GateFigures => ({
    ...{
      items: 900,
      targets: 2000,
      hits: { live: 681, candidate },
      lost: Math.max(0, 700 - candidate),
      gained: 19,
      chance: 1e-9
    },
    ...{ cosine: { live: 0.41, candidate: 0.42 }, broken: { live: 0, candidate: 0 }, canaries: 64, overlap: 0.6 },
    ...more
  })
  assert.match(
    largeLosses(figures(105), options).join(),
    /of 2000 targets it finds 105 .*what is served now 681: fewer than half/
  )
  // What a version from before the newest targets loses: 36% on the simulation.
  assert.deepEqual(largeLosses(figures(435), options), [])
  assert.deepEqual(largeLosses(figures(105, { chance: 0.01 }), options), [], 'so few targets that chance may make it')
  assert.match(largeLosses(figures(500, { cosine: { live: 0.4, candidate: 0.97 } }), options).join(), /cosine of 0\.97/)
  assert.match(largeLosses(figures(500, { overlap: 0.02 }), options).join(), /lists of 64 canary users keep 2%/)
})

test('going back shows both models first, refuses a large loss, keeps what is left behind, and a restart reports what is served', async () => {
  const start = [
    'start',
    '--events',
    '6000',
    '--once',
    '--json',
    '--set',
    'train.checkpointIntervalMs=50',
    '--set',
    'train.versionIntervalMs=50'
  ]
  const first = await mtmi([...start, '--set', 'train.versionKeep=200'], { cwd })
  assert.equal(first.status, 0, first.stderr)
  const checkpoints = path.join(cwd, 'data', 'simulation-6000', 'checkpoints')
  const versions = () =>
    readdirSync(checkpoints).flatMap((name) => (/^checkpoint-0*(\d+)\.version$/.exec(name) ?? []).slice(1).map(Number))
  const early = versions().find((step) => step > 0)!
  const newest = Math.max(
    ...readdirSync(checkpoints).map((name) => Number(/^checkpoint-0*(\d+)\.mtmi$/.exec(name)?.[1] ?? 0))
  )
  assert(early < newest / 2, `versions ${versions().join(', ')}, newest ${newest}: nothing would be proved`)

  const compared = await mtmi(['rollback'], { cwd })
  assert.equal(compared.status, 78)
  assert.match(
    compared.stdout,
    new RegExp(`^served now: mtmi-4x64, step \\d+\\n +${newest} {2}newest .* found \\d+ of \\d+ newest targets`)
  )
  assert.match(
    compared.stdout,
    new RegExp(`\\n +${early} {2}version .* found \\d+ of \\d+ newest targets, served now \\d+; lists keep \\d+%`)
  )

  const refused = await mtmi(['rollback', String(early)], { cwd })
  assert.equal(refused.status, 78)
  assert.match(refused.stderr, /^run simulation-6000 in /)
  assert.match(refused.stderr, /would serve much worse lists than now: .*Nothing was changed/)
  assert.equal(readdirSync(path.dirname(checkpoints)).includes('control.json'), false)

  const asked = await mtmi(['rollback', String(early), '--yes', '--json'], { cwd })
  assert.equal(asked.status, 0, asked.stderr)
  const { preview } = lastLine(asked.stdout) as { preview: { figures: GateFigures } }
  assert(preview.figures.hits.candidate < preview.figures.hits.live / 2)

  // The version left behind is kept although the others are pruned, and the report is of the weights that are served.
  const second = await mtmi([...start, '--set', 'train.versionKeep=3'], { cwd })
  assert.equal(second.status, 0, second.stderr)
  assert(versions().includes(newest), `${newest} is not among the versions ${versions().join(', ')}`)
  type Report = {
    examplesTrained: number
    otherLosses: { examplesUndone: number }
    progressive: { 'hitRate@20': number }
  }
  const [before, now] = [lastLine(first.stdout), lastLine(second.stdout)] as unknown as Report[]
  assert(
    now!.otherLosses.examplesUndone > before!.examplesTrained / 2,
    `${now!.otherLosses.examplesUndone} of ${before!.examplesTrained}`
  )
  assert.notEqual(now!.progressive['hitRate@20'], before!.progressive['hitRate@20'])

  // With --hold the trainer goes on with other weights than those that are served: its figures are not shown.
  const held = await mtmi(['rollback', String(newest), '--hold'], { cwd })
  assert.equal(held.status, 0, held.stderr)
  const third = await mtmi(
    start.filter((word) => word !== '--json'),
    { cwd }
  )
  assert.equal(third.status, 0, third.stderr)
  assert.match(
    third.stdout,
    /Figures of the trainer's weights are left out, because other weights are served:\n {2}- the trainer publishes nothing until/
  )
  assert.equal(/hit rate@20 {2}NDCG/.test(third.stdout), false)
})
