// How Avro's longs become JavaScript values, without loss.
//
// A plain long (an offset) is a bigint. A long with a unit (`logicalType: timestamp-millis`, or our attribute `unit`)
// is a number, and one that a number cannot hold exactly is an error, never a rounded value.

import avro from 'avsc'

const longMin = -(2n ** 63n)
const longMax = 2n ** 63n - 1n

/** A bigint as Avro's zigzag varint: small values by number arithmetic, which is what offsets nearly always are. */
function toVarint(value: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(10)
  let i = 0
  let left = BigInt.asUintN(64, value < 0n ? ~(value << 1n) : value << 1n)
  while (left > 0x7fffffffn) {
    bytes[i++] = Number(left & 0x7fn) | 0x80
    left >>= 7n
  }
  let small = Number(left)
  while (small > 0x7f) {
    bytes[i++] = (small & 0x7f) | 0x80
    small >>>= 7
  }
  bytes[i++] = small
  return bytes.subarray(0, i)
}

function fromVarint(bytes: Buffer): bigint {
  const length = bytes.length
  if (length <= 4) {
    let small = 0
    for (let i = 0; i < length; i++) small |= (bytes[i]! & 0x7f) << (7 * i)
    return BigInt((small >>> 1) ^ -(small & 1))
  }
  if (length > 10) throw new RangeError('a long of more than 64 bits')
  let unsigned = 0n
  for (let i = length - 1; i >= 0; i--) unsigned = (unsigned << 7n) | BigInt(bytes[i]! & 0x7f)
  if (unsigned > 0xffffffffffffffffn) throw new RangeError('a long of more than 64 bits')
  return (unsigned & 1n) === 0n ? unsigned >> 1n : ~(unsigned >> 1n)
}

/** avsc gives and takes the varint bytes as they are (`noUnpack`). */
export const bigintType = avro.types.LongType.__with(
  {
    fromBuffer: fromVarint,
    toBuffer: toVarint,
    fromJSON: (value: number | string) => BigInt(value),
    // JSON has no bigint: text is what `Type.toString` prints of an offset.
    toJSON: (value: bigint) => String(value),
    isValid: (value: unknown) => typeof value === 'bigint' && value >= longMin && value <= longMax,
    compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0)
  },
  true
)

/** avsc's hook: called for every schema inside a schema. */
export function longHook(schema: unknown): avro.Type | undefined {
  if (schema === 'long') return bigintType
  if (typeof schema !== 'object' || schema === null || (schema as { type?: unknown }).type !== 'long') return undefined
  // Undefined leaves it to avsc, whose own long is a number and refuses what is not exact.
  return 'unit' in schema || 'logicalType' in schema ? undefined : bigintType
}

/** @throws if the schema is not valid Avro */
export function parseSchema(schemaJson: string): avro.Type {
  return avro.Type.forSchema(JSON.parse(schemaJson), { typeHook: longHook, omitRecordMethods: true })
}
