import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { ManualClock } from '../../src/core/clock.ts'
import {
  describeHolder,
  isLock,
  type LockHolder,
  lockHolders,
  type ProcessLock,
  silentMaxMs,
  takeProcessLock
} from '../../src/core/processLock.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-lock-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const clock = new ManualClock(1_000_000)
let count = 0
const newFile = () => path.join(folder, `case-${++count}`, 'some.lock')

function take(file: string): ProcessLock {
  const result = takeProcessLock(file, 'test', clock)
  assert(isLock(result), `held by ${JSON.stringify(result)}`)
  return result
}

test('one holder at a time, named while it holds; released, the lock can be taken again', () => {
  const file = newFile()
  const lock = take(file)
  const refused = takeProcessLock(file, 'another', clock)
  assert(!isLock(refused))
  assert.equal(refused.pid, process.pid)
  assert.equal(describeHolder(refused), `test (process ${process.pid}, since 1970-01-01T00:16:40.000Z)`)
  assert.deepEqual(lockHolders(path.dirname(file), clock), [refused])
  lock.release()
  lock.release()
  assert.deepEqual(readdirSync(path.dirname(file)), [])
  take(file).release()
})

test('what a killed process left behind is taken over', async () => {
  const file = newFile()
  const source = new URL('../../src/core/processLock.ts', import.meta.url).href
  const script = `const { takeProcessLock } = await import('${source}')
    takeProcessLock(${JSON.stringify(file)}, 'the other', { nowMs: () => 5 })
    console.log('taken'); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  await once(child.stdout, 'data')
  const held = takeProcessLock(file, 'test', clock)
  assert(!isLock(held))
  assert.equal(held.pid, child.pid)
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert(existsSync(file), 'it had no chance to remove it')
  take(file).release()
})

/** Writes a lock as another process would have. */
function leave(file: string, holder: Partial<LockHolder>): void {
  take(file).release()
  writeFileSync(
    file,
    JSON.stringify({ pid: process.pid, started: null, host: os.hostname(), what: 'left', sinceMs: 0, ...holder })
  )
}

test('a process id that was given to another process since does not hold', () => {
  const file = newFile()
  leave(file, { started: 'another time' })
  if (process.platform === 'linux') take(file).release()
  leave(file, { started: null })
  assert(!isLock(takeProcessLock(file, 'test', clock)), 'where start times are unknown, the id decides')
})

test('on another host a holder counts as long as it touches its file', () => {
  const file = newFile()
  leave(file, { host: 'elsewhere' })
  utimesSync(file, clock.nowMs() / 1000, clock.nowMs() / 1000)
  assert(!isLock(takeProcessLock(file, 'test', clock)))
  clock.advance(silentMaxMs)
  const lock = take(file)
  assert.equal((JSON.parse(readFileSync(file, 'utf8')) as LockHolder).host, os.hostname())
  lock.release()
})

test('a torn lock file holds nobody up', () => {
  const file = newFile()
  take(file).release()
  writeFileSync(file, '{"pid": 1')
  take(file).release()
})

test('a lock that was taken over is not removed by its former holder', () => {
  const file = newFile()
  const former = take(file)
  leaveOther(file)
  former.release()
  assert(existsSync(file))
})

function leaveOther(file: string): void {
  writeFileSync(file, JSON.stringify({ pid: 1, started: null, host: 'elsewhere', what: 'left', sinceMs: 0 }))
}
