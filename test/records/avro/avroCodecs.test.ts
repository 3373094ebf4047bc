import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import fc from 'fast-check'
import { BadEventError } from '../../../src/core/errors.ts'
import { idProblem } from '../../../src/records/admission.ts'
import { type Codecs, createCodecs, type SchemaName, schemaText } from '../../../src/records/avro/avroCodecs.ts'
import { parseSchema } from '../../../src/records/avro/avroSchema.ts'
import type { Interaction } from '../../../src/records/interaction.ts'
import type { ModelUpdate } from '../../../src/records/modelUpdate.ts'
import { LocalRegistry } from '../../../src/records/registry/localRegistry.ts'
import { loadSchemas, type SchemaRegistry, UnknownSchemaIdError } from '../../../src/records/registry/schemaRegistry.ts'
import { addSeen, feedbackTypes } from '../../../src/records/seenItems.ts'
import type { UserSequence } from '../../../src/records/userSequence.ts'
import { latestMs } from '../../../src/records/value/eventTime.ts'

async function withCodecs(body: (codecs: Codecs, registry: LocalRegistry) => Promise<void> | void): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-avro-'))
  try {
    const registry = new LocalRegistry(directory)
    await body(await createCodecs(registry), registry)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const plain: Interaction = { eventId: 'e1', userId: 'u1', itemId: 'i1', type: 'click', eventTimeMs: 1_700_000_000_123 }

/** What may be an id; a text may be more, see admission.test.ts. */
const anyText = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
  .filter((text) => idProblem('id', text) === undefined)
const anyLong = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const anyOffset = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n })
const anyTimeMs = fc.nat(latestMs - 1)
const anyPartition = fc.nat(2 ** 31 - 1)
const anyContext = fc.dictionary(
  anyText.filter((name) => name !== '__proto__'),
  anyText,
  { noNullPrototype: true }
)
const anyInteraction = fc.record(
  {
    eventId: anyText,
    userId: anyText,
    itemId: anyText,
    type: anyText,
    eventTimeMs: anyTimeMs,
    value: fc.double({ noNaN: true, noDefaultInfinity: true }),
    context: anyContext,
    source: fc.record({ topic: anyText, partition: anyPartition, offset: anyOffset }, { noNullPrototype: true })
  },
  { requiredKeys: ['eventId', 'userId', 'itemId', 'type', 'eventTimeMs'], noNullPrototype: true }
)

test('an interaction is read as it was written', () =>
  withCodecs(({ interaction }) => {
    fc.assert(
      fc.property(anyInteraction, (written) => {
        const read = interaction.decode(interaction.encode(written))
        assert.deepEqual({ ...read, context: { ...read.context } }, { ...written, context: { ...written.context } })
        assert.deepEqual(Object.keys(read).sort(), Object.keys(written).sort())
      })
    )
  }))

test('the bytes are the Confluent wire format: 0, the id as big-endian int32, the Avro body', () =>
  withCodecs(({ interaction }) => {
    const bytes = interaction.encode({ eventId: 'e', userId: 'u', itemId: 'i', type: 'c', eventTimeMs: 64 })
    // A string is its length in zigzag (1 → 2) and its bytes; 64 in zigzag is 128 = 0x80 0x01; each absent field is
    // branch 0.
    assert.deepEqual([...bytes], [0, 0, 0, 0, 1, 2, 0x65, 2, 0x75, 2, 0x69, 2, 0x63, 0x80, 0x01, 0, 0, 0, 0])
  }))

test('offsets keep all 64 bits', () =>
  withCodecs(({ interaction }) => {
    for (const offset of [0n, 63n, 64n, 2n ** 31n, 2n ** 53n + 1n, 2n ** 62n - 1n, 2n ** 63n - 1n]) {
      const read = interaction.decode(interaction.encode({ ...plain, source: { topic: 't', partition: 0, offset } }))
      assert.equal(read.source?.offset, offset)
    }
    assert.throws(
      () => interaction.encode({ ...plain, source: { topic: 't', partition: 0, offset: 2n ** 63n } }),
      /source\.offset|offset is/
    )
  }))

test('an item is read as it was written', () =>
  withCodecs(({ item }) => {
    const written = {
      itemId: 'i',
      title: 'Ünï (1995)',
      features: { genre: ['Drama', 'War'], none: [] },
      updatedAtMs: 5
    }
    const read = item.decode(item.encode(written))
    assert.deepEqual({ ...read, features: { ...read.features } }, written)
    assert.deepEqual(Object.keys(item.decode(item.encode({ itemId: 'i', features: {}, updatedAtMs: 0 }))), [
      'itemId',
      'features',
      'updatedAtMs'
    ])
  }))

const anySequence: fc.Arbitrary<UserSequence> = fc
  .record({
    steps: fc.array(
      fc.record({
        itemId: anyText,
        type: fc.constantFrom('click', 'view', 'buy'),
        eventTimeMs: fc.nat(2 ** 41),
        offset: fc.option(anyOffset)
      }),
      { maxLength: 60 }
    ),
    recent: fc.array(fc.record({ idHash: anyLong, eventTimeMs: fc.nat(2 ** 41) }, { noNullPrototype: true })),
    newestMs: fc.integer({ min: 2 ** 41, max: latestMs - 1 }),
    userId: anyText,
    partition: anyPartition,
    committed: fc.bigInt({ min: 0n, max: 2n ** 60n }),
    watermarkMs: anyTimeMs,
    acceptedAtMs: anyTimeMs,
    left: fc.array(fc.record({ itemId: anyText, type: anyText, eventTimeMs: anyTimeMs }), { maxLength: 3 }),
    feedback: fc.array(
      fc.record(
        {
          itemId: anyText,
          type: fc.constantFrom(...feedbackTypes),
          eventTimeMs: anyTimeMs,
          untilMs: fc.integer({ min: 1, max: 2 ** 41 }),
          offset: anyOffset
        },
        { requiredKeys: ['itemId', 'type', 'eventTimeMs', 'offset'], noNullPrototype: true }
      ),
      { maxLength: 3 }
    )
  })
  .map(({ steps, left, feedback, ...rest }) => ({
    ...rest,
    ...(left.length === 0 ? {} : { seen: addSeen(undefined, left) }),
    ...(feedback.length === 0 ? {} : { feedback }),
    steps: steps
      .sort((a, b) => a.eventTimeMs - b.eventTimeMs)
      .map(({ offset, ...step }) => (offset === null ? { ...step } : { ...step, source: { partition: 1, offset } })),
    fresh: steps.flatMap((_, position) =>
      position % 3 === 0 ? [{ position, offset: BigInt(position) + 2n ** 60n }] : []
    )
  }))

test('a user sequence is read as it was written', () =>
  withCodecs(({ userSequence }) => {
    fc.assert(
      fc.property(anySequence, (written) => {
        const read = userSequence.decode(userSequence.encode(written))
        assert.deepEqual(JSON.parse(json(read)), JSON.parse(json(written)))
      })
    )
  }))

const json = (value: unknown) =>
  JSON.stringify(sorted(value), (_, inner) => (typeof inner === 'bigint' ? `${inner}n` : inner))
const sorted = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sorted)
    : typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, inner]) => [key, sorted(inner)])
        )
      : value

test('a user sequence of 50 steps within an hour apart takes a dozen bytes a step', () =>
  withCodecs(({ userSequence }) => {
    const steps = Array.from({ length: 50 }, (_, i) => ({
      itemId: String(10_000 + i),
      type: 'click',
      eventTimeMs: 1.7e12 + i * 3_000_000
    }))
    const sequence = {
      userId: 'u',
      partition: 0,
      committed: 0n,
      watermarkMs: 0,
      acceptedAtMs: 0,
      newestMs: 0,
      steps,
      recent: [],
      fresh: []
    }
    // Per step: item 1 + 5, type 1, a gap of 3,000,000 ms 4 bytes; around it less than 60.
    const { length } = userSequence.encode(sequence)
    assert(length > 49 * 11 && length < 50 * 11 + 60, `${length} bytes`)
  }))

test('model updates are read as they were written', () =>
  withCodecs(({ modelUpdate }) => {
    const row = Float32Array.of(0, -1.5, 2 ** -149, 3.4e38)
    // A view into the middle of a larger array, as rows of a table are.
    const view = Float32Array.from([9, 1, 2, 9]).subarray(1, 3)
    const updates: ModelUpdate[] = [
      { kind: 'item-row', itemId: 'i', row, count: 7 },
      { kind: 'item-row', itemId: 'i', row: null, count: 0 },
      { kind: 'item-neighbours', itemId: 'i', neighbours: ['a', 'größer'], weights: Float32Array.of(0.5, 0.25) },
      { kind: 'item-neighbours', itemId: 'i', neighbours: [], weights: new Float32Array(0) },
      { kind: 'feature-row', feature: 'genre=Drama', row: view },
      { kind: 'weights', name: 'tower/w', shape: [2, 2], values: row },
      { kind: 'weights', name: 'scalar', shape: [], values: Float32Array.of(4) },
      {
        kind: 'commit',
        step: 2 ** 40,
        modelVersion: 's',
        model: '{"a":1}',
        weightsChanged: true,
        committedAtMs: 1,
        memoryWeight: 2.4
      }
    ]
    for (const written of updates) assert.deepEqual(modelUpdate.decode(modelUpdate.encode(written)), written)
    assert.throws(() => modelUpdate.encode({ kind: 'weights', name: 'w', shape: [3], values: row }), BadEventError)
  }))

test('a value that does not fit is named when it is written', () =>
  withCodecs(({ interaction, userSequence }) => {
    const wrong: [RegExp, object][] = [
      [/userId is undefined/, { userId: undefined }],
      [/itemId is 7: expected text/, { itemId: 7 }],
      [/eventTimeMs is 1\.5/, { eventTimeMs: 1.5 }],
      [/eventTimeMs/, { eventTimeMs: 2 ** 60 }],
      [/context/, { context: { a: 1 } }]
    ]
    for (const [message, change] of wrong) {
      const value = { ...plain, ...change } as Interaction
      assert.throws(
        () => interaction.encode(value),
        (error: unknown) => error instanceof BadEventError && message.test(error.message)
      )
    }
    const sequence = {
      userId: 'u',
      partition: 0,
      committed: 0n,
      watermarkMs: 0,
      acceptedAtMs: 0,
      newestMs: 0,
      steps: [],
      fresh: []
    }
    assert.throws(
      () => userSequence.encode({ ...sequence, recent: [{ idHash: 2n ** 63n, eventTimeMs: 0 }] }),
      BadEventError
    )
  }))

test('what cannot be read is named', () =>
  withCodecs(({ interaction, item }, registry) => {
    const good = interaction.encode({ ...plain, context: { a: 'b' } })
    const changed = (...at: [number, number][]) => {
      const bytes = Uint8Array.from(good)
      for (const [i, value] of at) bytes[i] = value
      return bytes
    }
    const wrong: [RegExp, Uint8Array][] = [
      [/truncated, 0 bytes/, new Uint8Array(0)],
      [/magic byte/, changed([0, 123])],
      [/no schema with id 259/, changed([3, 1], [4, 3])],
      [/trailing bytes/, Buffer.concat([good, Buffer.of(0)])],
      [/truncated/, good.subarray(0, good.length - 1)],
      [/eventId: negative length/, changed([5, 3])],
      [/truncated in eventId/, changed([5, 0x7e])],
      [/incompatible/, item.encode({ itemId: 'i', features: {}, updatedAtMs: 0 })]
    ]
    for (const [message, bytes] of wrong) {
      assert.throws(
        () => interaction.decode(bytes),
        (error: unknown) => error instanceof BadEventError && message.test(error.message),
        String(message)
      )
    }
    assert.throws(
      () => interaction.decode(changed([4, 99])),
      (error: unknown) => error instanceof UnknownSchemaIdError && error.schemaId === 99
    )
    assert.equal(registry.cached(99), undefined)
    // A time of 2⁶² in zigzag: nine bytes of continuation. Refused, not rounded.
    const short = interaction.encode({ eventId: 'e', userId: 'u', itemId: 'i', type: 'c', eventTimeMs: 0 })
    const long = Buffer.concat([
      short.subarray(0, 13),
      Buffer.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01),
      short.subarray(14)
    ])
    assert.throws(() => interaction.decode(long), /eventTimeMs is 4611686018427387904/)
    // A count of 2⁴¹ entries in a map, and no bytes for them: refused at once, not after filling the memory.
    const many = Buffer.concat([short.subarray(0, 15), Buffer.of(2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02)])
    assert.throws(() => interaction.decode(many), /entries are announced/)
  }))

test('no bytes make decoding fail with anything but a BadEventError', () =>
  withCodecs(({ interaction, userSequence, modelUpdate, item }) => {
    const codecs = [interaction, item, userSequence, modelUpdate]
    const attempt = (id: number, bytes: Uint8Array) => {
      try {
        codecs[id - 1]!.decode(bytes)
      } catch (error) {
        assert(error instanceof BadEventError, String(error))
      }
    }
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.uint8Array({ maxLength: 60 }), (id, body) =>
        attempt(id, Uint8Array.of(0, 0, 0, 0, id, ...body))
      ),
      { numRuns: 2000 }
    )
    const row = new Float32Array(8)
    const good = [
      interaction.encode({ ...plain, context: { a: 'b' } }),
      modelUpdate.encode({ kind: 'item-row', itemId: 'i', row, count: 1 })
    ]
    for (const bytes of good) {
      for (let at = 5; at < bytes.length; at++) {
        for (let value = 0; value < 256; value++) {
          const changed = Uint8Array.from(bytes)
          changed[at] = value
          attempt(changed[4]!, changed)
        }
      }
    }
  }))

test('an older writer’s record, without the optional fields, is read by today’s schema', () =>
  withCodecs(async ({ interaction }, registry) => {
    const older = JSON.parse(schemaText('interaction')) as { fields: { name: string; default?: unknown }[] }
    older.fields = older.fields.filter((field) => !('default' in field))
    const id = await registry.idFor('elsewhere-value', JSON.stringify(older))
    const body = parseSchema(JSON.stringify(older)).toBuffer(plain)
    assert.deepEqual(interaction.decode(Buffer.concat([Buffer.of(0, 0, 0, 0, id), body])), plain)
  }))

test('a newer writer’s record is read too: fields unknown here are left out', () =>
  withCodecs(async ({ interaction }, registry) => {
    const newer = JSON.parse(schemaText('interaction')) as { fields: object[] }
    newer.fields.splice(
      2,
      0,
      { name: 'device', type: 'string', default: '' },
      { name: 'sequence', type: 'long', default: 0 }
    )
    const id = await registry.idFor('elsewhere-value', JSON.stringify(newer))
    const body = parseSchema(JSON.stringify(newer)).toBuffer({ ...plain, device: 'phone', sequence: 2n ** 60n })
    assert.deepEqual(interaction.decode(Buffer.concat([Buffer.of(0, 0, 0, 0, id), body])), plain)
  }))

// A released schema is copied to schemas-earlier/<name>/<number>.avsc and never changed: today's must read what each of
// them wrote.
const earlier = new URL('./schemas-earlier/', import.meta.url)
for (const name of ['interaction', 'item', 'user-sequence', 'model-update'] satisfies SchemaName[]) {
  test(`today's ${name} schema reads all of its earlier versions`, () => {
    const today = parseSchema(schemaText(name))
    const files = readdirSync(new URL(`${name}/`, earlier)).filter((file) => file.endsWith('.avsc'))
    assert(files.length > 0)
    for (const file of files)
      today.createResolver(parseSchema(readFileSync(new URL(`${name}/${file}`, earlier), 'utf8')))
  })
}

test('loadSchemas asks a slow registry once for each schema, and leaves unknown ones to decode', () =>
  withCodecs(async ({ interaction }, local) => {
    const asked: number[] = []
    const known = new Map<number, string>()
    const slow: SchemaRegistry = {
      idFor: async (subject, schema) => {
        const id = await local.idFor(subject, schema)
        known.set(id, schema)
        return id
      },
      schemaOf: async (id) => {
        asked.push(id)
        const schema = await local.schemaOf(id)
        known.set(id, schema)
        return schema
      },
      cached: (id) => known.get(id)
    }
    const bytes = interaction.encode(plain)
    const codecs = await createCodecs(slow)
    known.clear()
    const unknown = Uint8Array.from(bytes)
    unknown[4] = 77
    const records = [
      { value: null },
      { value: bytes },
      { value: unknown },
      { value: bytes },
      { value: new Uint8Array(2) }
    ]
    await loadSchemas(slow, records)
    assert.deepEqual(asked, [1, 77])
    assert.deepEqual(codecs.interaction.decode(bytes), plain)
    assert.throws(() => codecs.interaction.decode(unknown), UnknownSchemaIdError)
  }))

test('a map in a block that announces its size in bytes, as other writers do, is read as well', () =>
  withCodecs(({ interaction }) => {
    const value = { ...plain, context: { a: 'b' } }
    const usual = Buffer.from(interaction.encode(value))
    const at = usual.indexOf(Buffer.from([2, 2, 0x61, 2, 0x62, 0]))
    assert(at > 0)
    const sized = Buffer.concat([usual.subarray(0, at), Buffer.from([1, 8]), usual.subarray(at + 1)])
    assert.deepEqual(interaction.decode(sized), value)
  }))
