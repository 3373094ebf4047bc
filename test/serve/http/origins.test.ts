import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { systemClock } from '../../../src/core/clock.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { ConfigError } from '../../../src/core/errors.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import { createHttpService } from '../../../src/serve/http/httpService.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'

const adminToken = 'admin-0123456789abcdef'
const eventsToken = 'events-0123456789abcdef'
const tokens = { adminToken, eventsToken }
const shop = 'https://shop.example'

type Method = 'GET' | 'HEAD' | 'POST' | 'DELETE' | 'OPTIONS'

async function setUp(t: TestContext, serve: Record<string, unknown> = {}) {
  const index = new MemoryVectorIndex()
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  await index.promote('s', { items: 0, users: 0 })
  const metrics = createMetrics({ clock: systemClock, processMetrics: false })
  const done: string[] = []
  const service = createHttpService({
    recommender: new Recommender({ index, clock: systemClock }),
    accept: async ([interaction]) => void done.push(`accepted ${interaction!.userId}`),
    erase: async (userId) => void done.push(`erased ${userId}`),
    readiness: () => ({ ready: true, detail: '' }),
    metrics,
    options: resolveConfig(undefined, {}, { serve: { port: 0, ...serve } }).serve,
    clock: systemClock,
    sessions: { encode: async () => undefined },
    lookup: { index, eventTypes: ['click'] }
  })
  t.after(() => service.close())
  const ask = (method: Method, url: string, headers: Record<string, string> = {}) =>
    service.app.inject({
      method,
      url,
      headers: {
        host: 'localhost:8080',
        ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
        ...headers
      },
      ...(method === 'POST' ? { payload: JSON.stringify({ userId: 'u', itemId: 'x', type: 'click' }) } : {})
    })
  return { ask, done, metrics, service }
}

const everything = [
  ['GET', '/v1/users'],
  ['GET', '/v1/users/u/recommendations'],
  ['DELETE', '/v1/users/u'],
  ['POST', '/v1/events'],
  ['GET', '/'],
  ['GET', '/metrics'],
  ['GET', '/openapi.json'],
  ['GET', '/nowhere']
] as const

test('without tokens a name that is not loopback is not answered, on any route: a foreign page whose name resolves to this machine learns and changes nothing', async (t) => {
  const { ask, done, metrics } = await setUp(t)
  const foreign = [
    'evil.example',
    'evil.example:8080',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '10.0.0.7:8080',
    '0.0.0.0',
    '[::2]:80',
    'localhost:80@evil.example',
    '127.0.0.1.'
  ]
  for (const host of foreign) {
    for (const [method, url] of everything) {
      const answer = await ask(method, url, { host, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' })
      assert.equal(answer.statusCode, 421, `${method} ${url} as ${host}`)
      assert.match(
        answer.json().detail,
        /without tokens only localhost, 127\.0\.0\.1 and \[::1\] are answered, and serve\.hosts/
      )
    }
  }
  assert.deepEqual(done, [])
  const { body } = await metrics.expose()
  assert.match(
    body,
    new RegExp(`^mtmi_serve_denied_requests_total\\{reason="host"\\} ${foreign.length * everything.length}$`, 'm')
  )
  for (const host of ['localhost', 'LOCALHOST:8080', '127.0.0.1:8080', '127.9.9.9', '[::1]:8080', '[::1]'])
    assert.equal((await ask('GET', '/v1/users', { host })).statusCode, 200, host)
})

test('without tokens serve.hosts adds names and * any name; with tokens any name is answered', async (t) => {
  const secured = await setUp(t, tokens)
  const authorization = `Bearer ${adminToken}`
  assert.equal((await secured.ask('GET', '/v1/users', { host: 'rec.example', authorization })).statusCode, 200)
  assert.equal((await secured.ask('GET', '/v1/users', { host: 'rec.example' })).statusCode, 401)
  const named = await setUp(t, { hosts: 'serve, Rec.example,[fd00::7]' })
  for (const host of ['serve:8080', 'rec.example', 'REC.EXAMPLE:80', '[fd00::7]:8080', 'localhost:8080'])
    assert.equal((await named.ask('GET', '/v1/users', { host })).statusCode, 200, host)
  for (const host of ['evil.example', 'serve.evil.example', 'xrec.example', 'rec.example.', 'fd00::7'])
    assert.equal((await named.ask('GET', '/v1/users', { host })).statusCode, 421, host)
  const any = await setUp(t, { hosts: ['*'] })
  assert.equal((await any.ask('GET', '/v1/users', { host: 'rec.example' })).statusCode, 200)
  for (const bad of ['rec.example:80', 'http://rec.example', '*.example', 'a b'])
    assert.throws(
      () => resolveConfig(undefined, {}, { serve: { hosts: [bad] } }),
      /serve\.hosts.* must be a host name/,
      bad
    )
})

test('a page of another origin changes nothing, with and without tokens; the own page and programs without an origin do', async (t) => {
  for (const serve of [{}, tokens, { hosts: ['*'] }, { corsOrigins: [shop] }]) {
    const { ask, done } = await setUp(t, serve)
    const authorization = `Bearer ${adminToken}`
    for (const origin of [
      'https://evil.example',
      'null',
      'http://localhost:9999',
      'http://localhost',
      'nonsense',
      `${shop}.evil.example`
    ]) {
      for (const [method, url] of [
        ['POST', '/v1/events'],
        ['DELETE', '/v1/users/u'],
        ['POST', '/v1/recommendations']
      ] as const) {
        const answer = await ask(method, url, { origin, authorization })
        assert.equal(answer.statusCode, 403, `${method} ${url} of ${origin}`)
        assert.equal(answer.headers['access-control-allow-origin'], undefined)
      }
    }
    assert.deepEqual(done, [])
    for (const headers of [
      {},
      { origin: 'http://localhost:8080' },
      { origin: 'https://rec.example', 'sec-fetch-site': 'same-origin' }
    ])
      assert.equal(
        (await ask('DELETE', '/v1/users/u', { ...headers, authorization } as Record<string, string>)).statusCode,
        202
      )
    assert.equal(done.length, 3)
  }
})

test('a page of serve.corsOrigins posts events and reads lists, with the token of its role, and reads why it was refused', async (t) => {
  const { ask, done } = await setUp(t, { ...tokens, corsOrigins: shop })
  const authorization = `Bearer ${eventsToken}`
  const posted = await ask('POST', '/v1/events', { origin: shop, authorization })
  assert.deepEqual(
    [posted.statusCode, posted.headers['access-control-allow-origin'], posted.headers.vary],
    [202, shop, 'Origin']
  )
  assert.deepEqual(done, ['accepted u'])
  const refused = await ask('POST', '/v1/events', { origin: shop })
  assert.deepEqual([refused.statusCode, refused.headers['access-control-allow-origin']], [401, shop])
  const list = await ask('GET', '/v1/users/u/recommendations', { origin: shop, authorization: `Bearer ${adminToken}` })
  assert.deepEqual([list.statusCode, list.headers['access-control-allow-origin']], [200, shop])
  const other = await ask('GET', '/v1/users/u/recommendations', {
    origin: 'https://evil.example',
    authorization: `Bearer ${adminToken}`
  })
  assert.deepEqual([other.headers['access-control-allow-origin'], other.headers.vary], [undefined, 'Origin'])
})

test('a preflight is answered without a token, for listed origins and for routes of readers and events only', async (t) => {
  const preflight = {
    origin: shop,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization,content-type'
  }
  const { ask } = await setUp(t, { ...tokens, corsOrigins: [shop, 'https://other.example'] })
  const answer = await ask('OPTIONS', '/v1/events', preflight)
  assert.equal(answer.statusCode, 204)
  assert.equal(answer.headers['access-control-allow-origin'], shop)
  assert.match(String(answer.headers['access-control-allow-methods']), /\bPOST\b/)
  assert.match(String(answer.headers['access-control-allow-headers']), /Authorization.*Content-Type/)
  assert.equal(
    (await ask('OPTIONS', '/v1/events', { ...preflight, origin: 'https://evil.example' })).headers[
      'access-control-allow-origin'
    ],
    undefined
  )
  for (const url of ['/v1/users', '/v1/users/u', '/v1/items/x', '/v1/status', '/v1/versions', '/metrics', '/']) {
    const admin = await ask('OPTIONS', url, preflight)
    assert.deepEqual([admin.statusCode, admin.headers['access-control-allow-origin']], [405, undefined], url)
  }
  const none = await setUp(t, tokens)
  assert.equal((await none.ask('OPTIONS', '/v1/events', preflight)).statusCode, 405)
})

test('serve.corsOrigins of * never covers a route of the admin token, and needs tokens', async (t) => {
  const { ask, done, service } = await setUp(t, { ...tokens, corsOrigins: ['*'] })
  const headers = { origin: 'https://any.example', authorization: `Bearer ${adminToken}` }
  assert.equal((await ask('POST', '/v1/events', headers)).headers['access-control-allow-origin'], '*')
  for (const [method, url] of [
    ['GET', '/v1/users'],
    ['GET', '/v1/users/u'],
    ['GET', '/v1/status'],
    ['GET', '/v1/versions'],
    ['GET', '/v1/items'],
    ['DELETE', '/v1/users/u'],
    ['GET', '/metrics']
  ] as const)
    assert.equal((await ask(method, url, headers)).headers['access-control-allow-origin'], undefined, url)
  assert.deepEqual(done, ['accepted u'])
  await service.listen()
  const open = await setUp(t, { corsOrigins: ['*'] })
  await assert.rejects(
    open.service.listen(),
    (error: Error) => error instanceof ConfigError && /corsOrigins is \* and there is no token/.test(error.message)
  )
})

test('an origin that no browser would send is refused by the configuration', () => {
  const origins = (corsOrigins: unknown) => resolveConfig(undefined, {}, { serve: { corsOrigins } }).serve.corsOrigins
  assert.deepEqual(origins('https://a.example, https://b.example:8443'), [
    'https://a.example',
    'https://b.example:8443'
  ])
  assert.deepEqual(origins(''), [])
  for (const bad of ['https://shop.example/', 'shop.example', 'https://shop.example/path', 'https://*'.concat('/')])
    assert.throws(() => origins([bad]), /serve\.corsOrigins.* must be an origin such as https:\/\/shop\.example/, bad)
})
