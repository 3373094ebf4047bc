import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ByteReader, ByteWriter, checksum } from '../../src/core/bytes.ts'
import { CorruptError } from '../../src/core/errors.ts'

const edges = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1]
const number = fc.oneof(fc.constantFrom(...edges), fc.nat(300), fc.maxSafeNat())
const long = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const part = fc.oneof(number, long, fc.uint8Array({ maxLength: 300 }))

test('what was written is read back, message after message', () => {
  const writer = new ByteWriter()
  fc.assert(
    fc.property(fc.array(part, { maxLength: 100 }), (parts) => {
      writer.start()
      for (const each of parts) {
        if (typeof each === 'number') writer.varint(each)
        else if (typeof each === 'bigint') writer.int64(each)
        else writer.raw(each)
      }
      const bytes = Buffer.concat([Buffer.of(9, 9), writer.copy(), Buffer.of(9)])
      const reader = new ByteReader(bytes, 2, bytes.length - 1)
      for (const each of parts) {
        if (typeof each === 'number') assert.equal(reader.varint(), each)
        else if (typeof each === 'bigint') assert.equal(reader.int64(), each)
        else assert.deepEqual(Uint8Array.from(reader.raw(each.length)), each)
      }
      assert.equal(reader.at, bytes.length - 1)
    })
  )
})

test('numbers take a byte for each seven bits', () => {
  const writer = new ByteWriter()
  for (const [value, bytes] of [
    [0, [0]],
    [127, [0x7f]],
    [300, [0xac, 0x02]],
    [2 ** 53 - 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]]
  ] as const) {
    writer.start()
    writer.varint(value)
    assert.deepEqual([...writer.view()], bytes)
  }
})

test('what is missing is corrupt', () => {
  for (const read of [
    (reader: ByteReader) => reader.varint(),
    (reader: ByteReader) => reader.int64(),
    (reader: ByteReader) => reader.raw(4)
  ])
    assert.throws(() => read(new ByteReader(Uint8Array.of(0x80, 0x80, 0x80))), CorruptError)
  assert.throws(() => new ByteReader(new Uint8Array(12).fill(0xff)).varint(), CorruptError, 'more than 64 bits')
})

test('the checksum notices any changed byte, and a missing one', () => {
  for (let byte = 0; byte < 256; byte++) assert.notEqual(checksum(Uint8Array.of(byte)), checksum(new Uint8Array(0)))
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (bytes, at, flip) => {
        const changed = Uint8Array.from(bytes)
        changed[at % bytes.length]! ^= flip
        assert.notEqual(checksum(changed), checksum(bytes))
        assert.notEqual(checksum(bytes, 0, bytes.length - 1), checksum(bytes))
      }
    )
  )
})
