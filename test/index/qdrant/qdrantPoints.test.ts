// Names, ids, payloads, filters, batches: what other programs rely on.

import assert from 'node:assert/strict'
import test from 'node:test'
import { pointId, QdrantNames } from '../../../src/index/qdrant/qdrantNames.ts'
import {
  inBatches,
  type QdrantPayload,
  tagOf,
  tombstone,
  toQdrant,
  toQdrantFilter,
  toUserPayload
} from '../../../src/index/qdrant/qdrantPoints.ts'
import { itemPoint, userPoint } from '../../conformance/vectorIndexPoints.ts'

const shape = { dimensions: 2, interestCount: 2 }

test('ids are UUIDs of version 5, as Python’s uuid5 makes them', () => {
  assert.equal(pointId('movie-42'), 'd5933e90-8a81-51b3-bedc-ed3b91355c64')
  assert.equal(pointId('商品'), '0c93ba2b-500c-5ebe-ba9f-0f3db270020f')
})

test('a indexVersion’s name survives as part of a collection’s, whatever it holds', () => {
  const names = new QdrantNames('shop_')
  assert.equal(names.collection('item', 'mtmi-4x64'), 'shop_items-mtmi-4x64')
  assert.equal(names.alias('user'), 'shop_users_live')
  for (const indexVersion of ['a', 'live', 'a/b c', '商品', '~', '~7e~', '-', '.']) {
    const collection = names.collection('user', indexVersion)
    assert.match(collection, /^[A-Za-z0-9._~-]+$|^shop_/)
    assert.equal(names.indexVersionOf('user', collection), indexVersion)
    assert.equal(names.indexVersionOf('item', collection), undefined)
    assert.notEqual(collection, names.alias('user'))
  }
  assert.equal(names.indexVersionOf('item', 'items-a'), undefined)
  assert.equal(names.indexVersionOf('item', 'shop_items-'), undefined)
  assert.throws(() => names.collection('item', 'x'.repeat(256)), { code: 'CONFIG', message: /255/ })
})

test('an item and a user as points', () => {
  const item = itemPoint('east', [1, 0], {
    count: 5,
    title: 'East',
    features: { genre: ['war', 'drama'], 'p"': ['9', 'x'] }
  })
  assert.deepEqual(toQdrant(item, 7, shape), {
    id: pointId('east'),
    vector: [1, 0],
    payload: {
      ...{ id: 'east', version: 7, updatedAtMs: 1000, count: 5, popularity: 0, title: 'East' },
      ...{ features: { genre: ['war', 'drama'], 'p"': ['9', 'x'] }, fields: ['genre', 'p"'] },
      ...{ tags: ['genre=war', 'genre=drama', 'p"=9', 'p"=x'], ordered: { 'p%22': [9] } }
    }
  })
  const user = userPoint('ann', [[1, 0], [0, 1]], ['east']) // biome-ignore format: as a matrix
  const strong = { ...user, payload: { ...user.payload, strengths: [0.75, 0.25] } }
  assert.deepEqual(toUserPayload(toQdrant(strong, 7, shape).payload as QdrantPayload), strong.payload)
  assert.deepEqual(toQdrant(user, 7, shape), {
    id: pointId('ann'),
    vector: { i0: [1, 0], i1: [0, 1] },
    payload: { id: 'ann', version: 7, updatedAtMs: 1000, newestMs: 500, historyLength: 1, recent: ['east'] }
  })
  assert.deepEqual(tombstone('u', 7, 2000), { id: 'u', vector: {}, payload: { version: 7, removedAtMs: 2000 } })
})

test('no two features have the same tag', () => {
  assert.equal(tagOf('genre', 'drama'), 'genre=drama')
  assert.equal(tagOf('a', 'b=c'), 'a=b=c')
  assert.equal(tagOf('a=b', 'c'), 'a%3Db=c')
  assert.equal(tagOf('a%3Db', 'c'), 'a%253Db=c')
})

test('a filter asks for all tags, and leaves out by id; none at all is no filter', () => {
  assert.equal(toQdrantFilter({}), undefined)
  assert.equal(toQdrantFilter({ features: {}, excludeItems: [] }), undefined)
  assert.deepEqual(toQdrantFilter({ features: { genre: 'war', year: '2001' }, excludeItems: ['east', 'east'] }), {
    must: [
      { key: 'tags', match: { value: 'genre=war' } },
      { key: 'tags', match: { value: 'year=2001' } }
    ],
    must_not: [{ has_id: [pointId('east')] }]
  })
})

test('conditions of a filter are conditions of Qdrant: nothing is left to be filtered afterwards', () => {
  const features = {
    genre: { any: ['war', 'drama'], not: ['comedy'] },
    'p"': { range: { gte: 1, lt: 5 } },
    year: { exists: true },
    brand: { exists: false }
  }
  assert.deepEqual(toQdrantFilter({ features }), {
    must: [
      { key: 'tags', match: { any: ['genre=war', 'genre=drama'] } },
      { key: 'ordered."p%22"', range: { gte: 1, lt: 5 } },
      { key: 'fields', match: { value: 'year' } }
    ],
    must_not: [
      { key: 'tags', match: { value: 'genre=comedy' } },
      { key: 'fields', match: { value: 'brand' } }
    ]
  })
})

test('batches are below their bytes and points as JSON, and hold everything in order', () => {
  const odd = '\u0000'.repeat(300)
  const points = Array.from(
    { length: 500 },
    (_, i) =>
    i % 2 === 0
      ? itemPoint(`${odd}${i}`, [0.1234567, -1e-7], { title: odd, features: { [odd]: [odd, '商品'] } })
      : userPoint(`user ${i}`, [[0.3333333, 1e-20], [-0.1, 0.7]], [odd, odd]) // biome-ignore format: as a matrix
  )
  const batches = inBatches(points, 30_000, 40)
  assert.deepEqual(batches.flat(), points)
  for (const batch of batches) {
    const json = JSON.stringify({ points: batch.map((point) => toQdrant(point, 123_456, shape)) })
    assert(Buffer.byteLength(json) <= 30_000 || batch.length === 1, `${Buffer.byteLength(json)} bytes`)
    assert(batch.length >= 1 && batch.length <= 40)
  }
  assert.deepEqual(inBatches([], 10, 10), [])
  assert.deepEqual(
    inBatches(
      points.slice(0, 90).map((_, i) => itemPoint(`${i}`, [1, 0])),
      1e9,
      40
    ).map(({ length }) => length),
    [40, 40, 10]
  )
})
