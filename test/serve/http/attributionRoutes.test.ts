import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { ManualClock } from '../../../src/core/clock.ts'
import { configSchema } from '../../../src/core/config/config.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import type { Interaction } from '../../../src/records/interaction.ts'
import { Attribution, noAttribution } from '../../../src/serve/attribution/attribution.ts'
import { createHttpService } from '../../../src/serve/http/httpService.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import { describedAnswer } from '../../support/describedAnswer.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'

const nowMs = 1_700_000_000_000

async function setUp(t: TestContext, recommend: unknown = {}) {
  const index = new MemoryVectorIndex()
  const clock = new ManualClock(nowMs)
  const metrics = createMetrics({ clock, processMetrics: false })
  await index.createVersion('s', { dimensions: 2, interestCount: 2 })
  const items = ['a', 'b', 'c', 'd', 'e'].map((id, i) => ({
    ...{ role: 'item' as const, id, vector: Float32Array.of(Math.cos(i / 4), Math.sin(i / 4)) },
    payload: { features: { genre: [i % 2 === 0 ? 'even' : 'odd'] }, count: i, updatedAtMs: nowMs, popularity: i }
  }))
  const users = ['u', 'v'].map((id) => ({
    ...{ role: 'user' as const, id, vectors: Float32Array.of(1, 0, 0, 1) },
    payload: { recent: ['a'], historyLength: 1, newestMs: nowMs, updatedAtMs: nowMs }
  }))
  await index.upsert('s', 3, [...items, ...users])
  await index.promote('s', { items: items.length, users: users.length })
  const attribution = new Attribution({
    ...{ clock, isCounted: () => true, measure: metrics.apply, state: noAttribution(7, nowMs) }
  })
  const taken: Interaction[] = []
  const service = createHttpService({
    recommender: new Recommender({ index, clock, options: configSchema.parse({ recommend }).recommend }),
    accept: async (interactions) => {
      taken.push(...interactions)
      for (const interaction of interactions) attribution.take(interaction)
    },
    erase: async () => {},
    readiness: () => ({ ready: true, detail: '' }),
    ...{ metrics, clock, attribution, lookup: { index, eventTypes: ['click'] } },
    options: { ...configSchema.parse({}).serve, port: 0 }
  })
  t.after(() => service.close())
  const get = async (url: string) => (await service.app.inject({ method: 'GET', url })).json()
  const post = async (url: string, payload: unknown) =>
    (await service.app.inject({ method: 'POST', url, payload: payload as never })).json()
  return { get, post, taken, service, clock }
}

test('every list has an id; an event with it is attributed to position and origin', async (t) => {
  const { get, post, taken, clock } = await setUp(t)
  const lists = [
    await get('/v1/users/u/recommendations?limit=2'),
    await get('/v1/users/nobody/recommendations?limit=2'),
    await get('/v1/popular?limit=2'),
    await get('/v1/items/a/similar?limit=2'),
    await post('/v1/recommendations', { userId: 'v', limit: 2 }),
    ...(await post('/v1/recommendations/batch', { userIds: ['v'], limit: 3 })).lists
  ]
  assert.equal(new Set(lists.map(({ listId }) => listId)).size, lists.length)
  for (const [i, { listId, items }] of lists.entries()) {
    const userId = i < 4 ? ['u', 'nobody', 'w', 'w'][i]! : 'v'
    const sent = await post('/v1/events', { userId, itemId: items[1].itemId, type: 'click', listId })
    assert.equal(sent.accepted, 1, JSON.stringify(sent))
  }
  assert.deepEqual(
    taken.map(({ listId }) => listId),
    lists.map(({ listId }) => listId)
  )
  const report = await get('/v1/attribution')
  const of = (rows: readonly Record<string, unknown>[], name: string) =>
    Object.fromEntries(rows.map((row) => [row[name], [row.lists, row.clickedLists]]))
  assert.deepEqual(of(report.variants, 'variant'), { default: [4, 4], none: [2, 2] })
  assert.deepEqual(of(report.sources, 'source'), { vectors: [3, 3], popular: [2, 2], similar: [1, 1] })
  assert.deepEqual(of(report.versions, 'version'), { s: [6, 6] })
  assert.deepEqual(report.positions[1], { position: '2', items: 6, clicks: 6, clickThrough: 1 })
  // The same list has the same id for an hour: a client that has it keeps it.
  const again = await get('/v1/users/u/recommendations?limit=2')
  assert.equal(again.listId, lists[0].listId)
  clock.advance(3_600_000)
  assert.notEqual((await get('/v1/users/u/recommendations?limit=2')).listId, lists[0].listId)
})

test('pages of a list are one list', async (t) => {
  const { get } = await setUp(t)
  const first = await get('/v1/users/u/recommendations?limit=2')
  await get(`/v1/users/u/recommendations?limit=2&cursor=${first.next}`)
  const report = await get('/v1/attribution')
  assert.deepEqual(
    [report.variants[0].lists, report.positions.map(({ items }: { items: number }) => items).slice(0, 4)],
    [1, [1, 1, 1, 1]]
  )
})

test('variants: each user has one, requests can name another, and the report compares them', async (t) => {
  const variants = [
    { name: 'even', share: 0.5, repeats: true, quotaShare: 0, diversity: 1, diversityBy: 'genre' },
    { name: 'popular', share: 0.5, popular: true }
  ]
  const { get, post, service } = await setUp(t, { variants })
  const { variant } = await get('/v1/users/u/recommendations')
  assert(['even', 'popular'].includes(variant))
  assert.equal((await get('/v1/users/u/recommendations')).variant, variant)
  const popular = await get('/v1/users/u/recommendations?variant=popular')
  assert.deepEqual(
    [popular.variant, popular.coldStart, popular.why],
    ['popular', 'popular', 'the variant lists what is popular']
  )
  assert.deepEqual(
    popular.items.map(({ itemId }: { itemId: string }) => itemId),
    ['e', 'd', 'c', 'b'],
    'without the history'
  )
  const ids = async (query: string) =>
    (await get(`/v1/users/u/recommendations?limit=3&${query}`)).items.map(({ itemId }: { itemId: string }) => itemId)
  assert.deepEqual(
    await ids('variant=even'),
    await ids('variant=default&repeats=true&quota=0&diversity=1&diversityBy=genre')
  )
  assert.notDeepEqual(await ids('variant=even'), await ids('variant=default'))
  assert.deepEqual(
    await ids('variant=even&repeats=false&diversity=0&quota=0'),
    await ids('variant=default&quota=0'),
    'the request comes first'
  )
  const wrong = await get('/v1/users/u/recommendations?variant=nme')
  assert.deepEqual([wrong.status, wrong.detail], [400, 'there is no variant "nme"; known are default, even, popular'])
  const batch = await post('/v1/recommendations/batch', { userIds: ['u', 'v'], variant: 'popular' })
  assert.deepEqual(
    batch.lists.map((list: { variant: string }) => list.variant),
    ['popular', 'popular']
  )
  // Forced lists are not counted, and neither are their clicks.
  await post('/v1/events', { userId: 'u', itemId: 'e', type: 'click', listId: popular.listId })
  const answer = await service.app.inject({ method: 'GET', url: '/v1/attribution' })
  const rows = describedAnswer(await get('/openapi.json'), answer, '/v1/attribution').variants
  assert.deepEqual(
    rows.map(({ variant, share, lists, clickedLists, standardError }: Record<string, unknown>) => [
      ...[variant, share, lists, clickedLists, standardError]
    ]),
    [['default', 0, 0, 0, null], ...variants.map(({ name }) => [name, 0.5, name === variant ? 2 : 0, 0, null])]
  )
})

test('arms that contradict themselves are refused', () => {
  const parse = (variants: unknown) => configSchema.safeParse({ recommend: { variants } })
  const problem = (variants: unknown) => parse(variants).error?.issues[0]?.message
  assert.match(
    problem([
      { name: 'a', share: 0.6 },
      { name: 'b', share: 0.5 }
    ])!,
    /add up to 1\.1: at most 1/
  )
  assert.match(
    problem([
      { name: 'a', share: 0.1 },
      { name: 'a', share: 0.1 }
    ])!,
    /two variants have the name a/
  )
  assert.match(problem([{ name: 'default', share: 0.1 }])!, /must not be default/)
  assert.match(problem([{ name: 'a b', share: 0.1 }])!, /letters, digits/)
  assert(
    parse([
      { name: 'a', share: 0.5 },
      { name: 'b', share: 0.5, memory: false }
    ]).success
  )
})
