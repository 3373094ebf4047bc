// Walks a record by its writer's schema without making anything of it, and refuses what does not fit its bytes.
//
// avsc trusts the counts that it reads: five bytes that claim an array of a billion would cost it all memory before it
// noticed that the record ended long ago. One damaged record must cost no more than itself, so every record is walked
// before it is decoded.

import { isUtf8 } from 'node:buffer'

/**
 * Position after the value, or throws. `bytes` may be read past its end (as undefined); the caller compares the
 * position with the length.
 */
type Walk = (bytes: Uint8Array, position: number) => number

/** Parsed schema JSON: named types by name, so that a later mention finds them. */
type Named = Map<string, { walk: Walk }>

/** The string "__proto__" as Avro writes it. */
const proto = Buffer.from('\x12__proto__')

/** Deepest nesting of values: only schemas that contain themselves could go deeper. */
const depthMax = 64

/**
 * A function that throws a RangeError, saying where, unless `bytes` from `start` to its end are exactly one value of
 * the schema.
 *
 * @param schema parsed JSON of a valid Avro schema
 */
export function boundsOf(schema: unknown): (bytes: Uint8Array, start: number) => void {
  const walk = compile(schema, new Map(), '', 'record')
  return (bytes, start) => {
    depth = 0
    const end = walk(bytes, start)
    if (end > bytes.length) throw truncated('record', bytes)
    if (end < bytes.length)
      throw new RangeError(`${bytes.length - end} trailing bytes after the record's end at byte ${end}`)
  }
}

// One record is walked at a time, synchronously.
let depth = 0
let number = 0

/** Reads a varint into `number` (unsigned, before zigzag; exact up to 2⁵³, beyond that near enough to be refused). */
function varint(bytes: Uint8Array, position: number, field: string, bytesMax: number): number {
  let i = position
  let byte = bytes[i++]!
  if (byte < 0x80) {
    number = byte
    return i
  }
  let value = byte & 0x7f
  let scale = 128
  do {
    if (i - position >= bytesMax) {
      throw new RangeError(
        `${field}: out of range, the number at byte ${position} has more than ${bytesMax === 5 ? 32 : 64} bits`
      )
    }
    if (i >= bytes.length) throw truncated(field, bytes)
    byte = bytes[i++]!
    value += (byte & 0x7f) * scale
    scale *= 128
  } while (byte >= 0x80)
  number = value
  return i
}

/** A length or count into `number`, after zigzag. Negative ones are given back as they are. */
function length(bytes: Uint8Array, position: number, field: string): number {
  if (position >= bytes.length) throw truncated(field, bytes)
  const next = varint(bytes, position, field, 10)
  number = number % 2 === 0 ? number / 2 : -(number + 1) / 2
  return next
}

function truncated(field: string, bytes: Uint8Array): RangeError {
  return new RangeError(`truncated in ${field}: the record ends after ${bytes.length} bytes`)
}

function compile(schema: unknown, named: Named, namespace: string, field: string): Walk {
  if (typeof schema === 'string') return primitive(schema, field) ?? reference(schema, named, namespace)
  if (Array.isArray(schema)) return union(schema, named, namespace, field)
  const { type } = schema as { type: unknown }
  if (typeof type !== 'string') return compile(type, named, namespace, field)
  switch (type) {
    case 'record':
    case 'error':
      return record(schema as RecordSchema, named, namespace)
    case 'array':
    case 'map':
      return block(schema as { type: string; items?: unknown; values?: unknown }, named, namespace, field)
    case 'enum': {
      const own = primitive('int', field)!
      named.set(fullName(schema as RecordSchema, namespace), { walk: own })
      return own
    }
    case 'fixed': {
      const { size } = schema as { size: number }
      const own: Walk = (_, position) => position + size
      named.set(fullName(schema as RecordSchema, namespace), { walk: own })
      return own
    }
    default:
      return compile(type, named, namespace, field)
  }
}

function primitive(type: string, field: string): Walk | undefined {
  switch (type) {
    case 'null':
      return (_, position) => position
    case 'boolean':
      return (_, position) => position + 1
    case 'int':
    case 'long':
      return (bytes, position) => {
        if (position >= bytes.length) throw truncated(field, bytes)
        return bytes[position]! < 0x80 ? position + 1 : varint(bytes, position, field, type === 'int' ? 5 : 10)
      }
    case 'float':
      return (_, position) => position + 4
    case 'double':
      return (_, position) => position + 8
    case 'string':
    case 'bytes':
      return (bytes, position) => {
        const next = length(bytes, position, field)
        if (number < 0) throw new RangeError(`${field}: negative length ${number} at byte ${position}`)
        const end = next + number
        if (end > bytes.length) throw truncated(field, bytes)
        if (type === 'string') checkUtf8(bytes, next, end, field)
        return end
      }
    default:
      return undefined
  }
}

/** avsc would lose such an entry of a map. */
function isProto(bytes: Uint8Array, start: number, end: number): boolean {
  return end - start === proto.length && proto.every((byte, i) => bytes[start + i] === byte)
}

/** avsc reads what is no UTF-8 as U+FFFD: two users whose ids differ there would become one. */
function checkUtf8(bytes: Uint8Array, start: number, end: number, field: string): void {
  for (let i = start; i < end; i++) {
    // Nearly all text here is ASCII, for which the loop is faster than a call.
    if (bytes[i]! < 0x80) continue
    if (!isUtf8(bytes.subarray(i, end))) throw new RangeError(`${field}: not UTF-8, from byte ${i}`)
    return
  }
}

interface RecordSchema {
  readonly name: string
  readonly namespace?: string
  readonly fields: readonly { readonly name: string; readonly type: unknown }[]
}

function fullName(schema: { readonly name: string; readonly namespace?: string }, namespace: string): string {
  if (schema.name.includes('.')) return schema.name
  const space = schema.namespace ?? namespace
  return space === '' ? schema.name : `${space}.${schema.name}`
}

function reference(name: string, named: Named, namespace: string): Walk {
  const known = named.get(name.includes('.') || namespace === '' ? name : `${namespace}.${name}`) ?? named.get(name)
  if (known === undefined) throw new Error(`the schema mentions ${name} before defining it`)
  return (bytes, position) => known.walk(bytes, position)
}

function record(schema: RecordSchema, named: Named, namespace: string): Walk {
  const name = fullName(schema, namespace)
  const inner = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : ''
  const own: { walk: Walk } = { walk: (_, position) => position }
  named.set(name, own)
  const fields = schema.fields.map((field) => compile(field.type, named, inner, field.name))
  const count = fields.length
  own.walk = (bytes, start) => {
    if (++depth > depthMax) throw new RangeError(`values nested deeper than ${depthMax}`)
    let position = start
    for (let i = 0; i < count; i++) position = fields[i]!(bytes, position)
    depth--
    return position
  }
  return own.walk
}

function union(schemas: readonly unknown[], named: Named, namespace: string, field: string): Walk {
  const branches = schemas.map((schema) => compile(schema, named, namespace, field))
  return (bytes, position) => {
    const next = length(bytes, position, field)
    const branch = branches[number]
    if (branch === undefined) throw new RangeError(`${field}: no branch ${number} in a union of ${branches.length}`)
    return branch(bytes, next)
  }
}

function block(
  schema: { type: string; items?: unknown; values?: unknown },
  named: Named,
  namespace: string,
  field: string
): Walk {
  const item = compile(schema.type === 'map' ? schema.values : schema.items, named, namespace, field)
  const key = schema.type === 'map' ? primitive('string', field)! : undefined
  return (bytes, start) => {
    let position = start
    for (;;) {
      position = length(bytes, position, field)
      let count = number
      if (count === 0) return position
      if (count < 0) {
        // A negative count is followed by the block's size in bytes.
        count = -count
        position = length(bytes, position, field)
      }
      // Every item of ours takes a byte at least. (An array of nulls does not, and is refused: nobody needs one.)
      if (count > bytes.length - position) {
        throw new RangeError(
          `truncated in ${field}: ${count} entries are announced, ${Math.max(0, bytes.length - position)} bytes are left`
        )
      }
      for (let i = 0; i < count; i++) {
        if (key !== undefined) {
          const start = position
          position = key(bytes, position)
          if (isProto(bytes, start, position)) throw new RangeError(`${field}: the name "__proto__" is reserved`)
        }
        position = item(bytes, position)
        if (position > bytes.length) throw truncated(field, bytes)
      }
    }
  }
}
