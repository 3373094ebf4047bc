// Threads of real processes are killed. What a client gets and what /readyz says never part for long: a request that is
// refused goes with a probe that is red, and both recover.

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { MtmiProcess, mtmi } from '../support/mtmiProcess.ts'

const timeout = 600_000
/** A probe is at most so much older than the request it is compared with. */
const apartMsMax = 5000
const run = 'simulation-1500'

test('threads that die are replaced, or end their process; requests and probes agree', { timeout }, async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-threads-'))
  const faults = path.join(folder, 'faults')
  mkdirSync(faults)
  const env = {
    NODE_OPTIONS: `--require ${path.join(import.meta.dirname, 'threadFault.cjs')}`,
    THREAD_FAULTS: faults,
    MTMI_OPS_PORT: '0',
    MTMI_SERVE_PORT: '0'
  }
  const plant = (kind: 'search' | 'model', how: 'exit' | 'throw') => writeFileSync(path.join(faults, kind), how)
  try {
    const made = await mtmi(['start', '--events', '1500', '--port', '0', '--once'], { cwd: folder, env })
    assert.equal(made.status, 0, made.stderr)
    await serveSurvives(folder, env, plant)
    for (const stage of ['train', 'publish'] as const) {
      const running = new MtmiProcess([stage, '--run', run], { cwd: folder, env })
      await running.says(/backend/)
      plant('model', 'exit')
      const { status, stderr } = await running.ended
      assert.notEqual(status, 0, `${stage} ends with a failure: a supervisor starts it again`)
      assert.match(stderr, /the model thread ended with status 1/)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

async function serveSurvives(
  cwd: string,
  env: Readonly<Record<string, string>>,
  plant: (kind: 'search' | 'model', how: 'exit' | 'throw') => void
): Promise<void> {
  const serving = new MtmiProcess(['serve', '--run', run], { cwd, env })
  let asked = false
  const stopped = serving.ended.then(({ stderr }) => assert(asked, `serve has ended: ${stderr}`))
  stopped.catch(() => {}) // it is raced below
  const url = (await serving.says(/serving .* on (http:\S+)/))[1]!.replace(/["}].*$/, '')
  const metric = async (pattern: RegExp) => Number(pattern.exec(await (await fetch(`${url}/metrics`)).text())?.[1])
  const recommended = async () => {
    const body = JSON.stringify({ history: [{ itemId: 'i1' }] })
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body }
    return (await fetch(`${url}/v1/recommendations`, init)).status
  }
  const ready = async () => (await fetch(`${url}/readyz`)).status
  const seen = { refused: 0 }
  /** Until both are well, for a minute at most. */
  const recovers = async (what: string) => {
    let refusedSinceMs: number | undefined
    for (const beganMs = performance.now(); ; await Promise.race([pause(50), stopped])) {
      assert(performance.now() - beganMs < 60_000, `${what}: not well after a minute`)
      const asking = Promise.all([recommended(), ready()]).catch(async (error: unknown) => {
        await Promise.race([stopped, pause(1000)]) // why the process is gone says more
        throw error
      })
      const [list, probe] = await asking
      if (list === 200 && probe === 200) return
      if (list !== 200) {
        seen.refused++
        assert.equal(list, 503, what)
      }
      refusedSinceMs = list === 503 && probe === 200 ? (refusedSinceMs ?? performance.now()) : undefined
      const apartMs = performance.now() - (refusedSinceMs ?? performance.now())
      assert(apartMs < apartMsMax, `${what}: requests are refused and /readyz is 200 for ${apartMs} ms`)
    }
  }
  await recovers('at the start')
  const restarts = { search: 0, sessions: 0 }
  for (const how of ['exit', 'throw', 'exit'] as const) {
    for (const [kind, task] of [
      ['search', 'search'],
      ['model', 'sessions']
    ] as const) {
      plant(kind, how)
      restarts[task]++
      const counted = new RegExp(`^mtmi_task_restarts_total\\{task="${task}"\\} (\\d+)$`, 'm')
      while ((await metric(counted)) < restarts[task]) {
        await recovers(`${task}, ${how}`)
        await pause(20)
      }
      await recovers(`${task}, ${how}`)
    }
  }
  assert(seen.refused > 0, 'no request met a dead thread')
  asked = true
  const { status, stderr } = await serving.stop('SIGTERM')
  assert.equal(status, 0, stderr)
}
