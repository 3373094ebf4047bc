// A life of an index in which every kind of request occurs. The same each time, byte by byte: its requests are
// recorded.

import assert from 'node:assert/strict'
import { ManualClock } from '../../../src/core/clock.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { Rng } from '../../../src/core/rng.ts'
import { QdrantIndex } from '../../../src/index/qdrant/qdrantIndex.ts'
import type { QdrantOptions } from '../../../src/index/qdrant/qdrantOptions.ts'
import { itemPoint, userPoint } from '../../conformance/vectorIndexPoints.ts'
import { apiKey } from './contractServer.ts'

/** D 4, K 2. */
const shape = { dimensions: 4, interestCount: 2 }
const x = [1, 0, 0, 0]
const y = [0, 1, 0, 0]
const between = [0.6, 0.8, 0, 0]

export const contractPrefix = 'contract_'

export function contractOptions(url: string, more: Partial<QdrantOptions> = {}): QdrantOptions {
  return { ...resolveConfig({}, {}).qdrant, url, apiKey, prefix: contractPrefix, retryMs: 0, searchRetryMs: 0, ...more }
}

/** @param url an empty server, or one that plays it */
export async function contractScenario(url: string): Promise<void> {
  const clock = new ManualClock(1_700_000_000_000)
  const parts = { clock, rng: new Rng(1), run: 'contract', historyMax: 2 }
  const index = new QdrantIndex(contractOptions(url), parts)
  assert.equal(await index.live(), undefined)
  await index.createVersion('a', shape)
  assert.equal(
    await index.upsert('a', 3, [
      itemPoint('east', x, {
        count: 5,
        popularity: 7,
        popularityIn: { 'country=de': 2 },
        title: 'East',
        features: { genre: ['war', 'drama'], 'a=b': ['c'] }
      }),
      itemPoint('between', between, { count: 9, popularity: 9, features: { genre: ['drama'] } }),
      itemPoint('north', y, {
        count: 6,
        popularity: 8,
        popularityIn: { 'country=de': 3 },
        features: { genre: ['war'] }
      }),
      userPoint('ann', [x, y], ['east']),
      userPoint('bob', [y, y])
    ]),
    5
  )
  await index.promote('a', { items: 3, users: 2 })
  assert.deepEqual(await index.live(), { indexVersion: 'a', step: 3, items: 3, users: 2, ...shape })

  const byUser = await index.search({ by: { userId: 'ann' } }, 2, { features: { genre: 'drama' } })
  assert.deepEqual([byUser.indexVersion, byUser.step, byUser.user?.recent], ['a', 3, ['east']])
  assert.deepEqual(idsOf(byUser.lists), [['between'], ['between']])
  const byVectors = await index.search(
    { by: { vectors: Float32Array.from([...x, ...between]), count: 2 } },
    1,
    { excludeItems: ['east'] },
    { vectors: true }
  )
  assert.deepEqual(idsOf(byVectors.lists), [['between'], ['between']])
  assert(Math.abs(byVectors.lists![0]![0]!.score - 0.6) < 1e-6)
  assert.equal(byVectors.lists![0]![0]!.vector?.length, 4)
  assert.deepEqual(idsOf((await index.search({ by: { itemId: 'east' } }, 5)).lists), [['between', 'north']])
  assert.equal((await index.search({ by: { userId: 'nobody' } }, 5)).lists, undefined)
  assert.equal((await index.search({ by: { itemId: 'nothing' } }, 5)).lists, undefined)
  assert.deepEqual(
    (await index.popular(2, { features: { 'a=b': 'c' } })).items.map(({ itemId, score }) => [itemId, score]),
    [['east', 1 / 4]]
  )
  assert.deepEqual(
    (await index.popular(2, {}, 'country=de')).items.map(({ itemId, score }) => [itemId, score]),
    [
      ['north', 1],
      ['east', 1 / 2]
    ]
  )
  assert.deepEqual((await index.popular(2, {}, 'country=fr')).items, [])
  assert.deepEqual((await index.user('ann'))?.vectors, Float32Array.from([...x, ...y]))
  assert.equal((await index.item('east'))?.payload.title, 'East')
  assert.deepEqual([...(await index.items('a', ['north', 'nothing'])).keys()], ['north'])

  // A write that is late, and one that is late for what was removed.
  assert.equal(await index.upsert('a', 2, [itemPoint('east', y), itemPoint('new', y)]), 1)
  await index.remove('a', 'item', ['north', 'nothing'])
  await index.remove('a', 'user', ['bob'])
  assert.equal(await index.upsert('a', 2, [itemPoint('north', y), userPoint('bob', [y, y])]), 0)
  assert.equal(await index.user('bob'), undefined)

  // A history longer than it should be: the lists are asked for once more.
  await index.upsert('a', 4, [userPoint('ann', [x, y], ['east', 'between', 'new'])])
  assert.deepEqual(idsOf((await index.search({ by: { userId: 'ann' } }, 1)).lists), [[], []])

  // Another index version beside it, with quantized vectors and other settings.
  clock.advance(1000)
  const more = { quantization: 'int8', shards: 2, onDisk: true, searchEffort: 64 } as const
  const other = new QdrantIndex(contractOptions(url, more), parts)
  await other.createVersion('b', shape)
  await other.upsert('b', 7, [itemPoint('south', y)])
  await assert.rejects(other.promote('b', { items: 1, users: 1 }), { code: 'UNAVAILABLE' })
  await other.promote('b', { items: 1, users: 0 })
  assert.deepEqual(idsOf((await other.search({ by: { vectors: Float32Array.from(y), count: 1 } }, 1)).lists), [
    ['south']
  ])
  clock.advance(1000) // the other index looks again which index version is live
  assert.equal((await index.search({ by: { userId: 'ann' } }, 1)).indexVersion, 'b')
  assert.deepEqual(await other.versions(), ['a', 'b'])
  await index.erase(['ann', 'nobody']) // out of both
  await assert.rejects(other.dropVersion('b'), { code: 'CONFIG' })
  await other.dropVersion('a')
  assert.equal((await other.clear()).length, 2)
  assert.equal(await other.live(), undefined)
  await Promise.all([index.close(), other.close()])
}

function idsOf(lists: readonly (readonly { readonly itemId: string }[])[] | undefined): string[][] | undefined {
  return lists?.map((list) => list.map(({ itemId }) => itemId))
}
