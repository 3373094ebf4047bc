import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { ExactItems } from '../../src/index/embedded/exactItems.ts'
import { type FeatureFilter, type FieldCondition, meets, orderedValue } from '../../src/index/itemFilter.ts'

test('a number is itself, a date is milliseconds since 1970, a word is neither', () => {
  const dayMs = Date.UTC(2026, 0, 31)
  for (const [text, value] of [
    ['0', 0],
    ['-1.5', -1.5],
    ['+.5', 0.5],
    ['2e3', 2000],
    ['2026', 2026],
    ['20260131', 20_260_131],
    ['2026-01-31', dayMs],
    ['2026-01-31T10:00', dayMs + 36e6],
    ['2026-01-31 10:00:00.5', dayMs + 36e6 + 500],
    ['2026-01-31T10:00:00Z', dayMs + 36e6],
    ['2026-01-31T10:00:00+0100', dayMs + 324e5],
    ...[
      '',
      ' 1',
      '1 ',
      '1,5',
      '1e999',
      '$5',
      '-',
      '.',
      'Infinity',
      'drama',
      '2026-02-30',
      '2026-13-01',
      '2026-1-1',
      '1/2'
    ].map((text) => [text, undefined] as const)
  ] as const)
    assert.equal(orderedValue(text), value, text)
})

const word = fc.constantFrom('a', 'b', '1', '2', '3.5', '__proto__')
const field = fc.constantFrom('x', 'y', 'constructor', '__proto__')
const bound = fc.option(fc.constantFrom(0, 1, 2, 3), { nil: undefined })
const condition: fc.Arbitrary<string | FieldCondition> = fc.oneof(
  word,
  fc.record(
    {
      any: fc.array(word, { minLength: 1, maxLength: 3 }),
      not: fc.array(word, { maxLength: 2 }),
      range: fc.record({ gt: bound, gte: bound, lt: bound, lte: bound }) as fc.Arbitrary<
        NonNullable<FieldCondition['range']>
      >,
      exists: fc.boolean()
    },
    { requiredKeys: [] }
  )
)
const dictionary = <T>(value: fc.Arbitrary<T>) =>
  fc.array(fc.tuple(field, value), { maxLength: 3 }).map((entries) => Object.fromEntries(entries) as Record<string, T>)

test('a search, a list by popularity and a look for any item admit the items that meet the filter, and no others', () => {
  fc.assert(
    fc.property(
      fc.array(dictionary(fc.array(word, { maxLength: 3 })), { maxLength: 12 }),
      dictionary(condition),
      (catalogue, features: FeatureFilter) => {
        const items = new ExactItems(2)
        for (const [i, of] of catalogue.entries())
          items.upsert(`${i}`, 1, Float32Array.of(1, 0), { count: 0, updatedAtMs: 0, features: of })
        const expected = catalogue.flatMap((of, i) => (meets(of, features) ? [`${i}`] : [])).sort()
        const filter = { exclude: [], features }
        const ids = (list: readonly { itemId: string }[]) => list.map(({ itemId }) => itemId).sort()
        assert.deepEqual(ids(items.search(Float32Array.of(1, 0), 99, filter)[0]!), expected)
        assert.deepEqual(ids(items.popular(99, filter)), expected)
        assert.deepEqual(ids(items.like('', 99, filter)), expected)
        assert.equal(items.holdsAny(features), expected.length > 0)
      }
    ),
    { numRuns: 500 }
  )
})
