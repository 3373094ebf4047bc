// Recommendations over HTTP: what a caller waits for, at a steady rate of requests that does not wait for answers (open
// loop: a late answer delays no other request, so that a stall is seen by all who would have met it).
//
// What should be possible: a search of 100,000 items × 4 interests reads 26 MB, 2–3 ms at 10 GB/s; HTTP, JSON and two
// thread hops take well under a millisecond.
//
// node --import tsx test/bench/recommend.bench.ts [--items 100000] [--rate 200] [--seconds 15] [--rounds 3] [--only
// embedded | qdrant] [--memory] [--api] [--json] With QDRANT_URL the same on Qdrant, in turn with the bare request: `overhead` is the
// median of the rounds' differences.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { cpus, loadavg, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openQdrantIndex } from '../../pipelines/parts.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { UnavailableError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { EmbeddedIndex } from '../../src/index/embedded/embeddedIndex.ts'
import type { Neighbours } from '../../src/index/memory.ts'
import { pointId } from '../../src/index/qdrant/qdrantNames.ts'
import { describedFields } from '../../src/index/qdrant/qdrantPoints.ts'
import type { VectorIndex, VectorPoint } from '../../src/index/vectorIndex.ts'
import { addSeen } from '../../src/records/seenItems.ts'
import { openLoop } from '../support/openLoop.ts'
import { servedIndex } from '../support/servedIndex.ts'

const { values } = parseArgs({
  options: {
    items: { type: 'string', default: '100000' },
    rate: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '15' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    memory: { type: 'boolean', default: false },
    // Items with a price and times at which they are available, users who have seen 2,000, and lists of every form.
    api: { type: 'boolean', default: false },
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

/** Popular items are in more lists: the neighbours' popularity falls as 1/√rank. */
const listOf = (): Neighbours => {
  const neighbours = new Set<string>()
  while (neighbours.size < 64) neighbours.add(`item-${Math.floor(items * rng.uniform() ** 2)}`)
  return {
    neighbours: [...neighbours],
    weights: Float32Array.from({ length: 64 }, (_, i) => 0.3 / (i + 1))
  }
}
const itemOf = (i: number): VectorPoint => ({
  ...{ role: 'item', id: `item-${i}`, vector: units(1), ...(values.memory ? { memory: listOf() } : {}) },
  payload: {
    ...{ title: `Title of item ${i}`, count: i % 977, updatedAtMs: 1.7e12 },
    ...(values.api
      ? { features: { genre: [`g${i % 20}`], price: [`${i % 100}`] }, availableFromMs: 0, availableUntilMs: 4e12 }
      : { features: { genre: [`g${i % 20}`] } })
  }
})
/** 2,000 items, as many as are kept. */
const seenBy = (): string => {
  const steps = Array.from({ length: 2000 }, () => ({
    ...{ itemId: `item-${Math.floor(items * rng.uniform() ** 2)}`, type: 'click', eventTimeMs: 1.7e12 }
  }))
  return Buffer.from(addSeen(undefined, steps)).toString('base64')
}
const userOf = (i: number): VectorPoint => ({
  ...{ role: 'user', id: `user-${i}`, vectors: units(K) },
  payload: {
    ...{ historyLength: 50, newestMs: 1.7e12, updatedAtMs: 1.7e12 },
    recent: [...new Set(Array.from({ length: 50 }, () => `item-${Math.floor(items * rng.uniform() ** 2)}`))],
    ...(values.memory ? { memory: { weight: 2.4, decay: 0.8 } } : {}),
    ...(values.api && i % 2 === 1 ? { seen: seenBy() } : {})
  }
})

async function fill(index: VectorIndex): Promise<void> {
  await index.createVersion('bench', { dimensions: D, interestCount: K })
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
  // Until its graph is made, Qdrant is not green.
  for (let waits = 0; ; waits++) {
    try {
      return await index.promote('bench', { items, users: userCount })
    } catch (error) {
      if (!(error instanceof UnavailableError) || waits === 60) throw error
      await pause(1000)
    }
  }
}

interface Latency {
  readonly requests: number
  readonly failed: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** An open loop; measured from the moment at which each was due. */
async function latencyOf(act: (i: number) => Promise<unknown>): Promise<Latency> {
  const taken: number[] = []
  let failed = 0
  const total = Math.round(rate * (warmupSeconds + seconds))
  await openLoop(
    rate,
    (i) => i < total,
    async (i, dueMs) => {
      try {
        await act(i)
        if (i >= rate * warmupSeconds) taken.push(performance.now() - dueMs)
      } catch {
        failed++
      }
    }
  )
  taken.sort((x, y) => x - y)
  const at = (share: number) => Number((taken[Math.floor(taken.length * share)] ?? Number.NaN).toPrecision(3))
  return { requests: total, failed, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(0.999999) }
}

/**
 * What somebody sends who asks Qdrant for the same: CONTRACT.md's batch of K look-ups, over plain HTTP, by the names of
 * the collections.
 */
function bareQdrant(url: string, prefix: string): { ask(i: number): Promise<unknown>; close(): void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const { sequence } = resolveConfig(undefined, {})
  const path = `/collections/${prefix}items-bench/points/query/batch`
  const headers = { 'content-type': 'application/json', 'accept-encoding': 'identity' }
  const ask = (i: number) =>
    new Promise((resolve, reject) => {
      const query = pointId(`user-${i % userCount}`)
      const searches = Array.from({ length: K }, (_, k) => ({
        ...{ query, lookup_from: { collection: `${prefix}users-bench`, vector: `i${k}` } },
        ...{ limit: limit + sequence.historyMax, with_payload: describedFields }
      }))
      request(new URL(path, url), { agent, method: 'POST', headers }, (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('error', reject)
        response.on('end', () => {
          const answer = JSON.parse(Buffer.concat(parts).toString()) as { result?: { points: unknown[] }[] }
          if (answer.result?.length === K && answer.result.every(({ points }) => points.length > 0)) resolve(answer)
          else reject(new Error(`no answer: ${JSON.stringify(answer).slice(0, 200)}`))
        })
      })
        .on('error', reject)
        .end(JSON.stringify({ searches }))
    })
  return { ask, close: () => agent.destroy() }
}

/** Lists of every form, in turn. Users of an even number have seen 50 items, the others 2,000. */
async function everyForm(index: VectorIndex): Promise<void> {
  const { get, close } = await servedIndex(index)
  const list = (user: number, query = '') =>
    get(`/v1/users/user-${user % userCount}/recommendations?limit=${limit}${query}`)
  const even = (i: number) => 2 * i
  const cursors = new Map<number, string>()
  try {
    for (let user = 0; user < 100; user += 2) {
      let cursor = ''
      for (let page = 0; page < 4; page++)
        cursor = `&cursor=${(JSON.parse(await list(user, cursor)) as { next: string }).next}`
      cursors.set(user, cursor)
    }
    for (const [name, act] of [
      ['plain', (i) => list(even(i))],
      ['seen 2,000', (i) => list(even(i) + 1)],
      ['filter by a value', (i) => list(even(i), `&filter.genre=g${i % 20}`)],
      ['filter by range and not', (i) => list(even(i), `&filter.price=>=20&filter.price=<80&filter.genre=!g${i % 20}`)],
      ['page 5', (i) => list(even(i % 50), cursors.get(even(i % 50)))],
      ['pin of 2 items', (i) => list(even(i), `&pin=item-${i % items},item-${(7 * i) % items}`)],
      ['all of these', (i) => list(even(i) + 1, `&filter.price=>=20&filter.genre=!g3&pin=item-${i % items}`)],
      ['plain again', (i) => list(even(i))]
    ] as const satisfies [string, (i: number) => Promise<string>][])
      say(`embedded, ${name}`, await latencyOf(act))
  } finally {
    await close()
  }
}

async function overHttp(index: VectorIndex, query = ''): Promise<Latency> {
  const { get, close } = await servedIndex(index)
  try {
    return await latencyOf((i) => get(`/v1/users/user-${i % userCount}/recommendations?limit=${limit}${query}`))
  } finally {
    await close()
  }
}

const results: Record<string, Latency> = {}
let overhead: { p50Ms: number; p99Ms: number; oursP99Ms: number } | undefined
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
  if (values.only !== 'qdrant') {
    const embedded = await EmbeddedIndex.open(folder)
    const before = performance.now()
    await fill(embedded)
    const seconds = (performance.now() - before) / 1000
    if (!values.json) process.stdout.write(`embedded, filled in ${seconds.toFixed(1)} s\n`)
    // The bare search on either side of the others: whether the machine changed meanwhile shows.
    const bare = async (i: number) => void (await embedded.search({ by: { userId: `user-${i % userCount}` } }, limit))
    say('embedded, search alone', await latencyOf(bare))
    say('embedded, over HTTP', await overHttp(embedded))
    if (values.api) await everyForm(embedded)
    if (values.memory) say('embedded, memory=false', await overHttp(embedded, '&memory=false'))
    say('embedded, explained', await overHttp(embedded, '&explain=true'))
    say('embedded, diversity .3', await overHttp(embedded, '&diversity=0.3'))
    say('embedded, search alone again', await latencyOf(bare))
    await embedded.close()
  }
  if (process.env.QDRANT_URL !== undefined && values.only !== 'embedded') {
    const config = resolveConfig(
      undefined,
      {},
      { index: 'qdrant', qdrant: { url: process.env.QDRANT_URL, prefix: `bench_${process.pid}_` } }
    )
    const qdrant = await openQdrantIndex(config, `bench-${process.pid}`)
    try {
      await fill(qdrant)
      // In turn, so that a machine that changes meanwhile changes both.
      const plain = bareQdrant(config.qdrant.url, config.qdrant.prefix)
      const rounds: { bare: Latency; ours: Latency }[] = []
      for (let round = 0; round < Number(values.rounds); round++) {
        const bare = await latencyOf(plain.ask)
        say(`Qdrant, bare request, round ${round + 1}`, bare)
        const ours = await overHttp(qdrant)
        say(`Qdrant, over HTTP, round ${round + 1}`, ours)
        rounds.push({ bare, ours })
      }
      plain.close()
      say(
        'Qdrant, search alone',
        await latencyOf((i) => qdrant.search({ by: { userId: `user-${i % userCount}` } }, limit))
      )
      const median = (of: (round: (typeof rounds)[number]) => number) =>
        rounds.map(of).sort((x, y) => x - y)[rounds.length >> 1]!
      overhead = {
        p50Ms: Number(median(({ bare, ours }) => ours.p50Ms - bare.p50Ms).toFixed(2)),
        p99Ms: Number(median(({ bare, ours }) => ours.p99Ms - bare.p99Ms).toFixed(2)),
        oursP99Ms: median(({ ours }) => ours.p99Ms)
      }
      if (!values.json)
        process.stdout.write(
          `overhead, median of ${rounds.length} rounds: p50 ${overhead.p50Ms} ms, p99 ${overhead.p99Ms} ms\n`
        )
    } finally {
      await qdrant.clear()
      await qdrant.close()
    }
  }
} finally {
  rmSync(folder, { recursive: true })
}
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
const load = Number(loadavg()[0]!.toFixed(1))
process.stdout.write(
  `${JSON.stringify({ benchmark: 'recommend', commit, cpu: cpus()[0]?.model, cores: cpus().length, load, node: process.version, D, K, limit, items, users: userCount, rate, seconds, results, overhead })}\n`
)
