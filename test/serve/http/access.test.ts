import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { systemClock } from '../../../src/core/clock.ts'
import { resolveConfig, type ServeOptions } from '../../../src/core/config/config.ts'
import { ConfigError } from '../../../src/core/errors.ts'
import { httpRoutes } from '../../../src/monitor/metrics.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import { Access, checkExposure, isLoopback, neededRole } from '../../../src/serve/http/access.ts'
import { createHttpService, type HttpServiceParts } from '../../../src/serve/http/httpService.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'

const read = 'read-0123456789abcdef'
const events = 'events-0123456789abcdef'
const admin = 'admin-0123456789abcdef'
const newer = 'newer-0123456789abcdef'

const serveWith = (serve: Record<string, unknown>): ServeOptions =>
  resolveConfig(undefined, {}, { serve: { port: 0, ...serve } }).serve
const allTokens = { readToken: `${read}, ${newer}`, eventsToken: events, adminToken: admin }

async function setUp(t: TestContext, serve: Record<string, unknown>, parts: Partial<HttpServiceParts> = {}) {
  const index = new MemoryVectorIndex()
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  await index.upsert('s', 1, [
    { role: 'item', id: 'x', vector: Float32Array.of(1, 0), payload: { count: 1, updatedAtMs: 0 } }
  ])
  await index.promote('s', { items: 1, users: 0 })
  const metrics = createMetrics({ clock: systemClock, processMetrics: false })
  let taken = 0
  const service = createHttpService({
    recommender: new Recommender({ index, clock: systemClock }),
    accept: async (interactions) => {
      taken += interactions.length
    },
    erase: async () => {},
    readiness: () => ({ ready: true, detail: '' }),
    metrics,
    options: serveWith(serve),
    clock: systemClock,
    lookup: { index, eventTypes: ['click'] },
    ...parts
  })
  t.after(() => service.close())
  const ask = async (method: 'GET' | 'POST', url: string, authorization?: string) => {
    const headers = { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) }
    const payload = method === 'POST' ? JSON.stringify({ userId: 'u', itemId: 'x', type: 'click' }) : undefined
    return service.app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) })
  }
  return { service, ask, metrics, taken: () => taken }
}

const list = ['GET', '/v1/users/u/recommendations'] as const
const similar = ['GET', '/v1/items/x/similar'] as const
const post = ['POST', '/v1/events'] as const
const look = ['GET', '/v1/status'] as const

test('a token opens what its role may do, and nothing else', async (t) => {
  const { ask } = await setUp(t, allTokens)
  const status = async (route: readonly ['GET' | 'POST', string], token: string) =>
    (await ask(...route, `Bearer ${token}`)).statusCode
  for (const [token, expected] of [
    [read, [200, 200, 403, 403]],
    [newer, [200, 200, 403, 403]],
    [events, [403, 403, 202, 403]],
    [admin, [200, 200, 202, 200]],
    ['wrong-0123456789abcdef', [401, 401, 401, 401]],
    [`${read}x`, [401, 401, 401, 401]]
  ] as const) {
    const found: number[] = []
    for (const route of [list, similar, post, look]) found.push(await status(route, token))
    assert.deepEqual(found, expected, token)
  }
})

test('without a token: 401 as a problem that says how to ask, before anything is taken; health and descriptions are open', async (t) => {
  const { ask, metrics, taken } = await setUp(t, allTokens)
  for (const authorization of [undefined, 'Basic dTpw', 'Bearer', `Bearer ${'a'.repeat(5000)}`, read]) {
    const response = await ask(...post, authorization)
    assert.equal(response.statusCode, 401)
    assert.match(String(response.headers['content-type']), /^application\/problem\+json/)
    assert.match(String(response.headers['www-authenticate']), /^Bearer realm="mtmi"/)
    assert.equal(response.json().type, 'urn:mtmi:problem:unauthenticated')
  }
  assert.equal(taken(), 0)
  const forbidden = await ask(...post, `bearer ${read}`)
  assert.equal(forbidden.json().type, 'urn:mtmi:problem:forbidden')
  assert.match(String(forbidden.headers['www-authenticate']), /insufficient_scope/)
  assert(!forbidden.body.includes(read), 'a token in an answer')
  for (const url of ['/livez', '/readyz', '/metrics', '/openapi.json', '/', '/console/console.js'])
    assert.equal((await ask('GET', url)).statusCode, 200, url)
  assert.equal((await ask('GET', '/v1/nothing')).statusCode, 404)
  const { body } = await metrics.expose()
  assert.match(body, /mtmi_serve_denied_requests_total\{reason="unauthenticated"\} 5/)
  assert.match(body, /mtmi_serve_denied_requests_total\{reason="forbidden"\} 1/)
})

test('with one token of any role nothing is open any more; with none everything is', async (t) => {
  const only = await setUp(t, { readToken: read })
  assert.equal((await only.ask(...post)).statusCode, 401)
  assert.equal((await only.ask(...look, `Bearer ${read}`)).statusCode, 403)
  const none = await setUp(t, {})
  for (const [method, url] of [list, similar, post, look]) assert((await none.ask(method, url)).statusCode < 300)
})

test('every route that tells of users or items asks for a role', () => {
  const open = httpRoutes.filter((route) => neededRole(route) === undefined)
  assert.deepEqual(open, ['/', '/console/:file', '/livez', '/readyz', '/metrics', '/openapi.json', 'unmatched'])
  assert.equal(neededRole('/v1/of-tomorrow'), 'admin')
})

test('the description names the token and role of each route, where there are tokens', async (t) => {
  const page = (await (await setUp(t, allTokens)).ask('GET', '/openapi.json')).json()
  assert.equal(page.components.securitySchemes.token.scheme, 'bearer')
  assert.deepEqual(page.paths['/v1/events'].post.security, [{ token: ['events'] }])
  assert.deepEqual(page.paths['/v1/users/{id}/recommendations'].get.security, [{ token: ['read'] }])
  assert(
    page.paths['/v1/status'].get.responses['401'] !== undefined &&
      page.paths['/v1/status'].get.responses['403'] !== undefined
  )
  assert.equal(page.paths['/livez'].get.security, undefined)
  const bare = (await (await setUp(t, {})).ask('GET', '/openapi.json')).json()
  assert.equal(bare.components.securitySchemes, undefined)
})

test('a host that others reach is not listened on without a token, unless that is said to be meant', async (t) => {
  for (const host of ['127.0.0.1', '127.9.9.9', 'localhost', '::1']) assert(isLoopback(host), host)
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'mtmi.example', '128.0.0.1', '127.0.0.1.example'])
    assert(!isLoopback(host), host)
  const exposed = serveWith({ host: '0.0.0.0' })
  assert.throws(
    () => checkExposure(exposed),
    (error: Error) => error instanceof ConfigError && /serve\.host 0\.0\.0\.0 can be reached/.test(error.message)
  )
  checkExposure(serveWith({ host: '0.0.0.0', hosts: ['serve'] }))
  checkExposure(serveWith({ host: '0.0.0.0', readToken: read }))
  checkExposure(serveWith({}))
  const { service } = await setUp(t, { host: '0.0.0.0' })
  await assert.rejects(service.listen(), ConfigError)
})

test('tokens that can be guessed, or cannot be sent, are refused and never printed', () => {
  for (const bad of ['short', 'with"quote-0123456789', `${read},short`, 'ümlaut-0123456789abc'])
    assert.throws(
      () => serveWith({ readToken: bad }),
      (error: Error) =>
        error instanceof ConfigError && /serve\.readToken/.test(error.message) && !error.message.includes(bad)
    )
  const fromFile = resolveConfig(
    undefined,
    { MTMI_SERVE_ADMIN_TOKEN_FILE: '/run/secrets/admin' },
    {},
    () => `${admin}\n${newer}\n`
  )
  const access = new Access(fromFile.serve)
  for (const token of [admin, newer]) access.check('admin', `Bearer ${token}`)
})

test('more requests than are answered at a time get 503', async (t) => {
  const { service } = await setUp(t, {}, { activeMax: 1 })
  const [first, second] = await Promise.all([service.app.inject(list[1]), service.app.inject(list[1])])
  assert.deepEqual([first.statusCode, second.statusCode].sort(), [200, 503])
})
