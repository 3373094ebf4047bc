// Writing to Qdrant: the index against the bare client with the same points, payloads and concurrency, in turns; and
// against the bare client that sets the same condition on the step, so that it shows what of the difference is the
// server's work on the condition.
//
// What should be possible: the client takes some 10 µs to write a 64-dimensional point as JSON, the server some 15 to
// 35 µs to take it in; both share the machine here. The index adds a check of each vector, an id, a condition on the
// step and, once a call, the question whether something is newer.
//
// QDRANT_URL=http://127.0.0.1:6333 npm run bench -- publish [--json] [items, default 10000] [users, default 2000]

import { execFileSync } from 'node:child_process'
import { cpus } from 'node:os'
import { QdrantClient } from '@qdrant/js-client-rest'
import { systemClock } from '../../src/core/clock.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import { QdrantIndex } from '../../src/index/qdrant/qdrantIndex.ts'
import { interestName, pointId } from '../../src/index/qdrant/qdrantNames.ts'
import { notNewerThan } from '../../src/index/qdrant/qdrantPoints.ts'
import type { ItemPoint, UserPoint, VectorPoint } from '../../src/index/vectorIndex.ts'
import { randomUnit } from '../conformance/vectorIndexPoints.ts'

const [D, K, repeats, prefix] = [64, 4, 5, 'bench_']
/** As many points as the index puts into one request of 4 MB at most. */
const batch = { item: 1000, user: 400 }
const url = process.env.QDRANT_URL
if (url === undefined) {
  process.stderr.write('publish needs a Qdrant server: set QDRANT_URL\n')
  process.exit(78)
}
const [itemCount = 10_000, userCount = 2000] = process.argv
  .slice(2)
  .filter((text) => /^\d+$/.test(text))
  .map(Number)
const rng = new Rng(1)
const items: ItemPoint[] = Array.from({ length: itemCount }, (_, i) => ({
  ...{ role: 'item' as const, id: `item-${i}`, vector: randomUnit(rng, D) },
  payload: { title: `Title of item ${i}`, features: { genre: [`g${i % 20}`] }, count: i % 977, updatedAtMs: 1.7e12 }
}))
const users: UserPoint[] = Array.from({ length: userCount }, (_, u) => {
  const vectors = new Float32Array(K * D)
  for (let k = 0; k < K; k++) vectors.set(randomUnit(rng, D), k * D)
  const recent = Array.from({ length: 50 }, () => `item-${rng.integer(itemCount)}`)
  return {
    role: 'user',
    id: `user-${u}`,
    vectors,
    payload: { recent, historyLength: 50, newestMs: 1.7e12, updatedAtMs: 1.7e12 }
  }
})

const tagsOf = ({ payload }: ItemPoint) =>
  Object.entries(payload.features ?? {}).flatMap(([field, values]) => values.map((value) => `${field}=${value}`))

const options = { ...resolveConfig({}, {}).qdrant, url, prefix }
const index = new QdrantIndex(options, { clock: systemClock, rng: new Rng(2), run: 'bench', historyMax: 50 })
const bare = new QdrantClient({ url, headers: { 'accept-encoding': 'identity' }, checkCompatibility: false })

/**
 * What a program would send that knows nothing of retries or removals, and without `condition` nothing of steps; the
 * same collection settings.
 */
async function writeBare(
  role: 'item' | 'user',
  points: readonly VectorPoint[],
  indexVersion: string,
  condition: boolean
): Promise<void> {
  const size = batch[role]
  const batches = Array.from({ length: Math.ceil(points.length / size) }, (_, i) =>
    points.slice(i * size, (i + 1) * size)
  )
  const next = batches.values()
  const worker = async () => {
    for (const some of next) {
      const body = {
        wait: true,
        ...(condition ? { update_filter: notNewerThan(1) } : {}),
        points: some.map((point) => ({
          id: pointId(point.id),
          vector:
            point.role === 'item'
              ? Array.from(point.vector)
              : Object.fromEntries(
                  Array.from({ length: K }, (_, k) => [
                    interestName(k),
                    Array.from(point.vectors.subarray(k * D, (k + 1) * D))
                  ])
                ),
          payload: {
            id: point.id,
            version: 1,
            ...point.payload,
            ...(point.role === 'item' ? { tags: tagsOf(point) } : {})
          }
        }))
      }
      const write = () => bare.upsert(`${prefix}${role}s-${indexVersion}`, body)
      await write().catch(write) // the server may have ended an idle connection: not what is measured
    }
  }
  await Promise.all(Array.from({ length: options.concurrency }, worker))
}

async function perSecond(count: number, write: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await write()
  return (count * 1000) / (performance.now() - start)
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
const round = (value: number) => Number(value.toPrecision(3))

type Way = 'index' | 'bare' | 'bareWithCondition'
const ways: readonly Way[] = ['bare', 'index', 'bareWithCondition']

interface Compared {
  /** Points a second, the median. */
  readonly rates: Readonly<Record<Way, number>>
  /** Of the index to the bare client without and with the condition: the median of the pairs, and all of the first. */
  readonly ratio: number
  readonly ratioWithCondition: number
  readonly ratios: readonly number[]
}

/** Each in an index version of its own, with ids that are new each time: inserting, not replacing. */
async function compare(role: 'item' | 'user', points: readonly VectorPoint[]): Promise<Compared> {
  const taken: Record<Way, number[]> = { index: [], bare: [], bareWithCondition: [] }
  for (const way of ways) await index.createVersion(way, { dimensions: D, interestCount: K })
  for (let i = 0; i <= repeats; i++) {
    const fresh = points.map((point) => ({ ...point, id: `${point.id}-${i}` }))
    for (const way of ways.map((_, w) => ways[(w + i) % ways.length]!)) {
      const write = () =>
        way === 'index' ? index.upsert(way, 1, fresh) : writeBare(role, fresh, way, way === 'bareWithCondition')
      taken[way].push(await perSecond(points.length, write))
    }
  }
  await index.clear()
  for (const way of ways) taken[way].shift() // warms up
  const ratiosTo = (way: Way) => taken.index.map((rate, i) => round(rate / taken[way][i]!))
  return {
    rates: {
      index: round(median(taken.index)),
      bare: round(median(taken.bare)),
      bareWithCondition: round(median(taken.bareWithCondition))
    },
    ratio: median(ratiosTo('bare')),
    ratioWithCondition: median(ratiosTo('bareWithCondition')),
    ratios: ratiosTo('bare')
  }
}

const result = { items: await compare('item', items), users: await compare('user', users) }
if (!process.argv.includes('--json')) {
  for (const [role, { rates, ratio, ratioWithCondition, ratios }] of Object.entries(result)) {
    process.stdout.write(
      `${role}: ${rates.index} points/s through the index, ${rates.bare} by the bare client, ${rates.bareWithCondition} with the same condition: ratios ${ratio} (${ratios.join(', ')}) and ${ratioWithCondition}\n`
    )
  }
}
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
const version = await index.version()
await index.close()
process.stdout.write(
  `${JSON.stringify({ bench: 'publish', ...result, D, K, batch, concurrency: options.concurrency, itemCount, userCount, repeats, qdrant: version, commit, node: process.versions.node, cpu: cpus()[0]?.model, cores: cpus().length })}\n`
)
