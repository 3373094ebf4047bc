// Lists for many users in one request, lists that the client has already, and compressed answers.

import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { ManualClock } from '../../../src/core/clock.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import { createHttpService } from '../../../src/serve/http/httpService.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'

const nowMs = 1_700_000_000_000

async function setUp(t: TestContext) {
  const index = new MemoryVectorIndex()
  const clock = new ManualClock(nowMs)
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  const items = Array.from({ length: 8 }, (_, i) => ({
    ...{ role: 'item' as const, id: `i${i}`, vector: Float32Array.of(Math.cos(i / 5), Math.sin(i / 5)) },
    payload: {
      title: `${i}`.repeat(99),
      features: { genre: [i % 2 === 0 ? 'even' : 'odd'] },
      count: 10 - i,
      popularity: 1,
      updatedAtMs: nowMs
    }
  }))
  const users = Array.from({ length: 5 }, (_, i) => ({
    ...{ role: 'user' as const, id: `u${i}`, vectors: Float32Array.of(Math.cos(i), Math.sin(i)) },
    payload: { recent: [`i${i}`], historyLength: 1, newestMs: nowMs, updatedAtMs: nowMs }
  }))
  await index.upsert('s', 3, [...items, ...users])
  await index.promote('s', { items: 8, users: 5 })
  const logged: unknown[] = []
  const service = createHttpService({
    recommender: new Recommender({ index, clock }),
    accept: async () => {},
    erase: async () => {},
    readiness: () => ({ ready: true, detail: '' }),
    metrics: createMetrics({ clock, processMetrics: false }),
    options: resolveConfig(undefined, {}, { serve: { port: 0 } }).serve,
    clock,
    logger: { error: (fields) => logged.push(fields) }
  })
  t.after(() => service.close())
  const post = async (body: unknown, url = '/v1/recommendations/batch') => {
    const headers = { 'content-type': 'application/json' }
    const response = await service.app.inject({ method: 'POST', url, headers, payload: JSON.stringify(body) })
    return { response, status: response.statusCode, body: response.json() }
  }
  const get = (url: string, headers: Record<string, string> = {}) => service.app.inject({ method: 'GET', url, headers })
  return { index, clock, logged, post, get }
}

test('each user of a batch gets the list that the single route gives, with the same options', async (t) => {
  const { post, get } = await setUp(t)
  const userIds = ['u3', 'u0', 'stranger', 'u0', ' u4 ', 'u1', 'u2']
  for (const [body, query] of [
    [{}, ''],
    [{ limit: 2, explain: true, exclude: ['i5'] }, 'limit=2&explain=true&exclude=i5'],
    [{ limit: 3, filter: { genre: 'odd' }, repeats: true, quota: 0 }, 'limit=3&filter.genre=odd&repeats=true&quota=0']
  ] as const) {
    const { status, body: answer } = await post({ ...body, userIds })
    assert.equal(status, 200)
    assert.equal(answer.lists.length, userIds.length)
    for (const [i, userId] of userIds.entries())
      assert.deepEqual(answer.lists[i], (await get(`/v1/users/${userId.trim()}/recommendations?${query}`)).json())
  }
})

test('the next page of a list of a batch comes from the single route', async (t) => {
  const { post } = await setUp(t)
  const first = (await post({ userIds: ['u0', 'u1'], limit: 3 })).body.lists[1]
  const { status, body } = await post({ userId: 'u1', limit: 50, cursor: first.next }, '/v1/recommendations')
  assert.equal(status, 200)
  const ids = [...first.items, ...body.items].map(({ itemId }: { itemId: string }) => itemId)
  assert.deepEqual(ids.toSorted(), ['i0', 'i2', 'i3', 'i4', 'i5', 'i6', 'i7'])
})

test('an error of one user is the answer for that user; one of the request is the answer to it', async (t) => {
  const { index, logged, post } = await setUp(t)
  const bad = await post({ userIds: ['u0', '', 'a'.repeat(1025), 'u1'] })
  assert.equal(bad.status, 200)
  assert.deepEqual(
    bad.body.lists.map((list: { error?: { status: number } }) => list.error?.status),
    [undefined, 400, 400, undefined]
  )
  for (const [body, detail] of [
    [{ userIds: ['u0'], filter: { gnere: 'odd' } }, /known are genre/],
    [{ userIds: ['u0'], repeats: true, repeatsAfter: { view: 1 } }, /either repeats or repeatsAfter/],
    [{ userIds: ['u0'], cursor: 'x' }, /there is no field "cursor"; known are/],
    [{ userIds: [] }, /userIds must be a list of 1…100 elements/],
    [{ userIds: Array(101).fill('u') }, /userIds must be a list of 1…100 elements.*got 101/],
    [{}, /userIds must be/]
  ] as const) {
    const { status, body: problem } = await post(body)
    assert.equal(status, 400)
    assert.match(problem.detail, detail)
  }
  const candidates = index.candidates.bind(index)
  index.candidates = async (query, ...rest) => {
    if ('userId' in query.by && query.by.userId === 'u1') throw new TypeError('secret')
    return candidates(query, ...rest)
  }
  const broken = await post({ userIds: ['u0', 'u1', 'u2'] })
  assert.deepEqual(
    broken.body.lists.map((list: { error?: { status: number } }) => list.error?.status),
    [undefined, 500, undefined]
  )
  assert.doesNotMatch(broken.response.body, /secret/)
  assert.equal(logged.length, 1)
  index.candidates = candidates
  index.down = true
  const away = await post({ userIds: ['u0', 'u1', 'u2', 'u3', 'u4', 'u0'] })
  assert.equal(away.status, 503)
  assert.match(String(away.response.headers['retry-after']), /^\d+$/)
})

test('a list that the client has already is a 304 without a body, until it changes', async (t) => {
  const { index, clock, get } = await setUp(t)
  for (const url of [
    '/v1/users/u0/recommendations',
    '/v1/users/stranger/recommendations',
    '/v1/items/i0/similar',
    '/v1/popular'
  ]) {
    const first = await get(url)
    const tag = String(first.headers.etag)
    assert.match(tag, /^"[\w-]{22}"$/)
    assert.equal(first.headers['cache-control'], 'private, no-cache')
    clock.advance(1000)
    for (const header of [tag, `W/${tag}`, `"other", ${tag}`, '*']) {
      const again = await get(url, { 'if-none-match': header })
      assert.deepEqual([again.statusCode, again.body, again.headers.etag], [304, '', tag], `${url} ${header}`)
      assert.equal(again.headers['content-type'], undefined)
    }
    const other = await get(url, { 'if-none-match': '"other"' })
    assert.deepEqual([other.statusCode, other.body], [200, first.body])
    const item = { role: 'item' as const, id: `new ${url}`, vector: Float32Array.of(1, 0) }
    await index.upsert('s', 4, [{ ...item, payload: { count: 99, popularity: 2, updatedAtMs: nowMs } }])
    const changed = await get(url, { 'if-none-match': tag })
    assert.equal(changed.statusCode, 200, url)
    assert.notEqual(changed.headers.etag, tag)
  }
  const wrong = await get('/v1/popular?limit=0', { 'if-none-match': '*' })
  assert.deepEqual([wrong.statusCode, wrong.headers.etag], [400, undefined])
  assert.equal((await get('/livez')).headers.etag, undefined)
})

test('a 304 is described without a body', async (t) => {
  const { get } = await setUp(t)
  const { responses } = (await get('/openapi.json')).json().paths['/v1/popular'].get
  assert.deepEqual(['content' in responses['304'], 'content' in responses['200']], [false, true])
})

test('long answers are compressed where the client accepts gzip, with a tag of their own', async (t) => {
  const { get } = await setUp(t)
  const gzip = { 'accept-encoding': 'br, gzip;q=0.5' }
  const [long, short] = ['/v1/users/u0/recommendations?limit=50&explain=true', '/v1/popular?limit=1']
  const plain = await get('/openapi.json')
  const packed = await get('/openapi.json', gzip)
  assert.deepEqual([plain.headers['content-encoding'], packed.headers['content-encoding']], [undefined, 'gzip'])
  assert.deepEqual([plain.headers.vary, packed.headers.vary], ['Accept-Encoding', 'Accept-Encoding'])
  assert.equal(gunzipSync(packed.rawPayload).toString(), plain.body)
  assert(packed.rawPayload.length * 3 < plain.rawPayload.length)
  assert.equal(Number(packed.headers['content-length']), packed.rawPayload.length)
  for (const encoding of ['gzip;q=0', 'br', 'identity', ''])
    assert.equal((await get('/openapi.json', { 'accept-encoding': encoding })).body, plain.body, encoding)
  assert.equal((await get(short, gzip)).headers['content-encoding'], undefined)

  const [list, listPacked] = [await get(long), await get(long, gzip)]
  assert(list.body.length >= 1400, `${list.body.length} bytes`)
  assert.equal(gunzipSync(listPacked.rawPayload).toString(), list.body)
  const tag = String(listPacked.headers.etag)
  assert.notEqual(tag, list.headers.etag)
  const again = await get(long, { ...gzip, 'if-none-match': tag })
  assert.deepEqual([again.statusCode, again.body, again.headers['content-encoding']], [304, '', undefined])
  assert.equal((await get(long, { 'if-none-match': tag })).statusCode, 200)
})
