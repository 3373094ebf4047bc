// Our four records as Avro in the Confluent wire format: byte 0, schema id (big-endian int32), Avro body. The same
// bytes in Kafka and in the local log.

import { existsSync, readFileSync } from 'node:fs'
import { endianness } from 'node:os'
import { fileURLToPath } from 'node:url'
import type avro from 'avsc'
import { BadEventError } from '../../core/errors.ts'
import { admit } from '../admission.ts'
import type { CatalogueItem } from '../catalogueItem.ts'
import type { Codec } from '../codec.ts'
import type { Interaction } from '../interaction.ts'
import type { ModelUpdate } from '../modelUpdate.ts'
import {
  headerBytes,
  magicByte,
  type SchemaRegistry,
  schemaIdOf,
  UnknownSchemaIdError
} from '../registry/schemaRegistry.ts'
import type { UserSequence } from '../userSequence.ts'
import { boundsOf } from './avroBounds.ts'
import { AvroReader, AvroWriter } from './avroBytes.ts'
import { interactionShape, itemShape, modelUpdateShape, type Shape, userSequenceShape } from './avroShapes.ts'
import { readSequenceProgress } from './directForms.ts'
import { parseSchema } from './longType.ts'

export interface Codecs {
  readonly interaction: Codec<Interaction>
  readonly item: Codec<CatalogueItem>
  readonly userSequence: Codec<UserSequence>
  readonly modelUpdate: Codec<ModelUpdate>
  /**
   * Of a user sequence without the rest, which takes a twentieth of the time. @throws BadEventError as
   * `userSequence.decode` does
   */
  progressOf(bytes: Uint8Array): SequenceProgress
  /** How many records the direct form could not handle although their schema could, since the last call, by record. */
  takeFallbacks(): ReadonlyMap<SchemaName, number>
}

/**
 * Counts what the direct forms leave to the schema. A few foreign records are laid out unusually; many are a slow
 * stream, or a bug of a direct form.
 */
class Fallbacks {
  readonly #reported = new Set<SchemaName>()
  readonly #onFirst: (record: SchemaName, cause: unknown) => void
  #counts = new Map<SchemaName, number>()

  constructor(onFirst: (record: SchemaName, cause: unknown) => void) {
    this.#onFirst = onFirst
  }

  add(record: SchemaName, cause: unknown): void {
    this.#counts.set(record, (this.#counts.get(record) ?? 0) + 1)
    if (this.#reported.has(record)) return
    this.#reported.add(record)
    this.#onFirst(record, cause)
  }

  take(): ReadonlyMap<SchemaName, number> {
    const counts = this.#counts
    this.#counts = new Map()
    return counts
  }
}

export type SequenceProgress = Pick<UserSequence, 'partition' | 'committed' | 'watermarkMs'>

/** Topics by record, as configured: a schema's subject is `<topic>-value`. */
export interface SchemaTopics {
  readonly interactions: string
  readonly items: string
  readonly userSequences: string
  readonly modelUpdates: string
}

const defaultTopics: SchemaTopics = {
  interactions: 'interactions',
  items: 'items',
  userSequences: 'user-sequences',
  modelUpdates: 'model-updates'
}

/**
 * Registers today's schemas and gives codecs that write them and read them and every earlier one.
 *
 * `decode` is synchronous. With a registry that is across a network, call `loadSchemas` on each batch before; the
 * embedded registry needs nothing.
 *
 * @param onFallback gets the first record of each kind that a direct form could not handle although its schema could,
 *   with the cause
 * @throws ConfigError if a schema cannot read its subject's earlier records; UnavailableError if the registry does not
 *   answer
 */
export async function createCodecs(
  registry: SchemaRegistry,
  topics: SchemaTopics = defaultTopics,
  onFallback: (record: SchemaName, cause: unknown) => void = () => {}
): Promise<Codecs> {
  const fallbacks = new Fallbacks(onFallback)
  const codec = async <T>(name: SchemaName, topic: string, shape: Shape<T>): Promise<AvroCodec<T>> => {
    const schema = schemaText(name)
    return new AvroCodec(name, schema, await registry.idFor(`${topic}-value`, schema), registry, shape, fallbacks)
  }
  // One after another: ids are then the same on every fresh machine.
  const interaction = await codec('interaction', topics.interactions, interactionShape)
  const item = await codec('item', topics.items, itemShape)
  const userSequence = await codec('user-sequence', topics.userSequences, userSequenceShape)
  const modelUpdate = await codec('model-update', topics.modelUpdates, modelUpdateShape)
  const progressOf = (bytes: Uint8Array): SequenceProgress => {
    if (!userSequence.isTodays(bytes)) return userSequence.decode(bytes)
    try {
      directReader.start(bytes, headerBytes)
      return readSequenceProgress(directReader)
    } catch (cause) {
      const read = userSequence.decodeBySchema(bytes) // throws where the record is at fault
      fallbacks.add('user-sequence', cause)
      return read
    }
  }
  return { interaction, item, userSequence, modelUpdate, progressOf, takeFallbacks: () => fallbacks.take() }
}

export type SchemaName = 'interaction' | 'item' | 'user-sequence' | 'model-update'

/** Today's schema as one line of JSON. */
export function schemaText(name: SchemaName): string {
  // `schemas/` is at the package's root, which is two folders up from the sources and three from the build.
  const candidates = ['../../../schemas/', '../../../../schemas/'].map((up) =>
    fileURLToPath(new URL(`${up}${name}.avsc`, import.meta.url))
  )
  const path = candidates.find((candidate) => existsSync(candidate))
  if (path === undefined) throw new Error(`no ${name}.avsc in ${candidates.join(' or ')}: the package is incomplete`)
  return JSON.stringify(JSON.parse(readFileSync(path, 'utf8')))
}

/** How one writer's records are read. */
interface Reader {
  readonly id: number
  readonly check: (bytes: Uint8Array, start: number) => void
  /** Absent where the writer's schema is today's. */
  readonly resolver: ReturnType<avro.Type['createResolver']> | undefined
}

// Between two calls nothing is left in them.
const writer = new AvroWriter()
const directReader = new AvroReader()

class AvroCodec<T> implements Codec<T> {
  readonly #name: SchemaName
  readonly #type: avro.Type
  readonly #schema: string
  readonly #id: number
  readonly #registry: SchemaRegistry
  readonly #shape: Shape<T>
  readonly #fallbacks: Fallbacks
  readonly #readers = new Map<number, Reader>()
  /** Before every record: what it is, and whose. */
  readonly #header = Buffer.alloc(headerBytes)
  #last: Reader
  /** Written to first, then copied out at the right length; grows to the longest record seen. */
  #scratch = Buffer.allocUnsafeSlow(4096)

  constructor(
    name: SchemaName,
    schema: string,
    id: number,
    registry: SchemaRegistry,
    shape: Shape<T>,
    fallbacks: Fallbacks
  ) {
    if (endianness() !== 'LE')
      throw new Error('vectors travel as little-endian float32, which this big-endian machine would misread')
    this.#name = name
    this.#schema = schema
    this.#type = parseSchema(schema)
    this.#id = id
    this.#header[0] = magicByte
    this.#header.writeInt32BE(id, 1)
    this.#registry = registry
    this.#shape = shape
    this.#fallbacks = fallbacks
    this.#last = this.#reader(id)
  }

  encode(value: T): Uint8Array {
    const { direct } = this.#shape
    if (direct === undefined) return this.#encodeBySchema(value)
    try {
      writer.start(headerBytes)
      direct.write(writer, value)
      return writer.take(this.#header)
    } catch (cause) {
      const bytes = this.#encodeBySchema(value) // throws where the value is at fault
      this.#fallbacks.add(this.#name, cause)
      return bytes
    }
  }

  #encodeBySchema(value: T): Uint8Array {
    let raw: unknown
    try {
      raw = this.#shape.toAvro(value)
      for (;;) {
        const scratch = this.#scratch
        const end = this.#type.encode(raw, scratch, headerBytes)
        if (end >= 0) {
          this.#header.copy(scratch)
          return Buffer.from(scratch.subarray(0, end))
        }
        this.#scratch = Buffer.allocUnsafeSlow(2 * (scratch.length - end))
      }
    } catch (error) {
      throw new BadEventError(`cannot write ${this.#name}: ${this.#whatIsInvalid(raw) ?? message(error)}`, {
        cause: error
      })
    }
  }

  decode(bytes: Uint8Array): T {
    const value = this.#read(bytes)
    admit(this.#shape.problem(value))
    return value
  }

  #read(bytes: Uint8Array): T {
    const id = schemaIdOf(bytes)
    if (id === undefined) {
      throw new BadEventError(
        bytes.length < headerBytes
          ? `cannot read ${this.#name}: truncated, ${bytes.length} bytes are less than the ${headerBytes} of the header`
          : `cannot read ${this.#name}: the first byte is ${bytes[0]} instead of the magic byte 0, so it was not written through a schema registry`
      )
    }
    const reader = id === this.#last.id ? this.#last : this.#reader(id)
    this.#last = reader
    const { direct } = this.#shape
    if (direct === undefined || reader.resolver !== undefined) return this.#decodeBySchema(bytes, reader)
    try {
      directReader.start(bytes, headerBytes)
      const value = direct.read(directReader)
      directReader.end()
      return value
    } catch (cause) {
      const value = this.#decodeBySchema(bytes, reader) // throws where the record is at fault
      this.#fallbacks.add(this.#name, cause)
      return value
    }
  }

  /** Without the direct form. */
  decodeBySchema(bytes: Uint8Array): T {
    return this.#decodeBySchema(bytes, this.#reader(schemaIdOf(bytes) ?? this.#id))
  }

  #decodeBySchema(bytes: Uint8Array, reader: Reader): T {
    try {
      reader.check(bytes, headerBytes)
      const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      return this.#shape.fromAvro(this.#type.decode(buffer, headerBytes, reader.resolver).value)
    } catch (error) {
      throw new BadEventError(`cannot read ${this.#name} (schema id ${reader.id}): ${explained(error)}`, {
        cause: error
      })
    }
  }

  /** Whether the writer's schema is today's. */
  isTodays(bytes: Uint8Array): boolean {
    return schemaIdOf(bytes) === this.#id
  }

  #reader(id: number): Reader {
    const known = this.#readers.get(id)
    if (known !== undefined) return known
    const schema = id === this.#id ? this.#schema : this.#registry.cached(id)
    if (schema === undefined) throw new UnknownSchemaIdError(id)
    let reader: Reader
    try {
      const same = schema === this.#schema
      reader = {
        id,
        check: boundsOf(JSON.parse(schema)),
        resolver: same ? undefined : this.#type.createResolver(parseSchema(schema))
      }
    } catch (error) {
      throw new BadEventError(
        `cannot read ${this.#name}: schema id ${id} is incompatible with today's schema: ${message(error)}`,
        {
          cause: error
        }
      )
    }
    this.#readers.set(id, reader)
    return reader
  }

  /** avsc names the wrong value, but not the field that it was for. */
  #whatIsInvalid(raw: unknown): string | undefined {
    if (raw === undefined) return undefined
    let found: string | undefined
    this.#type.isValid(raw, {
      errorHook: (path: string[], value: unknown, type: avro.Type) => {
        found ??= `${path.join('.') || 'the record'} is ${shown(value)}, expected ${type.typeName.replace('abstract:long', 'bigint')}`
      }
    })
    return found
  }
}

function shown(value: unknown): string {
  const text =
    typeof value === 'string'
      ? JSON.stringify(value)
      : typeof value === 'object' && value !== null
        ? 'an object'
        : String(value)
  return `${text.slice(0, 80)} (${typeof value})`
}

function explained(error: unknown): string {
  return message(error) === 'potential precision loss'
    ? 'a long out of the range that a number holds exactly (±2⁵³)'
    : message(error)
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
