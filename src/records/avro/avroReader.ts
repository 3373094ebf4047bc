// Reads records by their writers' Avro schemas: our own topics', and those of other programs.
//
// Not avsc's decoder: it refuses schemas that Java accepts and that are in registries everywhere (defaults of another
// type, names with a hyphen or a dollar, unions that it calls ambiguous), allocates what a damaged count announces, and
// reads bytes that are not UTF-8 as U+FFFD. Here every count and length is checked against the bytes that are there, so
// a damaged record costs no more than itself.

import { setOwn } from '../../core/own.ts'
import type { TimeUnit } from '../value/eventTime.ts'
import { type Cursor, type Read, readBytes, readInt, readLong, readString, take } from './avroPrimitives.ts'

/** A time whose unit the schema gives: by its logical type, or by a type name of Kafka Connect or Debezium. */
export class AvroTime {
  /** The number or text as it was written; the days of a `date` as milliseconds. */
  readonly text: string
  readonly unit: TimeUnit
  /** Whether it is a time of day without a zone. */
  readonly isLocal: boolean
  constructor(text: string, { unit, isLocal = false }: { readonly unit: TimeUnit; readonly isLocal?: boolean }) {
    this.text = text
    this.unit = unit
    this.isLocal = isLocal
  }
  toJSON(): string {
    return this.text
  }
}

export type ReadAvro = (bytes: Uint8Array, start: number) => unknown

interface AvroReaderOptions {
  /**
   * Reads into today's form of the record: plain objects, times as the numbers that were written, and a field of this
   * schema that the writer's record of the same name lacks has its default.
   */
  readonly today?: unknown
}

/**
 * @param schema parsed JSON of the writer's schema. Named types that it mentions without defining them may be in an
 *   attribute `references`, a list of schemas
 * @returns a function that reads `bytes` from `start` to their end: records and maps as objects without a prototype,
 *   longs as numbers where that is exact and as bigints otherwise, decimals as exact text, enums as their symbols,
 *   UUIDs as text, times whose unit the schema gives as `AvroTime`. It throws a RangeError with what does not fit
 * @throws Error where the schema is not Avro
 */
export function avroReader(schema: unknown, options: AvroReaderOptions = {}): ReadAvro {
  const compiler = new SchemaCompiler(options.today)
  for (const reference of (schema as { references?: unknown[] } | null)?.references ?? [])
    compiler.compile(reference, '')
  const read = compiler.compile(schema, '')
  return (bytes, start) => {
    const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const cursor: Cursor = { bytes: buffer, at: start, depth: 0 }
    const value = read(cursor, 'record')
    if (cursor.at < buffer.length)
      throw new RangeError(`${buffer.length - cursor.at} trailing bytes after the record's end at byte ${cursor.at}`)
    return value
  }
}

/** Values nested deeper than this are refused; only schemas that contain themselves can go deeper. */
const depthMax = 64

type CreateObject = () => Record<string, unknown>

interface Field {
  readonly name: string
  readonly type: unknown
  readonly default?: unknown
}

interface NamedSchema extends Annotated {
  readonly type: string
  readonly name: string
  readonly namespace?: string
  readonly fields?: readonly Field[]
  readonly symbols?: readonly string[]
  readonly size?: number
}

/** The full name of a named type. A name with dots is full as it is. */
function fullName({ name, namespace }: Pick<NamedSchema, 'name' | 'namespace'>, enclosing: string): string {
  if (typeof name !== 'string' || name === '') throw new Error(`a named type has the name ${JSON.stringify(name)}`)
  const space = namespace ?? enclosing
  return name.includes('.') || space === '' ? name : `${space}.${name}`
}

class SchemaCompiler {
  readonly #named = new Map<string, { read: Read }>()
  readonly #isPlain: boolean
  readonly #create: CreateObject
  /** Fields of today's records, by the record's name without its namespace. */
  readonly #today = new Map<string, readonly Field[]>()

  constructor(today: unknown) {
    this.#isPlain = today !== undefined
    this.#create = this.#isPlain ? () => ({}) : () => Object.create(null) as Record<string, unknown>
    this.#noteRecords(today)
  }

  #noteRecords(schema: unknown): void {
    if (Array.isArray(schema)) for (const branch of schema) this.#noteRecords(branch)
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) return
    const { name, fields, type, items, values } = schema as NamedSchema & { items?: unknown; values?: unknown }
    if (fields !== undefined) {
      this.#today.set(name, fields)
      for (const field of fields) this.#noteRecords(field.type)
    } else for (const inner of [type, items, values]) this.#noteRecords(inner)
  }

  /** @param namespace of the enclosing type */
  compile(schema: unknown, namespace: string): Read {
    if (typeof schema === 'string') return primitives.get(schema) ?? this.#mention(schema, namespace)
    if (Array.isArray(schema)) return this.#union(schema, namespace)
    if (typeof schema !== 'object' || schema === null) throw new Error(`${JSON.stringify(schema)} is no Avro type`)
    const { type } = schema as { type?: unknown }
    if (typeof type !== 'string') return this.compile(type, namespace)
    switch (type) {
      case 'record':
      case 'error':
        return this.#record(schema as NamedSchema, namespace)
      case 'array':
        return readArray(this.compile((schema as { items?: unknown }).items, namespace))
      case 'map':
        return readMap(this.compile((schema as { values?: unknown }).values, namespace), this.#create)
      case 'enum':
        return this.#name(schema as NamedSchema, namespace, readEnum((schema as NamedSchema).symbols ?? []))
      case 'fixed':
        return this.#name(schema as NamedSchema, namespace, readFixed(schema as NamedSchema))
      default: {
        const read = this.compile(type, namespace)
        return this.#isPlain ? read : annotated(schema as Annotated, read)
      }
    }
  }

  #name(schema: NamedSchema, namespace: string, read: Read): Read {
    this.#named.set(fullName(schema, namespace), { read })
    return read
  }

  #record(schema: NamedSchema, namespace: string): Read {
    const name = fullName(schema, namespace)
    const inner = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : ''
    const own: { read: Read } = { read: () => undefined }
    this.#named.set(name, own)
    if (!Array.isArray(schema.fields)) throw new Error(`record ${name} has no list of fields`)
    const fields: readonly Field[] = schema.fields
    const names = fields.map((field) => String(field.name))
    const reads = fields.map((field) => this.compile(field.type, inner))
    const defaults = (this.#today.get(name.slice(name.lastIndexOf('.') + 1)) ?? [])
      .filter((field) => !names.includes(field.name))
      .map((field) => [field.name, defaultOf(field)] as const)
    // A copy has its final shape at once.
    const template = this.#isPlain
      ? Object.fromEntries([...names, ...defaults.map(([name]) => name)].map((name) => [name, undefined]))
      : undefined
    own.read = (cursor) => {
      if (++cursor.depth > depthMax) throw new RangeError(`values nested deeper than ${depthMax}`)
      const value = template === undefined ? this.#create() : { ...template }
      for (let i = 0; i < names.length; i++) setOwn(value, names[i]!, reads[i]!(cursor, names[i]!))
      for (const [missing, fallback] of defaults) setOwn(value, missing, fallback)
      cursor.depth--
      return value
    }
    return own.read
  }

  #union(schemas: readonly unknown[], namespace: string): Read {
    const branches = schemas.map((schema) => this.compile(schema, namespace))
    return (cursor, field) => {
      const branch = readInt(cursor, field)
      const read = branches[branch]
      if (read === undefined) throw new RangeError(`${field}: no branch ${branch} in a union of ${branches.length}`)
      return read(cursor, field)
    }
  }

  /**
   * By its full name, by its name in the enclosing namespace, or, as some writers mean it, by the last part of a name
   * that only one type has.
   */
  #mention(name: string, namespace: string): Read {
    const last = name.slice(name.lastIndexOf('.') + 1)
    const alike = [...this.#named].filter(([known]) => known === last || known.endsWith(`.${last}`))
    const known =
      (name.includes('.') ? undefined : this.#named.get(`${namespace}.${name}`)) ??
      this.#named.get(name) ??
      (alike.length === 1 ? alike[0]![1] : undefined)
    if (known === undefined) throw new Error(`the schema mentions ${name} before defining it`)
    return (cursor, field) => known.read(cursor, field)
  }
}

/** JSON of a default has bytes as text, a code point a byte. */
function defaultOf({ type, default: value }: Field): unknown {
  return type === 'bytes' ? Buffer.from(String(value), 'latin1') : value
}

const primitives = new Map<string, Read>([
  ['null', () => null],
  ['boolean', (cursor, field) => cursor.bytes[take(cursor, 1, field)] !== 0],
  ['int', readInt],
  ['long', readLong],
  ['float', (cursor, field) => cursor.bytes.readFloatLE(take(cursor, 4, field))],
  ['double', (cursor, field) => cursor.bytes.readDoubleLE(take(cursor, 8, field))],
  ['bytes', readBytes],
  ['string', readString]
])

// Complex types -------------------------------------------------------------------------------------------------------

function readEnum(symbols: readonly string[]): Read {
  return (cursor, field) => {
    const index = readInt(cursor, field)
    const symbol = symbols[index]
    if (symbol === undefined) throw new RangeError(`${field}: no symbol ${index} in an enum of ${symbols.length}`)
    return symbol
  }
}

function readFixed(schema: NamedSchema): Read {
  const { size = -1, logicalType } = schema
  if (!(Number.isSafeInteger(size) && size >= 0)) throw new Error(`fixed ${schema.name} has the size ${size}`)
  const read: Read = (cursor, field) => {
    const start = take(cursor, size, field)
    return cursor.bytes.subarray(start, start + size)
  }
  if (logicalType === 'uuid' && size === 16)
    return (cursor, field) =>
      (read(cursor, field) as Buffer).toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  return annotated(schema, read)
}

/** Blocks of entries, each with its count; a negative count is followed by the block's size in bytes. */
function readBlocks(cursor: Cursor, field: string, entry: () => void): void {
  for (;;) {
    const announced = Number(readLong(cursor, field))
    if (announced === 0) return
    if (announced < 0) readLong(cursor, field)
    const count = Math.abs(announced)
    const left = cursor.bytes.length - cursor.at
    // An entry takes a byte at least. An array of nulls does not, and is refused.
    if (count > left)
      throw new RangeError(`truncated in ${field}: ${count} entries are announced, ${left} bytes are left`)
    for (let i = 0; i < count; i++) entry()
  }
}

function readArray(item: Read): Read {
  return (cursor, field) => {
    const items: unknown[] = []
    readBlocks(cursor, field, () => items.push(item(cursor, field)))
    return items
  }
}

function readMap(item: Read, create: CreateObject): Read {
  return (cursor, field) => {
    const entries = create()
    readBlocks(cursor, field, () => {
      const key = readString(cursor, field)
      setOwn(entries, key, item(cursor, field))
    })
    return entries
  }
}

// What a schema says of a type beyond its bytes -----------------------------------------------------------------------

interface Annotated {
  readonly logicalType?: string
  readonly scale?: number
  readonly 'connect.name'?: string
}

/** The days of `date` become milliseconds. */
const dayMs = 86_400_000

const timeTypes = new Map<string, { readonly unit: TimeUnit; readonly isLocal?: boolean } | 'days'>([
  ['timestamp-millis', { unit: 'ms' }],
  ['timestamp-micros', { unit: 'us' }],
  ['timestamp-nanos', { unit: 'ns' }],
  ['local-timestamp-millis', { unit: 'ms', isLocal: true }],
  ['local-timestamp-micros', { unit: 'us', isLocal: true }],
  ['local-timestamp-nanos', { unit: 'ns', isLocal: true }],
  ['date', 'days'],
  ['org.apache.kafka.connect.data.Timestamp', { unit: 'ms' }],
  ['org.apache.kafka.connect.data.Date', 'days'],
  ['io.debezium.time.Timestamp', { unit: 'ms', isLocal: true }],
  ['io.debezium.time.MicroTimestamp', { unit: 'us', isLocal: true }],
  ['io.debezium.time.NanoTimestamp', { unit: 'ns', isLocal: true }],
  ['io.debezium.time.Date', 'days'],
  ['io.debezium.time.ZonedTimestamp', { unit: 'iso' }]
])

function annotated(schema: Annotated, read: Read): Read {
  if (schema.logicalType === 'decimal') return readDecimal(schema.scale ?? 0, read)
  const time = timeTypes.get(schema.logicalType ?? '') ?? timeTypes.get(schema['connect.name'] ?? '')
  if (time === undefined) return read
  return (cursor, field) => {
    const value = read(cursor, field)
    if (typeof value !== 'bigint' && typeof value !== 'number' && typeof value !== 'string') return value
    return time === 'days'
      ? new AvroTime(String(Number(value) * dayMs), { unit: 'ms' })
      : new AvroTime(String(value), time)
  }
}

/** Exact text, `-12.50`, of the unscaled number in two's complement. */
function readDecimal(scale: number, read: Read): Read {
  return (cursor, field) => {
    const bytes = read(cursor, field)
    if (!Buffer.isBuffer(bytes)) return bytes
    const unscaled = bytes.length === 0 ? 0n : BigInt.asIntN(8 * bytes.length, BigInt(`0x${bytes.toString('hex')}`))
    if (scale <= 0) return String(unscaled * 10n ** BigInt(-scale))
    const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
    return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
  }
}
