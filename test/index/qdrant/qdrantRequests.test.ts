// What is sent again, what is not, for how long, and how many at a time.

import assert from 'node:assert/strict'
import test from 'node:test'
import { systemClock } from '../../../src/core/clock.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { Rng } from '../../../src/core/rng.ts'
import type { QdrantOptions } from '../../../src/index/qdrant/qdrantOptions.ts'
import { NotInQdrantError, QdrantRequests } from '../../../src/index/qdrant/qdrantRequests.ts'
import type { MetricsReport } from '../../../src/monitor/metrics.ts'
import { type Fate, FaultProxy, type SeenRequest } from './faultProxy.ts'

async function withRequests(
  fate: (request: SeenRequest) => Fate,
  body: (
    requests: QdrantRequests,
    proxy: FaultProxy,
    seen: { problems: string[]; report: MetricsReport[number][] }
  ) => Promise<void>,
  more: Partial<QdrantOptions> = {}
): Promise<void> {
  const proxy = await new FaultProxy('', fate).start()
  const seen = { problems: [] as string[], report: [] as MetricsReport[number][] }
  const options = { ...resolveConfig({}, {}).qdrant, url: proxy.url, ...more }
  const requests = new QdrantRequests(options, {
    clock: systemClock,
    rng: new Rng(1),
    onProblem: (problem) => seen.problems.push(problem),
    measure: (report) => seen.report.push(...report)
  })
  try {
    await body(requests, proxy, seen)
  } finally {
    await proxy.stop()
    await requests.close()
  }
}

/** The first requests have these fates, all others pass. */
const first =
  (...fates: Fate[]) =>
  ({ number }: SeenRequest): Fate =>
    fates[number] ?? 'pass'

const aliases = (requests: QdrantRequests) => requests.write('list aliases', (client) => client.getAliases())

for (const [what, fate] of [
  ['too many requests', { refuse: 429 }],
  ['too many requests, with a time', { refuse: 429, headers: { 'retry-after': '0' } }],
  ['an error of the server', { refuse: 500 }],
  ['a proxy without a server', { refuse: 503 }],
  ['a connection that breaks', 'break'],
  ['an answer that is lost', 'lose']
] as const satisfies [string, Fate][]) {
  test(`${what}: sent again, told, counted`, () =>
    withRequests(first(fate, fate), async (requests, proxy, { problems, report }) => {
      assert.deepEqual((await aliases(requests)).aliases, [])
      assert.equal(proxy.requests.length, 3)
      assert.equal(problems.length, 2)
      assert.match(problems[0]!, /does not list aliases: .*; trying again in \d+ ms/)
      const outcomes = report.flatMap((entry) => (entry.metric === 'indexRequests' ? [entry.labels?.outcome] : []))
      assert.deepEqual(outcomes, ['retried', 'retried', 'done'])
    }))
}

test('no answer in time: sent again', () =>
  withRequests(
    first('stall'),
    async (requests, proxy, { problems }) => {
      await aliases(requests)
      assert.equal(proxy.requests.length, 2)
      assert.match(problems[0]!, /no answer in time/)
    },
    { timeoutMs: 200 }
  ))

test('what keeps failing is given up after retryMs, with the address and the number of attempts', () =>
  withRequests(
    () => ({ refuse: 503 }),
    async (requests, proxy) => {
      await assert.rejects(aliases(requests), {
        code: 'UNAVAILABLE',
        message: /127\.0\.0\.1:\d+ does not list aliases: 503.*attempts.*qdrant\.url/
      })
      assert(proxy.requests.length >= 2)
    },
    { retryMs: 400 }
  ))

test('a server that is not there is UNAVAILABLE, and what refused the connection is said', () =>
  withRequests(
    () => 'pass',
    async (requests, proxy) => {
      await proxy.stop()
      await assert.rejects(aliases(requests), { code: 'UNAVAILABLE', message: /ECONNREFUSED/ })
    },
    { retryMs: 0 }
  ))

test('refusals are not sent again: 404 is told apart, 403 asks for the key, 400 is shown', async () => {
  for (const [status, code, message] of [
    [404, 'UNAVAILABLE', /404: as the test wants it/],
    [403, 'CONFIG', /check qdrant\.apiKey/],
    [400, 'CONFIG', /refuses to list aliases \(400: /]
  ] as const) {
    await withRequests(
      () => ({ refuse: status }),
      async (requests, proxy) => {
        await assert.rejects(aliases(requests), (error: Error & { code?: string }) => {
          assert.equal(error.code, code)
          assert.match(error.message, message)
          assert.equal(error instanceof NotInQdrantError, status === 404)
          return true
        })
        assert.equal(proxy.requests.length, 1)
      }
    )
  }
})

test('writes wait for their turn; none is forgotten', () =>
  withRequests(
    () => 'pass',
    async (requests, proxy) => {
      await Promise.all(Array.from({ length: 30 }, () => aliases(requests)))
      assert.equal(proxy.requests.length, 30)
      assert(proxy.openMax <= 3, `${proxy.openMax} at a time`)
    },
    { concurrency: 3 }
  ))

test('a mistake in our own request is not sent again', () =>
  withRequests(
    () => 'pass',
    async (requests, proxy) => {
      const mistake = new TypeError('ours')
      await assert.rejects(
        requests.write('err', () => Promise.reject(mistake)),
        mistake
      )
      assert.equal(proxy.requests.length, 0)
    }
  ))

test('closing ends the waiting for another attempt', () =>
  withRequests(
    () => ({ refuse: 503 }),
    async (requests, proxy, { problems }) => {
      const failing = assert.rejects(aliases(requests), { code: 'UNAVAILABLE' })
      while (problems.length === 0) await new Promise(setImmediate)
      await requests.close()
      await failing
      assert(proxy.requests.length <= 2)
    },
    { retryMs: 600_000 }
  ))
