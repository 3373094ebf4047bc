// Avro schemas as avsc's types: which schemas are valid, and which are compatible.

import avro from 'avsc'

const longMin = -(2n ** 63n)
const longMax = 2n ** 63n - 1n

/** A long as a bigint, in all of its 64 bits. */
export const bigintType = avro.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer(value: bigint) {
    const bytes = Buffer.allocUnsafe(8)
    bytes.writeBigInt64LE(value)
    return bytes
  },
  fromJSON: (value: number | string) => BigInt(value),
  toJSON: (value: bigint) => String(value),
  isValid: (value: unknown) => typeof value === 'bigint' && value >= longMin && value <= longMax,
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0)
})

/**
 * A plain long (an offset) is a bigint. A long with a unit (`logicalType: timestamp-millis`, or our attribute `unit`)
 * is avsc's own: a number, refused where that is not exact.
 */
function longHook(schema: unknown): avro.Type | undefined {
  if (schema === 'long') return bigintType
  if (typeof schema !== 'object' || schema === null || (schema as { type?: unknown }).type !== 'long') return undefined
  return 'unit' in schema || 'logicalType' in schema ? undefined : bigintType
}

/** @param schemaJson may have named types of an attribute `references`, see `avroReader` @throws if it is not valid */
export function parseSchema(schemaJson: string): avro.Type {
  const schema = JSON.parse(schemaJson) as avro.Schema & { references?: avro.Schema[]; type: avro.Schema }
  const options = { typeHook: longHook, omitRecordMethods: true, registry: {} }
  if (schema.references === undefined) return avro.Type.forSchema(schema, options)
  for (const reference of schema.references) avro.Type.forSchema(reference, options)
  return avro.Type.forSchema(schema.type, options)
}

/** @throws if records of the writer's schema cannot be read by the reader's */
export function checkReads(readerJson: string, writerJson: string): void {
  parseSchema(readerJson).createResolver(parseSchema(writerJson))
}
