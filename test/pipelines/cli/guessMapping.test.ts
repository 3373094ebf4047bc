import assert from 'node:assert/strict'
import test from 'node:test'
import { parse } from 'yaml'
import { guessedSource, guessFormat, leavesOf, nearestFix, nearestPath } from '../../../pipelines/cli/guessMapping.ts'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { rules } from '../../records/value/rules.ts'

const value = {
  event_name: 'purchase',
  event_timestamp: '1714557976123456',
  user: { id: 'ada' },
  key: 1,
  items: [{ item_id: 'A', price: 5 }],
  params: [{ key: 'page', value: { string_value: '/a' } }],
  context: '{"geo":{"a b":"DE"}}'
}

test('every scalar of a record has a path that reads it', () => {
  assert.deepEqual(
    leavesOf(value).map(({ path }) => path),
    [
      'event_name',
      'event_timestamp',
      'user.id',
      '$["key"]',
      'items[*].item_id',
      'items[*].price',
      'params[key=page].value.string_value',
      'context|json.geo["a b"]'
    ]
  )
})

test('the guess is a source that the configuration takes, with the unit of the times', () => {
  const { sources } = parse(guessedSource('ga4', 'json', [value, value], rules)) as { sources: object[] }
  assert.deepEqual(sources, [
    {
      topic: 'ga4',
      format: 'json',
      user: 'user.id',
      item: 'items[*].item_id',
      type: 'event_name',
      time: { path: 'event_timestamp', unit: 'us' }
    }
  ])
  assert.equal(resolveConfig({ sources }, {}).sources.length, 1)
})

test('formats are told by the bytes', () => {
  const record = (bytes: Uint8Array, headers = {}) => ({
    key: new Uint8Array(),
    value: bytes,
    headers,
    partition: 0,
    offset: 0n,
    timestampMs: 0
  })
  const utf8 = new TextEncoder()
  const kinds: readonly [Uint8Array, string | undefined][] = [
    [utf8.encode('{"a":1}'), 'json'],
    [utf8.encode('a\tb'), 'tsv'],
    [utf8.encode('a,b'), 'csv'],
    [Uint8Array.of(0, 0, 0, 0, 1, 2), 'avro-registry'],
    [Uint8Array.of(8, 255), undefined]
  ]
  for (const [bytes, format] of kinds) assert.equal(guessFormat([record(bytes)]), format)
  assert.equal(guessFormat([record(utf8.encode('{}'), { ce_specversion: utf8.encode('1.0') })]), 'cloudevents')
})

test('for a path that finds nothing, the nearest field of that name', () => {
  assert.equal(nearestPath('userId', { payload: { user_id: 7 } }), 'payload.user_id')
  assert.equal(nearestPath('sku', { lines: [{ sku: 1 }] }), 'lines[*].sku')
  assert.equal(nearestPath('nothing', { payload: 1 }), undefined)
})

test('for a refused record, the nearest fix: another field, a field inside an object, the form of a time', () => {
  const given = {
    topic: 't',
    format: 'json',
    user: 'user',
    item: 'sku',
    type: 'event',
    time: { path: 'ts', unit: 'ms' }
  }
  const source = resolveConfig({ sources: [given] }, {}).sources[0]!
  const fix = (reason: string, decoded: unknown) => nearestFix(source, reason, decoded, rules)
  assert.equal(
    fix('user (user) is an object with id: expected text or a number', { user: { id: 7 } }),
    'the record has user.id: write user: user.id'
  )
  assert.equal(
    fix('time (ts): expected a time in milliseconds', { ts: 1_780_000_000 }),
    'the value can be read: write time: { path: ts, unit: s }'
  )
  assert.equal(
    fix('element 0: item is missing: nothing at sku', { lines: [{ product_id: 1 }] }),
    'the record has lines[*].product_id: write item: ["sku","lines[*].product_id"]'
  )
  assert.equal(fix('this is no JSON', undefined), undefined)
})
