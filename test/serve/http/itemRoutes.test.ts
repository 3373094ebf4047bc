// Changes of a part of an item.

import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ManualClock } from '../../../src/core/clock.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { UnavailableError } from '../../../src/core/errors.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import type { CatalogueItem } from '../../../src/records/catalogueItem.ts'
import { createHttpService } from '../../../src/serve/http/httpService.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import { describedAnswer } from '../../support/describedAnswer.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'

const nowMs = 1_700_000_000_000

/** A catalogue whose reading and writing take some turns of the event loop. */
async function setUp(t: TestContext) {
  const clock = new ManualClock(nowMs)
  const items = new Map<string, CatalogueItem | null>()
  const failures: Error[] = []
  const service = createHttpService({
    recommender: new Recommender({ index: new MemoryVectorIndex(), clock }),
    accept: async () => {},
    erase: async () => {},
    changeItems: async (changes) => {
      for (let i = 0; i < 3; i++) await nextTurn()
      const failure = failures.shift()
      if (failure !== undefined) throw failure
      for (const { itemId, item } of changes) items.set(itemId, item)
    },
    currentItem: async (itemId) => {
      const item = items.get(itemId) ?? undefined
      for (let i = 0; i < 3; i++) await nextTurn()
      return item
    },
    readiness: () => ({ ready: true, detail: '' }),
    metrics: createMetrics({ clock, processMetrics: false }),
    options: resolveConfig(undefined, {}, { serve: { port: 0 } }).serve,
    clock
  })
  t.after(() => service.close())
  const page = (await service.app.inject({ method: 'GET', url: '/openapi.json' })).json()
  const send = async (method: 'PUT' | 'PATCH' | 'DELETE', id: string, payload?: object) => {
    const url = `/v1/items/${encodeURIComponent(id)}`
    const answer = await service.app.inject({ method, url, ...(payload === undefined ? {} : { payload }) })
    return { status: answer.statusCode, body: describedAnswer(page, answer, '/v1/items/{id}', method.toLowerCase()) }
  }
  return { items, failures, send }
}

test('a patch changes what it names and keeps the rest; null removes', async (t) => {
  const { items, send } = await setUp(t)
  await send('PUT', 'a/b', { title: 'A', features: { genre: ['x', 'y'], price: 9.5, used: true } })
  const before = { genre: ['x', 'y'], price: ['9.5'], used: ['true'] }
  for (const [patch, title, features] of [
    [{}, 'A', before],
    [{ features: { price: 7, brand: ['B', 'C'] } }, 'A', { ...before, price: ['7'], brand: ['B', 'C'] }],
    [{ features: { used: null, brand: null, absent: null } }, 'A', { genre: ['x', 'y'], price: ['7'] }],
    [{ title: 'B', features: {} }, 'B', { genre: ['x', 'y'], price: ['7'] }],
    [{ title: null }, undefined, { genre: ['x', 'y'], price: ['7'] }],
    [{ features: { genre: 'z', __proto__x: 'p' } }, undefined, { genre: ['z'], price: ['7'], __proto__x: ['p'] }],
    [{ title: 'C', features: null }, 'C', {}]
  ] as const) {
    const { status, body } = await send('PATCH', 'a/b', patch)
    assert.deepEqual([status, body], [202, { itemIds: ['a/b'] }])
    const expected = { itemId: 'a/b', ...(title === undefined ? {} : { title }), features, updatedAtMs: nowMs }
    assert.deepEqual(items.get('a/b'), expected, JSON.stringify(patch))
  }
})

test('an availability is a time, stays until it is named, and null removes it', async (t) => {
  const { items, send } = await setUp(t)
  const windowOf = () => [items.get('a')!.availableFromMs, items.get('a')!.availableUntilMs]
  const put = { title: 'A', availableFrom: '2026-01-01T00:00:00+01:00', availableUntil: 1_800_000_000_000 }
  assert.equal((await send('PUT', 'a', put)).status, 202)
  assert.deepEqual(windowOf(), [Date.UTC(2025, 11, 31, 23), 1_800_000_000_000])
  await send('PATCH', 'a', { title: 'B' })
  assert.deepEqual(windowOf(), [Date.UTC(2025, 11, 31, 23), 1_800_000_000_000])
  await send('PATCH', 'a', { availableFrom: null, availableUntil: '9999-12-31T23:59:59Z' })
  assert.deepEqual(windowOf(), [undefined, 253_402_300_799_000])
  await send('PUT', 'a', { title: 'C' })
  assert.deepEqual(windowOf(), [undefined, undefined])
  for (const [content, detail] of [
    [{ availableFrom: 'tomorrow' }, /availableFrom must be .*ISO 8601/],
    [{ availableFrom: '2026-01-01' }, /availableFrom must be .*ISO 8601/],
    [{ availableUntil: -1 }, /availableUntil/],
    [{ availableFrom: 2000, availableUntil: 2000 }, /2000 is not before availableUntilMs 2000/]
  ] as const) {
    const { status, body } = await send('PUT', 'a', content)
    assert.equal(status, 400)
    assert.match(body.detail, detail)
  }
  assert.equal(items.get('a')?.title, 'C')
})

test('a patch is checked like a new item, and needs one that is there', async (t) => {
  const { items, send } = await setUp(t)
  await send('PUT', 'a', { title: 'A' })
  const before = items.get('a')
  for (const patch of [
    { name: 'x' },
    { features: { genre: [''] } },
    { features: { price: { lt: 1 } } },
    { title: 7 },
    []
  ])
    assert.equal((await send('PATCH', 'a', patch)).status, 400, JSON.stringify(patch))
  assert.deepEqual(items.get('a'), before)
  for (const id of ['b', 'A']) {
    const { status, body } = await send('PATCH', id, { title: 'B' })
    assert.deepEqual([status, items.has(id)], [404, false])
    assert.match(body.detail, /is not in the catalogue; PUT adds it/)
  }
  await send('DELETE', 'a')
  assert.equal((await send('PATCH', 'a', { title: 'B' })).status, 404)
})

test('changes at the same time are all there afterwards, and a failed one stops no other', async (t) => {
  const { items, failures, send } = await setUp(t)
  await send('PUT', 'a', { title: 'A' })
  await Promise.all(Array.from({ length: 20 }, (_, i) => send('PATCH', 'a', { features: { [`f${i}`]: i } })))
  assert.equal(Object.keys(items.get('a')!.features).length, 20)
  failures.push(new UnavailableError('the log is full'))
  const [failed, put, patched] = await Promise.all([
    send('PATCH', 'a', { title: 'lost' }),
    send('PUT', 'a', { title: 'B', features: { x: 1 } }),
    send('PATCH', 'a', { features: { y: 2 } })
  ])
  assert.deepEqual([failed.status, put.status, patched.status], [503, 202, 202])
  assert.deepEqual(items.get('a'), { itemId: 'a', title: 'B', features: { x: ['1'], y: ['2'] }, updatedAtMs: nowMs })
})
