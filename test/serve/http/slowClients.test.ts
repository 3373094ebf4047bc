// Clients that stop in the middle of a request, over raw sockets.

import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import test, { type TestContext } from 'node:test'
import { systemClock } from '../../../src/core/clock.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import { createHttpService, type HttpServiceParts } from '../../../src/serve/http/httpService.ts'
import { Recommender } from '../../../src/serve/recommender.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'

async function setUp(t: TestContext, parts: Partial<HttpServiceParts>) {
  const index = new MemoryVectorIndex()
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  await index.promote('s', { items: 0, users: 0 })
  const metrics = createMetrics({ clock: systemClock, processMetrics: false })
  const service = createHttpService({
    recommender: new Recommender({ index, clock: systemClock }),
    accept: async () => {},
    erase: async () => {},
    readiness: () => ({ ready: true, detail: '' }),
    metrics,
    options: resolveConfig(undefined, {}, { serve: { port: 0 } }).serve,
    clock: systemClock,
    sessions: { encode: async () => undefined },
    ...parts
  })
  t.after(() => service.close())
  const port = Number(new URL(await service.listen()).port)
  /** Sends `text` and leaves the connection open; `answer` resolves with what came until the server closed it. */
  const send = (text: string): { socket: Socket; answer: Promise<string> } => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    const answer = new Promise<string>((resolve, reject) => {
      let received = ''
      socket.setEncoding('utf8').on('data', (more: string) => {
        received += more
      })
      socket.on('end', () => resolve(received)).on('error', reject)
    })
    t.after(() => socket.destroy())
    return { socket, answer }
  }
  const active = async (kind: string) => {
    const { body } = await metrics.expose()
    return Number(new RegExp(`^mtmi_serve_active_requests\\{kind="${kind}"\\} (\\d+)$`, 'm').exec(body)?.[1] ?? 0)
  }
  return { port, send, metrics, active, get: (path: string) => fetch(`http://127.0.0.1:${port}${path}`) }
}

const head = (method: string, path: string, ...more: string[]) =>
  [`${method} ${path} HTTP/1.1`, 'Host: 127.0.0.1', 'Content-Type: application/json', ...more, '', ''].join('\r\n')

test('a body that is only half sent is answered 408 as a problem, not 503, and its slot is free again', async (t) => {
  let accepted = 0
  const { send, metrics, active } = await setUp(t, { arrivalMaxMs: 50, accept: async () => void accepted++ })
  for (const request of [
    `${head('POST', '/v1/events', 'Content-Length: 100')}{"userId":`,
    `${head('POST', '/v1/events', 'Transfer-Encoding: chunked')}5\r\n{"use`,
    `${head('POST', '/v1/recommendations', 'Content-Length: 100')}{"history":`,
    head('POST', '/v1/events', 'Content-Length: 1')
  ]) {
    const answer = await send(request).answer
    assert.match(answer, /^HTTP\/1\.1 408 Request Timeout\r\n/, request)
    assert.match(answer, /\r\nconnection: close\r\n/i)
    const problem = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)) as { type: string; detail: string }
    assert.equal(problem.type, 'urn:mtmi:problem:timeout')
    assert.equal(problem.detail, 'the body did not arrive within 0.05 s')
  }
  assert.equal(accepted, 0)
  assert.deepEqual([await active('events'), await active('read')], [0, 0])
  assert.match((await metrics.expose()).body, /mtmi_serve_request_seconds_count\{route="\/v1\/events",status="4xx"\} 3/)
})

test('a handler that takes longer than a body may is no matter of the body', async (t) => {
  const accept = () => new Promise<void>((resolve) => setTimeout(resolve, 600))
  const { port } = await setUp(t, { arrivalMaxMs: 500, accept })
  const answer = await fetch(`http://127.0.0.1:${port}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"userId":"u","itemId":"x","type":"click"}'
  })
  assert.equal(answer.status, 202)
})

test('without tokens a request that names no host is not answered', async (t) => {
  const { send } = await setUp(t, {})
  for (const request of [
    'GET /v1/users/u/recommendations HTTP/1.0\r\n\r\n',
    'GET /metrics HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n'
  ])
    assert.match(await send(request).answer, /^HTTP\/1\.1 421 Misdirected Request\r\n/)
})

test('clients that post events, or stop in the middle of it, cannot take the slots of readers, nor readers those of events', async (t) => {
  const { send, active, get, port } = await setUp(t, { activeMax: 2 })
  const post = () =>
    fetch(`http://127.0.0.1:${port}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"userId":"u","itemId":"x","type":"click"}'
    })
  const half = (path: string) => send(`${head('POST', path, 'Content-Length: 100')}{`)
  const holds = async (kind: string) => {
    while ((await active(kind)) < 2) await new Promise((resolve) => setImmediate(resolve))
  }
  const posts = [half('/v1/events'), half('/v1/events')]
  await holds('events')
  const refused = await post()
  assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '1'])
  for (let i = 0; i < 5; i++) assert.equal((await get('/v1/users/u/recommendations')).status, 200)

  for (const { socket } of posts) socket.destroy()
  while ((await active('events')) > 0) await new Promise((resolve) => setImmediate(resolve))
  half('/v1/recommendations')
  half('/v1/recommendations')
  await holds('read')
  assert.equal((await get('/v1/users/u/recommendations')).status, 503)
  assert.equal((await post()).status, 202)
  for (const path of ['/livez', '/readyz', '/metrics']) assert.equal((await get(path)).status, 200, path)
})
