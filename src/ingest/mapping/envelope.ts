// Envelopes of change data capture (Debezium): { before, after, op, source, ts_ms }, with Kafka Connect's { schema,
// payload } around them or not.

/**
 * What a record says of its row: `write` (created, read, updated), `delete`, or `other` (truncate, message). undefined:
 * it is no envelope.
 */
export function changeOf(value: unknown): 'write' | 'delete' | 'other' | undefined {
  const envelope = [value, fieldsOf(value)?.payload]
    .map(fieldsOf)
    .find((fields) => fields !== undefined && isEnvelope(fields))
  if (envelope === undefined) return undefined
  if (envelope.op === 'd') return 'delete'
  return envelope.op === 't' || envelope.op === 'm' ? 'other' : 'write'
}

const ops: readonly unknown[] = ['c', 'r', 'u', 'd', 't', 'm']

/** `op` alone is anybody's. */
function isEnvelope(fields: Readonly<Record<string, unknown>>): boolean {
  return (
    ops.includes(fields.op) && ['before', 'after', 'ts_ms'].filter((name) => Object.hasOwn(fields, name)).length >= 2
  )
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}
