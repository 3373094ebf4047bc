// Our four records as Avro in the Confluent wire format: byte 0, schema id (big-endian int32), Avro body. The same
// bytes in Kafka and in the local log. Why not avsc: docs/decisions/0036.

import { existsSync, readFileSync } from 'node:fs'
import { endianness } from 'node:os'
import { fileURLToPath } from 'node:url'
import { BadEventError } from '../../core/errors.ts'
import { admit } from '../admission.ts'
import type { CatalogueItem } from '../catalogueItem.ts'
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
import { avroReader, type ReadAvro } from './avroReader.ts'
import { checkReads } from './avroSchema.ts'
import { AvroWriter } from './avroWriter.ts'
import { interactionForm, itemForm, modelUpdateForm, type RecordForm, userSequenceForm } from './recordForms.ts'

interface Codec<T> {
  /** @throws BadEventError for a value that the schema cannot hold */
  encode(value: T): Uint8Array
  /**
   * Reads a record of today's or any compatible schema, and checks it (`admission.ts`).
   *
   * @throws BadEventError with what is wrong
   */
  decode(bytes: Uint8Array): T
}

export interface Codecs {
  readonly interaction: Codec<Interaction>
  readonly item: Codec<CatalogueItem>
  readonly userSequence: Codec<UserSequence>
  readonly modelUpdate: Codec<ModelUpdate>
}

/** Topics by record, as configured: a schema's subject is `<topic>-value`. */
interface SchemaTopics {
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
 * Registers today's schemas and returns codecs that write them, and read them and every earlier one.
 *
 * `decode` is synchronous. With a registry across a network, call `loadSchemas` on each batch before; the embedded
 * registry needs nothing.
 *
 * @throws ConfigError if a schema cannot read its subject's earlier records; UnavailableError if the registry does not
 *   answer
 */
export async function createCodecs(registry: SchemaRegistry, topics: SchemaTopics = defaultTopics): Promise<Codecs> {
  const codec = async <T>(name: SchemaName, topic: string, form: RecordForm<T>): Promise<Codec<T>> => {
    const schema = schemaText(name)
    return new AvroCodec(name, schema, await registry.idFor(`${topic}-value`, schema), registry, form)
  }
  // One after another: ids are then the same on every fresh machine.
  return {
    interaction: await codec('interaction', topics.interactions, interactionForm),
    item: await codec('item', topics.items, itemForm),
    userSequence: await codec('user-sequence', topics.userSequences, userSequenceForm),
    modelUpdate: await codec('model-update', topics.modelUpdates, modelUpdateForm)
  }
}

export type SchemaName = 'interaction' | 'item' | 'user-sequence' | 'model-update'

/** Today's schema as one line of JSON. */
export function schemaText(name: SchemaName): string {
  // `schemas/` is at the package's root, which is three folders up from the sources and four from the build.
  const candidates = ['../../../schemas/', '../../../../schemas/'].map((up) =>
    fileURLToPath(new URL(`${up}${name}.avsc`, import.meta.url))
  )
  const path = candidates.find((candidate) => existsSync(candidate))
  if (path === undefined) throw new Error(`no ${name}.avsc in ${candidates.join(' or ')}: the package is incomplete`)
  return JSON.stringify(JSON.parse(readFileSync(path, 'utf8')))
}

/** One record is written at a time, synchronously. */
const writer = new AvroWriter()

class AvroCodec<T> implements Codec<T> {
  readonly #name: SchemaName
  readonly #schema: string
  readonly #id: number
  readonly #header = Buffer.alloc(headerBytes)
  readonly #registry: SchemaRegistry
  readonly #form: RecordForm<T>
  /** By the writer's schema id. */
  readonly #readers = new Map<number, ReadAvro>()

  constructor(name: SchemaName, schema: string, id: number, registry: SchemaRegistry, form: RecordForm<T>) {
    if (endianness() !== 'LE')
      throw new Error('vectors travel as little-endian float32, which this big-endian machine would misread')
    this.#name = name
    this.#schema = schema
    this.#header[0] = magicByte
    this.#header.writeInt32BE(id, 1)
    this.#id = id
    this.#registry = registry
    this.#form = form
  }

  encode(value: T): Uint8Array {
    writer.start()
    writer.raw(this.#header)
    try {
      this.#form.write(writer, value)
    } catch (error) {
      // The writer knows the wrong value, but not its field.
      throw new BadEventError(`cannot write ${this.#name}: ${this.#form.problem(value) ?? message(error)}`, {
        cause: error
      })
    }
    return writer.copy()
  }

  decode(bytes: Uint8Array): T {
    const id = schemaIdOf(bytes)
    if (id === undefined) {
      throw new BadEventError(
        bytes.length < headerBytes
          ? `cannot read ${this.#name}: truncated, ${bytes.length} bytes are less than the ${headerBytes} of the header`
          : `cannot read ${this.#name}: the first byte is ${bytes[0]} instead of the magic byte 0, so it was not written through a schema registry`
      )
    }
    const read = this.#readers.get(id) ?? this.#reader(id)
    let value: T
    try {
      value = this.#form.fromAvro(read(bytes, headerBytes))
    } catch (error) {
      throw new BadEventError(`cannot read ${this.#name} (schema id ${id}): ${message(error)}`, { cause: error })
    }
    admit(this.#form.problem(value))
    return value
  }

  #reader(id: number): ReadAvro {
    const schema = id === this.#id ? this.#schema : this.#registry.cached(id)
    if (schema === undefined) throw new UnknownSchemaIdError(id)
    try {
      if (id !== this.#id) checkReads(this.#schema, schema)
      const read = avroReader(JSON.parse(schema), { today: JSON.parse(this.#schema) })
      this.#readers.set(id, read)
      return read
    } catch (error) {
      throw new BadEventError(
        `cannot read ${this.#name}: schema id ${id} is incompatible with today's schema: ${message(error)}`,
        { cause: error }
      )
    }
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
