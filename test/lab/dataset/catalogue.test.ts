import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { catalogueLayout, type ItemColumns, parseItemColumns } from '../../../src/lab/dataset/catalogue.ts'
import { openDataset } from '../../../src/lab/dataset/dataset.ts'
import { rules } from '../../records/value/rules.ts'

let root: string
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'mtmi-catalogue-'))
})
after(() => rm(root, { recursive: true, force: true }))

function items(name: string, lines: readonly string[], given: ItemColumns = {}) {
  const layout = catalogueLayout(name, lines, given, rules, name)
  return { shown: layout.shown, items: lines.slice(layout.headerLines).map((line) => layout.parse(line)) }
}

test('RecBole: title, one-valued and several-valued features; numbers are left out; empty fields are no features', () => {
  const header = 'item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tprice:float'
  assert.deepEqual(
    items('a.item', [header, "1\tToy Story\t1995\tAnimation Children's  Comedy Comedy\t9.5", '267\t\t\t\t']).items,
    [
      {
        itemId: '1',
        title: 'Toy Story',
        features: { release_year: ['1995'], class: ['Animation', "Children's", 'Comedy'] },
        updatedAtMs: 0
      },
      { itemId: '267', features: {}, updatedAtMs: 0 }
    ]
  )
  assert.throws(
    () => items('a.item', [header, '1\tToy Story']),
    /expected 5 fields \(item_id, movie_title, release_year, class, price\), found 2/
  )
})

test('CSV: features are short texts that items share; ids, links, prose, times and prices are none', () => {
  const header = 'sku,name,brand,tags,price,link,created,about'
  const row = (i: number) =>
    `${i},"Lamp, ${i}",${i % 2 ? 'acme' : 'NULL'},red|b${i % 3},${i}.5,https://x/${i},2024-05-0${(i % 9) + 1} 10:00:00,"A long text about the lamp number ${i}, which nobody else has at all."`
  const { shown, items: found } = items('products.csv', [header, ...Array.from({ length: 30 }, (_, i) => row(i))])
  assert.equal(shown, 'item = sku, title = name, features = tags; unused: brand, price, link, created, about')
  assert.deepEqual(found[4], { itemId: '4', title: 'Lamp, 4', features: { tags: ['red', 'b1'] }, updatedAtMs: 0 })
})

test('columns of an availability are no features', () => {
  const header = 'sku,name,available_from,Available Until'
  const row = (i: number) => `${i},Lamp ${i},${i === 1 ? '' : `2026-01-0${i}`},${i === 1 ? '9999-12-31' : ''}`
  const { shown, items: found } = items('products.csv', [header, row(1), row(2)])
  assert.equal(
    shown,
    'item = sku, title = name, availableFrom = available_from, availableUntil = Available Until; unused: none'
  )
  const lamp = (itemId: string) => ({ itemId, title: `Lamp ${itemId}`, features: {}, updatedAtMs: 0 })
  assert.deepEqual(found, [
    { ...lamp('1'), availableUntilMs: Date.UTC(9999, 11, 31) },
    { ...lamp('2'), availableFromMs: Date.UTC(2026, 0, 2) }
  ])
  assert.throws(() => items('products.csv', [header, '1,Lamp,soon,']), /availableFrom is "soon": expected ISO 8601/)
  assert.deepEqual(items('meta.jsonl', ['{"id":"a","title":"A","availableUntil":1767225600000}']).items, [
    { itemId: 'a', title: 'A', features: {}, updatedAtMs: 0, availableUntilMs: 1_767_225_600_000 }
  ])
})

test('JSON lines: lists are several values', () => {
  const lines = [
    '{"parent_asin":"B1","title":"One","categories":["Toys","Games"],"price":9.5,"store":"s"}',
    '{"parent_asin":"B2","title":"Two","categories":[["Toys"],["Art"]],"price":null,"store":"t"}'
  ]
  assert.deepEqual(items('meta.jsonl', lines).items, [
    { itemId: 'B1', title: 'One', features: { categories: ['Toys', 'Games'], store: ['s'] }, updatedAtMs: 0 },
    { itemId: 'B2', title: 'Two', features: { categories: ['Toys', 'Art'], store: ['t'] }, updatedAtMs: 0 }
  ])
})

test('columns are given by name or number', () => {
  const given = parseItemColumns('item=ref,title=label,features=kind+colour')
  assert.deepEqual(given, { item: 'ref', title: 'label', features: ['kind', 'colour'] })
  const lines = ['ref,label,kind,colour', '7,Seven,a,b']
  const expected = [{ itemId: '7', title: 'Seven', features: { kind: ['a'], colour: ['b'] }, updatedAtMs: 0 }]
  assert.deepEqual(items('x.csv', lines, given).items, expected)
  assert.deepEqual(items('x.csv', ['7,Seven,a'], parseItemColumns('item=1,title=2,features=3')).items, [
    { itemId: '7', title: 'Seven', features: { '3': ['a'] }, updatedAtMs: 0 }
  ])
  assert.throws(
    () => items('x.csv', lines),
    /no column is known to be the item; there are ref, label, kind, colour; name it with --item-columns item=/
  )
  assert.throws(() => items('x.csv', lines, { item: 'id' }), /there is no column "id"/)
  assert.throws(() => parseItemColumns('sku=a'), /expected item=…,title=…,features=…\+…/)
})

test('a catalogue beside the data: --items, old ones in Latin-1, fields with line ends', async () => {
  await writeFile(join(root, 'events.csv'), 'user_id,item_id,timestamp\n1,7,1700000000\n')
  await writeFile(
    join(root, 'items.csv'),
    Buffer.from('item_id,title,genre\r\n7,"Am\u00e9lie,\r\nParis",x\r\n8,Two,y\r\n', 'latin1')
  )
  const dataset = await openDataset(join(root, 'events.csv'), {
    seed: 1,
    tempDir: root,
    deadLetterDir: root,
    items: join(root, 'items.csv')
  })
  assert.match(
    dataset.describe,
    /items from items\.csv \(read as Latin-1\): item = item_id, title = title, features = genre; unused: none/
  )
  const found = []
  for await (const { itemId, title } of dataset.items()) found.push(`${itemId} ${title}`)
  assert.deepEqual(found, ['7 Amélie,\nParis', '8 Two'])
})
