// The client against the real server, over the network.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test, { type TestContext } from 'node:test'
import { ManualClock } from '../../src/core/clock.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { createMetrics } from '../../src/monitor/metricsRegistry.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { MtmiApiError, MtmiClient, type MtmiClientOptions } from '../../src/serve/client.ts'
import { createHttpService } from '../../src/serve/http/httpService.ts'
import type { ItemChange } from '../../src/serve/http/itemRoutes.ts'
import { Recommender } from '../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'

const token = 'admin-0123456789abcdef'

async function setUp(t: TestContext, options: Partial<MtmiClientOptions> = {}) {
  const index = new MemoryVectorIndex()
  const clock = new ManualClock(1_700_000_000_000)
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  const items = Array.from({ length: 12 }, (_, i) => ({
    ...{ role: 'item' as const, id: `a/${i}`, vector: Float32Array.of(Math.cos(i / 20), Math.sin(i / 20)) },
    payload: {
      count: 1,
      popularity: 20 - i,
      updatedAtMs: 0,
      features: { genre: [i % 2 ? 'odd, yes' : 'even'], price: [`${i}`] }
    }
  }))
  const user = { recent: ['a/0'], historyLength: 1, newestMs: 0, updatedAtMs: 0 }
  await index.upsert('s', 1, [...items, { role: 'user', id: 'ü 1', vectors: Float32Array.of(1, 0), payload: user }])
  await index.promote('s', { items: 12, users: 1 })
  const posted: Interaction[] = []
  const catalogue: ItemChange[] = []
  const erased: string[] = []
  const state = { ready: true }
  const service = createHttpService({
    recommender: new Recommender({ index, clock, options: { quotaShare: 0 } }),
    accept: async (interactions) => {
      posted.push(...interactions)
    },
    erase: async (userId) => {
      erased.push(userId)
    },
    changeItems: async (changes) => {
      catalogue.push(...changes)
    },
    currentItem: async (id) => catalogue.findLast(({ itemId }) => itemId === id)?.item ?? undefined,
    readiness: () => ({ ready: state.ready, detail: 'as the test says' }),
    metrics: createMetrics({ clock, processMetrics: false }),
    options: resolveConfig(undefined, {}, { serve: { port: 0, adminToken: token } }).serve,
    lookup: { index, eventTypes: ['click'] },
    deadLetters: { list: async () => [], newest: async () => undefined, replay: async (topic) => topic.length },
    clock
  })
  t.after(() => service.close())
  const pauses: number[] = []
  const url = await service.listen()
  const client = new MtmiClient({
    ...{ url, token },
    pause: async (ms) => void pauses.push(ms),
    ...options
  })
  return { client, url, posted, catalogue, erased, pauses, state }
}

test('there is a method for every operation of the description, and nothing is imported at run time', async (t) => {
  const { client } = await setUp(t)
  const { paths } = (await client.openApi()) as { paths: Record<string, Record<string, { operationId: string }>> }
  const operations = Object.values(paths).flatMap((methods) =>
    Object.values(methods).map(({ operationId }) => operationId)
  )
  const methods = Object.getOwnPropertyNames(MtmiClient.prototype).filter((name) => name !== 'constructor')
  // The console is a page, and its files.
  const called = operations.filter((name) => !name.startsWith('console'))
  assert.deepEqual(methods.toSorted(), called.toSorted())
  const source = readFileSync(new URL('../../src/serve/client.ts', import.meta.url), 'utf8')
  assert.deepEqual(source.match(/^import (?!type ).*/gm), null)
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  assert.deepEqual(manifest.exports['./client'], {
    types: './dist/src/serve/client.d.ts',
    default: './dist/src/serve/client.js'
  })
})

test('lists: options, filters, pages, bodies', async (t) => {
  const { client } = await setUp(t)
  const ids = ({ items }: { readonly items: readonly { readonly itemId: string }[] }) =>
    items.map(({ itemId }) => itemId)
  const first = await client.recommend('ü 1', {
    limit: 2,
    exclude: ['a/2'],
    filter: { price: ['<10', '>=1'] },
    explain: true
  })
  assert.deepEqual([first.userId, ids(first)], ['ü 1', ['a/1', 'a/3']])
  assert.deepEqual(first.items[0]?.because, ['a/0'])
  const next = await client.recommend('ü 1', {
    ...{ limit: 2, exclude: ['a/2'], filter: { price: ['<10', '>=1'] }, cursor: first.next! }
  })
  assert.deepEqual(ids(next), ['a/4', 'a/5'])
  assert.deepEqual(ids(await client.popular({ limit: 2, filter: { genre: 'odd, yes' }, pin: ['a/9'] })), ['a/9', 'a/1'])
  assert.deepEqual(ids(await client.similar('a/5', { limit: 2 })).toSorted(), ['a/4', 'a/6'])
  const body = { limit: 1, filter: { genre: { not: ['even'] } }, rules: [{ items: ['a/11'], boost: 5 }] }
  assert.deepEqual(ids(await client.recommendByBody({ ...body, userId: 'ü 1' })), ['a/11'])
  assert.deepEqual(ids(await client.recommendByBody({ basket: ['a/7'], negative: ['a/8'], limit: 1 })), ['a/6'])
  const together = await client.recommendByBody({ userIds: ['ü 1', 'nobody'], limit: 1 })
  assert.deepEqual([ids(together), together.items[0]?.userId], [['a/1'], 'ü 1'])
  assert.deepEqual(together.warnings, ['there are no vectors of user "nobody"'])
  const { lists } = await client.recommendBatch({ ...body, userIds: ['ü 1', ''] })
  assert.deepEqual(
    lists.map((list) => ('error' in list ? list.error.status : ids(list))),
    [['a/11'], 400]
  )
})

test('events, items, users, state', async (t) => {
  const { client, posted, catalogue, erased } = await setUp(t)
  const { eventIds } = await client.postEvents([{ userId: 'u', itemId: 'i', type: 'click' }])
  assert.deepEqual(
    posted.map(({ eventId }) => eventId),
    eventIds
  )
  await client.putItem('n/1', { title: 'New', features: { price: 9.5 }, availableUntil: '2030-01-01T00:00:00Z' })
  await client.patchItem('n/1', { features: { price: null, sale: true } })
  await client.postItems([{ itemId: 'n2', title: 'Two' }])
  await client.deleteItem('n2')
  assert.deepEqual(
    catalogue.map(({ itemId, item }) => [itemId, item?.features]),
    [
      ['n/1', { price: ['9.5'] }],
      ['n/1', { sale: ['true'] }],
      ['n2', {}],
      ['n2', undefined]
    ]
  )
  assert.deepEqual([await client.erase('ü 1'), erased], [{ userId: 'ü 1' }, ['ü 1']])
  assert.equal((await client.user('ü 1', { nearest: 1 })).interests[0]?.nearest.length, 1)
  assert.deepEqual((await client.item('a/1', { vectors: true })).vector?.length, 2)
  assert.equal((await client.items({ limit: 3 })).items.length, 3)
  assert.deepEqual(
    (await client.users({ prefix: 'ü 1' })).users.map(({ userId }) => userId),
    ['ü 1']
  )
  assert.equal((await client.status()).index?.items, 12)
  assert.equal((await client.versions()).live, 's@1')
  assert((await client.attribution()).sinceMs > 0)
  assert.deepEqual(
    [await client.deadLetters(), await client.replayDeadLetters({ topic: 'a.mtmi.dlq' })],
    [{ topics: [] }, { replayed: 10 }]
  )
  assert.deepEqual(await client.live(), { live: true })
  assert.equal((await client.ready()).ready, true)
  assert.match(await client.metrics(), /mtmi_serve_lists_total/)
})

test('a problem is an error with its kind; it is not sent again', async (t) => {
  const { client, url, pauses, state } = await setUp(t)
  const failed = async (promise: Promise<unknown>) => {
    const error: unknown = await promise.then(
      () => assert.fail('there was no error'),
      (reason: unknown) => reason
    )
    assert(error instanceof MtmiApiError)
    return error
  }
  const missing = await failed(client.item('nothing'))
  assert.deepEqual([missing.status, missing.kind], [404, 'not-found'])
  assert.match(missing.message, /item "nothing" is not in the index/)
  const bad = await failed(client.recommendByBody({ userId: 'ü 1', rules: [{ boost: 1 }, { items: ['a'] }] }))
  assert.equal(bad.kind, 'bad-request')
  assert.deepEqual(bad.problem.problems, [
    'rules[0]: name the items of the rule, or give a filter',
    'rules[1]: give either boost or pin'
  ])
  for (const body of [{}, { history: ['a'], basket: ['b'] }, { history: ['a'], userId: 'u' }])
    assert.match((await failed(client.recommendByBody(body))).message, /give either history/)
  assert.match((await failed(client.recommend('u', { filter: { colour: 'x' } }))).message, /known are genre, price/)
  const rule = { filter: { colour: 'x' }, boost: 1 }
  assert.match((await failed(client.recommendByBody({ userId: 'u', rules: [rule] }))).message, /known are genre, price/)
  assert.equal((await failed(new MtmiClient({ url, token: 'no' }).status())).kind, 'unauthenticated')
  state.ready = false
  const unready = await failed(client.ready())
  assert.deepEqual([unready.kind, unready.retryAfterSeconds], ['unavailable', 5])
  assert.deepEqual(pauses, [])
})

test('503, 429 and no answer are tried again, after the time that was asked for; events keep their ids', async (t) => {
  const answers: (number | 'none' | 'real')[] = []
  const through: typeof fetch = async (...request) => {
    const next = answers.shift() ?? 'real'
    if (next === 'real') return fetch(...request)
    if (next === 'none') {
      await fetch(...request) // it arrived, and the answer was lost
      throw new TypeError('fetch failed')
    }
    return new Response('<html>', { status: next, headers: next === 429 ? { 'retry-after': '7' } : {} })
  }
  const { client, pauses, posted } = await setUp(t, { fetch: through })
  answers.push(503, 429, 'none')
  await client.postEvents({ userId: 'u', itemId: 'i', type: 'click' })
  assert.deepEqual(pauses, [200, 7000, 800])
  assert.equal(posted.length, 2)
  assert.equal(new Set(posted.map(({ eventId }) => eventId)).size, 1)
  answers.push(503, 503, 503, 503)
  await assert.rejects(
    client.popular(),
    (error) => error instanceof MtmiApiError && error.status === 503 && error.kind === undefined
  )
  answers.push(500)
  await assert.rejects(client.popular(), (error) => error instanceof MtmiApiError && error.status === 500)
  assert.equal(pauses.length, 6)
})
