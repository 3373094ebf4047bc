import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { chunkRows, IdDictionary } from '../../src/core/idDictionary.ts'

test('ids are told apart exactly: other scripts, surrogates alone and in pairs', () => {
  const ids = [
    'a',
    'A',
    'ä',
    'a\u0308',
    '商品',
    '😀',
    '\ud83d',
    '\ude00',
    '\ufffd',
    '\u0000',
    'a\u0000',
    'x'.repeat(5000),
    'é'.repeat(700)
  ]
  const dictionary = new IdDictionary()
  for (const [i, id] of ids.entries()) dictionary.set(i + 1, id)
  for (const [i, id] of ids.entries()) {
    assert.equal(dictionary.find(id), i + 1)
    assert.equal(dictionary.idOf(i + 1), id)
  }
  const found = new Int32Array(ids.length + 2)
  dictionary.findAll(['b', ...ids, ''], found)
  assert.deepEqual([...found], [0, ...ids.map((_, i) => i + 1), 0])
  assert.equal(dictionary.find('b'), 0)
  assert.equal(dictionary.find(''), 0)
  assert.equal(dictionary.idOf(99), '')
  assert.equal(dictionary.idOf(5 * chunkRows), '')
})

test('wrong use is refused', () => {
  const dictionary = new IdDictionary()
  dictionary.set(1, 'a')
  assert.throws(() => dictionary.set(2, 'a'), /has row 1 already/)
  assert.throws(() => dictionary.set(1, 'b'), /row 1 is a's/)
  assert.throws(() => dictionary.set(0, 'b'), /above 0/)
  assert.throws(() => dictionary.set(3, ''), /an id/)
  dictionary.delete(77)
  assert.equal(dictionary.size, 1)
})

test('it behaves as a Map through growth, deletion, reuse of rows and compaction', () => {
  // 700 ids on few rows: probe runs wrap and break, arenas are compacted, and the table of 1,024 slots grows.
  const command = fc.record({ id: fc.nat(2000), row: fc.integer({ min: 1, max: 1800 }), remove: fc.boolean() })
  fc.assert(
    fc.property(fc.array(command, { minLength: 500, maxLength: 4000 }), (commands) => {
      const dictionary = new IdDictionary()
      const rows = new Map<string, number>()
      const ids = new Map<number, string>()
      for (const { id: number, row, remove } of commands) {
        const id = `item-${number}`
        const before = rows.get(id)
        if (remove && before !== undefined) {
          dictionary.delete(before)
          rows.delete(id)
          ids.delete(before)
        } else if (before === undefined && !ids.has(row)) {
          dictionary.set(row, id)
          rows.set(id, row)
          ids.set(row, id)
        }
      }
      assert.equal(dictionary.size, rows.size)
      for (let number = 0; number <= 2000; number++)
        assert.equal(dictionary.find(`item-${number}`), rows.get(`item-${number}`) ?? 0)
      const all = Array.from({ length: 2001 }, (_, number) => `item-${number}`)
      const found = new Int32Array(all.length)
      dictionary.findAll(all, found)
      for (const [i, id] of all.entries()) assert.equal(found[i], rows.get(id) ?? 0)
      for (let row = 1; row <= 1800; row++) assert.equal(dictionary.idOf(row), ids.get(row) ?? '')
      // Into one that has other ids, whose rows some of these are.
      const copy = new IdDictionary()
      for (let row = 1; row <= 1800; row += 3) copy.set(row, `item-${(7 * row) % 2000}`)
      for (let row = 1; row <= 1800; row++) {
        const bytes = new Uint8Array(dictionary.lengthOf(row) + 2)
        dictionary.copyTo(row, bytes, 2)
        copy.assign(row, bytes, 2, bytes.length - 2)
      }
      assert.equal(copy.size, dictionary.size)
      for (let row = 1; row <= 1800; row++) assert.equal(copy.idOf(row), ids.get(row) ?? '')
    }),
    { numRuns: 20, seed: 7 }
  )
})

test('ids of many rows cross a chunk', () => {
  const dictionary = new IdDictionary()
  const n = chunkRows + 3000
  for (let row = 1; row < n; row++) dictionary.set(row, `i${row}`)
  for (let row = 1; row < n; row += 2) dictionary.delete(row)
  for (let row = 1; row < n; row++) assert.equal(dictionary.find(`i${row}`), row % 2 === 0 ? row : 0)
})
