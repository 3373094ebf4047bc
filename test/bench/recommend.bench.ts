// Recommendations over HTTP: what a caller waits for, at a steady rate of requests that does not wait for answers (open loop: a late answer delays no other request, so
// that a stall is seen by all who would have met it).
//
// What should be possible: a search of 100,000 items × 4 interests reads 26 MB, 2–3 ms at 10 GB/s; HTTP, JSON and two thread hops take well under a millisecond.
//
// node --import tsx test/bench/recommend.bench.ts [--items 100000] [--rate 200] [--seconds 15] [--json]
// With QDRANT_URL the same on Qdrant, beside the bare requests that its client would send, in the same run.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { cpus, loadavg, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { openQdrantIndex } from '../../pipelines/parts.ts'
import { systemClock } from '../../src/base/clock.ts'
import { resolveConfig } from '../../src/base/config.ts'
import { Rng } from '../../src/base/rng.ts'
import { EmbeddedIndex } from '../../src/io/embeddedIndex/embeddedIndex.ts'
import { createHttpService } from '../../src/io/http/httpService.ts'
import { createMetrics } from '../../src/io/metrics.ts'
import { Recommender } from '../../src/recommend/recommender.ts'
import type { VectorIndex, VectorPoint } from '../../src/retrieval/vectorIndex.ts'

const { values } = parseArgs({
  options: {
    items: { type: 'string', default: '100000' },
    rate: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '15' },
    json: { type: 'boolean', default: false }
  }
})
const [D, K, limit, batch, userCount, warmupSeconds] = [64, 4, 20, 500, 1000, 3]
const [items, rate, seconds] = [Number(values.items), Number(values.rate), Number(values.seconds)]
const rng = new Rng(1)

function units(count: number): Float32Array {
  const vectors = new Float32Array(count * D)
  for (let k = 0; k < count; k++) {
    let squares = 0
    for (let d = k * D; d < (k + 1) * D; d++) {
      vectors[d] = rng.uniform() - 0.5
      squares += vectors[d]! ** 2
    }
    for (let d = k * D; d < (k + 1) * D; d++) vectors[d]! /= Math.sqrt(squares)
  }
  return vectors
}

const itemOf = (i: number): VectorPoint => ({
  ...{ role: 'item', id: `item-${i}`, vector: units(1) },
  payload: { title: `Title of item ${i}`, features: { genre: [`g${i % 20}`] }, count: i % 977, updatedAtMs: 1.7e12 }
})
const userOf = (i: number): VectorPoint => ({
  ...{ role: 'user', id: `user-${i}`, vectors: units(K) },
  payload: {
    ...{ historyLength: 50, newestMs: 1.7e12, updatedAtMs: 1.7e12 },
    recent: Array.from({ length: 50 }, () => `item-${rng.integer(items)}`)
  }
})

async function fill(index: VectorIndex): Promise<void> {
  await index.createSpace('bench', { dimensions: D, interestCount: K })
  for (const [of, count] of [
    [itemOf, items],
    [userOf, userCount]
  ] as const) {
    for (let from = 0; from < count; from += batch)
      await index.upsert(
        'bench',
        1,
        Array.from({ length: Math.min(batch, count - from) }, (_, i) => of(from + i))
      )
  }
  await index.promote('bench', { items, users: userCount })
}

interface Latency {
  readonly requests: number
  readonly failed: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** Every request at its own moment, whatever became of those before; measured from that moment, not from when it could be sent. */
async function openLoop(act: (i: number) => Promise<void>): Promise<Latency> {
  const taken: number[] = []
  let failed = 0
  const running: Promise<void>[] = []
  const total = Math.round(rate * (warmupSeconds + seconds))
  const startMs = performance.now()
  await new Promise<void>((resolve) => {
    let i = 0
    const tick = () => {
      while (i < total && performance.now() - startMs >= (i * 1000) / rate) {
        const number = i++
        const dueMs = startMs + (number * 1000) / rate
        const measured = number >= rate * warmupSeconds
        running.push(
          act(number).then(
            () => void (measured && taken.push(performance.now() - dueMs)),
            () => void failed++
          )
        )
      }
      if (i < total) setTimeout(tick, 1)
      else resolve()
    }
    tick()
  })
  await Promise.all(running)
  taken.sort((a, b) => a - b)
  const at = (share: number) => Number((taken[Math.floor(taken.length * share)] ?? Number.NaN).toPrecision(3))
  return { requests: total, failed, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(0.999999) }
}

function getter(base: string): (path: string) => Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 256 })
  return (url) =>
    new Promise((resolve, reject) => {
      request(new URL(url, base), { agent }, (response) => {
        response.resume()
        response.on('end', () => (response.statusCode === 200 ? resolve() : reject(new Error(`status ${response.statusCode}`))))
        response.on('error', reject)
      })
        .on('error', reject)
        .end()
    })
}

async function overHttp(index: VectorIndex, query = ''): Promise<Latency> {
  const config = resolveConfig(undefined, {}, { serve: { port: 0 } })
  const service = createHttpService({
    recommender: new Recommender({ index, clock: systemClock, options: config.recommend }),
    accept: async () => {},
    erase: async () => {},
    readiness: () => ({ ready: true, detail: '' }),
    metrics: createMetrics({ clock: systemClock, processMetrics: false }),
    options: config.serve,
    clock: systemClock
  })
  const get = getter(await service.listen())
  try {
    return await openLoop((i) => get(`/v1/users/user-${i % userCount}/recommendations?limit=${limit}${query}`))
  } finally {
    await service.close()
  }
}

const results: Record<string, Latency> = {}
const say = (name: string, latency: Latency) => {
  results[name] = latency
  if (!values.json) {
    const { p50Ms, p99Ms, maxMs, failed } = latency
    process.stdout.write(
      `${name.padEnd(34)} p50 ${p50Ms} ms, p99 ${p99Ms} ms, longest ${maxMs} ms${failed > 0 ? `, ${failed} FAILED` : ''}\n`
    )
  }
}

const folder = mkdtempSync(path.join(tmpdir(), 'mtmi-bench-'))
try {
  const embedded = await EmbeddedIndex.open(folder)
  await fill(embedded)
  // The bare search on either side of the others: whether the machine changed meanwhile shows.
  const bare = async (i: number) => void (await embedded.search({ by: { userId: `user-${i % userCount}` } }, limit))
  say('embedded, search alone', await openLoop(bare))
  say('embedded, over HTTP', await overHttp(embedded))
  say('embedded, explained', await overHttp(embedded, '&explain=true'))
  say('embedded, diversity .3', await overHttp(embedded, '&diversity=0.3'))
  say('embedded, search alone again', await openLoop(bare))
  await embedded.close()
  if (process.env.QDRANT_URL !== undefined) {
    const config = resolveConfig(undefined, {}, { index: 'qdrant', qdrant: { url: process.env.QDRANT_URL } })
    const qdrant = await openQdrantIndex(config, `bench-${process.pid}`)
    try {
      await fill(qdrant)
      // What the answer is made from, by the same client, without anything of ours around it.
      say(
        'Qdrant, search alone',
        await openLoop(async (i) => void (await qdrant.search({ by: { userId: `user-${i % userCount}` } }, limit)))
      )
      say('Qdrant, over HTTP', await overHttp(qdrant))
    } finally {
      await qdrant.close()
    }
  }
} finally {
  rmSync(folder, { recursive: true })
}
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
const load = Number(loadavg()[0]!.toFixed(1))
process.stdout.write(
  `${JSON.stringify({ benchmark: 'recommend', commit, cpu: cpus()[0]?.model, cores: cpus().length, load, node: process.version, D, K, limit, items, users: userCount, rate, seconds, results })}\n`
)
