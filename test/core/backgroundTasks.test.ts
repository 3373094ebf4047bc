import assert from 'node:assert/strict'
import test from 'node:test'
import { BackgroundTasks } from '../../src/core/backgroundTasks.ts'
import { SteppedClock } from '../support/steppedClock.ts'

const own = { ready: true, detail: 'well' }
const minute = 60_000

function started(required: boolean) {
  const clock = new SteppedClock(1_700_000_000_000)
  const problems: string[] = []
  let failures = 0
  const tasks = new BackgroundTasks<'look'>({
    clock,
    onProblem: (text) => problems.push(text),
    onFailure: () => failures++
  })
  const server = { down: false, hangs: false, rounds: 0 }
  tasks.every('look', 'looking', { intervalMs: 1000, required }, async () => {
    if (server.hangs) await new Promise(() => {})
    if (server.down) throw new TypeError('no answer')
    server.rounds++
  })
  return { clock, problems, tasks, server, failures: () => failures }
}

test('a task whose dependency fails for a minute goes on when it is back: one line each, every failure counted, and readiness comes back', async () => {
  const { clock, problems, tasks, server, failures } = started(true)
  await clock.pass(5500)
  assert.equal(server.rounds, 6)
  assert.deepEqual(tasks.readiness(own), own)
  server.down = true
  await clock.pass(minute)
  assert.equal(problems.length, 1)
  assert(failures() >= 10 && failures() <= 30, `${failures()} attempts in a minute`)
  const { ready, detail } = tasks.readiness(own)
  assert.equal(ready, false)
  assert.match(detail, /^looking fails since 2023-.*: no answer$/)
  server.down = false
  await clock.pass(6000)
  assert.deepEqual(tasks.readiness(own), own)
  assert.equal(problems.length, 2)
  assert.match(problems[1]!, /works again after \d+ s and \d+ failed attempts/)
  const { rounds } = server
  await clock.pass(10_000)
  assert.equal(server.rounds, rounds + 10)
  server.down = true
  await clock.pass(minute)
  assert.equal(problems.length, 3, 'the next outage is another')
  await tasks.stop()
})

test('a task that a process can do without does not make it unready, but readiness names what fails', async () => {
  const { clock, tasks, server } = started(false)
  server.down = true
  await clock.pass(1000)
  const { ready, detail } = tasks.readiness(own)
  assert.equal(ready, true)
  assert.match(detail, /^well; looking fails since/)
  await tasks.stop()
})

test('a round that neither succeeds nor fails is not ready either, and does not hold up the end', async () => {
  const { clock, tasks, server } = started(true)
  server.hangs = true
  await clock.pass(minute)
  assert.match(tasks.readiness(own).detail, /^looking has not ended for \d+ s$/)
  await tasks.stop()
  const { rounds } = server
  await clock.pass(minute)
  assert.equal(server.rounds, rounds)
})
