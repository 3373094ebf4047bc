import assert from 'node:assert/strict'
import test from 'node:test'
import { UnavailableError } from '../../../src/core/errors.ts'
import { BoundPort } from '../../../src/serve/http/boundPort.ts'

const options = { host: '127.0.0.1', port: 0, section: 'serve', requestTimeoutMs: 1000 } as const

test('a bound port is alive and not ready until the service is there, and nobody else gets it', async () => {
  const port = await new BoundPort(options).bind()
  const { url } = port
  try {
    const live = await fetch(`${url}/livez`)
    assert.deepEqual([live.status, await live.json()], [200, { live: true }])
    for (const path of ['/readyz', '/v1/users/u/recommendations']) {
      const answer = await fetch(url + path)
      assert.deepEqual([answer.status, answer.headers.get('retry-after')], [503, '1'])
      assert.match(answer.headers.get('content-type')!, /problem\+json/)
      assert.equal(((await answer.json()) as { instance: string }).instance, path)
    }
    await assert.rejects(new BoundPort({ ...options, port: Number(new URL(url).port) }).bind(), UnavailableError)
    port.handle((_request, response) => response.end('served'))
    assert.equal(await (await fetch(url)).text(), 'served')
  } finally {
    await port.close()
    await port.close()
  }
  await assert.rejects(fetch(url))
})
