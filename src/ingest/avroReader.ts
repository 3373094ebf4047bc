// Reads records of other programs by their writers' Avro schemas.
//
// Not avsc: it refuses schemas that Java accepts and that are in registries everywhere (defaults of another type, names
// with a hyphen or a dollar, unions that it calls ambiguous), although none of that has a part in reading. Counts and
// lengths are checked against the bytes that are there, so a damaged record costs no more than itself.

import { isUtf8 } from 'node:buffer'
import { setOwn } from '../core/own.ts'
import type { TimeUnit } from '../records/value/eventTime.ts'

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

/** Values nested deeper than this are refused; only schemas that contain themselves can go deeper. */
const depthMax = 64

/** Where the record is read, and how deep. */
interface Cursor {
  readonly bytes: Buffer
  at: number
  depth: number
}

type Read = (cursor: Cursor, field: string) => unknown

interface NamedSchema {
  readonly type: string
  readonly name: string
  readonly namespace?: string
  readonly fields?: readonly { readonly name: string; readonly type: unknown }[]
  readonly symbols?: readonly string[]
  readonly size?: number
  readonly logicalType?: string
  readonly scale?: number
}

/**
 * @param schema parsed JSON of the writer's schema
 * @returns a function that reads `bytes` from `start` to their end: records and maps as objects without a prototype,
 *   longs as bigints, decimals as exact
 *   text, enums as their symbols, UUIDs as text, times whose unit the schema gives as `AvroTime`. It throws a
 *   RangeError with what does not fit
 * @throws Error where the schema is not Avro
 */
export function avroReader(schema: unknown): (bytes: Uint8Array, start: number) => unknown {
  const read = new SchemaCompiler().compile(schema, '')
  return (bytes, start) => {
    const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const cursor: Cursor = { bytes: buffer, at: start, depth: 0 }
    const value = read(cursor, 'record')
    if (cursor.at < buffer.length)
      throw new RangeError(`${buffer.length - cursor.at} trailing bytes after the record's end at byte ${cursor.at}`)
    return value
  }
}

/** The full name of a named type. A name with dots is full as it is. */
function fullName({ name, namespace }: Pick<NamedSchema, 'name' | 'namespace'>, enclosing: string): string {
  if (typeof name !== 'string' || name === '') throw new Error(`a named type has the name ${JSON.stringify(name)}`)
  const space = namespace ?? enclosing
  return name.includes('.') || space === '' ? name : `${space}.${name}`
}

class SchemaCompiler {
  readonly #named = new Map<string, { read: Read }>()

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
        return readMap(this.compile((schema as { values?: unknown }).values, namespace))
      case 'enum':
        return this.#name(schema as NamedSchema, namespace, readEnum((schema as NamedSchema).symbols ?? []))
      case 'fixed':
        return this.#name(schema as NamedSchema, namespace, readFixed(schema as NamedSchema))
      default:
        return annotated(schema as Annotated, this.compile(type, namespace))
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
    const fields = schema.fields.map((field) => ({ name: String(field.name), read: this.compile(field.type, inner) }))
    own.read = (cursor) => {
      if (++cursor.depth > depthMax) throw new RangeError(`values nested deeper than ${depthMax}`)
      const value = Object.create(null) as Record<string, unknown>
      for (const { name, read } of fields) setOwn(value, name, read(cursor, name))
      cursor.depth--
      return value
    }
    return own.read
  }

  #union(schemas: readonly unknown[], namespace: string): Read {
    const branches = schemas.map((schema) => this.compile(schema, namespace))
    return (cursor, field) => {
      const branch = readInteger(cursor, field, 5)
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

// Primitive types -----------------------------------------------------------------------------------------------------

function truncated({ bytes }: Cursor, field: string): RangeError {
  return new RangeError(`truncated in ${field}: the record ends after ${bytes.length} bytes`)
}

/** Moves the cursor over `count` bytes. @returns where they began */
function take(cursor: Cursor, count: number, field: string): number {
  const start = cursor.at
  if (count > cursor.bytes.length - start) throw truncated(cursor, field)
  cursor.at += count
  return start
}

/** A varint of Avro's int, a count or a length: a number, refused beyond 2⁵³. */
function readInteger(cursor: Cursor, field: string, bytesMax: 5 | 10): number {
  const start = cursor.at
  let value = 0
  let scale = 1
  for (;;) {
    const byte = cursor.bytes[take(cursor, 1, field)]!
    value += (byte & 0x7f) * scale
    if (byte < 0x80) break
    scale *= 128
    if (cursor.at - start >= bytesMax)
      throw new RangeError(
        `${field}: out of range, the number at byte ${start} has more than ${bytesMax === 5 ? 32 : 64} bits`
      )
  }
  const number = value % 2 === 0 ? value / 2 : -(value + 1) / 2
  if (!Number.isSafeInteger(number))
    throw new RangeError(`${field}: out of range, the number at byte ${start} is ${number}`)
  return number
}

function readLong(cursor: Cursor, field: string): bigint {
  const start = cursor.at
  let value = 0n
  for (let shift = 0n; ; shift += 7n) {
    const byte = cursor.bytes[take(cursor, 1, field)]!
    value |= BigInt(byte & 0x7f) << shift
    if (byte < 0x80) break
    if (cursor.at - start >= 10)
      throw new RangeError(`${field}: out of range, the number at byte ${start} has more than 64 bits`)
  }
  if (value > 0xffffffffffffffffn)
    throw new RangeError(`${field}: out of range, the number at byte ${start} has more than 64 bits`)
  return (value & 1n) === 0n ? value >> 1n : ~(value >> 1n)
}

function readBytes(cursor: Cursor, field: string): Buffer {
  const length = readInteger(cursor, field, 10)
  if (length < 0) throw new RangeError(`${field}: negative length ${length}`)
  const start = take(cursor, length, field)
  return cursor.bytes.subarray(start, start + length)
}

/** Text that is not UTF-8 is refused: read with replacement characters, two ids could become one. */
function readString(cursor: Cursor, field: string): string {
  const start = cursor.at
  const bytes = readBytes(cursor, field)
  if (!isUtf8(bytes)) throw new RangeError(`${field}: not UTF-8, the text at byte ${start}`)
  return bytes.toString('utf8')
}

const primitives = new Map<string, Read>([
  ['null', () => null],
  ['boolean', (cursor, field) => cursor.bytes[take(cursor, 1, field)] !== 0],
  ['int', (cursor, field) => readInteger(cursor, field, 5)],
  ['long', readLong],
  ['float', (cursor, field) => cursor.bytes.readFloatLE(take(cursor, 4, field))],
  ['double', (cursor, field) => cursor.bytes.readDoubleLE(take(cursor, 8, field))],
  ['bytes', readBytes],
  ['string', readString]
])

// Complex types -------------------------------------------------------------------------------------------------------

function readEnum(symbols: readonly string[]): Read {
  return (cursor, field) => {
    const index = readInteger(cursor, field, 5)
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
    const announced = readInteger(cursor, field, 10)
    if (announced === 0) return
    if (announced < 0) readInteger(cursor, field, 10)
    const count = Math.abs(announced)
    // An entry takes a byte at least. An array of nulls does not, and is refused.
    if (count > cursor.bytes.length - cursor.at)
      throw new RangeError(
        `truncated in ${field}: ${count} entries are announced, ${cursor.bytes.length - cursor.at} bytes are left`
      )
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

function readMap(item: Read): Read {
  return (cursor, field) => {
    const entries = Object.create(null) as Record<string, unknown>
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

/** The days of `date` become this, so that one unit serves: a number of milliseconds. */
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
