// The direct forms against avsc and the schemas: the same bytes for the same values, the same values for the same
// bytes, and no falling back where nothing is unusual.

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { AvroReader, AvroWriter } from '../../../src/records/avro/avroBytes.ts'
import { type SchemaName, schemaText } from '../../../src/records/avro/avroCodecs.ts'
import { interactionShape, type Shape, userSequenceShape } from '../../../src/records/avro/avroShapes.ts'
import { parseSchema } from '../../../src/records/avro/longType.ts'
import type { Interaction } from '../../../src/records/interaction.ts'
import type { UserSequence } from '../../../src/records/userSequence.ts'

const text = fc.oneof(fc.string({ maxLength: 12 }), fc.string({ unit: 'grapheme', maxLength: 80 }))
const int = fc.oneof(fc.nat(200), fc.nat(2 ** 31 - 1))
const timeMs = fc.oneof(fc.nat(300), fc.nat(2 ** 45), fc.constantFrom(2 ** 31, 2 ** 52 - 1, -1, -(2 ** 40)))
/** Of a sequence, where differences of times are written. */
const plainMs = fc.oneof(fc.nat(300), fc.nat(2 ** 45))
const offset = fc.oneof(fc.bigInt({ min: 0n, max: 300n }), fc.bigInt({ min: 0n, max: 2n ** 50n }))

const anyInteraction = fc.record(
  {
    eventId: text,
    userId: text,
    itemId: text,
    type: text,
    eventTimeMs: timeMs,
    value: fc.double(),
    context: fc.dictionary(
      text.filter((name) => name !== '__proto__'),
      text,
      { noNullPrototype: true }
    ),
    source: fc.record({ topic: text, partition: int, offset }, { noNullPrototype: true })
  },
  { requiredKeys: ['eventId', 'userId', 'itemId', 'type', 'eventTimeMs'], noNullPrototype: true }
)

const anySequence: fc.Arbitrary<UserSequence> = fc
  .record(
    {
      userId: text,
      partition: int,
      committed: offset,
      watermarkMs: plainMs,
      acceptedAtMs: plainMs,
      newestMs: plainMs,
      steps: fc.array(
        fc.record({
          itemId: text,
          type: fc.constantFrom('click', 'buy', 'größer'),
          eventTimeMs: plainMs,
          offset: fc.option(offset)
        }),
        { maxLength: 60 }
      ),
      recent: fc.array(
        fc.record(
          { idHash: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), eventTimeMs: plainMs },
          { noNullPrototype: true }
        )
      )
    },
    { noNullPrototype: true }
  )
  .map(({ steps, ...rest }) => ({
    ...rest,
    steps: steps.map(({ offset: at, ...step }) =>
      at === null ? step : { ...step, source: { partition: 7, offset: at } }
    ),
    fresh: steps.flatMap((_, position) => (position % 3 === 1 ? [{ position, offset: BigInt(position) }] : []))
  }))

function same<T>(name: SchemaName, shape: Shape<T>, value: T): void {
  const type = parseSchema(schemaText(name))
  const byAvsc = type.toBuffer(shape.toAvro(value))
  const header = Buffer.from([9, 9, 9])
  const writer = new AvroWriter()
  writer.start(header.length)
  shape.direct!.write(writer, value)
  const written = writer.take(header)
  assert.deepEqual(written.subarray(0, 3), header)
  assert.equal(written.subarray(3).toString('hex'), byAvsc.toString('hex'))
  const reader = new AvroReader()
  reader.start(written, 3)
  const read = shape.direct!.read(reader)
  reader.end()
  assert.deepEqual(read, shape.fromAvro(type.fromBuffer(byAvsc)))
}

test('interactions', () => {
  fc.assert(fc.property(anyInteraction, (value) => same<Interaction>('interaction', interactionShape, value)))
})

test('user sequences', () => {
  fc.assert(fc.property(anySequence, (value) => same('user-sequence', userSequenceShape, value)))
})

test('strings that share a place in the table of shared ones are told apart', () => {
  // More strings than places, twice over: whatever was there is replaced, never mixed up.
  const writer = new AvroWriter()
  const count = 100_000
  writer.start(0)
  for (let i = 0; i < count; i++) writer.string(`item-${i}`)
  const reader = new AvroReader()
  for (let round = 0; round < 2; round++) {
    reader.start(writer.take(Buffer.alloc(0)), 0)
    for (let i = 0; i < count; i++)
      if (reader.sharedString() !== `item-${i}`) assert.fail(`item-${i} in round ${round}`)
    reader.end()
  }
})

test('what is unusual is refused, not guessed: whoever asked goes by the schema then', () => {
  const reading = (bytes: number[], read: (reader: AvroReader) => unknown) => () => {
    const reader = new AvroReader()
    reader.start(Uint8Array.from(bytes), 0)
    return read(reader)
  }
  assert.throws(
    reading([0x80], (reader) => reader.number()),
    'ends within a number'
  )
  assert.throws(
    reading([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], (reader) => reader.number()),
    'beyond what a number holds'
  )
  assert.throws(
    reading([0x80, 0x80, 0x80, 0x80, 0x10], (reader) => reader.int()),
    '2³¹'
  )
  assert.throws(
    reading([4, 0x61], (reader) => reader.string()),
    'two bytes announced, one there'
  )
  assert.throws(
    reading([2, 0xc3], (reader) => reader.sharedString()),
    'half a character'
  )
  assert.throws(
    reading([1, 2, 0], (reader) => reader.count()),
    'a block with its size'
  )
  assert.throws(
    reading([6, 0], (reader) => reader.count()),
    'more entries than bytes'
  )
  assert.throws(
    reading([2], (reader) => reader.endOfArray()),
    'another block'
  )
  assert.throws(
    reading([0], (reader) => reader.end()),
    'bytes are left'
  )
  const writer = new AvroWriter()
  writer.start(0)
  for (const wrong of [1.5, Number.NaN, 2 ** 52, undefined])
    assert.throws(() => writer.number(wrong as number), String(wrong))
  assert.throws(() => writer.int(2 ** 31))
  assert.throws(() => writer.long(1 as unknown as bigint))
  assert.throws(() => writer.string(7 as unknown as string))
})
