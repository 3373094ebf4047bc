import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { Account } from '../../../src/core/account.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { configSchema } from '../../../src/core/config/config.ts'
import { EmbeddedIndex } from '../../../src/index/embedded/embeddedIndex.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import type { PipelineNumbers } from '../../../src/serve/answers.ts'
import { createHttpService } from '../../../src/serve/http/httpService.ts'
import { ListTimes } from '../../../src/serve/http/listTimes.ts'
import type { LookupParts } from '../../../src/serve/http/lookupRoutes.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import { describedAnswer } from '../../support/describedAnswer.ts'

const nowMs = 1_700_000_000_000

async function setUp(t: TestContext, lookup: Partial<LookupParts> = {}, { published = true, console = true } = {}) {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-console-'))
  const index = await EmbeddedIndex.open(directory, { searchThread: false })
  t.after(async () => {
    await index.close()
    rmSync(directory, { recursive: true })
  })
  const clock = new ManualClock(nowMs)
  if (published) {
    await index.createVersion('s', { dimensions: 2, interestCount: 2 })
    const angles = { x: 0, y: 0.2, z: 1.5, 'a/b': 3 }
    const items = Object.entries(angles).map(([id, angle], i) => ({
      role: 'item' as const,
      id,
      vector: Float32Array.of(Math.cos(angle), Math.sin(angle)),
      payload: {
        title: `Title ${id}`,
        features: { genre: ['Noir'] },
        count: 10 - i,
        popularity: 10 - i,
        updatedAtMs: nowMs
      }
    }))
    const users = ['u', 'v'].map((id) => ({
      role: 'user' as const,
      id,
      vectors: Float32Array.of(1, 0, 0, 1),
      payload: { recent: ['z', 'gone'], historyLength: 2, newestMs: nowMs - 5, updatedAtMs: nowMs - 7 }
    }))
    await index.upsert('s', 3, [...items, ...users])
    await index.promote('s', { items: 4, users: 2 })
  }
  const service = createHttpService({
    recommender: new Recommender({ index, clock }),
    accept: async () => {},
    erase: async () => {},
    readiness: () => ({ ready: published, detail: published ? 'all fresh' : 'nothing yet' }),
    metrics: createMetrics({ clock, processMetrics: false }),
    options: { ...configSchema.parse({}).serve, console },
    clock,
    version: '1.2.3',
    lookup: { index, eventTypes: ['click', 'view'], ...lookup }
  })
  t.after(() => service.close())
  const get = (url: string) => service.app.inject({ method: 'GET', url })
  const page = (await get('/openapi.json')).json()
  /** @returns the body, which is what the description says of the path */
  const described = async (url: string, path = url.split('?', 1)[0]!, status = 200) => {
    const response = await get(url)
    assert.equal(response.statusCode, status, response.body)
    return describedAnswer(page, response, path)
  }
  return { index, clock, service, get, described }
}

const quality = { targets: 100, model: 0.3, popularity: 0.1, cooccurrence: 0.2 }
const numbers: PipelineNumbers = {
  source: 'a test',
  backend: 'WASM',
  newestEventMs: nowMs - 5,
  records: [{ ...new Account('sequence').numbers(), text: '0 events read' }],
  ignoredTypes: { hover: 1 },
  users: 2,
  stages: [{ stage: 'train', lagSeconds: 0.5, waiting: 3, done: 7 }],
  training: {
    ...{ examplesTrained: 7, batches: 2, batchesDropped: 0, rollbacks: 0, loss: 3.5, intraUserCosine: 0.2 },
    recent: quality,
    curve: [{ ...quality, examples: 7, timeMs: nowMs }]
  },
  drift: {
    inputs: [{ feature: 'category', psi: 0.12, threshold: 0.1 }],
    detections: [{ signal: 'hit_rate', detector: 'adwin', value: 0.2, eventTimeMs: nowMs - 9 }]
  },
  freshnessMs: { p50: 80, p99: 200 }
}

test('status tells what is known here: of the flow where it runs, of the index and the answers always', async (t) => {
  const { get, described } = await setUp(t, { numbers: () => numbers })
  await get('/v1/users/u/recommendations')
  const status = await described('/v1/status', '/v1/status')
  assert.deepEqual([status.records, status.ignoredTypes], [numbers.records, numbers.ignoredTypes])
  assert.deepEqual(status.drift, numbers.drift)
  assert.deepEqual(status.index, { indexVersion: 's', step: 3, items: 4, users: 2, dimensions: 2, interestCount: 2 })
  assert.deepEqual([status.version, status.nowMs, status.ready, status.answers.lists], ['1.2.3', nowMs, true, 1])
  const serving = await (await setUp(t)).described('/v1/status')
  assert(!('records' in serving) && !('training' in serving))
})

test('status before anything is published, and while the index is away, is an answer too', async (t) => {
  const empty = await setUp(t, {}, { published: false })
  const status = await empty.described('/v1/status')
  assert.deepEqual([status.ready, status.detail, status.index], [false, 'nothing yet', null])
  const { index, described } = await setUp(t)
  index.live = async () => {
    throw new Error('away')
  }
  assert.equal((await described('/v1/status', '/v1/status')).index, null)
})

test('versions: what is served, tried and kept, where it is known; what is served, always', async (t) => {
  const known = {
    live: 's@3',
    kept: ['r'],
    gates: [{ step: 3, atMs: nowMs, outcome: 'refused', detail: 'found 5 of 9, live 8' }],
    checkpoints: [{ step: 2, version: true, savedAtMs: nowMs, examplesTrained: 512 }],
    held: ['weights up to step 3']
  }
  const { described } = await setUp(t, { versions: async () => known })
  assert.deepEqual(await described('/v1/versions', '/v1/versions'), known)
  const serving = await (await setUp(t)).described('/v1/versions')
  assert.deepEqual(serving, { live: 's@3', kept: [], gates: [], checkpoints: [], held: [] })
  const empty = await (await setUp(t, {}, { published: false })).described('/v1/versions')
  assert.equal(empty.live, null)
})

test('users: who acted last, who begins so; those the index does not know are left out', async (t) => {
  const { described } = await setUp(t, { newestUsers: (limit) => ['v', 'unpublished', 'u'].slice(0, limit) })
  const newest = await described('/v1/users', '/v1/users')
  assert.deepEqual([newest.order, newest.users.map(({ userId }: { userId: string }) => userId)], ['newest', ['v', 'u']])
  assert.deepEqual(newest.users[0], { userId: 'v', historyLength: 2, newestMs: nowMs - 5 })
  const begin = await described('/v1/users?prefix=u&limit=3', '/v1/users')
  assert.deepEqual(begin, { users: [{ userId: 'u', historyLength: 2, newestMs: nowMs - 5 }], order: 'id' })
  // Where nobody acted lately, or nobody knows who did, there still is somewhere to begin.
  const all = (await (await setUp(t)).get('/v1/users?limit=1')).json()
  assert.deepEqual([all.order, all.users.length], ['id', 1])
})

test('a user: history, interests with what is nearest, and all of it on a map', async (t) => {
  const { described } = await setUp(t)
  const plain = await described('/v1/users/u?nearest=2', '/v1/users/{id}')
  assert.deepEqual([plain.version, plain.updatedAtMs, plain.historyLength], ['s@3', nowMs - 7, 2])
  // z at 1.5 is nearest to the second interest at π/2; the item that left the index has nothing but its id.
  assert.deepEqual(plain.history, [{ itemId: 'z', title: 'Title z', about: 'Noir', interest: 1 }, { itemId: 'gone' }])
  const nearest = (of: { interests: { nearest: { itemId: string; score: number }[] }[] }) =>
    of.interests.map((interest) => interest.nearest.map(({ itemId }) => itemId))
  assert.deepEqual(nearest(plain), [
    ['x', 'y'],
    ['z', 'y']
  ])
  assert.equal(plain.interests[0].nearest[1].score, 0.9801) // cos 0.2
  assert(!('mapShare' in plain) && !('vector' in plain.interests[0]) && !('at' in plain.history[0]))
  const mapped = await described('/v1/users/u?map=true&vectors=1', '/v1/users/{id}')
  assert.equal(mapped.mapShare, 1) // two dimensions on a plane
  assert.deepEqual(mapped.interests[1].vector, [0, 1])
  const [a, b] = mapped.interests.map(({ at }: { at: [number, number] }) => at)
  assert(
    Math.abs(Math.hypot(a[0] - b[0], a[1] - b[1]) - Math.SQRT2) < 1e-3,
    'distances on the map are those of the vectors'
  )
  assert.match(
    (await described('/v1/users/stranger', '/v1/users/{id}', 404)).detail,
    /"stranger" has no vectors: never seen/
  )
})

test('items: what is popular, what is called so, one of them', async (t) => {
  const { described } = await setUp(t)
  const ids = (answer: { items: { itemId: string }[] }) => answer.items.map(({ itemId }) => itemId)
  const popular = (await described('/v1/items?limit=2', '/v1/items')) as {
    items: { itemId: string; popularity: number }[]
  }
  assert.deepEqual(ids(popular), ['x', 'y'])
  assert(popular.items[0]!.popularity >= popular.items[1]!.popularity, 'what the list is sorted by is part of it')
  assert.deepEqual(ids(await described('/v1/items?text=TITLE%20Y', '/v1/items')), ['y'])
  const item = await described('/v1/items/a%2Fb', '/v1/items/{id}')
  assert.deepEqual([item.itemId, item.title, item.features, item.count], ['a/b', 'Title a/b', { genre: ['Noir'] }, 7])
  assert.equal((await described('/v1/items/x?vectors=true', '/v1/items/{id}')).vector.length, 2)
  assert.match((await described('/v1/items/nothing', '/v1/items/{id}', 404)).detail, /"nothing" is not in the index/)
})

test('users and items come in pages, and items under a filter', async (t) => {
  const { get, described } = await setUp(t)
  for (const [url, path, list] of [
    ['/v1/users?prefix=', '/v1/users', 'users'],
    ['/v1/items?text=', '/v1/items', 'items'],
    ['/v1/items?text=Title', '/v1/items', 'items']
  ] as const) {
    const ids = (answer: Record<string, { userId?: string; itemId?: string }[]>) =>
      answer[list]!.map(({ userId, itemId }) => userId ?? itemId)
    const all = ids(await described(`${url}&limit=50`, path))
    const paged: unknown[] = []
    for (let cursor = ''; ; ) {
      const answer = await described(`${url}&limit=1${cursor}`, path)
      paged.push(...ids(answer))
      if (answer.next === undefined) break
      cursor = `&cursor=${answer.next}`
    }
    assert.deepEqual(paged, all, url)
  }
  const noir = await described('/v1/items?filter.genre=Noir', '/v1/items')
  assert(noir.items.length > 0 && noir.items.every(({ about }: { about: string }) => about === 'Noir'))
  assert.deepEqual((await described('/v1/items?filter.genre=Noir&text=title%20z', '/v1/items')).items.length, 1)
  assert.match((await get('/v1/items?filter.gnere=Noir')).json().detail, /known are genre/)
})

test('an index without lists of users and titles finds whole ids', async (t) => {
  const { index } = await setUp(t)
  const { described } = await setUp(t, { index: withoutLists(index) })
  const users = (await described('/v1/users?prefix=u', '/v1/users')) as { users: { userId: string }[] }
  assert.deepEqual([users.users.length, users.users[0]?.userId], [1, 'u'])
  assert.deepEqual((await described('/v1/users?prefix=w', '/v1/users')).users, [])
  const items = (await described('/v1/items?text=z', '/v1/items')) as { items: { itemId: string; count: number }[] }
  assert.deepEqual([items.items.length, items.items[0]?.itemId, items.items[0]?.count], [1, 'z', 8])
  assert.deepEqual((await described('/v1/items?text=Title', '/v1/items')).items, [])
})

/** What the console asks, but for what only some indexes have. */
function withoutLists(index: EmbeddedIndex): LookupParts['index'] {
  return {
    live: () => index.live(),
    user: (id) => index.user(id),
    item: (id) => index.item(id),
    search: (...query) => index.search(...query),
    popular: (...query) => index.popular(...query),
    fields: () => index.fields(),
    holdsAny: (features) => index.holdsAny(features)
  }
}

test('questions that make no sense are told so, all at once', async (t) => {
  const { get } = await setUp(t)
  for (const [url, detail] of [
    ['/v1/users/u?nearest=21', 'nearest must be a whole number of 1…20, got 21'],
    ['/v1/users/u?nearest=0', 'nearest must be a whole number of 1…20, got 0'],
    ['/v1/users/u?map=perhaps', 'map must be true or false, got "perhaps"'],
    ['/v1/users/u?mpa=1', 'there is no parameter "mpa"; known are nearest, map, vectors'],
    ['/v1/users?prefix=a&prefix=b', 'prefix is given more than once; give it once'],
    [`/v1/users?prefix=${'a'.repeat(1025)}`, `prefix must be text of 0…1024 characters, got "${'a'.repeat(78)}…`],
    ['/v1/items?limit=1001', 'limit must be a whole number of 1…1000, got 1001'],
    ['/v1/items/x?map=1', 'there is no parameter "map"; known are vectors'],
    ['/v1/items?__proto__=1', 'there is no parameter "__proto__"; known are limit, cursor, filter.<field>, text']
  ] as const) {
    const response = await get(url)
    assert.equal(response.statusCode, 400, response.body)
    assert.equal(response.json().detail, detail)
  }
})

test('nothing published: a problem with a time to come back, not an empty page', async (t) => {
  const { get } = await setUp(t, {}, { published: false })
  for (const url of ['/v1/users/u', '/v1/items', '/v1/items?text=a']) {
    const response = await get(url)
    assert.equal(response.statusCode, 503, response.body)
  }
  assert.deepEqual((await get('/v1/users')).json(), { users: [], order: 'id' })
})

test('the page and its files come from here, run nothing of others, and can be switched off', async (t) => {
  const { get, service } = await setUp(t)
  const html = await get('/')
  assert.match(String(html.headers['content-type']), /^text\/html/)
  assert.match(String(html.headers['content-security-policy']), /default-src 'none'; script-src 'self'/)
  let bytes = html.rawPayload.length
  // Everything that the page or its parts name is there.
  const named = new Set([...html.body.matchAll(/"\/console\/([^"]+)"/g)].map(([, file]) => file!))
  for (const file of named) {
    const response = await get(`/console/${file}`)
    assert.equal(response.statusCode, 200, file)
    assert.match(String(response.headers['content-type']), /^(text\/(css|javascript)|image\/svg\+xml)/)
    bytes += response.rawPayload.length
    for (const [, part] of response.body.matchAll(/from '\.\/([^']+)'/g)) named.add(part!)
    assert.doesNotMatch(
      response.body.replaceAll('http://www.w3.org/2000/svg', ''),
      /https?:\/\//,
      `${file} names another host`
    )
    assert.doesNotMatch(
      response.body,
      /innerHTML|insertAdjacentHTML|document\.write|\beval\(/,
      `${file} could run what an item is called`
    )
  }
  assert(bytes < 96_000, `the page and its parts are ${bytes} bytes`)
  for (const path of ['/console/', '/console/..%2Fmtmi.mjs', '/console/%2e%2e/mtmi.mjs', '/console/nothing.js'])
    assert.equal((await get(path)).statusCode, 404, path)
  assert.equal((await service.app.inject({ method: 'POST', url: '/' })).statusCode, 405)
  const off = await setUp(t, {}, { console: false })
  for (const path of ['/', '/console/console.css', '/v1/status', '/v1/items/x'])
    assert.equal((await off.get(path)).statusCode, 404, path)
})

test('lists are counted, and their times are of the newest thousand', () => {
  const times = new ListTimes()
  assert.deepEqual(times.numbers(), { lists: 0 })
  for (let i = 0; i < 5000; i++) times.add(99)
  for (let i = 0; i < 1000; i++) times.add(i)
  assert.deepEqual(times.numbers(), { lists: 6000, p50Ms: 500, p99Ms: 990 })
})
