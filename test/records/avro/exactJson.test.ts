import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { parseExactJson } from '../../../src/records/avro/exactJson.ts'

test('whole numbers beyond 2⁵³ keep their digits, as text', () => {
  assert.deepEqual(parseExactJson('{"a": 9007199254740993, "b": [-123456789012345678901], "c": 9007199254740991}'), {
    a: '9007199254740993',
    b: ['-123456789012345678901'],
    c: 9007199254740991
  })
  assert.equal(parseExactJson('12345678901234567890'), '12345678901234567890')
})

test('what only looks like one stays as it is', () => {
  const text =
    '{"9007199254740993": "9007199254740993", "t": "a\\"9007199254740993\\\\", "f": 1.2345678901234567, "e": 9007199254740993e0, "z": 1e16}'
  assert.deepEqual(parseExactJson(text), JSON.parse(text))
})

test('otherwise it is JSON.parse', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      fc.pre(!/\d{16}/.test(text))
      assert.deepEqual(parseExactJson(text), JSON.parse(text))
    })
  )
  fc.assert(
    fc.property(
      fc.dictionary(
        fc.string(),
        fc.oneof(fc.bigInt(-(10n ** 30n), 10n ** 30n), fc.string(), fc.double({ noNaN: true, noDefaultInfinity: true }))
      ),
      (record) => {
        const text = `{${Object.entries(record).map(([key, value]) => `${JSON.stringify(key)}:${typeof value === 'bigint' ? value : JSON.stringify(value)}`)}}`
        for (const [key, value] of Object.entries(parseExactJson(text) as Record<string, unknown>)) {
          const was = record[key]
          // A double may be written as a long row of digits.
          if (typeof was === 'bigint' || Number.isInteger(was))
            assert.equal(String(value), JSON.stringify(typeof was === 'bigint' ? String(was) : was).replaceAll('"', ''))
          else assert.deepEqual(value, JSON.parse(JSON.stringify(was)))
        }
      }
    )
  )
  for (const bad of ['', '{', '{12345678901234567890: 1}', '01234567890123456789', '"\\x1234567890123456"'])
    assert.throws(() => parseExactJson(bad), SyntaxError)
})
