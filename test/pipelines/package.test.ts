// What is published: everything that package.json promises is there, and the launcher and the API can be had from it.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import * as api from '../../pipelines/api.ts'

const root = path.resolve(import.meta.dirname, '../..')
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
  name: string
  version: string
  bin: Record<string, string>
  types: string
  exports: Record<'.', { types: string; default: string }>
  files: string[]
}
const built = manifest.exports['.']

test('what is exported is made from sources that exist; the command is a script that can be run', () => {
  for (const [target, made] of [
    [built.default, '.js'],
    [built.types, '.d.ts']
  ] as const) {
    assert(target.startsWith('./dist/') && target.endsWith(made))
    const source = target.replace('./dist/', '').replace(made, '.ts')
    assert(existsSync(path.join(root, source)), `${target} is made from ${source}`)
  }
  assert.equal(manifest.types, built.types)
  const launcher = path.join(root, manifest.bin.mtmi!)
  assert.match(readFileSync(launcher, 'utf8'), /^#!\/usr\/bin\/env node\n/)
  assert(statSync(launcher).mode & 0o100, `${launcher} is not executable`)
})

test('the tarball has what is needed at run time, and neither tests nor sources', () => {
  const packed = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' })
  assert.equal(packed.status, 0, packed.stderr)
  const [{ files }] = JSON.parse(packed.stdout) as [{ files: { path: string }[] }]
  const paths = files.map((file) => file.path)
  for (const schema of readdirSync(path.join(root, 'schemas'))) assert(paths.includes(`schemas/${schema}`), schema)
  for (const needed of ['package.json', 'LICENSE', 'infra/mtmi.mjs', 'infra/setup.mjs'])
    assert(paths.includes(needed), needed)
  assert.deepEqual(
    paths.filter((file) => /^(test|src|pipelines|data|node_modules)\//.test(file)),
    []
  )
})

const exported: Readonly<Record<string, unknown>> = { ...api }

test('the API has what the README names', () => {
  const { version, systemClock, Recommender, simulate } = api
  assert.equal(version, manifest.version)
  for (const name of [
    'Sequencer',
    'LocalLog',
    'EmbeddedIndex',
    'IncrementalTrainer',
    'ModelReplica',
    'Publisher',
    'Recommender'
  ])
    assert.equal(typeof exported[name], 'function', name)
  for (const name of [
    'createHttpService',
    'loadConfig',
    'resolveConfig',
    'openDataset',
    'loadBackend',
    'createMetrics'
  ])
    assert.equal(typeof exported[name], 'function', name)
  assert(new api.ConfigError(['x']) instanceof api.MtmiError)
  assert.equal([...simulate({ seed: 1, events: 5, duplicateShare: 0, badShare: 0 }).interactions()].length, 5)
  assert.equal(typeof systemClock.nowMs(), 'number')
  assert.equal(Recommender.name, 'Recommender')
})

test('what was built is importable by the name of the package, and has types', async (t) => {
  const newest = newestMs('src', 'pipelines')
  const made = path.join(root, built.default)
  if (!existsSync(made)) return t.skip('THERE IS NO BUILD: npm run build, to test what is shipped')
  if (statSync(made).mtimeMs < newest)
    return t.skip('THE BUILD IS OLDER THAN THE SOURCES: npm run build, to test what is shipped')
  const shipped = (await import(import.meta.resolve(manifest.name))) as Record<string, unknown>
  assert.deepEqual(Object.keys(shipped).sort(), Object.keys(exported).sort())
  const types = readFileSync(path.join(root, built.types), 'utf8')
  for (const name of ['Sequencer', 'VectorIndex', 'EventLog', 'Config'])
    assert.match(types, new RegExp(`\\b${name}\\b`))
  for (const [, imported] of types.matchAll(/from '(\..+?)\.ts'/g))
    assert(existsSync(path.join(path.dirname(path.join(root, built.types)), `${imported}.d.ts`)), `${imported}.d.ts`)
})

function newestMs(...folders: string[]): number {
  let newest = 0
  for (const folder of folders)
    for (const entry of readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true }))
      if (entry.name.endsWith('.ts'))
        newest = Math.max(newest, statSync(path.join(entry.parentPath, entry.name)).mtimeMs)
  return newest
}
