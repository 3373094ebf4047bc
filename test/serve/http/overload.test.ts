// More requests than the service can bear: those that are answered are answered in time, the rest at once with 503.

import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { LightMyRequestResponse } from 'fastify'
import { systemClock } from '../../../src/core/clock.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import { createHttpService } from '../../../src/serve/http/httpService.ts'
import { WorkLimit } from '../../../src/serve/http/workLimit.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'

/** Lists that are made at a time before anything is measured. */
const limitStart = 64

/** A service whose lists for users wait until they are released. */
async function setUp(t: TestContext) {
  const metrics = createMetrics({ clock: systemClock, processMetrics: false })
  let open!: () => void
  const released = new Promise<void>((resolve) => {
    open = resolve
  })
  const recommender = new Recommender({ index: new MemoryVectorIndex(), clock: systemClock })
  recommender.recommend = async ({ userId }) => {
    await released
    return { userId, version: 's@1', items: [] }
  }
  const service = createHttpService({
    ...{ recommender, metrics, clock: systemClock },
    accept: async () => {},
    erase: async () => {},
    readiness: () => ({ ready: true, detail: '' }),
    options: resolveConfig(undefined, {}, { serve: { port: 0 } }).serve
  })
  t.after(() => service.close())
  const get = (url: string) => service.app.inject({ method: 'GET', url })
  const post = (url: string, payload: object) => service.app.inject({ method: 'POST', url, payload })
  const shed = async () =>
    Number(/^mtmi_serve_shed_requests_total\{kind="read"\} (\d+)$/m.exec((await metrics.expose()).body)?.[1] ?? 0)
  return { open, shed, get, post }
}

test('lists beyond the limit get 503 with Retry-After at once, the others their answer; probes are never rejected', async (t) => {
  const { open, shed, get, post } = await setUp(t)
  const more = 20
  const answers = Array.from({ length: limitStart + more }, (_, i) => get(`/v1/users/u${i}/recommendations`))
  const early: LightMyRequestResponse[] = []
  for (const answer of answers) void answer.then((response) => early.push(response))
  while (early.length < more) await nextTurn()
  assert.equal(await shed(), more)
  for (const response of early) {
    assert.deepEqual([response.statusCode, response.headers['retry-after']], [503, '1'])
    assert.match(String(response.headers['content-type']), /^application\/problem\+json/)
    assert.match(response.json().detail, /^64 lists are being made already/)
  }
  assert.equal((await post('/v1/recommendations/batch', { userIds: ['u'] })).statusCode, 503)
  for (const path of ['/livez', '/readyz', '/metrics', '/openapi.json'])
    assert.equal((await get(path)).statusCode, 200, path)
  open()
  const all = await Promise.all(answers)
  assert.equal(all.filter(({ statusCode }) => statusCode === 503).length, more)
  for (const [i, response] of all.entries())
    if (response.statusCode !== 503) assert.deepEqual([response.statusCode, response.json().userId], [200, `u${i}`])
  assert.equal(await shed(), more + 1)
  assert.equal((await get('/v1/users/u/recommendations')).statusCode, 200, 'the slots are free again')
})

/**
 * One core that makes a list in `serviceMs`, in virtual time, and requests at a steady rate.
 * @returns how long each list took that was begun after `settleMs`, and how many were rejected
 */
async function simulate(serviceMs: number, everyMs: number, seconds: number, settleMs = 1000) {
  let nowMs = 0
  const limit = new WorkLimit(createMetrics({ clock: systemClock, processMetrics: false }), () => nowMs)
  const queue: (() => void)[] = []
  const takenMs: number[] = []
  let rejected = 0
  let doneMs = Number.POSITIVE_INFINITY
  for (; nowMs < seconds * 1000; nowMs += 1) {
    if (nowMs >= doneMs) {
      queue.shift()!()
      doneMs = queue.length === 0 ? Number.POSITIVE_INFINITY : nowMs + serviceMs
      await nextTurn()
    }
    if (nowMs % everyMs !== 0) continue
    const begunMs = nowMs
    const list = limit.run(
      () =>
        new Promise<void>((resolve) => {
          queue.push(resolve)
          if (queue.length === 1) doneMs = nowMs + serviceMs
        })
    )
    list.then(
      () => begunMs >= settleMs && takenMs.push(nowMs - begunMs),
      () => rejected++
    )
  }
  await nextTurn()
  return { takenMs: takenMs.sort((a, b) => a - b), rejected }
}

test('at twice the rate that can be borne, lists take under 100 ms, and the core is never idle', async () => {
  const { takenMs, rejected } = await simulate(4, 2, 20)
  assert(takenMs.at(-1)! < 100, `the slowest list took ${takenMs.at(-1)} ms`)
  assert(takenMs.length > 0.97 * (19_000 / 4), `${takenMs.length} lists`)
  assert(rejected > 4000, `${rejected} rejected`)
})

test('below the rate that can be borne nothing is rejected; slow lists are still made, sixteen at a time', async () => {
  assert.equal((await simulate(4, 5, 20)).rejected, 0)
  const slow = await simulate(60, 30, 45, 20_000)
  assert(slow.takenMs.length > 0.9 * (25_000 / 60), `${slow.takenMs.length} lists`)
  assert(slow.takenMs.at(-1)! <= 17 * 60, `${slow.takenMs.at(-1)} ms`)
})

test('a far index answers late and many at a time: after the limit has grown nothing is rejected', async () => {
  const latencyMs = 200
  let nowMs = 0
  const limit = new WorkLimit(createMetrics({ clock: systemClock, processMetrics: false }), () => nowMs)
  const dueAt = new Map<number, () => void>()
  const rejectedAtMs: number[] = []
  for (; nowMs < 30_000; nowMs += 2) {
    dueAt.get(nowMs)?.()
    dueAt.delete(nowMs)
    const begunMs = nowMs
    const list = limit.run(() => new Promise<void>((resolve) => dueAt.set(begunMs + latencyMs, resolve)))
    list.catch(() => rejectedAtMs.push(begunMs))
    await nextTurn()
  }
  // 100 lists are in work at a time, and the limit starts at 64.
  assert(rejectedAtMs.length > 0)
  assert(rejectedAtMs.at(-1)! < 15_000, `rejected until ${rejectedAtMs.at(-1)} ms`)
})
