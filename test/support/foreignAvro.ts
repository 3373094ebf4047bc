// Writes records as other programs do: avsc with longs as bigints, whatever their logical type.

import avro from 'avsc'
import { bigintType } from '../../src/records/avro/avroSchema.ts'

export function foreignType(schemaJson: string): avro.Type {
  const typeHook = (schema: unknown) => {
    const long =
      schema === 'long' ||
      (typeof schema === 'object' && schema !== null && (schema as { type?: unknown }).type === 'long')
    return long ? bigintType : undefined
  }
  return avro.Type.forSchema(JSON.parse(schemaJson), { typeHook, omitRecordMethods: true })
}
