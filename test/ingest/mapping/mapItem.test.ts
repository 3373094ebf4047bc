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
    item: { itemId: '5', title: 'Lamp', features: { genre: ['A', 'B'], brand: ['none'], tag: ['x', '2'] }, updatedAtMs: 1_700_000_000_000 }
  })
  // Without more than an id: when the log took it.
  assert.deepEqual(mapper({})(foreign({ id: 'a' })), { itemId: 'a', item: { itemId: 'a', features: {}, updatedAtMs: 5000 } })
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
