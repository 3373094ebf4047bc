// Writing to Qdrant: the index against the bare client with the same points, batches and concurrency, in turns.
//
// What should be possible: the client takes some 10 µs to write a 64-dimensional point as JSON, the server some 15 to 35 µs to take it in; both share the
// machine here. The index adds a check of each vector, an id, a condition on the step and, once a call, the question whether something is newer.
//
// QDRANT_URL=http://127.0.0.1:6333 npm run bench -- publish [--json] [items, default 10000] [users, default 2000]

import { execFileSync } from 'node:child_process'
import { cpus } from 'node:os'
import { QdrantClient } from '@qdrant/js-client-rest'
import { systemClock } from '../../src/base/clock.ts'
import { resolveConfig } from '../../src/base/config.ts'
import { Rng } from '../../src/base/rng.ts'
import { QdrantIndex } from '../../src/io/qdrant/qdrantIndex.ts'
import { interestName, pointId } from '../../src/io/qdrant/qdrantNames.ts'
import type { ItemPoint, UserPoint, VectorPoint } from '../../src/retrieval/vectorIndex.ts'
import { randomUnit } from '../conformance/vectorIndexPoints.ts'

const [D, K, batch, repeats, prefix] = [64, 4, 1000, 5, 'bench_']
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
  return { role: 'user', id: `user-${u}`, vectors, payload: { recent, historyLength: 50, newestMs: 1.7e12, updatedAtMs: 1.7e12 } }
})

const options = { ...resolveConfig({}, {}).qdrant, url, prefix }
const index = new QdrantIndex(options, { clock: systemClock, rng: new Rng(2), run: 'bench', historyMax: 50 })
const bare = new QdrantClient({ url, headers: { 'accept-encoding': 'identity' }, checkCompatibility: false })

/** What a program would send that knows nothing of steps, retries or removals; the same collection settings. */
async function writeBare(role: 'item' | 'user', points: readonly VectorPoint[]): Promise<void> {
  const batches = Array.from({ length: Math.ceil(points.length / batch) }, (_, i) => points.slice(i * batch, (i + 1) * batch))
  const next = batches.values()
  const worker = async () => {
    for (const some of next) {
      const body = {
        wait: true,
        points: some.map((point) => ({
          id: pointId(point.id),
          vector:
            point.role === 'item'
              ? Array.from(point.vector)
              : Object.fromEntries(
                  Array.from({ length: K }, (_, k) => [interestName(k), Array.from(point.vectors.subarray(k * D, (k + 1) * D))])
                ),
          payload: { id: point.id, version: 1, ...point.payload }
        }))
      }
      const write = () => bare.upsert(`${prefix}${role}s-bare`, body)
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

/** Each in a space of its own, with ids that are new each time: inserting, not replacing. */
async function compare(
  role: 'item' | 'user',
  points: readonly VectorPoint[]
): Promise<{ index: number; bare: number; ratio: number; ratios: number[] }> {
  const rates = { index: [] as number[], bare: [] as number[] }
  for (const space of ['bare', 'index']) await index.createSpace(space, { dimensions: D, interestCount: K })
  for (let i = 0; i <= repeats; i++) {
    const fresh = points.map((point) => ({ ...point, id: `${point.id}-${i}` }))
    const measureBare = async () => rates.bare.push(await perSecond(points.length, () => writeBare(role, fresh)))
    const measureIndex = async () => rates.index.push(await perSecond(points.length, () => index.upsert('index', 1, fresh)))
    for (const measure of i % 2 === 0 ? [measureBare, measureIndex] : [measureIndex, measureBare]) await measure()
  }
  await index.clear()
  const ratios = rates.index.map((rate, i) => rate / rates.bare[i]!).slice(1) // the first warms up
  return {
    index: round(median(rates.index.slice(1))),
    bare: round(median(rates.bare.slice(1))),
    ratio: round(median(ratios)),
    ratios: ratios.map(round)
  }
}

const result = { items: await compare('item', items), users: await compare('user', users) }
if (!process.argv.includes('--json')) {
  for (const [role, { index: ours, bare: theirs, ratio, ratios }] of Object.entries(result)) {
    process.stdout.write(
      `${role}: ${ours} points/s through the index, ${theirs} by the bare client: ratio ${ratio} (${ratios.join(', ')})\n`
    )
  }
}
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
const version = await index.version()
await index.close()
process.stdout.write(
  `${JSON.stringify({ bench: 'publish', ...result, D, K, batch, concurrency: options.concurrency, itemCount, userCount, repeats, qdrant: version, commit, node: process.versions.node, cpu: cpus()[0]?.model, cores: cpus().length })}\n`
)
