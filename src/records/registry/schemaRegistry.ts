// Which schema a record was written with: ids in the records, schemas in a registry (Confluent's, or the embedded one).

import { BadEventError } from '../../core/errors.ts'

export interface SchemaRegistry {
  /**
   * The id of a schema under a subject (`<topic>-value`), registering it if need be. The same schema has the same id
   * under every subject.
   * @throws ConfigError if the schema could not read records of the subject's earlier schemas; UnavailableError if the
   *   registry does not answer
   */
  idFor(subject: string, schemaJson: string): Promise<number>
  /** @throws UnknownSchemaIdError if the registry has no such id; UnavailableError if it does not answer */
  schemaOf(id: number): Promise<string>
  /**
   * What is known of `id` without waiting: whatever `idFor` or `schemaOf` has seen. undefined: `schemaOf` may know
   * more.
   */
  cached(id: number): string | undefined
  /** Whether a cached id is that of a JSON Schema: its records are JSON. */
  isJson?(id: number): boolean
  /** Why `schemaOf` lately found no usable schema of this id. */
  whyUnknown?(id: number): UnknownSchemaIdError | undefined
  /** Ends waiting for a registry that does not answer: what waits then fails with UnavailableError. */
  close?(): void
}

/**
 * A record names a schema that is not known here. After `loadSchemas` it means that the registry does not know it
 * either.
 */
export class UnknownSchemaIdError extends BadEventError {
  readonly schemaId: number
  constructor(
    schemaId: number,
    message = `no schema with id ${schemaId} in the registry: the record was written with another registry, or is not a record of ours`
  ) {
    super(message)
    this.schemaId = schemaId
  }
}

/** First byte of the Confluent wire format; the schema id follows as a big-endian int32, then the Avro body. */
export const magicByte = 0
export const headerBytes = 5

/** The schema id of a record's value, or undefined where the value is too short or not in the wire format. */
export function schemaIdOf(value: Uint8Array): number | undefined {
  if (value.length < headerBytes || value[0] !== magicByte) return undefined
  return (value[1]! << 24) | (value[2]! << 16) | (value[3]! << 8) | value[4]!
}

/**
 * Call it on each batch before decoding, which is synchronous: afterwards every schema that the registry has is cached.
 * Costs a comparison per record where nothing is new. Ids that the registry does not know are left for `decode` to
 * refuse, record by record.
 *
 * @param idOf where a record has its schema id; by default in the first bytes of its value
 * @throws UnavailableError if the registry does not answer
 */
export async function loadSchemas<R extends { readonly value: Uint8Array | null }>(
  registry: SchemaRegistry,
  records: Iterable<R>,
  idOf: (record: R) => number | undefined = ({ value }) => (value === null ? undefined : schemaIdOf(value))
): Promise<void> {
  const seen = new Set<number>()
  let last = -1
  for (const record of records) {
    const id = idOf(record)
    if (id === undefined || id === last) continue
    last = id
    if (seen.has(id)) continue
    seen.add(id)
    if (registry.cached(id) !== undefined) continue
    try {
      await registry.schemaOf(id)
    } catch (error) {
      if (!(error instanceof UnknownSchemaIdError)) throw error
    }
  }
}
