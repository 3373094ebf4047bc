// Embedding drift and training-serving skew where they are measured: planted in an encoder and in an index, and seen in
// what is exported.

import assert from 'node:assert/strict'
import test from 'node:test'
import { ManualClock } from '../../src/core/clock.ts'
import type { EncodedUsers, Encoder } from '../../src/model/encoder.ts'
import type { MetricsEntry } from '../../src/monitor/metrics.ts'
import { VectorWatch } from '../../src/publish/vectorWatch.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'

/** Two dimensions, one interest: every item at an angle, every user where the encoder says. */
class Turned implements Encoder {
  readonly modelVersion = 's'
  step = 1
  readonly dimensions = 2
  readonly interestCount = 1
  /** Radians, added to every item's own angle. */
  turn = 0
  readonly angles = new Map([
    ['a', 0],
    ['b', Math.PI / 2]
  ])
  user = 0

  itemVectors(items: readonly { readonly itemId: string }[]): { vectors: Float32Array; known: Uint8Array } {
    const vectors = Float32Array.from(items.flatMap(({ itemId }) => at(this.turn + this.angles.get(itemId)!)))
    return { vectors, known: new Uint8Array(items.length).fill(1) }
  }

  interests(histories: readonly unknown[]): EncodedUsers {
    return {
      interests: Float32Array.from(histories.flatMap(() => at(this.user))),
      known: new Uint8Array(histories.length).fill(1),
      strengths: new Float32Array(histories.length).fill(1)
    }
  }
}

const at = (radians: number) => [Math.cos(radians), Math.sin(radians)]

async function setUp() {
  const clock = new ManualClock(1_000_000)
  const encoder = new Turned()
  const index = new MemoryVectorIndex()
  await index.createVersion('s', { dimensions: 2, interestCount: 1 })
  const payload = { features: {}, count: 1, updatedAtMs: 0 }
  const user = { recent: ['a'], historyLength: 1, newestMs: 5, updatedAtMs: 0 }
  await index.upsert('s', 1, [
    { role: 'item', id: 'a', vector: Float32Array.of(1, 0), payload },
    { role: 'item', id: 'b', vector: Float32Array.of(0, 1), payload },
    { role: 'user', id: 'ann', vectors: Float32Array.of(1, 0), payload: user }
  ])
  await index.promote('s', { items: 2, users: 1 })
  let told: MetricsEntry[] = []
  const measure = (report: readonly MetricsEntry[]) => void told.push(...report)
  const watch = new VectorWatch({ encoder, index, clock, catalogue: new Map(), measure })
  watch.noteModel({ changedItems: new Set(['a', 'b']), expired: new Set() } as never)
  const step = { itemId: 'a', type: 'click', eventTimeMs: 5 }
  const record = {
    userId: 'ann',
    steps: [step],
    recent: [],
    newestMs: 5,
    fresh: [],
    partition: 0,
    committed: 0n,
    watermarkMs: 5,
    acceptedAtMs: 5
  }
  watch.noteSequence(record)
  const look = async () => {
    clock.advance(60_000)
    told = []
    await watch.lookIfDue()
    const value = (metric: string, label?: string) =>
      (
        told.find(
          (entry) =>
            entry.metric === metric &&
            (label === undefined || Object.values((entry as { labels?: object }).labels ?? {}).includes(label))
        ) as { value?: number } | undefined
      )?.value
    return {
      movement: value('driftItemMovement'),
      centroid: value('driftCentroidCosine'),
      item: value('driftServingSkew', 'item'),
      user: value('driftServingSkew', 'user'),
      norm: value('driftRowNorm', 'p50'),
      overlap: value('publishServedOverlap')
    }
  }
  return { watch, encoder, look }
}

const near = (value: number | undefined, expected: number) =>
  assert(value !== undefined && Math.abs(value - expected) < 1e-6, `${value} is not ${expected}`)

test('nothing moved, and the index has what the weights say: no skew', async () => {
  const { look } = await setUp()
  const first = await look()
  assert.equal(first.movement, undefined) // there is no earlier version yet
  assert.equal(first.overlap, 1)
  near(first.item, 0)
  near(first.user, 0)
})

test('planted: new weights turn every item by 60°; each moves by 1, and so does the middle', async () => {
  const { encoder, look } = await setUp()
  await look()
  encoder.turn = Math.PI / 3
  encoder.step = 2
  const { movement, centroid, item } = await look()
  near(movement, 1) // √(2 − 2 cos 60°)
  near(centroid, 0.5) // the mean of the two is turned by 60° as well
  near(item, 1) // and the index still has the old ones
})

test('planted: one item turns right round and the other stays', async () => {
  const { encoder, look } = await setUp()
  await look()
  encoder.angles.set('b', -Math.PI / 2)
  encoder.step = 2
  const { movement, centroid } = await look()
  near(movement, 1) // (0 + 2) / 2
  near(centroid, 0) // from (½, ½) to (½, −½)
})

test('planted: the weights say something else of a user than the index has', async () => {
  const { encoder, look } = await setUp()
  encoder.user = Math.PI / 2
  near((await look()).user, Math.SQRT2)
})

test('a history that has not been written yet is late, not skewed', async () => {
  const { watch, encoder, look } = await setUp()
  encoder.user = Math.PI / 2
  const step = { itemId: 'b', type: 'click', eventTimeMs: 9 }
  watch.noteSequence({ userId: 'ann', steps: [step], newestMs: 9 })
  assert.equal((await look()).user, undefined)
})

test('lengths of the rows that changed last', async () => {
  const { watch, look } = await setUp()
  for (const row of [
    [3, 4],
    [0, 1],
    [6, 8]
  ])
    watch.noteRow(Float32Array.from(row))
  near((await look()).norm, 5) // of 1, 5 and 10
})
