// What the forms write, against avsc and the schemas: avsc reads it whole, and writes the same bytes.

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { type SchemaName, schemaText } from '../../../src/records/avro/avroCodecs.ts'
import { parseSchema } from '../../../src/records/avro/avroSchema.ts'
import { AvroWriter } from '../../../src/records/avro/avroWriter.ts'
import {
  interactionForm,
  itemForm,
  modelUpdateForm,
  type RecordForm,
  userSequenceForm
} from '../../../src/records/avro/recordForms.ts'
import type { CatalogueItem } from '../../../src/records/catalogueItem.ts'
import type { Interaction } from '../../../src/records/interaction.ts'
import type { ModelUpdate } from '../../../src/records/modelUpdate.ts'
import type { UserSequence } from '../../../src/records/userSequence.ts'

const text = fc.oneof(fc.string({ maxLength: 12 }), fc.string({ unit: 'grapheme', maxLength: 80 }))
const name = text.filter((each) => each !== '__proto__')
const int = fc.oneof(fc.nat(200), fc.nat(2 ** 31 - 1))
const timeMs = fc.oneof(fc.nat(300), fc.nat(2 ** 45), fc.constantFrom(2 ** 31, 2 ** 52, 2 ** 53 - 2, -1, -(2 ** 40)))
/** Of a sequence, where differences of times are written. */
const plainMs = fc.oneof(fc.nat(300), fc.nat(2 ** 45))
const offset = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n })
const vector = fc.float32Array({ maxLength: 8 })

const anyInteraction: fc.Arbitrary<Interaction> = fc.record(
  {
    eventId: text,
    userId: text,
    itemId: text,
    type: text,
    eventTimeMs: timeMs,
    value: fc.double(),
    context: fc.dictionary(name, text, { noNullPrototype: true }),
    source: fc.record({ topic: text, partition: int, offset }, { noNullPrototype: true }),
    listId: text
  },
  { requiredKeys: ['eventId', 'userId', 'itemId', 'type', 'eventTimeMs'], noNullPrototype: true }
)

const anyItem: fc.Arbitrary<CatalogueItem> = fc.record(
  {
    itemId: text,
    title: text,
    features: fc.dictionary(name, fc.array(text, { maxLength: 4 }), { noNullPrototype: true }),
    updatedAtMs: timeMs,
    availableFromMs: timeMs,
    availableUntilMs: timeMs
  },
  { requiredKeys: ['itemId', 'features', 'updatedAtMs'], noNullPrototype: true }
)

const anySequence: fc.Arbitrary<UserSequence> = fc
  .record({
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
    recent: fc.array(fc.record({ idHash: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), eventTimeMs: plainMs }))
  })
  .map(({ steps, ...rest }) => ({
    ...rest,
    steps: steps.map(({ offset: at, ...step }) =>
      at === null ? step : { ...step, source: { partition: 7, offset: at } }
    ),
    fresh: steps.flatMap((_, position) => (position % 3 === 1 ? [{ position, offset: BigInt(position) }] : []))
  }))

const anyUpdate: fc.Arbitrary<ModelUpdate> = fc.oneof(
  fc.record({ kind: fc.constant('item-row' as const), itemId: text, row: fc.option(vector), count: fc.nat() }),
  fc.record({
    kind: fc.constant('item-neighbours' as const),
    itemId: text,
    neighbours: fc.array(text),
    weights: vector
  }),
  fc.record({ kind: fc.constant('feature-row' as const), feature: text, row: vector }),
  fc
    .record({ kind: fc.constant('weights' as const), name: text, values: vector })
    .map((update) => ({ ...update, shape: [1, update.values.length] })),
  fc.record({
    kind: fc.constant('commit' as const),
    step: fc.nat(),
    modelVersion: text,
    model: text,
    weightsChanged: fc.boolean(),
    committedAtMs: timeMs,
    memoryWeight: fc.double({ noNaN: true })
  }),
  fc.record({
    kind: fc.constant('model-version' as const),
    modelVersion: text,
    reason: fc.constantFrom('rebuild' as const, 'rollback' as const, 'resume' as const),
    begunAtMs: timeMs
  })
)

function checkForm<T>(schema: SchemaName, form: RecordForm<T>, any: fc.Arbitrary<T>): void {
  void test(`${schema}: avsc reads every byte of it, and writes the same bytes`, () => {
    const type = parseSchema(schemaText(schema))
    const writer = new AvroWriter()
    fc.assert(
      fc.property(any, (value) => {
        writer.start()
        form.write(writer, value)
        const bytes = writer.copy()
        assert.equal(type.toBuffer(type.fromBuffer(bytes)).toString('hex'), bytes.toString('hex'))
      })
    )
  })
}

checkForm('interaction', interactionForm, anyInteraction)
checkForm('item', itemForm, anyItem)
checkForm('user-sequence', userSequenceForm, anySequence)
checkForm('model-update', modelUpdateForm, anyUpdate)

test('an interaction has the value that avsc reads in each field', () => {
  const type = parseSchema(schemaText('interaction'))
  const writer = new AvroWriter()
  fc.assert(
    fc.property(anyInteraction, (value) => {
      writer.start()
      interactionForm.write(writer, value)
      const read = type.fromBuffer(writer.copy()) as Interaction
      const { value: number = null, context = null, source = null, listId = null } = value
      assert.deepEqual(
        { ...read, context: read.context && { ...read.context }, source: read.source && { ...read.source } },
        { ...value, value: number, context, source, listId }
      )
    })
  )
})

test('values that the types cannot hold are refused', () => {
  const writer = new AvroWriter()
  writer.start()
  for (const wrong of [1.5, Number.NaN, 2 ** 53, undefined])
    assert.throws(() => writer.long(wrong as number), RangeError, String(wrong))
  assert.throws(() => writer.int(2 ** 31), RangeError)
  assert.throws(() => writer.bigint(1 as unknown as bigint), RangeError)
  for (const wrong of [2n ** 63n, -(2n ** 63n) - 1n]) assert.throws(() => writer.bigint(wrong), RangeError)
  assert.throws(() => writer.string(7 as unknown as string), RangeError)
  assert.throws(() => writer.double('7' as unknown as number), RangeError)
})
