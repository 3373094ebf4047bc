import assert from 'node:assert/strict'
import test from 'node:test'
import { BadEventError } from '../../../src/core/errors.ts'
import { compileItemMapper } from '../../../src/ingest/mapping/mapItem.ts'
import { rules } from '../../records/value/rules.ts'
import { foreign, source } from './foreign.ts'

const mapper = (given: object) => compileItemMapper(source({ kind: 'items', item: 'id', ...given }), rules)

test('takes title, features and time from where they are', () => {
  const map = mapper({
    title: 'names[0]',
    features: { genre: { path: 'genres', split: '|' }, brand: ['brand', '=none'], tag: 'tags', size: 'size' },
    time: { path: 'at', unit: 's' }
  })
  const value = { id: 5, names: ['Lamp'], genres: 'A| B||A', tags: ['x', null, 2n], at: 1_700_000_000 }
  assert.deepEqual(map(foreign(value)), {
    itemId: '5',
    item: {
      itemId: '5',
      title: 'Lamp',
      features: { genre: ['A', 'B'], brand: ['none'], tag: ['x', '2'] },
      updatedAtMs: 1_700_000_000_000
    }
  })
  // Without more than an id: when the log took it.
  assert.deepEqual(mapper({})(foreign({ id: 'a' })), {
    itemId: 'a',
    item: { itemId: 'a', features: {}, updatedAtMs: 5000 }
  })
})

test('takes the availability from where it is: ISO 8601 or milliseconds', () => {
  const map = mapper({ availableFrom: 'from', availableUntil: ['until', 'end'] })
  const windowOf = (value: object) => {
    const change = map(foreign({ id: 'a', ...value }))
    assert(change !== 'filtered' && change.item !== null)
    return [change.item.availableFromMs, change.item.availableUntilMs]
  }
  assert.deepEqual(windowOf({ from: '2026-01-01', end: 1_800_000_000_000 }), [Date.UTC(2026, 0, 1), 1_800_000_000_000])
  assert.deepEqual(windowOf({ from: null, until: '9999-12-31T00:00:00Z' }), [undefined, Date.UTC(9999, 11, 31)])
  assert.throws(() => windowOf({ from: 'soon' }), BadEventError)
  assert.throws(() => windowOf({ from: '2026-01-02', until: '2026-01-01' }), /never be available/)
  // Microseconds are no milliseconds.
  assert.throws(() => windowOf({ from: 1_700_000_000_000_000 }), /availableFromMs is 1700000000000000/)
})

test('no value deletes the item of the key', () => {
  assert.deepEqual(mapper({})(foreign(undefined, { key: 'a' })), { itemId: 'a', item: null })
  assert.deepEqual(mapper({ item: ['header:id', 'id'] })(foreign(undefined, { key: 'a', headers: { id: 'b' } })), {
    itemId: 'b',
    item: null
  })
  assert.throws(() => mapper({})(foreign(undefined)), /item is missing: the record has no key/)
  // JSON null is a value, and not an item.
  assert.throws(() => mapper({})(foreign(null)), /item is missing/)
})

test('a filter leaves items out', () => {
  assert.equal(mapper({ filter: { path: 'kind', equals: 'product' } })(foreign({ id: 'a', kind: 'page' })), 'filtered')
})

test('refuses what is no feature', () => {
  const refused = (value: object, expected: RegExp) =>
    assert.throws(
      () => mapper({ features: { f: 'f' }, title: 't' })(foreign({ id: 'a', ...value })),
      (error) => error instanceof BadEventError && expected.test(error.message)
    )
  refused({ f: { a: 1 } }, /features\.f \(f\) is an object with a/)
  refused({ f: [[1]] }, /features\.f \(f\) is a list of 1/)
  refused({ f: Array.from({ length: 257 }, (_, i) => i) }, /features\.f \(f\) has 257 values: at most 256/)
  refused({ f: 'x'.repeat(1025) }, /features\."f" has 1025 bytes/)
  refused({ t: '\ud800' }, /title is .* it holds half of a surrogate pair/)
  refused({ id: 'x'.repeat(1025) }, /itemId has 1025 bytes/)
})

test('a deleted row of a Debezium envelope deletes its item, and so does its tombstone by the key', () => {
  const map = mapper({ item: ['after.id', 'before.id'], title: 'after.name' })
  const row = { id: 1004, name: 'Gnome' }
  const item = { itemId: '1004', title: 'Gnome', features: {}, updatedAtMs: 5000 }
  assert.deepEqual(map(foreign({ before: null, after: row, op: 'c', ts_ms: 1 })), { itemId: '1004', item })
  assert.deepEqual(map(foreign({ before: row, after: null, op: 'd', ts_ms: 2 })), { itemId: '1004', item: null })
  assert.deepEqual(map(foreign(undefined, { key: { id: 1004 } })), { itemId: '1004', item: null })
  assert.deepEqual(map(foreign(undefined, { key: { schema: {}, payload: { id: 1004 } } })), {
    itemId: '1004',
    item: null
  })
  assert.deepEqual(mapper({ item: ['after.id', 'key.row.id'] })(foreign(undefined, { key: { row: { id: 5n } } })), {
    itemId: '5',
    item: null
  })
})

test('a key with fields is never taken as text: which field is the id has to be known', () => {
  const refused = (given: object, key: unknown, expected: RegExp) =>
    assert.throws(
      () => mapper(given)(foreign(undefined, { key })),
      (error) => error instanceof BadEventError && expected.test(error.message)
    )
  refused(
    { item: 'sku' },
    { id: 1004 },
    /its key is an object with id: name the id in it, such as item: \[sku, key\.id\]/
  )
  refused({ item: 'id' }, { id: 1, shop: 2 }, /its key is an object with id, shop/)
  refused({ item: 'key' }, { id: 1 }, /item \(key\) is an object with id: .*such as key\.id/)
})

test('rules say which items are deleted: any of them suffices', () => {
  const map = mapper({
    deleted: [
      { path: 'deleted_at', exists: true },
      { path: 'status', in: ['archived', 'gone'] }
    ]
  })
  const isDeleted = (value: object) => {
    const change = map(foreign({ id: 'a', ...value }))
    return change !== 'filtered' && change.item === null
  }
  assert(isDeleted({ deleted_at: '2024-05-01' }))
  assert(isDeleted({ status: 'gone' }))
  assert(!isDeleted({ deleted_at: null, status: 'live' }))
})
