import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { detectDelimiter, splitPlain } from '../../../src/lab/dataset/fields.ts'
import { splitQuoted } from '../../../src/records/value/splitQuoted.ts'

test('quoted fields hold delimiters and doubled quotes', () => {
  assert.deepEqual(splitQuoted('1,"a, ""b""",,"",c', ','), ['1', 'a, "b"', '', '', 'c'])
  assert.deepEqual(splitQuoted('"a" ,b', ','), ['a', 'b'])
  assert.deepEqual(splitQuoted('12" pizza,b', ','), ['12" pizza', 'b'])
  assert.deepEqual(splitQuoted('a,', ','), ['a', ''])
  assert.deepEqual(splitQuoted('"a",', ','), ['a', ''])
  assert.equal(splitQuoted('a,"b', ','), undefined)
  assert.equal(splitQuoted('a,"b""', ','), undefined)
})

test('what was quoted is read back', () => {
  const quote = (field: string) => `"${field.replaceAll('"', '""')}"`
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('a', '"', ',', ' ', '\n') }), { minLength: 1 }),
      (fields) => {
        assert.deepEqual(splitQuoted(fields.map(quote).join(','), ','), fields)
      }
    )
  )
})

test('blanks are runs of spaces and tabs', () => {
  assert.deepEqual(splitPlain('1 2  3\t4 ', 'space'), ['1', '2', '3', '4'])
  assert.deepEqual(splitPlain('1 2 3', 'space'), ['1', '2', '3'])
})

test('the delimiter is the one that most lines agree on', () => {
  assert.equal(detectDelimiter(['1::2::3', '4::5::6']), '::')
  assert.equal(detectDelimiter(['a b\tc', 'd\te f']), '\t')
  assert.equal(detectDelimiter(['1 2', '3 4']), 'space')
  assert.equal(detectDelimiter(['a;"b;c"', 'd;e']), ';')
  assert.equal(detectDelimiter(['word', 'word']), undefined)
})
