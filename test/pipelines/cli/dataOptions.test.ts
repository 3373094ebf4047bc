import assert from 'node:assert/strict'
import test from 'node:test'
import { readingOf, typeSettings } from '../../../pipelines/cli/dataOptions.ts'
import { ConfigError } from '../../../src/core/errors.ts'

test('options say how a data set is read', () => {
  const given = {
    data: 'x',
    format: 'csv',
    columns: 'user=1,item=2,time=4,format=MMM d, yyyy,zone=Europe/Berlin',
    items: 'items.csv',
    itemColumns: 'item=sku,features=a+b',
    filter: ['event=view,cart', 'user', '!bot']
  }
  assert.deepEqual(readingOf(given), {
    format: 'csv',
    columns: { user: '1', item: '2', time: '4', format: 'MMM d, yyyy', zone: 'Europe/Berlin' },
    items: 'items.csv',
    itemColumns: { item: 'sku', features: ['a', 'b'] },
    filters: [
      { path: 'event', in: ['view', 'cart'] },
      { path: 'user', exists: true },
      { path: 'bot', exists: false }
    ]
  })
  assert.deepEqual(readingOf({ data: 'x' }), {})
  assert.throws(
    () => readingOf({ filter: ['a=b'] }),
    (error) => error instanceof ConfigError && /give it with --data/.test(error.message)
  )
  assert.throws(() => readingOf({ data: 'x', filter: ['!a=b'] }), /expected COLUMN=VALUE, COLUMN or !COLUMN/)
})

test('types that count are given with their weights, instead of those configured', () => {
  assert.deepEqual(typeSettings({ types: 'view=1, purchase=3,x=0' }), {
    events: { types: { view: 1, purchase: 3, x: 0 } }
  })
  assert.deepEqual(typeSettings({}), {})
  for (const types of ['view', 'view=', '=1', 'view=-1', 'view=much'])
    assert.throws(() => typeSettings({ types }), /expected TYPE=WEIGHT/, types)
})
