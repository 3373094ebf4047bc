import assert from 'node:assert/strict'
import { connect } from 'node:net'
import test, { type TestContext } from 'node:test'
import type { LightMyRequestResponse } from 'fastify'
import { Account } from '../../../src/core/account.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { configSchema } from '../../../src/core/config/config.ts'
import { BadEventError, UnavailableError } from '../../../src/core/errors.ts'
import { httpRoutes } from '../../../src/monitor/metrics.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import type { Interaction } from '../../../src/records/interaction.ts'
import { addSeen } from '../../../src/records/seenItems.ts'
import { createHttpService, type HttpServiceParts } from '../../../src/serve/http/httpService.ts'
import type { ItemChange } from '../../../src/serve/http/itemRoutes.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import type { SessionEncoder } from '../../../src/serve/sessions.ts'
import { describedAnswer } from '../../support/describedAnswer.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'

const nowMs = 1_700_000_000_000
const awkwardIds = ['a b', 'a/b', 'ä€😀', '100%', '?x=1&y', '..', '%2F', "'; drop", 'a'.repeat(1024), '€'.repeat(341)]

async function setUp(t: TestContext, parts: Partial<HttpServiceParts> = {}) {
  const index = new MemoryVectorIndex()
  const clock = new ManualClock(nowMs)
  const metrics = createMetrics({ clock, processMetrics: false })
  await index.createVersion('s', { dimensions: 2, interestCount: 2 })
  const angles = { x: 0, y: 0.2, z: 1.5, ...Object.fromEntries(awkwardIds.map((id, i) => [id, 3 + i / 10])) }
  const items = Object.entries(angles).map(([id, angle], i) => ({
    role: 'item' as const,
    id,
    vector: Float32Array.of(Math.cos(angle), Math.sin(angle)),
    payload: {
      title: `Title ${id}`,
      features: { genre: [i % 2 === 0 ? 'even' : 'odd & ends'] },
      count: 10 - i,
      updatedAtMs: nowMs,
      ...(id === 'z' ? { popularityIn: { 'country=de': 5 } } : {})
    }
  }))
  const users = ['u', ...awkwardIds].map((id) => ({
    role: 'user' as const,
    id,
    vectors: Float32Array.of(1, 0, 0, 1),
    payload: { recent: ['x'], historyLength: 1, newestMs: nowMs, updatedAtMs: nowMs }
  }))
  await index.upsert('s', 3, [...items, ...users])
  await index.promote('s', { items: items.length, users: users.length })
  const accepted: Interaction[] = []
  const logged: unknown[] = []
  const service = createHttpService({
    recommender: new Recommender({ index, clock }),
    accept: async (interactions) => {
      accepted.push(...interactions)
    },
    erase: async () => {},
    readiness: () => ({ ready: true, detail: 'all fresh' }),
    metrics,
    options: { ...configSchema.parse({}).serve, port: 0 },
    clock,
    logger: { error: (fields, message) => logged.push({ ...fields, message }) },
    newEventId: () => `made-${accepted.length}`,
    futureMaxMs: 600_000,
    ...parts
  })
  t.after(() => service.close())
  const get = (url: string) => service.app.inject({ method: 'GET', url })
  const post = (url: string, payload: unknown) =>
    service.app.inject({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/json' },
      payload: typeof payload === 'string' ? payload : JSON.stringify(payload)
    })
  return { index, clock, metrics, service, accepted, logged, get, post }
}

/** Whatever goes wrong, it comes as a whole problem. @returns its body */
function problem(
  response: LightMyRequestResponse,
  status: number
): { detail: string; problems?: string[]; type: string; requestId?: string } {
  assert.equal(response.statusCode, status, response.body)
  assert.match(String(response.headers['content-type']), /^application\/problem\+json/)
  const body = response.json()
  assert.equal(body.status, status)
  assert.match(body.type, /^urn:mtmi:problem:[a-z-]+$/)
  for (const field of ['title', 'detail']) assert(typeof body[field] === 'string' && body[field].length > 0)
  assert.doesNotMatch(response.body, /\bat .*\.[jt]s:\d+|node_modules/, 'a stack in the answer')
  return body
}

const click = { userId: 'u', itemId: 'x', type: 'click' }

test('recommendations: limit, filter, explanation, cold start', async (t) => {
  const { get } = await setUp(t)
  const list = (await get('/v1/users/u/recommendations?limit=2&explain=true')).json()
  assert.deepEqual([list.userId, list.version, list.updatedAtMs], ['u', 's@3', nowMs])
  // Interests at 0 and at π/2: z at 1.5 is 0.07 from the second, y at 0.2 is 0.2 from the first; x is the history.
  assert.deepEqual(
    list.items.map((item: { itemId: string; interest: number }) => [item.itemId, item.interest]),
    [
      ['z', 1],
      ['y', 0]
    ]
  )
  assert.deepEqual(list.items[1].because, ['x'])
  const filtered = (await get('/v1/users/u/recommendations?filter.genre=odd%20%26%20ends')).json()
  assert(filtered.items.length > 0 && filtered.items.every((item: { about: string }) => item.about === 'odd & ends'))
  const cold = (await get('/v1/users/stranger/recommendations')).json()
  assert.equal(cold.coldStart, 'popular')
  assert.equal(cold.items[0].interest, null)
  assert.match(cold.why, /no vectors of this user/)
  const there = (await get('/v1/users/stranger/recommendations?context.device=tv&context.country=de')).json()
  assert.deepEqual([there.popularIn, there.items[0].itemId], ['country=de', 'z'])
  assert(there.items.length > 1)
  const nowhere = (await get('/v1/users/stranger/recommendations?context.country=xx')).json()
  assert.deepEqual([nowhere.popularIn, nowhere.items], [undefined, cold.items])
})

test('what a list is to be like can be said in the query, each thing with its bounds', async (t) => {
  const { get } = await setUp(t)
  const ids = async (query: string) =>
    (await get(`/v1/users/u/recommendations?${query}`)).json().items.map((item: { itemId: string }) => item.itemId)
  assert.deepEqual(await ids('limit=2'), ['z', 'y'])
  // x is the history: at 0 from the first interest it would lead.
  assert.deepEqual(await ids('limit=2&repeats=true'), ['x', 'z'])
  assert.deepEqual(await ids('limit=1&exclude=z&exclude=nothing'), ['y'])
  // genre: x even, y odd, z even. After x, at ½: z is worth ½ · cos .07 − ½ < 0, y ½ · cos .2.
  assert.deepEqual(await ids('limit=2&repeats=true&quota=0&diversity=0.5&diversityBy=genre'), ['x', 'y'])
  for (const [query, words] of [
    ['diversity=2', /diversity must be a number of 0…1, got 2/],
    ['diversity=NaN', /diversity must be a number of 0…1, got "NaN"/],
    [Array.from({ length: 9 }, (_, i) => `context.c${i}=x`).join('&'), /context must be an object of at most 8 texts/],
    ['quota=-1', /quota must be a number of 0…1, got "-1"/],
    ['repeats=perhaps', /repeats must be true or false, got "perhaps"/],
    ['exclude=', /exclude\[0\] must be text that is not empty, got ""/],
    [
      Array(501).fill('exclude=a,b').join('&'),
      /exclude must be a list of 0…1000 elements, each text that is not empty, got 1503/
    ],
    ['diversity=0&diversity=1', /diversity is given more than once/],
    [`diversityBy=${'g'.repeat(257)}`, /diversityBy must be text of 0…256 characters, got "g+…/]
  ] as const)
    assert.match(problem(await get(`/v1/users/u/recommendations?${query}`), 400).detail, words)
  assert.match(
    problem(await get('/v1/items/x/similar?diversity=1'), 400).detail,
    /known are limit, cursor, filter\.<field>, exclude/
  )
})

test('pins that a page has no item for are named', async (t) => {
  const { get } = await setUp(t)
  const list = async (query: string) => {
    const { items, warnings = [] } = (await get(`/v1/users/u/recommendations?${query}`)).json() as {
      items: { itemId: string }[]
      warnings?: string[]
    }
    return { first: items[0]?.itemId, warned: warnings.map((text) => text.split(' is not in the list')[0]) }
  }
  // The user has seen x; the page ends before the place of "nope".
  assert.deepEqual(await list('limit=2&pin=z,x,nope'), { first: 'z', warned: ['pin: "x"'] })
  assert.deepEqual(await list('limit=3&pin=z,x,nope'), { first: 'z', warned: ['pin: "x"', 'pin: "nope"'] })
  assert.deepEqual(await list('limit=3&pin=z'), { first: 'z', warned: [] })
})

test('a filter in the query: several values, others, bounds, presence; what matches nothing is said', async (t) => {
  const { index, get, post } = await setUp(t)
  const priced = (id: string, angle: number, features: Record<string, string[]>) => ({
    role: 'item' as const,
    id,
    vector: Float32Array.of(Math.cos(angle), Math.sin(angle)),
    payload: { features, count: 1, updatedAtMs: nowMs }
  })
  await index.upsert('s', 3, [
    priced('cheap', 0.1, { price: ['9.50'], day: ['2026-01-31'] }),
    priced('dear', 0.3, { price: ['120'], genre: ['!odd', '<b>'] })
  ])
  const of = (path: string) => async (query: string) => {
    const response = await get(`${path}limit=50&${query}`)
    assert.equal(response.statusCode, 200, response.body)
    const { items, warnings } = response.json() as { items: { itemId: string }[]; warnings?: string[] }
    return { ids: items.map(({ itemId }) => itemId), warnings }
  }
  // The same conditions in every list.
  for (const list of [
    '/v1/users/u/recommendations?',
    '/v1/users/stranger/recommendations?',
    '/v1/items/x/similar?',
    '/v1/popular?'
  ].map(of)) {
    assert.deepEqual((await list('filter.price=<10')).ids, ['cheap'])
    assert.deepEqual((await list('filter.price=>=9.5&filter.price=<=120')).ids.toSorted(), ['cheap', 'dear'])
    assert.deepEqual((await list('filter.price=*&filter.genre=!*')).ids, ['cheap'])
    assert.deepEqual((await list('filter.day=>=2026-01-31')).ids, ['cheap'])
    assert.deepEqual((await list(`filter.genre==${encodeURIComponent('!odd')}&filter.genre==%3Cb%3E`)).ids, ['dear'])
    const even = (await list('filter.genre=even')).ids
    const odd = (await list('filter.genre=odd%20%26%20ends')).ids
    const both = (await list('filter.genre=even&filter.genre=odd%20%26%20ends')).ids
    assert.deepEqual([...both].sort(), [...even, ...odd].sort())
    assert.deepEqual((await list('filter.genre=!even&filter.genre=*')).ids.toSorted(), [...odd, 'dear'].sort())
    assert(even.length > 1 && odd.length > 1)

    assert.deepEqual(await list('filter.genre=Even'), {
      ids: [],
      warnings: ['no item has the value "Even" in "genre"']
    })
    assert.deepEqual((await list('filter.genre=Even&filter.genre=even')).warnings, [
      'no item has the value "Even" in "genre"'
    ])
    assert.deepEqual((await list('filter.genre=!Even')).warnings, ['no item has the value "Even" in "genre"'])
    assert.deepEqual((await list('filter.genre=<5')).warnings, [
      'no item has a number or a date within the bounds in "genre"'
    ])
    assert.deepEqual(await list('filter.price=120&filter.genre=even'), {
      ids: [],
      warnings: ['no item meets all conditions of the filter']
    })
  }
  assert.match(
    (await of('/v1/popular?')('filter.price=<10&exclude=cheap')).warnings![0]!,
    /^every item that meets the filter is left out/
  )
  for (const [query, detail] of [
    ['filter.prise=<10', 'no item has a feature in the field "prise"; known are day, genre, price'],
    ['filter.prise=!x', 'no item has a feature in the field "prise"; known are day, genre, price'],
    ['diversityBy=gender', 'no item has a feature in the field "gender"; known are day, genre, price'],
    ['filter.price=', 'filter.price has no value: give one, or * for any'],
    [
      'filter.price=<ten&filter.day=>2026-02-30',
      '2 problems; the first: filter.price=<ten: the bound must be a number such as 9.5, or a date such as 2026-01-31 or 2026-01-31T12:00:00Z'
    ]
  ] as const)
    assert.equal(problem(await get(`/v1/users/u/recommendations?${query}`), 400).detail, detail)

  const byBody = async (filter: unknown) => {
    const response = await post('/v1/recommendations', { userId: 'u', limit: 50, filter })
    return response.statusCode === 200
      ? (response.json().items as { itemId: string }[]).map(({ itemId }) => itemId)
      : problem(response, 400).detail
  }
  assert.deepEqual(await byBody({ price: { lt: 10 } }), ['cheap'])
  assert.deepEqual(await byBody({ price: { gte: '9.5', lte: 10 }, day: { gte: '2026-01-01', lt: '2026-02-01' } }), [
    'cheap'
  ])
  assert.deepEqual(await byBody({ genre: '!odd' }), ['dear'], 'values in a body are as they are')
  assert.deepEqual(await byBody({ genre: { any: ['<b>', 'nothing'], not: ['even'], exists: true } }), ['dear'])
  assert.deepEqual(await byBody({ price: ['9.50', '120'] }), ['cheap', 'dear'])
  assert.match(String(await byBody({ price: {} })), /filter\.price is empty; known are any, not, gt/)
  assert.match(
    String(await byBody({ price: { below: 3 } })),
    /filter\.price: there is no field "below"; known are any, not/
  )
  assert.match(String(await byBody({ price: { lt: 'ten' } })), /filter\.price\.lt: the bound must be a number/)
  assert.match(String(await byBody({ prise: 'x' })), /known are day, genre, price/)
})

test('pages of a list never repeat an item, though the list changes; a cursor fits its request only', async (t) => {
  const { index, get } = await setUp(t)
  for (const path of [
    '/v1/users/u/recommendations',
    '/v1/users/stranger/recommendations',
    '/v1/items/x/similar',
    '/v1/popular'
  ]) {
    const whole = (await get(`${path}?limit=50`)).json()
    assert.equal(whole.next, undefined)
    const seen: string[] = []
    let query = 'limit=3'
    for (let page = 0; ; page++) {
      const { items, next } = (await get(`${path}?${query}`)).json()
      seen.push(...items.map((item: { itemId: string }) => item.itemId))
      if (next === undefined) break
      query = `limit=${2 + (page % 2)}&cursor=${next}`
    }
    assert.deepEqual(seen.toSorted(), whole.items.map((item: { itemId: string }) => item.itemId).toSorted(), path)
  }
  const path = '/v1/items/x/similar'
  const first = (await get(`${path}?limit=1`)).json()
  assert.equal(first.items[0].itemId, 'y')
  // Another item is the nearest now, and what was shown has moved away: neither is skipped nor repeated.
  const near = {
    role: 'item' as const,
    id: 'near',
    vector: Float32Array.of(1, 0),
    payload: { count: 1, updatedAtMs: nowMs }
  }
  const moved = { ...near, id: 'y', vector: Float32Array.of(0, 1) }
  await index.upsert('s', 4, [near, moved])
  const rest = (await get(`${path}?limit=50&cursor=${first.next}`))
    .json()
    .items.map((item: { itemId: string }) => item.itemId)
  assert.deepEqual([rest[0], rest.includes('y')], ['near', false])

  const at = (query: string) => get(`${path}?${query}`)
  assert.match(
    problem(await at(`limit=1&cursor=${first.next}&filter.genre=even`), 400).detail,
    /belongs to another request/
  )
  assert.match(problem(await get(`/v1/items/z/similar?cursor=${first.next}`), 400).detail, /belongs to another request/)
  for (const cursor of ['x', 'AAAAAAAAAAAAAAAA', `${first.next.slice(0, -2)}AA`])
    assert.match(problem(await at(`cursor=${cursor}`), 400).detail, /cursor is damaged, .* leave it out to begin again/)
  assert.match(
    problem(await at(`limit=1000&cursor=${first.next}`), 400).detail,
    /at most 1000 items in all its pages; ask for at most 999/
  )
})

test('which seen items may come again is said by event type and age', async (t) => {
  const { index, get, post } = await setUp(t)
  const seen = addSeen(undefined, [
    { itemId: 'y', type: 'view', eventTimeMs: nowMs - 120_000 },
    { itemId: 'z', type: 'purchase', eventTimeMs: nowMs - 120_000 }
  ])
  const stored = (await index.user('u'))!
  const payload = { ...stored.payload, seen: Buffer.from(seen).toString('base64'), unwanted: [{ itemId: 'x' }] }
  await index.upsert('s', 3, [{ role: 'user', id: 'u', vectors: stored.vectors, payload }])
  const has = async (query: string) => {
    const { items } = (await get(`/v1/users/u/recommendations?limit=50&${query}`)).json()
    return ['x', 'y', 'z'].filter((id) => items.some(({ itemId }: { itemId: string }) => itemId === id)).join('')
  }
  assert.equal(await has(''), '')
  assert.equal(await has('repeats=true'), 'yz', 'what is not wanted does not come')
  assert.equal(await has('repeatsAfter.view=60000'), 'y')
  assert.equal(await has('repeatsAfter.view=600000&repeatsAfter.purchase=60000'), 'z')
  const body = { userId: 'u', limit: 50, repeatsAfter: { view: 0 } }
  const { items } = (await post('/v1/recommendations', body)).json()
  assert(items.some(({ itemId }: { itemId: string }) => itemId === 'y'))
  for (const [query, detail] of [
    ['repeatsAfter.view=month', /repeatsAfter\.view must be a whole number of 0…/],
    [
      'repeatsAfter=1',
      /repeatsAfter must be milliseconds by event type, such as repeatsAfter\.view=2592000000, got "1"/
    ],
    ['repeats=true&repeatsAfter.view=1', /either repeats or repeatsAfter/]
  ] as const)
    assert.match(problem(await get(`/v1/users/u/recommendations?${query}`), 400).detail, detail)
  assert.match(problem(await post('/v1/events', { ...click, type: 'hide', value: 0 }), 400).detail, /number of days/)
  assert.equal((await post('/v1/events', { ...click, type: 'dislike', value: -1 })).statusCode, 202)
})

test('items are added, replaced and deleted, all of a request or none', async (t) => {
  const changes: ItemChange[] = []
  const { service, post } = await setUp(t, {
    changeItems: async (given) => {
      changes.push(...given)
    }
  })
  const send = (method: 'PUT' | 'DELETE', url: string, payload?: unknown) =>
    service.app.inject({ method, url, ...(payload === undefined ? {} : { payload: payload as object }) })
  const put = await send('PUT', '/v1/items/a%2Fb', {
    title: 'A',
    features: { genre: ['x', 'y'], price: 9.5, used: true }
  })
  assert.deepEqual([put.statusCode, put.json()], [202, { itemIds: ['a/b'] }])
  const features = { genre: ['x', 'y'], price: ['9.5'], used: ['true'] }
  assert.deepEqual(changes.pop(), { itemId: 'a/b', item: { itemId: 'a/b', title: 'A', features, updatedAtMs: nowMs } })
  assert.equal((await send('PUT', '/v1/items/z', {})).statusCode, 202)
  assert.deepEqual(changes.pop()?.item, { itemId: 'z', features: {}, updatedAtMs: nowMs })
  assert.equal((await send('DELETE', '/v1/items/z')).statusCode, 202)
  assert.deepEqual(changes.pop(), { itemId: 'z', item: null })
  assert.deepEqual((await post('/v1/items', [{ itemId: ' p ' }, { itemId: 'q', title: 'Q' }])).json(), {
    itemIds: ['p', 'q']
  })
  assert.deepEqual(
    changes.splice(0).map(({ itemId }) => itemId),
    ['p', 'q']
  )
  assert.match(
    problem(await post('/v1/items', [{ itemId: 'p' }, { itemId: 'q', features: { genre: [''] } }]), 400).detail,
    /^\[1\]: features/
  )
  assert.match(
    problem(await send('PUT', '/v1/items/z', { name: 'x' }), 400).detail,
    /no field "name"; known are title, availableFrom, availableUntil, features/
  )
  problem(await post('/v1/items', []), 400)
  problem(await send('PUT', '/v1/items/z', { features: { price: { lt: 1 } } }), 400)
  assert.deepEqual(changes, [])
  problem(await send('DELETE', '/v1/items'), 405)
})

test('items to exclude: separated by commas or repeated; an id may have a comma itself', async (t) => {
  const { index, get } = await setUp(t)
  await index.upsert('s', 3, [
    { role: 'item', id: 'y,z', vector: Float32Array.of(1, 0), payload: { count: 1, updatedAtMs: nowMs } }
  ])
  const ids = async (query: string) =>
    (await get(`/v1/items/x/similar?limit=3&${query}`)).json().items.map((item: { itemId: string }) => item.itemId)
  assert.deepEqual((await ids('')).slice(0, 2), ['y,z', 'y'])
  for (const query of ['exclude=y,z', 'exclude=y&exclude=z&exclude=y,z'])
    assert.deepEqual(
      (await ids(query)).filter((id: string) => ['y', 'z', 'y,z'].includes(id)),
      []
    )
  assert((await ids('exclude=y')).includes('y,z'))
  problem(await get('/v1/items/x/similar?exclude=a,,b'), 400)
})

test('similar items, and one that is not there', async (t) => {
  const { get } = await setUp(t)
  assert.deepEqual(
    (await get('/v1/items/x/similar?limit=1')).json().items.map((item: { itemId: string }) => item.itemId),
    ['y']
  )
  assert.match(problem(await get('/v1/items/nothing/similar'), 404).detail, /item "nothing" is not in the index/)
})

test('any id goes through the path, up to the longest', async (t) => {
  const { get } = await setUp(t)
  for (const id of awkwardIds.filter((id) => id !== '..')) {
    const path = encodeURIComponent(id)
    assert.equal((await get(`/v1/users/${path}/recommendations?limit=1`)).json().userId, id)
    assert.equal((await get(`/v1/items/${path}/similar?limit=1`)).json().itemId, id)
  }
  assert.match(
    problem(await get(`/v1/users/${'a'.repeat(1025)}/recommendations`), 400).detail,
    /has 1025 bytes, .* at most 1024/
  )
  problem(await get('/v1/users//recommendations'), 400)
  problem(await get('/v1/users/%E0%A4%A/recommendations'), 400)
  assert(problem(await get(`/v1/users/${'a'.repeat(20_000)}/recommendations`), 400).detail.length < 500)
})

test('a query that makes no sense is answered with all that is wrong with it', async (t) => {
  const { get } = await setUp(t)
  const at = (query: string) => get(`/v1/users/u/recommendations?${query}`)
  for (const [query, detail] of [
    ['limit=0', 'limit must be a whole number of 1…1000, got 0'],
    ['limit=1001', 'limit must be a whole number of 1…1000, got 1001'],
    ['limit=-1', 'limit must be a whole number of 1…1000, got "-1"'],
    ['limit=1.5', 'limit must be a whole number of 1…1000, got "1.5"'],
    ['limit=1e2', 'limit must be a whole number of 1…1000, got "1e2"'],
    ['limit=', 'limit must be a whole number of 1…1000, got ""'],
    ['limit=ten', 'limit must be a whole number of 1…1000, got "ten"'],
    ['limit=99999999999999999999', 'limit must be a whole number of 1…1000, got "99999999999999999999"'],
    ['limit=1&limit=2', 'limit is given more than once; give it once'],
    [
      'limt=5',
      'there is no parameter "limt"; known are limit, explain, memory, cursor, filter.<field>, context.<field>, exclude, quota, diversity, diversityBy, variant, pin, repeats, repeatsAfter.<field>'
    ],
    ['filter.a=1&filter.a=2', 'no item has a feature in the field "a"; known are genre'],
    ['explain=perhaps', 'explain must be true or false, got "perhaps"'],
    [
      'filter=x&filter.a=1',
      'filter must be one or more conditions for each field, such as filter.genre=Comedy, got "x"'
    ],
    [
      'filter.=1',
      'there is no parameter "filter."; known are limit, explain, memory, cursor, filter.<field>, context.<field>, exclude, quota, diversity, diversityBy, variant, pin, repeats, repeatsAfter.<field>'
    ]
  ] as const) {
    assert.equal(problem(await at(query), 400).detail, detail)
  }
  assert.equal(problem(await at('limit=0&explain=x&y=1'), 400).problems?.length, 3)
  const inherited = problem(await at('filter.__proto__=x&filter.constructor=y'), 400).detail
  assert.equal(inherited, 'no item has a feature in the field "__proto__", "constructor"; known are genre')
  assert.match(problem(await get('/v1/items/x/similar?explain=1'), 400).detail, /known are limit, cursor, filter/)
})

test('an event is durable before the answer, and gets what it lacks', async (t) => {
  const { accepted, post } = await setUp(t)
  const response = await post('/v1/events', click)
  assert.equal(response.statusCode, 202)
  assert.deepEqual(response.json(), { accepted: 1, eventIds: ['made-0'] })
  assert.deepEqual(accepted, [{ ...click, eventId: 'made-0', eventTimeMs: nowMs }])
  const full = { ...click, eventId: 'e', value: 4.5, context: { device: 'phone' } }
  await post('/v1/events', [
    { ...full, eventTime: '2023-11-14T23:13:20.000+01:00' },
    { ...full, eventTime: 1_699_999_999_999 },
    { ...click, eventTime: null, value: null, context: null, eventId: null }
  ])
  assert.deepEqual(accepted.slice(1), [
    { ...full, eventTimeMs: nowMs }, // 22:13:20 UTC on that day is 1,700,000,000
    { ...full, eventTimeMs: 1_699_999_999_999 },
    { ...click, eventId: 'made-1', eventTimeMs: nowMs }
  ])
})

test('white space around the ids of a body does not count, and ids of white space alone are refused', async (t) => {
  const { accepted, post } = await setUp(t, { sessions })
  const spaced = { userId: ' u\t', itemId: '\n a', type: 'click ', eventId: ' e ' }
  assert.deepEqual((await post('/v1/events', spaced)).json(), { accepted: 1, eventIds: ['e'] })
  assert.deepEqual(accepted, [{ userId: 'u', itemId: 'a', type: 'click', eventId: 'e', eventTimeMs: nowMs }])
  for (const field of ['userId', 'itemId', 'type', 'eventId'])
    problem(await post('/v1/events', { ...spaced, [field]: ' \u00a0\n' }), 400)
  const list = async (history: unknown[]) => (await post('/v1/recommendations', { history })).json().items
  assert.deepEqual(await list([' x ', { itemId: '\tz' }]), await list(['x', { itemId: 'z' }]))
  problem(await post('/v1/recommendations', { history: [' '] }), 400)
})

test('without a way of making event ids they are UUIDs, each another', async (t) => {
  const bare = createHttpService({
    recommender: new Recommender({ index: new MemoryVectorIndex(), clock: new ManualClock(0) }),
    accept: async () => {},
    erase: async () => {},
    readiness: () => ({ ready: true, detail: '' }),
    metrics: createMetrics({ clock: new ManualClock(0), processMetrics: false }),
    options: configSchema.parse({}).serve,
    clock: new ManualClock(nowMs)
  })
  t.after(() => bare.close())
  const { eventIds } = (await bare.app.inject({ method: 'POST', url: '/v1/events', payload: [click, click] })).json()
  assert.match(eventIds[0], /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.notEqual(eventIds[0], eventIds[1])
})

test('one bad event and none is taken; every problem is named', async (t) => {
  const { accepted, post } = await setUp(t)
  const { detail, problems } = problem(
    await post('/v1/events', [
      click,
      { userId: '', itemId: 7, colour: 'red' },
      'click',
      { ...click, eventTime: '2023-11-14T22:13:20' },
      { ...click, value: 'much', context: { a: 1 } },
      { ...click, eventTime: nowMs + 600_001 },
      { ...click, userId: 'a'.repeat(1025) },
      { ...click, itemId: '\ud800' }
    ]),
    400
  )
  assert.match(detail, /^10 problems; the first: \[1\]\.type must be text that is not empty, got nothing$/)
  assert.deepEqual(problems?.slice(0, 8), [
    '[1].type must be text that is not empty, got nothing',
    '[1]: there is no field "colour"; known are userId, itemId, type, eventTime, eventId, value, context, listId',
    '[1].userId must be text that is not empty, got ""',
    '[1].itemId must be text that is not empty, got 7',
    '[2] must be an object with userId, itemId, type, got "click"',
    '[3].eventTime must be ISO 8601 with Z or an offset, whole milliseconds since 1970 or null, got "2023-11-14T22:13:20"',
    '[4].value must be a number or null, got "much"',
    '[4].context.a must be text, got 1'
  ])
  assert.match(problems?.[8] ?? '', /^\[6\]\.userId has 1025 bytes/)
  assert.match(problems?.[9] ?? '', /^\[7\]\.itemId .* surrogate/)
  // What only the whole event shows is checked once each part is what it must be.
  const ahead = problem(await post('/v1/events', [click, { ...click, eventTime: nowMs + 600_001 }]), 400)
  assert.match(ahead.detail, /^\[1\]: eventTimeMs is \d+ \(2023-11-14T22:23:20\.001Z\), 600001 ms ahead/)
  assert.deepEqual(accepted, [])
})

test('bodies that are no events', async (t) => {
  const { accepted, post, service } = await setUp(t)
  for (const body of ['{', 'nonsense', '"text"', '5', 'null', '[]', '[[]]', '{"__proto__": {"userId": "u"}}'])
    problem(await post('/v1/events', body), 400)
  for (const time of [-1, 1.5, 2 ** 53, '2023-02-30', '2023-13-01T00:00:00Z', '1', '1960-01-01T00:00:00Z', true, {}]) {
    assert.match(problem(await post('/v1/events', { ...click, eventTime: time }), 400).detail, /^eventTime must be/)
  }
  assert.match(
    problem(await post('/v1/events', Array(1001).fill(click)), 400).detail,
    /1…1000 elements, each an Event, got 1001/
  )
  assert.equal((await post('/v1/events', Array(1000).fill(click))).json().accepted, 1000)
  problem(await post('/v1/events', { ...click, context: { a: 'x'.repeat(1024 * 1024) } }), 413)
  for (const type of ['text/plain', 'application/xml', 'application/x-www-form-urlencoded', 'nonsense']) {
    problem(
      await service.app.inject({
        method: 'POST',
        url: '/v1/events',
        headers: { 'content-type': type },
        payload: JSON.stringify(click)
      }),
      415
    )
  }
  problem(await service.app.inject({ method: 'POST', url: '/v1/events' }), 400)
  assert.equal(accepted.length, 1000)
})

test('a user is erased by a request that says nothing else, durable before the answer', async (t) => {
  const asked: string[] = []
  const { service } = await setUp(t, {
    erase: async (userId) => {
      if (userId === 'later') throw new UnavailableError('the log is away')
      asked.push(userId)
    }
  })
  const remove = (id: string, payload?: string) =>
    service.app.inject({
      method: 'DELETE',
      url: `/v1/users/${encodeURIComponent(id)}`,
      ...(payload === undefined ? {} : { payload, headers: { 'content-type': 'application/json' } })
    })
  const answer = await remove('a/b €')
  assert.deepEqual([answer.statusCode, answer.json()], [202, { userId: 'a/b €' }])
  assert.deepEqual(asked, ['a/b €'])
  problem(await remove('later'), 503)
  problem(await remove('u', '{"userId":"v"}'), 400)
  problem(await remove('u'.repeat(1025)), 400)
  assert.equal(asked.length, 1)
})

test('a path that is not there, and a method that is not for it', async (t) => {
  const { service, get } = await setUp(t)
  for (const path of ['/', '/v1', '/v1/users', '/v1/users/u/recommendations/', '/v1/popular/', '/admin?x=1', '/%00'])
    problem(await get(path), 404)
  for (const [method, url, allow] of [
    ['POST', '/v1/users/u/recommendations', 'GET, HEAD'],
    ['GET', '/v1/events', 'POST'],
    ['GET', '/v1/users/u', 'DELETE'],
    ['DELETE', '/v1/items/a%2Fb/similar?limit=3', 'GET, HEAD'],
    ['PUT', '/openapi.json', 'GET, HEAD']
  ] as const) {
    const response = await service.app.inject({ method, url })
    problem(response, 405)
    assert.equal(response.headers.allow, allow)
  }
})

test('an index that is away is a 503 with a time to come back, our bug a 500 that tells nothing and is logged', async (t) => {
  const { index, get, logged } = await setUp(t)
  index.down = true
  const response = await get('/v1/users/u/recommendations')
  assert.equal(problem(response, 503).detail, 'the index is down')
  assert.match(String(response.headers['retry-after']), /^\d+$/)
  assert.equal(logged.length, 0)
  index.down = false
  index.search = async () => {
    throw new TypeError('secret: cannot read properties of undefined')
  }
  const { requestId } = problem(await get('/v1/users/u/recommendations'), 500)
  assert.doesNotMatch((await get('/v1/users/u/recommendations')).body, /secret/)
  const [line] = logged as { err: Error; requestId: string; route: string }[]
  assert.match(line?.err.message ?? '', /^secret/)
  assert.deepEqual([line?.requestId, line?.route], [requestId, '/v1/users/:id/recommendations'])
})

test('events that cannot be made durable are not acknowledged', async (t) => {
  const errors = [
    new UnavailableError('the log is full'),
    new BadEventError('type "klick" does not count'),
    new Error('bug')
  ]
  const { post, metrics } = await setUp(t, {
    accept: async () => {
      throw errors.shift()
    }
  })
  problem(await post('/v1/events', click), 503)
  problem(await post('/v1/events', [click, click]), 400)
  problem(await post('/v1/events', click), 500)
  await post('/v1/events', [{}, {}])
  const { body } = await metrics.expose()
  assert.match(body, /^mtmi_stage_records_total\{reader="serve",outcome="failed"\} 4$/m)
  assert.match(body, /^mtmi_stage_records_total\{reader="serve",outcome="refused"\} 2$/m)
})

test('health: alive is not ready', async (t) => {
  let ready = true
  const { get } = await setUp(t, {
    readiness: () => ({ ready, detail: ready ? 'fresh' : 'sequencer: no progress for 130 s' })
  })
  assert.deepEqual((await get('/livez')).json(), { live: true })
  const none = { reader: 'serve', read: 0, outcomes: { accepted: 0, refused: 0, failed: 0 }, waiting: 0 }
  const clicks = new Account('attribution').numbers()
  assert.deepEqual((await get('/readyz')).json(), { ready: true, detail: 'fresh', accounts: [none, clicks] })
  ready = false
  assert.equal((await get('/livez')).statusCode, 200)
  assert.equal(problem(await get('/readyz'), 503).detail, 'sequencer: no progress for 130 s')
})

test('a thousand users are one series', async (t) => {
  const { get, service } = await setUp(t)
  for (const user of ['u', 'stranger']) await get(`/v1/users/${user}/recommendations`)
  const series = async () =>
    (await get('/metrics')).body.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  await series()
  const before = (await series()).length
  for (let i = 0; i < 1000; i++) await get(`/v1/users/user-${i}/recommendations`)
  const after = await series()
  assert.equal(after.length, before)
  assert(!after.some((line) => line.includes('user-')))
  assert(after.includes('mtmi_serve_request_seconds_count{route="/v1/users/:id/recommendations",status="2xx"} 1002'))
  for (const url of ['/nowhere', '/v1/user-7', '/v1/users/%E0%A4%A/recommendations']) await get(url)
  await service.app.inject({ method: 'DELETE', url: '/v1/users/user-8/recommendations' })
  assert(!(await series()).some((line) => line.includes('user-')))
  assert.match((await get('/metrics')).headers['content-type'] as string, /^text\/plain/)
})

const sessions: SessionEncoder = {
  encode: async (history) =>
    history.some(({ itemId }) => itemId === 'x')
      ? { modelVersion: 's', count: 2, strengths: [0.5, 0.5], vectors: Float32Array.of(1, 0, 0, 1) }
      : undefined
}

/** Whether the description allows this value of a field. */
function isGood(name: string, value: unknown): boolean {
  if (name === 'context' || name === 'filter') return JSON.stringify(value) === '{}'
  if (name === 'exclude') return JSON.stringify(value) === '[]'
  return name === 'diversityBy' && typeof value === 'string'
}

test('a session that is not stored is answered only with an encoder; a value of another type than described, null included, is a 400', async (t) => {
  const without = await setUp(t)
  assert.match(problem(await without.post('/v1/recommendations', { history: ['x'] }), 400).detail, /serve\.sessions/)
  assert.equal((await without.post('/v1/recommendations', { userId: 'u', limit: 1 })).json().items[0].itemId, 'z')
  const { post } = await setUp(t, { sessions })
  const known = (
    await post('/v1/recommendations', { history: ['x', { itemId: 'z', eventTime: nowMs }], limit: 1 })
  ).json()
  assert.deepEqual([known.items.length, known.items[0].itemId, known.items[0].interest], [1, 'y', 0])
  const unknown = (await post('/v1/recommendations', { history: ['new'], limit: 2, filter: { genre: 'even' } })).json()
  assert.equal(unknown.coldStart, 'popular')
  for (const body of [
    {},
    [],
    'x',
    { history: [] },
    { history: [7] },
    { history: ['x'], limit: '5' },
    { history: ['x'], limit: 0 },
    { history: ['x'], filter: { a: 1 } },
    { history: ['x'], user: 'u' },
    { history: ['x'], diversity: 2 },
    { history: ['x'], quota: '0.5' },
    { history: ['x'], diversityBy: 7 },
    { history: ['x'], repeats: 'yes' },
    { history: ['x'], exclude: 'y' },
    { history: ['x'], exclude: Array(1001).fill('y') },
    { history: [{ itemId: 'x', eventTime: 'noon' }] },
    { history: [{ itemId: 'x', extra: 1 }] },
    ...['context', 'filter', 'exclude', 'explain', 'limit', 'quota', 'diversityBy'].flatMap((name) =>
      [null, [], {}, [null], { a: null }, '', -1, 'x', [['x']]].flatMap((value) =>
        isGood(name, value) ? [] : [{ history: ['x'], [name]: value }]
      )
    ),
    { history: null },
    { history: {} },
    { history: [null] },
    { history: [{}] },
    null,
    { history: Array(1001).fill('x') }
  ]) {
    problem(await post('/v1/recommendations', body), 400)
  }
})

interface Documented {
  paths: Record<string, Record<string, unknown>>
  components: { schemas: Record<string, unknown> }
}

test('every route is documented, every documented route exists, and every reference resolves', async (t) => {
  const lookup = { index: new MemoryVectorIndex(), eventTypes: ['click'] }
  const quiet = { ...configSchema.parse({}).serve, console: false }
  for (const parts of [{}, { sessions }, { lookup }, { sessions, lookup }, { lookup, options: quiet }]) {
    const { service, get } = await setUp(t, parts)
    const page = (await get('/openapi.json')).json() as Documented
    assert.equal((page as unknown as { openapi: string }).openapi, '3.1.0')
    await service.app.ready()
    const documented = Object.entries(page.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`)
    )
    // find-my-way prints a tree; what counts is whether each route is there, and that there are no others.
    for (const route of documented) {
      const [method, url] = route.split(' ') as ['GET', string]
      assert(service.app.hasRoute({ method, url }), `${route} is documented and not there`)
      assert(
        httpRoutes.some((pattern) => pattern === url),
        `${url} is not among the label values of the HTTP metric`
      )
    }
    const there = httpRoutes.flatMap((url) =>
      (['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const)
        .filter((method) => service.app.hasRoute({ method, url }))
        .map((method) => `${method} ${url}`)
    )
    assert.deepEqual(there.sort(), documented.sort())
    const tree = service.app.printRoutes({ commonPrefix: false })
    const shown = tree.match(/\b(GET|POST|PUT|PATCH|DELETE)\b/g)
    assert.equal(shown?.length, documented.length, tree)
    const text = JSON.stringify(page)
    for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g))
      assert(page.components.schemas[name!] !== undefined, name)
    for (const name of Object.keys(page.components.schemas))
      assert(text.includes(`"#/components/schemas/${name}"`), `${name} is used nowhere`)
  }
})

test('answers are what the description says', async (t) => {
  const { get, post, index } = await setUp(t, { sessions })
  const page = (await get('/openapi.json')).json()
  const check = (response: LightMyRequestResponse, method: 'get' | 'post', path: string) =>
    describedAnswer(page, response, path, method)
  const recommendations = '/v1/users/{id}/recommendations'
  for (const query of ['', '?explain=1', '?limit=0', '?filter.genre=even'])
    check(await get(`/v1/users/u/recommendations${query}`), 'get', recommendations)
  check(await get('/v1/users/stranger/recommendations'), 'get', recommendations)
  for (const userIds of [['u', 'stranger', ''], []])
    check(await post('/v1/recommendations/batch', { userIds }), 'post', '/v1/recommendations/batch')
  for (const id of ['x', 'nothing']) check(await get(`/v1/items/${id}/similar`), 'get', '/v1/items/{id}/similar')
  for (const body of [click, [click], [], { ...click, context: { a: 'x'.repeat(2 ** 20) } }])
    check(await post('/v1/events', body), 'post', '/v1/events')
  for (const body of [{ history: ['x'] }, { history: ['new'] }, {}])
    check(await post('/v1/recommendations', body), 'post', '/v1/recommendations')
  for (const path of ['/livez', '/readyz', '/metrics', '/openapi.json']) check(await get(path), 'get', path)
  index.down = true
  check(await get('/v1/users/u/recommendations'), 'get', recommendations)
})

test('nothing of an answer is dropped on its way into JSON', async (t) => {
  const { service, get, post } = await setUp(t, {
    sessions,
    lookup: { index: (await setUp(t)).index, eventTypes: ['click'] }
  })
  let sent: unknown
  service.app.addHook('preSerialization', async (_request, _reply, payload) => {
    sent = payload
    return payload
  })
  const same = (response: LightMyRequestResponse) => {
    assert.equal(response.statusCode < 300, true, response.body)
    assert.deepEqual(response.json(), JSON.parse(JSON.stringify(sent)))
    assert.notEqual(sent, undefined)
    sent = undefined
  }
  for (const url of [
    ...['?explain=true', '?limit=1'].map((query) => `/v1/users/u/recommendations${query}`),
    ...['/v1/users/stranger/recommendations?context.country=de', '/v1/items/x/similar', '/v1/status', '/v1/versions'],
    ...['/v1/users', '/v1/users/u?map=true&vectors=true', '/v1/items', '/v1/items/x?vectors=true', '/livez', '/readyz']
  ])
    same(await get(url))
  same(await post('/v1/events', [click, click]))
  same(await post('/v1/recommendations', { history: ['x'], explain: true }))
})

test('a list that is far too long is one problem, whatever its elements are', async (t) => {
  const { post } = await setUp(t)
  const { problems } = problem(await post('/v1/events', Array(100_000).fill(1)), 400)
  assert.deepEqual(problems, ['the body must be a list of 1…1000 elements, each an Event, got 100000'])
})

test('over a socket: loopback, a taken port, nonsense instead of HTTP', async (t) => {
  const { service, metrics } = await setUp(t)
  const url = new URL(await service.listen())
  assert.equal(url.hostname, '127.0.0.1')
  assert.equal((await fetch(new URL('/livez', url))).status, 200)
  const second = await setUp(t, { options: { ...configSchema.parse({}).serve, port: Number(url.port) }, metrics })
  await assert.rejects(
    second.service.listen(),
    (error: Error) => error instanceof UnavailableError && /is taken/.test(error.message)
  )
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(Number(url.port), '127.0.0.1', () => socket.write('NONSENSE\r\n\r\n'))
    let text = ''
    socket.on('data', (data) => {
      text += String(data)
    })
    socket.on('end', () => resolve(text))
    socket.on('error', reject)
  })
  assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\ncontent-type: application\/problem\+json/)
})

test('close lets a running request finish and cuts one that does not', async (t) => {
  let release = () => {}
  let started = () => {}
  const begun = () =>
    new Promise<void>((resolve) => {
      started = resolve
    })
  const accept = () =>
    new Promise<void>((resolve) => {
      release = resolve
      started()
    })
  const { service } = await setUp(t, { accept })
  const send = async (base: string) =>
    fetch(new URL('/v1/events', base), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(click)
    })
  const running = begun()
  const base = await service.listen()
  const response = send(base)
  await running
  const closed = service.close()
  release()
  assert.equal((await response).status, 202)
  await closed
  await assert.rejects(fetch(new URL('/livez', base)))

  const impatient = await setUp(t, { accept, drainMaxMs: 1 })
  const stuck = begun()
  const cut = send(await impatient.service.listen())
  await Promise.all([stuck, cut.catch(() => {}), stuck.then(() => impatient.service.close())])
  await assert.rejects(cut)
})
