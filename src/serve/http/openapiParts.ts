// The words that the description of the service is written in: short for what OpenAPI 3.1 and JSON Schema say at
// length.

import { readers } from '../../core/account.ts'
import { idBytesMax } from '../../records/admission.ts'

export type Json = Readonly<Record<string, unknown>>

export const text = (description?: string): Json => ({
  type: 'string',
  ...(description === undefined ? {} : { description })
})
export const id = (description: string): Json => ({ type: 'string', minLength: 1, maxLength: idBytesMax, description })
export const object = (properties: Json, required: readonly string[], description?: string): Json => ({
  ...{ type: 'object', properties, required, additionalProperties: false },
  ...(description === undefined ? {} : { description })
})
export const list = (items: Json, bounds: Json = {}): Json => ({ type: 'array', items, ...bounds })
export const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` })
export const json = (description: string, schema: Json): Json => ({
  description,
  content: { 'application/json': { schema } }
})
export const problem = (description: string): Json => ({
  description,
  content: { 'application/problem+json': { schema: ref('Problem') } }
})
export const retry = (description: string): Json => ({
  ...problem(description),
  headers: { 'Retry-After': { description: 'Seconds after which to try again', schema: { type: 'integer' } } }
})
export const body = (schema: Json): Json => ({ required: true, content: { 'application/json': { schema } } })
/** A field that may be absent, as null too. */
export const optional = (schema: Json): Json =>
  schema.oneOf === undefined
    ? { ...schema, type: [schema.type, 'null'].flat() }
    : { ...schema, oneOf: [...(schema.oneOf as Json[]), { type: 'null' }] }

/** @param more properties */
export const accountShape = (more: Json = {}): Json =>
  object(
    {
      reader: { type: 'string', enum: Object.keys(readers) },
      read: { type: 'integer', minimum: 0 },
      outcomes: { type: 'object', additionalProperties: { type: 'integer', minimum: 0 } },
      waiting: { type: 'integer', minimum: 0, description: 'Read, and without an outcome yet' },
      ...more
    },
    ['reader', 'read', 'outcomes', 'waiting', ...Object.keys(more)],
    'What became of every record that a stage read: `read` is the sum of the outcomes and of what waits'
  )
