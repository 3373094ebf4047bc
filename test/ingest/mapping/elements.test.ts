// Records that hold several interactions or items, and paths through lists, pairs and JSON in text.

import assert from 'node:assert/strict'
import test from 'node:test'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { ConfigError } from '../../../src/core/errors.ts'
import { openSource } from '../../../src/ingest/sourceMapper.ts'
import type { LogRecord } from '../../../src/log/eventLog.ts'
import type { Codecs } from '../../../src/records/avro/avroCodecs.ts'
import type { SchemaRegistry } from '../../../src/records/registry/schemaRegistry.ts'

const simple = { topic: 'shop', format: 'json', user: 'u', item: 'i', type: '=view', time: 't' }
const utf8 = new TextEncoder()
const t = Date.UTC(2024, 4, 1)

function mapper(given: object) {
  const config = resolveConfig({ sources: [{ ...simple, ...given }] }, {})
  // JSON needs neither schemas nor our codecs.
  return openSource(config.sources[0]!, { config, registry: {} as SchemaRegistry, codecs: {} as Codecs })
}

const recordOf = (value: unknown, key = ''): LogRecord => ({
  key: utf8.encode(key),
  value: value === undefined ? null : utf8.encode(JSON.stringify(value)),
  headers: {},
  partition: 0,
  offset: 7n,
  timestampMs: t
})

const map = (given: object, value: unknown) => mapper(given).map(recordOf(value))
/** What differs between the interactions of a record. */
const brief = (given: object, value: unknown) =>
  map(given, value).interactions.map(({ eventId, userId, itemId, type, value }) => [
    eventId,
    userId,
    itemId,
    type,
    value
  ])

test('a purchase of three items is three interactions, each with its own value and type', () => {
  const items = [{ sku: 'a', price: 5 }, { sku: 'b', price: 9.5, kind: 'gift' }, { sku: 'c' }]
  assert.deepEqual(
    brief(
      { item: 'items[*].sku', value: 'items[*].price', type: ['items[*].kind', '=purchase'], eventId: 'id' },
      { u: 'ada', t, id: 9, items }
    ),
    [
      ['shop/9#0', 'ada', 'a', 'purchase', 5],
      ['shop/9#1', 'ada', 'b', 'gift', 9.5],
      ['shop/9#2', 'ada', 'c', 'purchase', undefined]
    ]
  )
  assert.deepEqual(brief({ item: ['items[*].sku', 'sku'] }, { u: 'ada', t, sku: 'z' }), [
    ['shop/0/7', 'ada', 'z', 'view', undefined]
  ])
  // An id of each element is an id already.
  assert.deepEqual(
    brief(
      { item: 'items[*].sku', eventId: ['items[*].id', 'id'] },
      { u: 'ada', t, id: 9, items: [{ sku: 'a', id: 'x' }, { sku: 'b' }] }
    ).map(([id]) => id),
    ['shop/x', 'shop/9#1']
  )
})

test('lists in lists, a record that is a list, and users in lists', () => {
  const sessions = [
    {
      user: 'a',
      clicks: [
        { sku: '1', at: t },
        { sku: '2', at: t }
      ]
    },
    { user: 'b', clicks: [] },
    { user: 'c', clicks: [{ sku: '3', at: t }] }
  ]
  assert.deepEqual(brief({ user: '$[*].user', item: '$[*].clicks[*].sku', time: '$[*].clicks[*].at' }, sessions), [
    ['shop/0/7#0.0', 'a', '1', 'view', undefined],
    ['shop/0/7#0.1', 'a', '2', 'view', undefined],
    ['shop/0/7#2.0', 'c', '3', 'view', undefined]
  ])
  assert.deepEqual(
    brief({ user: 'to[*]' }, { to: ['a', 'b'], i: 'x', t }).map(([, user, item]) => [user, item]),
    [
      ['a', 'x'],
      ['b', 'x']
    ]
  )
  const tags = mapper({
    kind: 'items',
    item: 'products[*].id',
    title: 'products[*].name',
    user: undefined,
    type: undefined
  })
  assert.deepEqual(
    tags
      .map(recordOf({ products: [{ id: 1, name: 'Lamp' }, { id: 2 }], t }))
      .items.map(({ itemId, item }) => [itemId, item?.title]),
    [
      ['1', 'Lamp'],
      ['2', undefined]
    ]
  )
})

test('a bad element does not cost the good ones, and each is accounted for', () => {
  const { interactions, refused } = map(
    { item: 'items[*].sku' },
    { u: 'ada', t, items: [{ sku: 'a' }, { name: 'x' }, null, { sku: 'd' }] }
  )
  assert.deepEqual(
    interactions.map(({ itemId, eventId }) => [itemId, eventId]),
    [
      ['a', 'shop/0/7#0'],
      ['d', 'shop/0/7#3']
    ]
  )
  assert.match(
    refused!.message,
    /^element 1: item is missing: nothing at items\[\*\]\.sku: items\[1\] is an object with name; element 2: item is missing/
  )
  assert.throws(() => map({ item: 'items[*].sku' }, { u: 'ada', t, items: [{}, {}] }), /element 0: .*; element 1: /)
  assert.throws(
    () => map({ item: 'items[*].sku' }, { u: 'ada', t }),
    /^BadEventError: item is missing: nothing at items\[\*\]\.sku: the value is an object/
  )
  // Nothing was bought: nothing is wrong.
  assert.deepEqual(map({ item: 'items[*].sku' }, { u: 'ada', t, items: [] }), { items: [], interactions: [] })
})

test('another list than the item’s: the first element that has a value; two lists for user and item are a question', () => {
  const value = { t, items: [{ sku: 'a' }], contexts: [{ geo: 'DE' }, { id: 'ada' }] }
  assert.deepEqual(brief({ user: 'who[*].id', item: 'i' }, { i: 'x', t, who: [{ id: 'a' }] }).length, 1)
  assert.deepEqual(
    map({ user: '=ada', item: 'items[*].sku', context: { geo: 'contexts[*].geo' } }, value).interactions[0]!.context,
    {
      geo: 'DE'
    }
  )
  assert.throws(
    () => mapper({ user: 'contexts[*].id', item: 'items[*].sku' }),
    (error) =>
      error instanceof ConfigError && /which user belongs to which item\? .*contexts\[0\]\.id/.test(error.message)
  )
})

test('pairs are looked up by key, also where a key is twice there; filters too', () => {
  const params = [
    { key: 'page', value: { string_value: '/a' } },
    { key: 'item_id', value: { int_value: null } },
    { key: 'item_id', value: { int_value: 7 } }
  ]
  const given = { item: ['params[key=item_id].value.string_value', 'params[key=item_id].value.int_value'] }
  const items = (extra: object, value: object = {}) =>
    brief({ ...given, ...extra }, { u: 'ada', t, params, ...value }).map(([, , item]) => item)
  assert.deepEqual(items({}), ['7'])
  assert.deepEqual(items({ filter: { path: 'params[key=page].value.string_value', equals: '/a' } }), ['7'])
  assert.deepEqual(items({ filter: { path: 'params[key="bot"]', exists: true } }), [])
  assert.deepEqual(items({ filter: { path: 'params[*].value.string_value', in: ['/a', '/b'] } }), ['7'])
  assert.throws(
    () => brief(given, { u: 'ada', t, params: params.slice(0, 1) }),
    /item is missing: nothing at params\[key=item_id\]\.value\.string_value: params is a list of 1/
  )
})

test('filters through the item’s own list leave elements out, not records', () => {
  const items = [{ sku: 'a', free: true }, { sku: 'b' }]
  assert.deepEqual(
    brief({ item: 'items[*].sku', filter: { path: 'items[*].free', exists: false } }, { u: 'ada', t, items }).map(
      ([id, , item]) => [id, item]
    ),
    [['shop/0/7#1', 'b']]
  )
})

test('JSON in a text is read, in values, lists and keys', () => {
  const payload = JSON.stringify({ user: { id: 9007199254740993n.toString() }, items: [{ sku: 'a' }, { sku: 'b' }] })
  assert.deepEqual(
    brief({ user: 'payload|json.user.id', item: 'payload|json.items[*].sku' }, { t, payload }).map(([, user, item]) => [
      user,
      item
    ]),
    [
      ['9007199254740993', 'a'],
      ['9007199254740993', 'b']
    ]
  )
  assert.equal(
    brief({ user: '$|json.u', item: '$|json.i', time: '$|json.t' }, JSON.stringify({ u: 1, i: 2, t })).length,
    1
  )
  assert.throws(
    () => brief({ user: 'payload|json.user' }, { t, i: 'x', payload: 'a=1' }),
    /payload\|json\.user: "a=1" is not JSON/
  )
  const keyed = mapper({ user: 'key.account.id' })
  assert.equal(keyed.map(recordOf({ i: 'x', t }, '{"account":{"id":12}}')).interactions[0]!.userId, '12')
})

test('ids of one source say nothing about those of another, unless they are said to', () => {
  const id = (eventId: unknown, topic: string) => brief({ eventId, topic }, { u: 'a', i: 'x', t, id: 1 })[0]![0]
  assert.notEqual(id('id', 'clicks'), id('id', 'orders'))
  assert.equal(id({ path: 'id', scope: 'global' }, 'clicks'), id({ path: 'id', scope: 'global' }, 'orders'))
})
