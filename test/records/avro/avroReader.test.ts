// Records of other programs by schemas as they are in registries: what Java accepts is read, and what does not fit is
// refused with its place.

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { AvroTime, avroReader } from '../../../src/records/avro/avroReader.ts'
import { foreignType } from '../../support/foreignAvro.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
const record = (...fields: readonly object[]) => ({ type: 'record', name: 'Click', namespace: 'com.shop', fields })
const read = (schema: unknown, bytes: string) => {
  const value = avroReader(schema)(hex(bytes), 0)
  // Objects without a prototype compare as plain ones.
  return JSON.parse(
    JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? `${part}n` : part))
  ) as unknown
}

test('defaults have no part in reading, be they of another type or none of the symbols', () => {
  const withDefault = (type: unknown, fallback: unknown) => record({ name: 'extra', type, default: fallback })
  assert.deepEqual(read(withDefault(['null', 'string'], ''), '02 0278'), { extra: 'x' })
  assert.deepEqual(read(withDefault(['string', 'null'], null), '00 0278'), { extra: 'x' })
  assert.deepEqual(read(withDefault('string', 0), '0278'), { extra: 'x' })
  assert.deepEqual(read(withDefault('boolean', 'false'), '01'), { extra: true })
  assert.deepEqual(read(withDefault({ type: 'enum', name: 'K', symbols: ['A', 'B'] }, 'C'), '02'), { extra: 'B' })
  assert.deepEqual(read(withDefault({ type: 'bytes', logicalType: 'decimal', scale: 2 }, '\u0000'), '04 04d2'), {
    extra: '12.34'
  })
})

test('names do not matter to the bytes: hyphens, dollars, dots, accents, a namespace beside a full name', () => {
  const named = {
    type: 'record',
    name: 'my-Click$Payload',
    namespace: 'db-1.inventory',
    fields: [{ name: 'page-url', type: 'string' }]
  }
  assert.deepEqual(read(named, '0278'), { 'page-url': 'x' })
  assert.deepEqual(read(record({ name: 'geo.country', type: 'string' }, { name: 'durée', type: 'int' }), '0278 04'), {
    'geo.country': 'x',
    durée: 2
  })
  assert.equal(read({ type: 'enum', name: 'K', symbols: ['add-to-cart'] }, '00'), 'add-to-cart')
  const inner = { type: 'record', name: 'Inner', fields: [{ name: 'm', type: 'int' }] }
  const full = {
    type: 'record',
    name: 'x.y.Click',
    namespace: 'ignored',
    fields: [
      { name: 'n', type: inner },
      { name: 'o', type: 'x.y.Inner' }
    ]
  }
  assert.deepEqual(read(full, '02 04'), { n: { m: 1 }, o: { m: 2 } })
  const rootless = record({ name: 'n', type: { ...inner, namespace: '' } }, { name: 'o', type: 'Inner' })
  assert.deepEqual(read(rootless, '02 04'), { n: { m: 1 }, o: { m: 2 } })
})

test('decimals are exact, of bytes and fixed, of any scale, alone and in unions', () => {
  const decimal = { type: 'bytes', logicalType: 'decimal', precision: 10, scale: 2 }
  assert.equal(read(['null', 'bytes', decimal], '04 04 fb2e'), '-12.34')
  assert.equal(read({ type: 'fixed', name: 'D', size: 4, logicalType: 'decimal', scale: 2 }, 'fffffb2e'), '-12.34')
  assert.equal(read({ ...decimal, scale: 20 }, '04 04d2'), '0.00000000000000001234')
  assert.equal(read({ ...decimal, scale: 0 }, '10 2000000000000003'), '2305843009213693955')
})

test('a time keeps the unit that its schema gives: logical types, Kafka Connect, Debezium', () => {
  const long = (more: object) => ({ type: 'long', ...more })
  const timeOf = (schema: unknown, bytes: string) => avroReader(schema)(hex(bytes), 0)
  assert.deepEqual(timeOf(long({ logicalType: 'timestamp-millis' }), '04'), new AvroTime('2', { unit: 'ms' }))
  assert.deepEqual(
    timeOf(['null', long({ logicalType: 'timestamp-micros' })], '02 04'),
    new AvroTime('2', { unit: 'us' })
  )
  assert.deepEqual(timeOf(long({ logicalType: 'timestamp-nanos' }), '04'), new AvroTime('2', { unit: 'ns' }))
  assert.deepEqual(
    timeOf(long({ logicalType: 'local-timestamp-micros' }), '04'),
    new AvroTime('2', { unit: 'us', isLocal: true })
  )
  assert.deepEqual(timeOf({ type: 'int', logicalType: 'date' }, '04'), new AvroTime('172800000', { unit: 'ms' }))
  assert.deepEqual(
    timeOf(long({ 'connect.name': 'io.debezium.time.MicroTimestamp' }), '04'),
    new AvroTime('2', { unit: 'us', isLocal: true })
  )
  assert.deepEqual(
    timeOf({ type: 'string', 'connect.name': 'io.debezium.time.ZonedTimestamp' }, '0278'),
    new AvroTime('x', { unit: 'iso' })
  )
  assert.equal(timeOf(long({ logicalType: 'unheard-of' }), '04'), 2)
})

test('unions give the value of their branch, UUIDs are text, maps cannot reach the prototype', () => {
  const view = { type: 'record', name: 'View', fields: [{ name: 'sku', type: 'string' }] }
  const buy = {
    type: 'record',
    name: 'Buy',
    fields: [
      { name: 'sku', type: 'string' },
      { name: 'n', type: 'int' }
    ]
  }
  assert.deepEqual(read(record({ name: 'body', type: [view, buy] }), '02 0278 02'), { body: { sku: 'x', n: 1 } })
  assert.deepEqual(read(['null', { type: 'map', values: ['null', 'string', 'long'] }], '02 02 0261 04 06 00'), {
    a: 3
  })
  const uuid = { type: 'fixed', name: 'Uid', size: 16, logicalType: 'uuid' }
  assert.equal(read(uuid, '00112233445566778899aabbccddeeff'), '00112233-4455-6677-8899-aabbccddeeff')
  const map = avroReader({ type: 'map', values: 'int' })(hex('02 12 5f5f70726f746f5f5f 02 00'), 0) as Record<
    string,
    unknown
  >
  assert.deepEqual([Object.getPrototypeOf(map), Object.keys(map)], [null, ['__proto__']])
})

test('types may contain themselves and be mentioned by the last part of their name', () => {
  const tree = record({ name: 'v', type: 'int' }, { name: 'kids', type: { type: 'array', items: 'Click' } })
  assert.deepEqual(read(tree, '02 02 04 00 00'), { v: 1, kids: [{ v: 2, kids: [] }] })
  assert.throws(() => avroReader(record({ name: 'a', type: 'Nothing' })), /mentions Nothing before defining it/)
  for (const bad of [
    null,
    7,
    { type: 'record', name: 'X' },
    { type: 'fixed', name: 'F', size: -1 },
    { name: 'x' },
    'strin'
  ])
    assert.throws(() => avroReader(bad), Error, JSON.stringify(bad))
})

test('bytes that do not fit are refused with their place, and announced sizes cost nothing', () => {
  const schema = record({ name: 'ids', type: { type: 'array', items: 'string' } }, { name: 'n', type: 'int' })
  const refused = (bytes: string, reason: RegExp) =>
    assert.throws(() => avroReader(schema)(hex(bytes), 0), { name: 'RangeError', message: reason })
  refused('02 06 61', /truncated in ids: the record ends after 3 bytes/)
  refused('80 80 80 80 10', /truncated in ids: .* entries are announced, 0 bytes are left/)
  refused('00 80 80 80 80 80 01', /n: out of range, the number at byte 1 has more than 32 bits/)
  refused('00 02 00', /1 trailing bytes after the record's end at byte 2/)
  refused('02 01 00 00', /ids: negative length -1/)
  refused('02 02 ff 00 00', /ids: not UTF-8, the text at byte 1/)
  const endless = record({ name: 'next', type: ['null', 'Click'] })
  assert.throws(() => avroReader(endless)(Buffer.alloc(100_000, 2), 0), /nested deeper than 64/)
})

test('what avsc writes is read as it was, whatever the values', () => {
  const schema = record(
    { name: 'l', type: 'long' },
    { name: 'i', type: 'int' },
    { name: 'd', type: 'double' },
    { name: 's', type: ['null', 'string'] },
    { name: 'a', type: { type: 'array', items: 'long' } },
    { name: 'm', type: { type: 'map', values: 'boolean' } }
  )
  const type = foreignType(JSON.stringify(schema))
  const reader = avroReader(schema)
  const text = fc.string({ unit: 'grapheme' })
  fc.assert(
    fc.property(
      fc.record({
        l: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        i: fc.integer(),
        d: fc.double({ noNaN: true }),
        s: fc.option(text),
        a: fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
        m: fc.dictionary(
          text.filter((key) => key !== '__proto__'),
          fc.boolean()
        )
      }),
      (value) => {
        const found = reader(type.toBuffer(value), 0) as typeof value
        // A long is a number where that is exact.
        const exact = (long: bigint) => (Number.isSafeInteger(Number(long)) ? Number(long) : long)
        const expected = { ...value, l: exact(value.l), a: value.a.map(exact), m: { ...value.m } }
        assert.deepEqual({ ...found, m: { ...found.m } }, expected)
      }
    ),
    { numRuns: 200 }
  )
})
