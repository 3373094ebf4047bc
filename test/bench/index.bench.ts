// The embedded index: latency of a search, rate of writing, time of loading, memory.
//
// What should be possible at D 64, K 4: a search reads 256 bytes an item, 13–26 ms a million at 10–20 GB/s, and adds up
// 0.5 GFLOP in about as long; a load decodes some 3 µs an item; a durable write is bound by one flush to disk a batch.
//
// node --import tsx test/bench/index.bench.ts [sizes …], default 10000 100000 1000000. Needs 2 GiB of disk and of
// memory for the last.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { Rng } from '../../src/core/rng.ts'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import type { ItemPoint, UserPoint } from '../../src/index/vectorIndex.ts'

const [D, K, limit, batch] = [64, 4, 20, 500]
const sizes = process.argv.slice(2).map(Number)
const rng = new Rng(1)

/** A unit vector; uniform numbers are as good as normal ones here, and quicker. */
function unit(): Float32Array {
  const vector = new Float32Array(D)
  let squares = 0
  for (let d = 0; d < D; d++) {
    const value = rng.uniform() - 0.5
    vector[d] = value
    squares += value * value
  }
  const scale = 1 / Math.sqrt(squares)
  for (let d = 0; d < D; d++) vector[d]! *= scale
  return vector
}

const item = (i: number): ItemPoint => ({
  role: 'item',
  id: `item-${i}`,
  vector: unit(),
  payload: {
    title: `Title of item ${i}`,
    features: { genre: [`g${i % 20}`], brand: [`b${i % 1000}`] },
    count: i % 977,
    updatedAtMs: 1.7e12
  }
})

function user(i: number): UserPoint {
  const vectors = new Float32Array(K * D)
  for (let k = 0; k < K; k++) vectors.set(unit(), k * D)
  const recent = Array.from({ length: 50 }, () => `item-${rng.integer(10_000)}`)
  return {
    role: 'user',
    id: `user-${i}`,
    vectors,
    payload: { recent, historyLength: 50, newestMs: 1.7e12, updatedAtMs: 1.7e12 }
  }
}

const seconds = (since: number) => (performance.now() - since) / 1000
const round = (value: number) => Number(value.toPrecision(3))

async function timed(times: number, act: (i: number) => Promise<unknown>): Promise<{ p50Ms: number; p99Ms: number }> {
  for (let i = 0; i < Math.min(50, times); i++) await act(i) // warm-up
  const taken: number[] = []
  for (let i = 0; i < times; i++) {
    const start = performance.now()
    await act(i)
    taken.push(performance.now() - start)
  }
  taken.sort((a, b) => a - b)
  return { p50Ms: round(taken[Math.floor(times * 0.5)]!), p99Ms: round(taken[Math.floor(times * 0.99)]!) }
}

async function measure(N: number): Promise<Record<string, unknown>> {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-bench-'))
  try {
    const writer = await EmbeddedIndex.open(directory, { searchThread: false })
    await writer.createVersion('a', { dimensions: D, interestCount: K })
    let upsertSeconds = 0
    for (let from = 0; from < N; from += batch) {
      const points = Array.from({ length: Math.min(batch, N - from) }, (_, i) => item(from + i))
      const start = performance.now()
      await writer.upsert('a', 1, points)
      upsertSeconds += seconds(start)
    }
    const users = Array.from({ length: 1000 }, (_, i) => user(i))
    const start = performance.now()
    for (let from = 0; from < users.length; from += batch) await writer.upsert('a', 1, users.slice(from, from + batch))
    const userSeconds = seconds(start)
    await writer.promote('a', { items: N, users: users.length })
    await writer.close()

    const residentBefore = process.memoryUsage().rss
    const loading = performance.now()
    const index = await EmbeddedIndex.open(directory)
    const loadSeconds = seconds(loading)
    const residentAfter = process.memoryUsage().rss
    const times = N >= 1_000_000 ? 300 : 1000
    const byUser = await timed(times, (i) => index.search({ by: { userId: `user-${i % users.length}` } }, limit))
    const byItem = await timed(times, (i) => index.search({ by: { itemId: `item-${(i * 7919) % N}` } }, limit))
    const rareFeature = await timed(times, (i) =>
      index.search({ by: { userId: `user-${i % users.length}` } }, limit, { features: { brand: `b${i % 1000}` } })
    )
    const popular = await timed(50, () => index.popular(limit))
    const afterWrite = await timed(100, async (i) => {
      await index.upsert('a', 2, [item(i % N)])
      return index.search({ by: { userId: 'user-1' } }, limit)
    })
    await index.close()
    return {
      items: N,
      byUser,
      byItem,
      rareFeature,
      popular,
      writeThenSearch: afterWrite,
      itemUpsertsPerSecond: round(N / upsertSeconds),
      userUpsertsPerSecond: round(users.length / userSeconds),
      loadSeconds: round(loadSeconds),
      residentBytesPerItem: Math.round((residentAfter - residentBefore) / N),
      diskBytesPerItem: Math.round(statSync(path.join(directory, 'index.mdb')).size / N)
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const results: Record<string, unknown>[] = []
for (const N of sizes.length > 0 ? sizes : [10_000, 100_000, 1_000_000]) results.push(await measure(N))
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
process.stdout.write(
  `${JSON.stringify({ benchmark: 'index', commit, cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, D, K, limit, results })}\n`
)
