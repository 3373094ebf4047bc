// Every state file of a run, damaged in several ways, as its users meet it; and a disk that is full.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { mtmi } from '../support/mtmiProcess.ts'

let folder: string
let run: string
const dataDir = () => path.join(folder, 'data')
const start = ['start', '--events', '2000', '--port', '0', '--once']

before(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-state-files-'))
  run = path.join(dataDir(), 'simulation-2000')
  const { status, stderr } = await mtmi(['--data-dir', dataDir(), ...start], { cwd: folder })
  assert.equal(status, 0, stderr)
})

after(() => rmSync(folder, { recursive: true, force: true }))

/** A file of the run, and a command that reads it. */
const readers: readonly (readonly [string, readonly string[]])[] = [
  ['source.json', start],
  ['drift.json', start],
  ['popularity.json', start],
  ['gates.json', ['versions']],
  ['report.json', ['evaluate']],
  ['control.json', ['versions']],
  ['control-result.json', ['versions']],
  ['dlq-replayed.json', ['dlq', 'replay', '--topic', 'interactions', '--yes']]
]

for (const [name, command] of readers) {
  test(`${name}, damaged, ends \`mtmi ${command[0]}\` with 2, its name and what happens if it is removed, never as a bug`, async () => {
    const file = path.join(run, name)
    // A result is read while a request waits for it.
    const asked = name === 'control-result.json'
    if (asked)
      assert.equal(
        (await mtmi(['--data-dir', dataDir(), 'publish', '--rebuild', '--wait', '0'], { cwd: folder })).status,
        0
      )
    const good = existsSync(file) ? readFileSync(file) : undefined
    const source = readFileSync(path.join(run, 'source.json'))
    const damages: [string, Uint8Array | string][] = [
      ['empty', ''],
      ['binary', Buffer.from([0, 159, 146, 150])],
      ['another kind', name === 'source.json' ? readFileSync(path.join(run, 'gates.json')) : source]
    ]
    if (good !== undefined) damages.push(['truncated', good.subarray(0, good.length / 2)])
    if (good !== undefined) damages.push(['another version', String(good).replace(/"version":\d+/, '"version":999')])
    // Each costs a process that loads everything: the first of `start` alone, whose others test/core/stateFile.test.ts
    // has.
    for (const [what, content] of command === start ? damages.slice(-1) : damages) {
      writeFileSync(file, content)
      const { status, stderr } = await mtmi(['--data-dir', dataDir(), ...command], { cwd: folder })
      assert.equal(status, 2, `${what}: ${stderr}`)
      assert(stderr.includes(`mtmi: ${file} is `), `${what}: ${stderr}`)
      assert.match(stderr, /Restore it from a copy, or remove it: if it is removed, ./, what)
      assert.doesNotMatch(stderr, /report it|\n {4}at /, what)
    }
    if (good === undefined) rmSync(file)
    else writeFileSync(file, good)
    if (asked) rmSync(path.join(run, 'control.json'))
  })
}

test('the state files of a run that ended are undamaged: it goes on', async () => {
  for (const name of ['source.json', 'drift.json', 'popularity.json', 'gates.json', 'report.json'])
    assert(existsSync(path.join(run, name)), name)
  const { status, stderr } = await mtmi(['--data-dir', dataDir(), ...start], { cwd: folder })
  assert.equal(status, 0, stderr)
})

const mountable = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0
const skip = !mountable && 'A FULL DISK IS NOT TESTED: this needs root, unshare and mount of a tmpfs'
if (skip !== false) process.stderr.write(`${skip}\n`)

test('a full disk ends a start with 1 and "no room on" its folder, never as a bug; with room again it goes on', {
  skip,
  timeout: 300_000
}, async () => {
  const disk = path.join(folder, 'disk')
  const launcher = path.resolve(import.meta.dirname, '../../infra/mtmi.mjs')
  const kept = path.join(folder, 'kept.tar')
  // A file system of its own, gone with the process; what is on it when the disk is full is kept for the second start.
  const script = `mkdir -p "$1" && mount -t tmpfs -o size="$2" tmpfs "$1" && shift 2 && "$@"; status=$?; tar cf "${kept}" -C "${disk}" .; exit $status`
  for (const size of ['64k', '400k', '1m', '2m', '4m']) {
    const words = [process.execPath, launcher, '--data-dir', path.join(disk, 'data'), ...start]
    const { status, stderr } = spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', disk, size, ...words], {
      cwd: folder,
      encoding: 'utf8'
    })
    if (status === 0) {
      assert(!['64k', '400k', '1m'].includes(size), `a run fits in ${size}`)
      break
    }
    assert.equal(status, 1, `${size}: ${stderr}`)
    assert.match(stderr, new RegExp(`mtmi: no room on ${disk}`), size)
    assert.doesNotMatch(stderr, /report it/, size)
    if (size !== '1m') continue
    const again = path.join(folder, 'again')
    assert.equal(spawnSync('sh', ['-c', `mkdir "${again}" && tar xf "${kept}" -C "${again}"`]).status, 0)
    const second = await mtmi(['--data-dir', path.join(again, 'data'), ...start], { cwd: folder })
    assert.equal(second.status, 0, `with room again: ${second.stderr}`)
  }
})
