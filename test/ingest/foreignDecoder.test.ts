import assert from 'node:assert/strict'
import test from 'node:test'
import { gzipSync } from 'node:zlib'
import avro from 'avsc'
import { BadEventError, ConfigError } from '../../src/core/errors.ts'
import { createForeignDecoder, recordBytesMax } from '../../src/ingest/foreignDecoder.ts'
import type { LogRecord } from '../../src/log/eventLog.ts'
import { AvroTime } from '../../src/records/avro/avroReader.ts'
import { type SchemaRegistry, UnknownSchemaIdError } from '../../src/records/registry/schemaRegistry.ts'
import { foreignType } from '../support/foreignAvro.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const record = (value: Uint8Array | null, headers: Record<string, string> = {}): LogRecord => ({
  key: new Uint8Array(),
  value,
  headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, bytes(text)])),
  partition: 0,
  offset: 0n,
  timestampMs: 0
})

/** Schemas by id, as a registry that answers at once. */
class Schemas implements SchemaRegistry {
  readonly #known: Readonly<Record<number, object | string>>
  readonly #loaded = new Map<number, string>()
  constructor(known: Readonly<Record<number, object | string>>) {
    this.#known = known
  }
  async idFor(): Promise<number> {
    throw new Error('nothing is registered here')
  }
  async schemaOf(id: number): Promise<string> {
    const schema = this.#known[id]
    if (schema === undefined) throw new UnknownSchemaIdError(id)
    this.#loaded.set(id, typeof schema === 'string' ? schema : JSON.stringify(schema))
    return this.#loaded.get(id)!
  }
  cached(id: number): string | undefined {
    return this.#loaded.get(id)
  }
}

const codecs = { interaction: { encode: () => new Uint8Array(), decode: () => assert.fail('not ours') } }
const decoder = (
  format: 'json' | 'avro' | 'avro-registry' | 'cloudevents',
  schemaJson?: string,
  registry: SchemaRegistry = new Schemas({})
) =>
  createForeignDecoder(
    { topic: 't', format },
    { registry, codecs, ...(schemaJson === undefined ? {} : { schemaJson }) }
  )

const clickSchema = {
  type: 'record',
  name: 'Click',
  namespace: 'shop',
  fields: [
    { name: 'user', type: ['null', 'long'] },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-micros' } },
    { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['SEEN', 'BOUGHT'] } },
    { name: 'price', type: { type: 'bytes', logicalType: 'decimal', precision: 9, scale: 2 } },
    { name: 'sku', type: 'string' }
  ]
}
/** A price of -1250 in two's complement, of scale 2: -12.50. */
const click = foreignType(
  JSON.stringify({
    ...clickSchema,
    fields: clickSchema.fields.map((field) => (field.name === 'price' ? { name: 'price', type: 'bytes' } : field))
  })
).toBuffer({
  user: 2n ** 53n + 1n,
  at: 1_700_000_000_123_456n,
  kind: 'BOUGHT',
  price: Buffer.from('fb1e', 'hex'),
  sku: 'é'
})
const framed = (id: number, body: Uint8Array) =>
  Buffer.concat([Buffer.from([0]), Buffer.from(Uint32Array.of(id).buffer).swap32(), body])
const sound = {
  user: 9007199254740993n,
  at: new AvroTime('1700000000123456', { unit: 'us' }),
  kind: 'BOUGHT',
  price: '-12.50',
  sku: 'é'
}
const shown = (value: unknown) => ({ ...(value as object) })

function refused(work: () => unknown, expected: RegExp): void {
  assert.throws(work, (error) => {
    assert(error instanceof BadEventError, String(error))
    assert.match(error.message, expected)
    return true
  })
}

test('Avro by a given schema: longs are bigints, decimals exact text, enums names, times keep their unit', () => {
  const avroDecoder = decoder('avro', JSON.stringify(clickSchema))
  assert.deepEqual(shown(avroDecoder.decode(record(click))), sound)
  assert.equal(avroDecoder.decode(record(null)), undefined)
  refused(
    () => avroDecoder.decode(record(click.subarray(0, -1))),
    /not readable as Avro by the given schema: truncated in sku/
  )
  refused(() => avroDecoder.decode(record(Buffer.concat([click, click]))), /trailing bytes/)
  const sku = Buffer.from(click)
  sku[sku.length - 1] = 0x28
  refused(() => avroDecoder.decode(record(sku)), /sku: not UTF-8/)
  assert.throws(() => decoder('avro', '{"type": "nothing"}'), ConfigError)
})

test('Avro by the registry: each record by its writer’s schema', async () => {
  const later = { ...clickSchema, fields: [...clickSchema.fields, { name: 'more', type: 'boolean' }] }
  const registered = decoder(
    'avro-registry',
    undefined,
    new Schemas({ 4: clickSchema, 70000: later, 5: '{"type": "nothing"}' })
  )
  const records = [record(framed(4, click)), record(framed(70000, Buffer.concat([click, Buffer.from([1])])))]
  const bad = [
    record(Buffer.from([1, 0, 0, 0, 4, 2])),
    record(Buffer.from([0, 0, 0])),
    record(framed(9, click)),
    record(framed(5, click)),
    record(framed(4, click.subarray(1)))
  ]
  await registered.prepare([...records, ...bad])
  assert.deepEqual(shown(registered.decode(records[0]!)), sound)
  assert.deepEqual(shown(registered.decode(records[1]!)), { ...sound, more: true })
  const reasons = [
    /first byte is 1 instead of the magic byte 0/,
    /truncated: 3 bytes are less than the 5/,
    /no schema with id 9/,
    /schema id 5 cannot be used/,
    /by schema id 4/
  ]
  for (const [i, reason] of reasons.entries()) refused(() => registered.decode(bad[i]!), reason)
})

test('by the registry: JSON Schema records and ids in headers are read; other framings are refused by their names', async () => {
  const schemas = Object.assign(new Schemas({ 4: clickSchema, 6: '{"type": "object"}' }), {
    isJson: (id: number) => id === 6,
    whyUnknown: (id: number) =>
      id === 7 ? new UnknownSchemaIdError(7, 'schema id 7 is PROTOBUF: only AVRO and JSON are read') : undefined
  })
  const registered = decoder('avro-registry', undefined, schemas)
  const withHeader = (header: string, value: Uint8Array) => ({
    ...record(value),
    headers: { __value_schema_id: Buffer.from(header, 'hex') }
  })
  const inHeader = withHeader('0000000004', click)
  await registered.prepare([inHeader, record(framed(6, bytes('{}')))])
  assert.deepEqual(registered.decode(record(framed(6, bytes('{"user": "ada"}')))), { user: 'ada' })
  assert.deepEqual(shown(registered.decode(inHeader)), sound)
  const uuid = '00112233445566778899aabbccddeeff'
  const bad: readonly [LogRecord, RegExp][] = [
    [record(framed(6, bytes('{'))), /not JSON/],
    [record(framed(7, click)), /PROTOBUF: only AVRO and JSON/],
    [withHeader(`01${uuid}`, click), /header __value_schema_id holds no schema id but a GUID/],
    [record(Buffer.from(`0300${uuid}ea07`, 'hex')), /AWS Glue/],
    [record(Buffer.from('c3010000000000000000ea07', 'hex')), /single-object/],
    [record(Buffer.from('4f626a01ea07', 'hex')), /container file/]
  ]
  for (const [each, reason] of bad) refused(() => registered.decode(each), reason)
})

test('branches of a union are read through, whatever they are called', () => {
  const schema = {
    type: 'record',
    name: 'Event',
    fields: [
      {
        name: 'payload',
        type: [
          'null',
          { type: 'record', name: 'View', fields: [{ name: 'user', type: 'string' }] },
          {
            type: 'record',
            name: 'Order',
            fields: [
              { name: 'user', type: 'string' },
              { name: 'lines', type: { type: 'array', items: ['int', 'long', 'string'] } }
            ]
          }
        ]
      }
    ]
  }
  const type = avro.Type.forSchema(schema as avro.Schema)
  const written = type.toBuffer({ payload: { Order: { user: 'ada', lines: [{ int: 1 }, { string: 'x' }] } } })
  const value = decoder('avro', JSON.stringify(schema)).decode(record(written)) as {
    payload: { user: string; lines: unknown[] }
  }
  assert.equal(value.payload.user, 'ada')
  assert.deepEqual([...value.payload.lines], [1, 'x'])
})

test('JSON: exact, UTF-8, and of bounded size', () => {
  const json = decoder('json')
  assert.deepEqual(json.decode(record(bytes('\ufeff{"user": 9007199254740993}'))), { user: '9007199254740993' })
  assert.equal(json.decode(record(null)), undefined)
  refused(() => json.decode(record(Buffer.from('{"user": "\xe9"}', 'latin1'))), /not UTF-8 text: 13 bytes/)
  refused(() => json.decode(record(bytes('{"user": '))), /not JSON: /)
  // A codec that is not known leaves the bytes as they were sent.
  refused(() => json.decode(record(gzipSync('{}'))), /not UTF-8 text: .* begin 1f8b08/)
  refused(() => json.decode(record(new Uint8Array(recordBytesMax + 1))), /the value has 4194305 bytes: at most 4194304/)
  const nested = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
  assert(Array.isArray(json.decode(record(bytes(nested)))))
})

test('JSON that is none is refused with what it looks like', () => {
  const json = decoder('json')
  const kinds: readonly [string | Uint8Array, RegExp][] = [
    [gzipSync('{}'), /looks like gzip: compress with compression\.type/],
    [Buffer.from('{"u":"\xe9"}', 'latin1'), /looks like Latin-1/],
    [Buffer.from('{"u":1}', 'utf16le'), /looks like .*(binary|UTF-16)/],
    [Uint8Array.of(0, 0, 0, 0, 7, 0xd8, 0x0f), /framed by a schema registry \(schema id 7\): format avro-registry/],
    [Uint8Array.of(8, 1, 0x12, 3, 97, 98, 99), /a binary format, such as Avro, Protobuf/],
    ['', /an empty value: a tombstone is null/],
    ['{"price": NaN}', /JSON with NaN or Infinity/],
    ["{'user': None}", /a Python literal/],
    ['{"u":1}\n{"u":2}', /several JSON documents/],
    ['a\tb', /delimited by tabs: format tsv/],
    ['a,b', /delimited by commas: format csv/]
  ]
  for (const [value, expected] of kinds)
    refused(() => json.decode(record(typeof value === 'string' ? bytes(value) : value)), expected)
  assert.deepEqual(json.decode(record(bytes('\ufeff{"u": 1}\r\n'))), { u: 1 })
})

test('delimited text: fields by name or by place, quotes in CSV, nothing quoted in TSV', () => {
  const delimited = (format: 'csv' | 'tsv', more: object = {}) =>
    createForeignDecoder({ topic: 't', format, ...more }, { registry: new Schemas({}), codecs })
  const read = (text: string, ...options: Parameters<typeof delimited>) =>
    delimited(...options).decode(record(bytes(text)))
  assert.deepEqual(read('web\t\t"a, b"\r\n', 'tsv'), ['web', null, '"a, b"'])
  assert.deepEqual(
    read('1;"a; ""b""\nc";', 'csv', { delimiter: ';', columns: ['u', 'title', '__proto__'] }),
    JSON.parse('{"u":"1","title":"a; \\"b\\"\\nc","__proto__":null}')
  )
  assert.equal(delimited('csv').decode(record(null)), undefined)
  refused(() => read('1,2', 'csv', { columns: ['u'] }), /has 2 fields, and columns names 1/)
  refused(() => read('1,2\n3,4', 'csv'), /several lines: a record is one row/)
  refused(() => read('1\n3', 'tsv'), /several lines/)
  refused(() => read('1,"2', 'csv'), /never closed/)
})

test('keys: text, JSON, and Avro of the registry; only what has a schema id is looked up', async () => {
  const registry = new Schemas({ 7: { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'long' }] } })
  const items = createForeignDecoder({ topic: 't', format: 'json', kind: 'items' }, { registry, codecs })
  const keyed = (key: Uint8Array) => ({ ...record(null), key })
  const framed = keyed(Uint8Array.of(0, 0, 0, 0, 7, 0xd8, 0x0f))
  await items.prepare([framed])
  assert.deepEqual({ ...(items.decodeKey(framed) as object) }, { id: 1004 })
  assert.deepEqual(items.decodeKey(keyed(bytes('{"id":1004}'))), { id: 1004 })
  assert.equal(items.decodeKey(keyed(bytes('"a"'))), 'a')
  assert.equal(items.decodeKey(keyed(bytes('1004'))), '1004')
  assert.equal(items.decodeKey(keyed(bytes('{not JSON'))), '{not JSON')
  assert.equal(items.decodeKey(keyed(new Uint8Array())), undefined)
  refused(() => items.decodeKey(keyed(Uint8Array.of(0xc3, 0x28))), /key is not UTF-8 text: 2 bytes, they begin c328/)
  refused(() => items.decodeKey(keyed(Uint8Array.of(0, 0, 0, 0, 9, 1))), /key: no schema with id 9/)
})

test('CloudEvents: binary mode with JSON data, and nothing else', () => {
  const cloud = decoder('cloudevents')
  const headers = { ce_specversion: '1.0', 'content-type': 'application/json; charset=utf-8' }
  assert.deepEqual(cloud.decode(record(bytes('{"a": 1}'), headers)), { a: 1 })
  assert.deepEqual(
    cloud.decode(record(bytes('{"a": 1}'), { CE_SpecVersion: '1.0', 'Content-Type': 'application/vnd.shop+json' })),
    {
      a: 1
    }
  )
  assert.equal(cloud.decode(record(null, { ce_specversion: '1.0' })), undefined)
  refused(() => cloud.decode(record(bytes('{}'))), /ce_specversion is missing/)
  refused(() => cloud.decode(record(bytes('{}'), { ce_specversion: '0.3' })), /ce_specversion is "0\.3"/)
  refused(
    () => cloud.decode(record(bytes('{}'), { 'content-type': 'application/cloudevents+json' })),
    /structured mode; read it with format json/
  )
  refused(
    () => cloud.decode(record(bytes('{}'), { ...headers, 'content-type': 'application/avro' })),
    /data of a CloudEvent is read as JSON only/
  )
})
