import assert from 'node:assert/strict'
import test from 'node:test'
import { BackgroundTasks, runTogether, untilAborted } from '../../src/core/backgroundTasks.ts'
import { CorruptError, UnavailableError } from '../../src/core/errors.ts'
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

function kept(restarts: boolean) {
  const clock = new SteppedClock(1_700_000_000_000)
  const counted = { failures: 0, restarts: 0, lives: 0 }
  const problems: string[] = []
  const tasks = new BackgroundTasks<'work'>({
    clock,
    onProblem: (text) => problems.push(text),
    onFailure: () => counted.failures++,
    onRestart: () => counted.restarts++
  })
  /** Ends the life that runs. */
  let end: (error?: Error) => void = () => {}
  const state = { comesUp: true, startsAtMs: [] as number[] }
  tasks.keep('work', 'the worker', { restarts }, async ({ signal, up }) => {
    counted.lives++
    state.startsAtMs.push(clock.nowMs())
    if (!state.comesUp) throw new UnavailableError('no broker')
    up()
    await Promise.race([
      untilAborted(signal),
      new Promise<void>((resolve, reject) => {
        end = (error) => (error === undefined ? resolve() : reject(error))
      })
    ])
  })
  return { clock, counted, problems, tasks, state, end: (error?: Error) => end(error) }
}

test('work that ends, throws or cannot begin is restarted at growing intervals, counted, and readiness names it until it is up', async () => {
  const { clock, counted, problems, tasks, state, end } = kept(true)
  await clock.pass(90_000)
  assert.deepEqual(tasks.readiness(own), own)
  state.comesUp = false
  end(new Error('it died'))
  await clock.pass(10 * minute)
  assert.equal(tasks.readiness(own).ready, false)
  assert.match(tasks.readiness(own).detail, /^the worker fails since 2023-.*: no broker$/)
  const waits = state.startsAtMs.slice(2).map((atMs, i) => atMs - state.startsAtMs[i + 1]!)
  assert.equal(state.startsAtMs[1]! - state.startsAtMs[0]!, 90_000, 'the first restart does not wait')
  assert.deepEqual(waits.slice(0, 7), [400, 800, 1600, 3200, 6400, 10_000, 10_000])
  assert.equal(counted.restarts, counted.lives - 1)
  assert.equal(counted.failures, counted.lives, 'each life has ended, the last one waits for its restart')
  state.comesUp = true
  await clock.pass(10_000)
  assert.deepEqual(tasks.readiness(own), own)
  assert.equal(problems.length, 2, 'one line when it began, one when it was over')
  const { lives } = counted
  end() // it returns although nothing has stopped it: not a way to end either
  await clock.pass(10_000)
  assert.equal(counted.lives, lives + 1)
  assert.equal(tasks.failure, undefined)
  await tasks.stop()
  await clock.pass(minute)
  assert.equal(counted.lives, lives + 1)
})

test('work that is not restarted, and an error that cannot be retried, end the process with that error', async () => {
  for (const [restarts, error] of [
    [false, new UnavailableError('no broker')],
    [true, new CorruptError('damaged')]
  ] as const) {
    const { clock, tasks, end, counted } = kept(restarts)
    await clock.pass(1000)
    assert.deepEqual(tasks.readiness(own), own)
    end(error)
    await assert.rejects(tasks.failed, error)
    await clock.pass(minute)
    assert.equal(counted.lives, 1)
    assert.deepEqual(tasks.readiness(own), { ready: false, detail: `the worker has ended: ${error.message}` })
    await assert.rejects(tasks.stop(), error)
  }
})

test('work that returns although nothing stopped it ends the process with a failure, not with status 0', async () => {
  const { tasks, end, clock } = kept(false)
  await clock.pass(1000)
  end()
  await assert.rejects(tasks.failed, /ended although nothing had stopped it/)
})

test('loops that need each other end together, with the first error, even where one of them never ends', async () => {
  const clock = new SteppedClock(0)
  const { signal } = new AbortController()
  let stopped = false
  const running = runTogether(
    { signal, clock },
    {
      hanging: () => new Promise(() => {}),
      orderly: async (either) => {
        await untilAborted(either)
        stopped = true
      },
      failing: async () => {
        await clock.sleep(1000)
        throw new UnavailableError('no broker')
      }
    }
  )
  const outcome = assert.rejects(running, /no broker/)
  await clock.pass(20_000)
  await outcome
  assert(stopped)
})

test('a loop that ends by itself fails the others, unless all may end; an abort ends them in order', async () => {
  const clock = new SteppedClock(0)
  const ends = async () => {}
  await assert.rejects(
    runTogether({ signal: new AbortController().signal, clock }, { reading: ends, writing: untilAborted }),
    /reading ended although nothing had stopped it/
  )
  await runTogether({ signal: new AbortController().signal, clock, mayEnd: true }, { one: ends, two: ends })
  const stop = new AbortController()
  const running = runTogether({ signal: stop.signal, clock }, { one: untilAborted, two: untilAborted })
  stop.abort()
  await running
})
