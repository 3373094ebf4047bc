// The memory's and the availability's part of the contract of an index, on the fake of Qdrant's interface.

import assert from 'node:assert/strict'
import test from 'node:test'
import { systemClock } from '../../../src/core/clock.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { MtmiError } from '../../../src/core/errors.ts'
import { Rng } from '../../../src/core/rng.ts'
import { QdrantIndex } from '../../../src/index/qdrant/qdrantIndex.ts'
import { memoryIndex, pointId } from '../../../src/index/qdrant/qdrantNames.ts'
import { toSparse } from '../../../src/index/qdrant/qdrantPoints.ts'
import type { VectorIndex } from '../../../src/index/vectorIndex.ts'
import { filterChecks } from '../../conformance/vectorIndexFilters.ts'
import { memoryChecks } from '../../conformance/vectorIndexMemory.ts'
import { fakeQdrant } from './fakeQdrant.ts'

async function onFake(body: (index: QdrantIndex, url: string) => Promise<void>): Promise<void> {
  const { url, close } = await fakeQdrant()
  const options = { ...resolveConfig({}, {}).qdrant, url, liveMaxAgeMs: 0 }
  const index = new QdrantIndex(options, { clock: systemClock, rng: new Rng(1), run: 'test', historyMax: 50 })
  try {
    await body(index, url)
  } finally {
    await index.close()
    await close()
  }
}

const check = (what: string, body: (index: VectorIndex) => Promise<void>) => {
  void test(`Qdrant's interface, faked: ${what}`, () => onFake(body))
}
memoryChecks(check)
filterChecks(check)

test('an item has the same index everywhere, and items that share one are one in a sparse vector', () => {
  assert.equal(memoryIndex('item 1'), Number.parseInt(pointId('item 1').slice(0, 8), 16))
  const ids = Array.from({ length: 200_000 }, (_, i) => `item ${i}`)
  const first = new Map<number, string>()
  const pair = ids.flatMap((id) => {
    const other = first.get(memoryIndex(id))
    first.set(memoryIndex(id), id)
    return other === undefined ? [] : [[other, id] as const]
  })
  // 200,000² / 2³³ = 4.7 pairs are expected.
  assert(pair.length > 0 && pair.length < 15, `${pair.length} pairs`)
  const { indices, values } = toSparse(['a', ...pair[0]!], Float32Array.of(4, 1, 2))
  assert.deepEqual(
    [indices, values],
    [
      [memoryIndex('a'), memoryIndex(pair[0]![0])],
      [4, 3]
    ]
  )
})

test('collections made before lists were stored are refused, with what to do', () =>
  onFake(async (index, url) => {
    const vectors = { size: 4, distance: 'Cosine' }
    await fetch(`${url}/collections/items-a`, {
      method: 'PUT',
      body: JSON.stringify({ vectors, metadata: { run: 'test' } })
    })
    await assert.rejects(
      index.createVersion('a', { dimensions: 4, interestCount: 2 }),
      (error) => error instanceof MtmiError && /items-a has no sparse vector.*mtmi reset/.test(error.message)
    )
  }))

test('users come in pages, each once, in the order of the ids of their points', () =>
  onFake(async (index) => {
    await index.createVersion('a', { dimensions: 4, interestCount: 1 })
    const users = Array.from({ length: 7 }, (_, i) => `u${i}`)
    const payload = { recent: [], historyLength: 0, newestMs: 0, updatedAtMs: 0 }
    const point = (id: string) => ({ ...{ id, payload }, role: 'user' as const, vectors: Float32Array.of(1, 0, 0, 0) })
    await index.upsert('a', 1, users.map(point))
    await index.promote('a', { items: 0, users: 7 })
    const found: string[] = []
    while (found.length % 3 === 0 && found.length < 9) found.push(...(await index.usersAfter(found.at(-1), 3)))
    assert.deepEqual(found.toSorted(), users)
    await index.remove('a', 'user', [found[3]!])
    assert.deepEqual(await index.usersAfter(found[3], 2), found.slice(4, 6))
  }))
