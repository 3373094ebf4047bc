// Requests checked by ajv against the schemas of the routes. Every problem names the place, the value, and what is
// expected there.

import { parse } from 'node:querystring'
import { Ajv, type ErrorObject } from 'ajv'
import type { FastifySchemaCompiler } from 'fastify'
import { z } from 'zod'
import { own, setOwn } from '../../core/own.ts'
import { idBytesMax, idProblem } from '../../records/admission.ts'
import { ProblemError, shown } from './problem.ts'

export type JsonSchema = Readonly<Record<string, unknown>>

/** Problems named in one answer: more are one mistake, repeated. */
const problemsMax = 100

/**
 * Facets of a query string: `filter.genre=Comedy` is `{ filter: { genre: 'Comedy' } }`, as in a JSON body. A parameter
 * that is given several times is a list.
 */
const facets = ['filter', 'context', 'repeatsAfter'] as const

/** Parameters that take ids, repeated or separated by commas: `exclude=a,b` is a, b, and the item `a,b`. */
const idLists: ReadonlySet<string> = new Set(['exclude', 'pin'])

export function parseQuery(text: string): Record<string, unknown> {
  const query: Record<string, unknown> = {}
  const fields: Record<(typeof facets)[number], Record<string, unknown>> = { filter: {}, context: {}, repeatsAfter: {} }
  for (const [name, value] of Object.entries(parse(text, '&', '=', { maxKeys: 0 }))) {
    const facet = facets.find((one) => name.startsWith(`${one}.`) && name.length > one.length + 1)
    if (facet === undefined) setOwn(query, name, idLists.has(name) ? idsOf([value].flat() as string[]) : value)
    else setOwn(fields[facet], name.slice(facet.length + 1), value)
  }
  for (const facet of facets)
    if (Object.keys(fields[facet]).length > 0 && !Object.hasOwn(query, facet)) query[facet] = fields[facet]
  return query
}

/** Whole numbers of an object of texts; the rest as it is. */
function numbersOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, text]) => [key, /^\d{1,15}$/.test(String(text)) ? Number(text) : text])
  )
}

function idsOf(texts: readonly string[]): string[] {
  const whole = texts.filter((text) => text.includes(',') && Buffer.byteLength(text) <= idBytesMax)
  return [...texts.flatMap((text) => text.split(',')), ...whole]
}

/** Texts of a query string become what the schema says. What cannot is left, for validation to name it. */
function convertQuery(query: Record<string, unknown>, schema: JsonSchema): void {
  const properties = schema.properties as Readonly<Record<string, JsonSchema>>
  for (const [name, value] of Object.entries(query)) {
    const type = own(properties, name)?.type
    if (name === 'repeatsAfter') setOwn(query, name, numbersOf(value))
    else if (type === 'array') setOwn(query, name, [value].flat())
    else if (typeof value !== 'string') continue
    else if (type === 'boolean' && ['true', '1', ''].includes(value)) setOwn(query, name, true)
    else if (type === 'boolean' && ['false', '0'].includes(value)) setOwn(query, name, false)
    else if (type === 'integer' && /^\d{1,9}$/.test(value)) setOwn(query, name, Number(value))
    else if (type === 'number' && /^\d*\.?\d+$/.test(value)) setOwn(query, name, Number(value))
  }
}

export const idSchema = (description: string) => z.string().min(1).max(idBytesMax).meta({ description, format: 'id' })

/** An id in a body, to be trimmed: white space around it does not count, as where `ingest` reads ids. */
export const bodyIdSchema = (description: string) => idSchema(description).meta({ description, format: 'body-id' })

/** Read by `eventTimeMs`. */
export const eventTimeSchema = (description: string) =>
  z
    .union([
      z.string().meta({ format: 'date-time' }),
      z.int().min(0).meta({ title: 'whole milliseconds since 1970' }),
      z.null()
    ])
    .describe(description)

const formats = {
  id: { type: 'string', validate: (text: string) => idProblem('', text) === undefined },
  'body-id': { type: 'string', validate: (text: string) => idProblem('', text.trim()) === undefined },
  'date-time': { type: 'string', validate: (text: string) => eventTimeMs(text) !== undefined }
} as const

/** @param shared schemas that others refer to, by `$id` */
export function createValidatorCompiler(
  shared: Readonly<Record<string, JsonSchema>>
): FastifySchemaCompiler<JsonSchema> {
  const options = {
    ...{ verbose: true, useDefaults: true, formats, schemas: Object.values(shared) },
    // The schemas are ours: checking and optimizing them would triple the time that a start takes.
    ...{ strict: false, meta: false, validateSchema: false, code: { optimize: false } }
  }
  // All errors are collected only for a request of bounded size: in a list that is too long each could be wrong.
  const first = new Ajv(options)
  const all = new Ajv({ ...options, allErrors: true })
  return ({ schema, httpPart = 'body' }) => {
    const check = first.compile(schema)
    return (value: unknown) => {
      if (httpPart === 'querystring') convertQuery(value as Record<string, unknown>, schema)
      if (check(value)) return { value }
      const tooMany = check.errors?.filter(({ keyword }) => keyword === 'maxItems') ?? []
      if (tooMany.length === 0) all.validate(schema, value)
      const errors = tooMany.length > 0 ? tooMany : all.errors
      return { error: invalid([...new Set(relevant(errors ?? []).map((error) => problemText(error, httpPart)))]) }
    }
  }
}

/** @param problems at least one */
export function invalid(problems: readonly string[]): ProblemError {
  const detail = problems.length === 1 ? problems[0]! : `${problems.length} problems; the first: ${problems[0]!}`
  return new ProblemError(400, detail, { problems: problems.slice(0, problemsMax) })
}

/**
 * Without errors of alternatives that were not meant: of an object or a list, the errors of the alternative of its
 * type; of any other value, one error that names all alternatives.
 */
function relevant(errors: readonly ErrorObject[]): ErrorObject[] {
  const choices = errors.filter(({ keyword }) => keyword === 'anyOf')
  return errors.filter((error) =>
    choices.every((choice) => {
      const at = choice.instancePath
      if (error.instancePath !== at && !error.instancePath.startsWith(`${at}/`)) return true
      const chosen = errors.some(
        ({ instancePath, keyword }) =>
          instancePath.startsWith(`${at}/`) ||
          (instancePath === at && typeof choice.data === 'object' && keyword !== 'type' && keyword !== 'anyOf')
      )
      return chosen ? error.instancePath !== at || !['type', 'anyOf'].includes(error.keyword) : error === choice
    })
  )
}

function problemText({ instancePath, keyword, params, parentSchema = {}, data }: ErrorObject, part: string): string {
  const place = placeOf(instancePath)
  const known = (parentSchema as JsonSchema).properties as Readonly<Record<string, JsonSchema>>
  if (keyword === 'additionalProperties') {
    const [kind, names] =
      part === 'querystring' ? ['parameter', Object.keys(known).map(parameterName)] : ['field', Object.keys(known)]
    const where = place === '' ? '' : `${place}: `
    return `${where}there is no ${kind} ${shown(params.additionalProperty)}; known are ${names.join(', ') || 'none'}`
  }
  if (keyword === 'required') {
    const field: string = params.missingProperty
    return `${place === '' ? field : `${place}.${field}`} must be ${expected(own(known, field)!)}, got nothing`
  }
  const name = part === 'params' ? 'the id in the path' : place === '' ? 'the body' : place
  if (Array.isArray(data) && part === 'querystring' && (parentSchema as JsonSchema).type !== 'array')
    return `${name} is given more than once; give it once`
  if (isIdSchema(parentSchema as JsonSchema) && typeof data === 'string' && data !== '')
    return idProblem(name, data.trim()) ?? idProblem(name, data) ?? `${name} is too long`
  const got = ['maxItems', 'minItems'].includes(keyword) ? (data as unknown[]).length : shown(data)
  return `${name} must be ${expected(parentSchema)}, got ${got}`
}

function isIdSchema({ format }: JsonSchema): boolean {
  return format === 'id' || format === 'body-id'
}

/** `/0/context/a~1b` → `[0].context.a/b` */
function placeOf(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part, depth) => (/^\d+$/.test(part) ? `[${part}]` : depth === 0 ? part : `.${part}`))
    .join('')
}

function parameterName(name: string): string {
  return facets.some((facet) => facet === name) ? `${name}.<field>` : name
}

/** What a schema allows, in words: completes "must be …". */
function expected(schema: JsonSchema): string {
  const { title, type, anyOf, $ref, minLength = 0, maxLength, minItems = 0, maxItems, maxProperties } = schema
  if (typeof $ref === 'string') return `${/^[AEIOU]/.test($ref) ? 'an' : 'a'} ${$ref.slice(0, -1)}`
  if (typeof title === 'string') return title
  if (Array.isArray(anyOf)) return either(anyOf as JsonSchema[])
  if (Array.isArray(type)) return either(type.map((one: string) => ({ ...schema, type: one })))
  if (schema.enum !== undefined) return (schema.enum as string[]).join(' or ')
  if (schema.format === 'date-time') return 'ISO 8601 with Z or an offset'
  if (type === 'integer') return `a whole number${range(schema)}`
  if (type === 'number') return `a number${range(schema)}`
  if (type === 'boolean') return 'true or false'
  if (type === 'string') {
    if (maxLength !== undefined && !isIdSchema(schema)) return `text of ${minLength}…${maxLength} characters`
    return minLength === 0 ? 'text' : 'text that is not empty'
  }
  if (type === 'array')
    return maxItems === undefined
      ? 'a list'
      : `a list of ${minItems}…${maxItems} elements, each ${expected(schema.items as JsonSchema)}`
  if (type === 'object' && typeof schema.additionalProperties === 'object')
    return `an object of${maxProperties === undefined ? '' : ` at most ${maxProperties}`} texts`
  if (type === 'object') {
    const { required = [] } = schema as { required?: readonly string[] }
    return required.length === 0 ? 'an object' : `an object with ${required.join(', ')}`
  }
  return String(type)
}

function either(schemas: readonly JsonSchema[]): string {
  return schemas
    .map(expected)
    .join(', ')
    .replace(/, ([^,]*)$/, ' or $1')
}

function range({ minimum, maximum }: JsonSchema): string {
  if (maximum === undefined || maximum === Number.MAX_SAFE_INTEGER)
    return minimum === undefined || minimum === Number.MIN_SAFE_INTEGER ? '' : ` from ${minimum} on`
  return ` of ${minimum}…${maximum}`
}

/**
 * Whole milliseconds, or ISO 8601 with a zone: a time without one would mean another moment on another machine.
 * undefined: neither.
 */
export function eventTimeMs(time: string | number): number | undefined {
  if (typeof time === 'number') return time
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)$/.test(time)) return undefined
  const timeMs = Math.floor(Date.parse(time.replace(',', '.').replace(/([+-]\d\d)(\d\d)$/, '$1:$2')))
  return timeMs >= 0 ? timeMs : undefined
}
