// The bytes of a foreign topic → their content, by the format that the configuration names. What it means is the
// mapping's business.

import type { SourceOptions } from '../core/config/sources.ts'
import { BadEventError, ConfigError } from '../core/errors.ts'
import { own } from '../core/own.ts'
import type { LogRecord } from '../log/eventLog.ts'
import type { Codecs } from '../records/avro/avroCodecs.ts'
import { avroReader } from '../records/avro/avroReader.ts'
import { parseExactJson } from '../records/avro/exactJson.ts'
import {
  headerBytes,
  loadSchemas,
  type SchemaRegistry,
  schemaIdOf,
  UnknownSchemaIdError
} from '../records/registry/schemaRegistry.ts'
import { delimitedReader } from './delimited.ts'
import { looksLike } from './notJson.ts'

interface ForeignDecoder {
  /**
   * Call it on each batch before decoding, which is synchronous. @throws UnavailableError if a registry that is needed
   * does not answer
   */
  prepare(records: readonly LogRecord[]): Promise<void>
  /** undefined where the record has no value. @throws BadEventError with what is wrong */
  decode(record: LogRecord): unknown
  /**
   * What the key says: by a schema of the registry, as JSON, or else its text. undefined where there is none. @throws
   * BadEventError with what is wrong
   */
  decodeKey(record: LogRecord): unknown
}

/**
 * An interaction takes some hundred bytes and brokers refuse records beyond 1 MiB; parsing far larger ones would hold
 * up everything else.
 */
export const recordBytesMax = 4 * 1024 * 1024

/** Schemas whose compiled form is kept; topics have a handful, and a flood of made-up ids must not fill the memory. */
const typesMax = 1000

/**
 * @param schemaJson the writer's schema, of format avro
 * @throws ConfigError if that is no Avro schema
 */
export function createForeignDecoder(source: DecodedSource, parts: DecoderParts): ForeignDecoder {
  const { registry } = parts
  const values = valueDecoder(source, parts)
  const readers = new Map<number, ReadAvro>()
  const readsKeys = source.kind === 'items' || mentionsKey.test(JSON.stringify(source))
  return {
    decode: values.decode,
    decodeKey: ({ key, headers }) => (key.length === 0 ? undefined : decodeKey(key, headers, registry, readers)),
    prepare: async (records) => {
      await values.prepare(records)
      if (readsKeys)
        await loadSchemas(registry, records, ({ key, headers }) => registeredId(key, headers, keyIdHeader)?.id)
    }
  }
}

/** A path through the key: other sources need no schemas of keys. */
const mentionsKey = /"key(?:[.[|][^"]*)?"/

type DecodedSource = Pick<SourceOptions, 'topic' | 'format'> & Partial<SourceOptions>

interface DecoderParts {
  readonly registry: SchemaRegistry
  readonly codecs: Pick<Codecs, 'interaction'>
  readonly schemaJson?: string
}

function valueDecoder(source: DecodedSource, parts: DecoderParts): Pick<ForeignDecoder, 'prepare' | 'decode'> {
  const { registry } = parts
  const nothing = async () => {}
  switch (source.format) {
    case 'json':
      return { prepare: nothing, decode: (record) => withValue(record, parseJson) }
    case 'csv':
    case 'tsv': {
      const read = delimitedReader(source)
      return { prepare: nothing, decode: (record) => withValue(record, (bytes) => read(textOf(bytes))) }
    }
    case 'cloudevents':
      return { prepare: nothing, decode: decodeCloudEvent }
    case 'mtmi':
      return {
        prepare: (records) => loadSchemas(registry, records),
        decode: (record) => required(record, (bytes) => parts.codecs.interaction.decode(bytes))
      }
    case 'avro': {
      let read: ReadAvro
      try {
        read = avroReader(JSON.parse(parts.schemaJson ?? ''))
      } catch (error) {
        throw new ConfigError([`schema of source ${source.topic} is not valid Avro: ${message(error)}`])
      }
      return {
        prepare: nothing,
        decode: (record) => withValue(record, (bytes) => explained(() => read(bytes, 0), 'by the given schema'))
      }
    }
    case 'avro-registry': {
      const readers = new Map<number, ReadAvro>()
      return {
        prepare: (records) =>
          loadSchemas(registry, records, ({ value, headers }) => registeredId(value, headers, idHeader)?.id),
        decode: (record) => withValue(record, (bytes) => decodeRegistered(record, bytes, registry, readers))
      }
    }
  }
}

type ReadAvro = (bytes: Uint8Array, start: number) => unknown

function withValue<T>({ value }: LogRecord, decode: (bytes: Uint8Array) => T): T | undefined {
  if (value === null) return undefined
  if (value.length > recordBytesMax)
    throw new BadEventError(`the value has ${value.length} bytes: at most ${recordBytesMax} are read`)
  return decode(value)
}

function required<T>(record: LogRecord, decode: (bytes: Uint8Array) => T): T {
  const value = withValue(record, decode)
  if (value === undefined) throw new BadEventError('the record has no value')
  return value
}

// JSON ----------------------------------------------------------------------------------------------------------------

const utf8 = new TextDecoder('utf-8', { fatal: true })

function textOf(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new BadEventError(
      `the value is not UTF-8 text: ${bytes.length} bytes, they begin ${start(bytes)}${looksLike(bytes)}`
    )
  }
}

function parseJson(bytes: Uint8Array): unknown {
  const text = textOf(bytes)
  try {
    return parseExactJson(text)
  } catch (error) {
    throw new BadEventError(`the value is not JSON: ${message(error)}${looksLike(bytes, text)}`)
  }
}

/** Kafka protocol binding, binary mode: attributes in `ce_` headers, the data alone in the value. */
function decodeCloudEvent(record: LogRecord): unknown {
  const { headers } = record
  const header = (name: string) => {
    const key = Object.hasOwn(headers, name) ? name : Object.keys(headers).find((key) => key.toLowerCase() === name)
    return key === undefined ? undefined : new TextDecoder().decode(own(headers, key))
  }
  const type = header('content-type')?.replace(/;.*/s, '').trim().toLowerCase()
  if (type?.startsWith('application/cloudevents') === true) {
    throw new BadEventError(
      `content-type is ${type}: a CloudEvent in structured mode; read it with format json, and paths such as data.user and id`
    )
  }
  const version = header('ce_specversion')
  if (version === undefined || !version.startsWith('1.')) {
    throw new BadEventError(
      `not a CloudEvent 1.0 in binary mode: header ce_specversion is ${version === undefined ? 'missing' : JSON.stringify(version.slice(0, 40))}`
    )
  }
  if (type !== undefined && type !== 'application/json' && type !== 'text/json' && !type.endsWith('+json')) {
    throw new BadEventError(`content-type is ${type.slice(0, 80)}: data of a CloudEvent is read as JSON only`)
  }
  return withValue(record, parseJson)
}

// Avro ----------------------------------------------------------------------------------------------------------------

/** Where newer Confluent serializers put the schema's id: the value is then the body alone. */
const idHeader = '__value_schema_id'

const keyIdHeader = '__key_schema_id'

/** A schema id, and where the body begins; undefined where there is none. */
function registeredId(
  bytes: Uint8Array | null,
  headers: LogRecord['headers'],
  idHeader: string
): { readonly id: number; readonly start: number } | undefined {
  const inHeader = own(headers, idHeader)
  const header = inHeader === undefined ? undefined : schemaIdOf(inHeader)
  if (header !== undefined) return { id: header, start: 0 }
  const id = bytes === null ? undefined : schemaIdOf(bytes)
  return id === undefined ? undefined : { id, start: headerBytes }
}

function decodeRegistered(
  record: LogRecord,
  bytes: Uint8Array,
  registry: SchemaRegistry,
  readers: Map<number, ReadAvro>
): unknown {
  const found = registeredId(bytes, record.headers, idHeader)
  if (found === undefined) throw new BadEventError(notRegistered(record, bytes))
  return decodeById(bytes, found, registry, readers)
}

function decodeById(
  bytes: Uint8Array,
  { id, start }: { readonly id: number; readonly start: number },
  registry: SchemaRegistry,
  readers: Map<number, ReadAvro>
): unknown {
  let read = readers.get(id)
  if (read === undefined) {
    const schema = registry.cached(id)
    if (schema === undefined) throw registry.whyUnknown?.(id) ?? new UnknownSchemaIdError(id)
    read = registry.isJson?.(id)
      ? (bytes, start) => parseJson(bytes.subarray(start))
      : explained(() => avroReader(JSON.parse(schema)), `schema id ${id} cannot be used`)
    if (readers.size >= typesMax) readers.delete(readers.keys().next().value!)
    readers.set(id, read)
  }
  const known = read
  return explained(() => known(bytes, start), `by schema id ${id}`)
}

/** JSON where it begins like an object, a list or a quoted text, which no id does; other text is itself. */
function decodeKey(
  key: Uint8Array,
  headers: LogRecord['headers'],
  registry: SchemaRegistry,
  readers: Map<number, ReadAvro>
): unknown {
  const found = registeredId(key, headers, keyIdHeader)
  try {
    if (found !== undefined) return decodeById(key, found, registry, readers)
    const text = utf8.decode(key)
    return /^\s*["[{]/.test(text) ? parseExactJson(text) : text
  } catch (error) {
    if (error instanceof BadEventError) throw new BadEventError(`key: ${error.message}`)
    if (error instanceof SyntaxError) return utf8.decode(key)
    throw new BadEventError(`key is not UTF-8 text: ${key.length} bytes, they begin ${start(key)}`)
  }
}

/** What a record is that has no schema id where the registry's serializers put one. */
function notRegistered({ headers }: LogRecord, bytes: Uint8Array): string {
  if (Object.hasOwn(headers, idHeader))
    return `header ${idHeader} holds no schema id but a GUID, or is damaged: it begins ${start(headers[idHeader]!)}. Only ids are read`
  const [first, second] = bytes
  if (first === 3 && (second === 0 || second === 5) && bytes.length >= 18)
    return 'the value has the framing of the AWS Glue schema registry: use a serializer of a Confluent-compatible registry, or format avro with the schema'
  if (first === 0xc3 && second === 1)
    return 'the value is in Avro single-object encoding, which names a schema by its fingerprint: use a serializer of a Confluent-compatible registry'
  if (Buffer.from(bytes.subarray(0, 4)).toString('latin1') === 'Obj\x01')
    return 'the value is an Avro container file: send each record on its own'
  if (bytes.length < headerBytes)
    return `truncated: ${bytes.length} bytes are less than the ${headerBytes} of the registry's header`
  return `the first byte is ${first} instead of the magic byte 0, so it was not written through a schema registry`
}

function explained<T>(work: () => T, where: string): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof BadEventError) throw error
    throw new BadEventError(`not readable as Avro ${where}: ${message(error)}`, { cause: error })
  }
}

function message(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.length > 300 ? `${text.slice(0, 300)}…` : text
}

function start(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, 16)).toString('hex')
}
