// `mtmi start --once` on newer versions of Node than the one that runs the tests: the same records end the same way.
// Each version comes from the npm package `node`, which is that program and nothing else.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'

const versions = [24, 26]
let folder: string

before(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-node-'))
})
after(() => rmSync(folder, { recursive: true, force: true }))

/** @param node the program; undefined: the one that runs this test */
async function run(name: string, node?: string) {
  const args = ['start', '--events', '2000', '--once', '--json', '--data-dir', path.join(folder, name)]
  const finished = await mtmi(args, { cwd: folder, env: { TF_NUM_INTRAOP_THREADS: '1' }, ...(node && { node }) })
  assert.equal(finished.status, 0, finished.stderr)
  const { interactions, users, items, examplesTrained, backend } = lastLine(finished.stdout)
  return { interactions, users, items, examplesTrained, backend }
}

test('start --once ends with the same numbers on every supported Node', async (t) => {
  const expected = await run('own')
  assert(Number(expected.examplesTrained) > 500, JSON.stringify(expected))
  for (const version of versions)
    await t.test(`Node ${version}`, async (t) => {
      const prefix = path.join(folder, `node${version}`)
      const install = ['install', '--prefix', prefix, '--no-save', '--no-audit', '--no-fund', `node@${version}`]
      const installed = spawnSync('npm', install, { encoding: 'utf8' })
      const node = path.join(prefix, 'node_modules', 'node', 'bin', 'node')
      const found = spawnSync(node, ['--version'], { encoding: 'utf8' })
      if (found.status !== 0)
        return t.skip(`NODE ${version} CANNOT BE HAD from npm, so nothing was tested on it: ${installed.stderr}`)
      assert.match(found.stdout, new RegExp(`^v${version}\\.`))
      assert.deepEqual(await run(`data${version}`, node), expected)
      rmSync(prefix, { recursive: true, force: true })
    })
})
