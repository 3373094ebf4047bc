// Requests beyond the rate of a token, and requests that are sent again.

import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import fc from 'fast-check'
import { ManualClock } from '../../../src/core/clock.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import type { Interaction } from '../../../src/records/interaction.ts'
import { createHttpService } from '../../../src/serve/http/httpService.ts'
import { RateLimit } from '../../../src/serve/http/rateLimit.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'

const reader = 'read-0123456789abcdef'
const other = 'other-0123456789abcdef'
const poster = 'events-0123456789abcdef'

async function setUp(t: TestContext, serve: Record<string, unknown>) {
  const index = new MemoryVectorIndex()
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  await index.promote('s', { items: 0, users: 0 })
  const clock = new ManualClock(1_700_000_000_000)
  const metrics = createMetrics({ clock, processMetrics: false })
  const posted: Interaction[] = []
  const service = createHttpService({
    recommender: new Recommender({ index, clock }),
    accept: async (interactions) => {
      posted.push(...interactions)
    },
    erase: async () => {},
    readiness: () => ({ ready: true, detail: '' }),
    metrics,
    options: resolveConfig(undefined, {}, { serve: { port: 0, ...serve } }).serve,
    clock
  })
  t.after(() => service.close())
  return { app: service.app, clock, metrics, posted }
}

test('each token has its own rate: what is beyond it gets 429 and when to try again, and is counted', async (t) => {
  const tokens = { readToken: `${reader}, ${other}`, eventsToken: poster, requestsPerSecond: 0.5 }
  const { app, clock, metrics } = await setUp(t, tokens)
  const get = (token: string, url = '/v1/popular') =>
    app.inject({ method: 'GET', url, headers: { authorization: `Bearer ${token}` } })
  const statuses = async (token: string, count: number) => {
    const answers = []
    for (let i = 0; i < count; i++) answers.push((await get(token)).statusCode)
    return answers
  }
  assert.deepEqual(await statuses(reader, 6), [200, 200, 200, 200, 200, 429])
  const refused = await get(reader)
  assert.equal(refused.headers['retry-after'], '2')
  assert.match(String(refused.headers['content-type']), /^application\/problem\+json/)
  const { type, detail } = refused.json()
  assert.equal(type, 'urn:mtmi:problem:too-many-requests')
  assert.match(detail, /more than 0.5 requests a second.*serve\.requestsPerSecond.*in 2 s/)
  assert.deepEqual(await statuses(other, 1), [200], 'another token of the same role')
  for (const url of ['/livez', '/readyz', '/metrics', '/openapi.json'])
    assert.equal((await get(reader, url)).statusCode, 200, url)
  clock.advance(1999)
  assert.equal((await get(reader)).statusCode, 429)
  clock.advance(1)
  assert.deepEqual(await statuses(reader, 2), [200, 429])
  clock.advance(3_600_000)
  assert.deepEqual(await statuses(reader, 6), [200, 200, 200, 200, 200, 429], 'a long pause fills it once')
  // An unknown token takes nothing from anybody.
  for (let i = 0; i < 9; i++) assert.equal((await get('wrong-0123456789abcdef')).statusCode, 401)
  assert.equal((await get(poster)).statusCode, 403)
  assert.match(await metrics.registry.metrics(), /mtmi_serve_denied_requests_total\{reason="rate"\} 5\b/)
})

test('over any time no more requests pass than the rate and a full bucket allow, and no fewer', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.1, max: 50, noNaN: true }),
      fc.array(fc.integer({ min: -100, max: 3000 }), { minLength: 1, maxLength: 200 }),
      (perSecond, gapsMs) => {
        const clock = new ManualClock(1_000_000)
        const limit = new RateLimit(perSecond, clock)
        const full = Math.max(1, 10 * perSecond)
        let level = full
        for (const gapMs of gapsMs) {
          clock.advance(gapMs)
          level = Math.min(full, level + (Math.max(0, gapMs) / 1000) * perSecond)
          const allowed = level >= 1
          if (allowed) level--
          if (Math.abs(level - 1) < 1e-6 || level < 1e-6) return // rounding decides
          if (allowed) limit.take('a')
          else assert.throws(() => limit.take('a'))
        }
      }
    )
  )
})

test('a request that is sent again with its key has the same event ids; another key or place has others', async (t) => {
  const { app, posted } = await setUp(t, {})
  const send = (key: string | undefined, events: readonly object[]) =>
    app.inject({
      ...{ method: 'POST', url: '/v1/events', payload: events },
      headers: key === undefined ? {} : { 'idempotency-key': key }
    })
  const click = { userId: 'u', itemId: 'x', type: 'click' }
  const events = [click, { ...click, itemId: 'y' }, { ...click, eventId: 'own' }]
  const first = await send('a-1', events)
  assert.equal(first.statusCode, 202)
  assert.deepEqual((await send('a-1', events)).json(), first.json())
  assert.deepEqual(first.json().eventIds, ['idempotency-key/a-1/0', 'idempotency-key/a-1/1', 'own'])
  await send('a-2', events)
  await send(undefined, [click])
  await send(undefined, [click])
  const ids = posted.map(({ eventId }) => eventId)
  assert.deepEqual(ids.slice(0, 3), ids.slice(3, 6))
  assert.equal(new Set(ids).size, 2 + 2 + 1 + 2)
  for (const key of ['', 'a b', 'ä', 'x'.repeat(256)]) {
    const refused = await send(key, [click])
    assert.equal(refused.statusCode, 400, key)
    assert.match(refused.json().detail, /idempotency-key must be 1…255 printable ASCII characters/)
  }
  assert.equal(posted.length, ids.length)
})
