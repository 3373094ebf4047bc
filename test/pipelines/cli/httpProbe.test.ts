import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'node:test'
import { httpProbe } from '../../../pipelines/cli/doctor/httpProbe.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { UnavailableError } from '../../../src/core/errors.ts'

async function withServer(listener: RequestListener, use: (url: string) => Promise<void>): Promise<void> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

// 2026-01-01T00:00:00Z; a clock that stands still makes the middle of the request the same moment.
const clock = new ManualClock(1_767_225_600_000)

test('the Date header against our clock: whole seconds, so half a second is added', async () => {
  const answer: RequestListener = (request, response) => {
    response.setHeader('date', 'Thu, 01 Jan 2026 00:01:30 GMT')
    response.end(JSON.stringify({ key: request.headers['api-key'] }))
  }
  await withServer(answer, async (url) => {
    const probe = await httpProbe(url, { clock, timeoutMs: 60_000, headers: { 'api-key': 'k' } })
    assert.deepEqual(probe, { status: 200, body: { key: 'k' }, clockAheadMs: 90_500 })
  })
})

test('an answer without a date, or that is not JSON, is an answer', async () => {
  const answer: RequestListener = (_, response) => {
    response.sendDate = false
    response.writeHead(401).end('<p>no')
  }
  await withServer(answer, async (url) => {
    assert.deepEqual(await httpProbe(url, { clock, timeoutMs: 60_000 }), {
      status: 401,
      body: undefined,
      clockAheadMs: undefined
    })
  })
})

test('silence and refusal are told with the address, and not the path', async () => {
  const unavailable = (pattern: RegExp) => (error: Error) =>
    error instanceof UnavailableError && pattern.test(error.message) && !error.message.includes('secret')
  await withServer(
    () => {},
    (url) =>
      assert.rejects(
        httpProbe(`${url}/secret`, { clock, timeoutMs: 20 }),
        unavailable(/127\.0\.0\.1:\d+ does not answer: no answer within 20 ms/)
      )
  )
  // Port 9: nobody listens there.
  await assert.rejects(
    httpProbe('http://127.0.0.1:9/secret', { clock, timeoutMs: 60_000 }),
    unavailable(/127\.0\.0\.1:9 does not answer: /)
  )
})
