// What leaves items out of an answer: times, hashes, names, several filters. A part of the contract of an index.

import assert from 'node:assert/strict'
import { hashKey } from '../../src/core/hashKey.ts'
import { nearestInterest } from '../../src/index/interestScore.ts'
import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import { itemPoint, userPoint } from './vectorIndexPoints.ts'

/** A vector of length 1 at `degrees` from the first axis towards the second. */
const towards = (degrees: number) => {
  const radians = (degrees * Math.PI) / 180
  return [Math.cos(radians), Math.sin(radians), 0, 0]
}
const byVector = (degrees: number) => ({ by: { vectors: Float32Array.from(towards(degrees)), count: 1 } })
const ids = (list: readonly { readonly itemId: string }[] | undefined) => list?.map(({ itemId }) => itemId)

/** @param check gets what is promised, and a test of it on an empty index */
export function filterChecks(check: (what: string, body: (index: VectorIndex) => Promise<void>) => void): void {
  check('an item outside its window is in no answer at that time, and in all answers without a time', async (index) => {
    await index.createVersion('a', { dimensions: 4, interestCount: 2 })
    await index.upsert('a', 1, [
      itemPoint('east', towards(0), { popularity: 7, features: { genre: ['war', 'drama'] } }),
      itemPoint('between', towards(30), { popularity: 10, features: { genre: ['drama'] } }),
      itemPoint('north', towards(90), { popularity: 8, features: { genre: ['war'] } }),
      userPoint('ann', [towards(0), towards(90)], ['east'])
    ])
    await index.promote('a', { items: 3, users: 1 })
    const window = (from?: number, until?: number) => ({
      ...(from === undefined ? {} : { availableFromMs: from }),
      ...(until === undefined ? {} : { availableUntilMs: until })
    })
    await index.upsert('a', 2, [
      itemPoint('soon', towards(10), { popularity: 20, ...window(2000) }),
      itemPoint('gone', towards(20), { popularity: 30, features: { genre: ['drama'] }, ...window(undefined, 1000) }),
      itemPoint('sale', towards(40), { popularity: 40, ...window(1000, 2000) })
    ])
    for (const [atMs, there] of [
      [0, ['gone']],
      [999, ['gone']],
      [1000, ['sale']],
      [1999, ['sale']],
      [2000, ['soon']],
      [1e13, ['soon']],
      [undefined, ['gone', 'sale', 'soon']]
    ] as const) {
      const at = atMs === undefined ? {} : { availableAtMs: atMs }
      const expected = ['between', 'east', 'north', ...there].sort()
      const sorted = (list: readonly { itemId: string }[] | undefined) => list?.map(({ itemId }) => itemId).sort()
      assert.deepEqual(sorted((await index.search(byVector(0), 9, at)).lists![0]), expected, `by vector at ${atMs}`)
      assert.deepEqual(sorted((await index.popular(9, at)).items), expected, `popular at ${atMs}`)
      const similar = await index.search({ by: { itemId: 'east' } }, 9, at)
      assert.deepEqual(
        sorted(similar.lists![0]),
        expected.filter((id) => id !== 'east'),
        `similar at ${atMs}`
      )
      const ann = await index.candidates({ by: { userId: 'ann' } }, 9, at, { scoring: nearestInterest })
      assert.deepEqual(
        [...ann.candidates!.itemIds].sort(),
        expected.filter((id) => id !== 'east'),
        `candidates at ${atMs}`
      )
    }
    // The limit counts what is available, and a filter holds as well.
    assert.deepEqual(ids((await index.search(byVector(9), 1, { availableAtMs: 3000 })).lists?.[0]), ['soon'])
    const drama = { features: { genre: 'drama' }, availableAtMs: 5000 }
    assert.deepEqual(ids((await index.search(byVector(0), 1, drama)).lists?.[0]), ['east'])
    assert.deepEqual(ids((await index.popular(1, { features: { genre: 'drama' }, availableAtMs: 500 })).items), [
      'gone'
    ])
    assert.deepEqual((await index.item('sale'))?.payload.availableUntilMs, 2000)
    // Without a window again.
    await index.upsert('a', 3, [itemPoint('gone', towards(20), { popularity: 30 })])
    assert.deepEqual(ids((await index.popular(1, { availableAtMs: 5000 })).items), ['gone'])
  })

  check('items are left out by the hash of their id, and a search can be among some items alone', async (index) => {
    await index.createVersion('a', { dimensions: 4, interestCount: 2 })
    const features = (i: number) => ({ third: [String(i % 3)], half: [String(i % 2)] })
    const points = Array.from({ length: 60 }, (_, i) =>
      itemPoint(`i${i}`, towards(i), { popularity: 100 - i, features: features(i) })
    )
    await index.upsert('a', 1, [...points, userPoint('ann', [towards(0), towards(0)], ['i0'])])
    await index.promote('a', { items: 60, users: 1 })
    const allBut = (...left: number[]) => points.map(({ id }) => id).filter((_, i) => !left.includes(i))
    for (const [filter, there] of [
      [{ excludeHashes: new Set(['i1', 'i2', 'i4', 'nothing'].map(hashKey)) }, allBut(1, 2, 4)],
      [{ excludeHashes: new Set<number>() }, allBut()],
      [{ onlyItems: ['i7', 'i0', 'i50', 'nothing', 'i7'] }, ['i0', 'i7', 'i50']],
      [{ onlyItems: [] }, []],
      [{ onlyItems: ['i7', 'i9'], excludeHashes: new Set([hashKey('i9')]) }, ['i7']],
      [{ onlyItems: ['i6', 'i8', 'i9'], features: { half: '0' } }, ['i6', 'i8']],
      [{ features: [{ third: '0' }, { half: '1' }] }, points.filter((_, i) => i % 6 === 3).map(({ id }) => id)],
      [{ features: [{ third: '0' }, { third: { not: ['0'] } }] }, []],
      [{ features: [{ third: { any: ['0', '1'] } }, { third: { not: ['0', '1'] } }] }, []],
      [{ features: [{ third: { exists: true } }, { third: { exists: false } }] }, []]
    ] as const) {
      const of = JSON.stringify(filter)
      for (const limit of [2, 60]) {
        const expected = there.slice(0, limit)
        assert.deepEqual(ids((await index.search(byVector(0), limit, filter)).lists?.[0]), expected, of)
        assert.deepEqual(ids((await index.popular(limit, filter)).items), expected, of)
        const byUser = await index.candidates({ by: { userId: 'ann' } }, limit, filter, { scoring: nearestInterest })
        assert.deepEqual(
          byUser.candidates?.itemIds.toSorted(),
          there
            .filter((id) => id !== 'i0')
            .slice(0, limit)
            .toSorted(),
          of
        )
        const given = await index.candidates(byVector(0), limit, filter, { scoring: nearestInterest })
        assert.deepEqual(given.candidates?.itemIds.toSorted(), expected.toSorted(), of)
      }
    }
    const similar = await index.search({ by: { itemId: 'i10' } }, 1, { excludeHashes: new Set([hashKey('i9')]) })
    assert.deepEqual(ids(similar.lists?.[0]), ['i11'])
  })
}
