import assert from 'node:assert/strict'
import test from 'node:test'
import { ManualClock } from '../../../src/core/clock.ts'
import { ConfigError, UnavailableError } from '../../../src/core/errors.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import { bindOpsPort, startOpsService } from '../../../src/serve/http/opsService.ts'

const metrics = createMetrics({ clock: new ManualClock(0), processMetrics: false })
const parts = async (detail?: string) => ({
  port: await bindOpsPort({ host: '127.0.0.1', port: 0 }),
  metrics,
  readiness: () => ({ ready: detail === undefined, detail: detail ?? 'keeps up' })
})

test('health, readiness and metrics are there, and nothing else', async () => {
  const service = await startOpsService(await parts())
  try {
    assert.deepEqual(await (await fetch(`${service.url}/livez`)).json(), { live: true })
    assert.deepEqual(await (await fetch(`${service.url}/readyz`)).json(), { ready: true, detail: 'keeps up' })
    metrics.loss.set(2.5)
    assert.match(await (await fetch(`${service.url}/metrics`)).text(), /^mtmi_train_loss 2\.5$/m)
    for (const [method, path] of [
      ['GET', '/v1/users/u/recommendations'],
      ['POST', '/livez']
    ] as const) {
      const answer = await fetch(service.url + path, { method })
      assert.equal(answer.status, 404)
      assert.match(answer.headers.get('content-type')!, /^application\/problem\+json/)
    }
  } finally {
    await service.close()
  }
})

test('what stands still is alive and not ready, and says why', async () => {
  const service = await startOpsService(await parts('train has 7 records waiting'))
  try {
    assert.equal((await fetch(`${service.url}/livez`)).status, 200)
    const answer = await fetch(`${service.url}/readyz`)
    assert.equal(answer.status, 503)
    assert.equal(((await answer.json()) as { detail: string }).detail, 'train has 7 records waiting')
  } finally {
    await service.close()
  }
})

test('a port that is taken may be free later; an address that is not ours never is', async () => {
  const service = await startOpsService(await parts())
  try {
    const port = Number(new URL(service.url).port)
    await assert.rejects(
      bindOpsPort({ host: '127.0.0.1', port }),
      (error: Error) => error instanceof UnavailableError && /ops\.port/.test(error.message)
    )
    await assert.rejects(
      bindOpsPort({ host: '192.0.2.1', port: 0 }),
      (error: Error) => error instanceof ConfigError && /ops\.host 192\.0\.2\.1/.test(error.message)
    )
  } finally {
    await service.close()
  }
})
