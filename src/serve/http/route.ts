// Routes by their schemas (zod), of which everything else is made: the validation of requests, the types of handlers,
// and the description of the service for machines (OpenAPI 3.1, by @fastify/swagger).

import swagger from '@fastify/swagger'
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema } from 'fastify'
import { z } from 'zod'
import { problemSchema, type Shape } from '../answers.ts'
import { neededRole } from './access.ts'
import { entityTagHeader, ifNoneMatch, tagAnswer } from './entityTag.ts'
import { idSchema, type JsonSchema } from './validation.ts'

/** A route whose answer is JSON. Errors that apply to every route of its kind are added to its description. */
interface RouteOptions<Query extends z.ZodType, Body extends z.ZodType, Answer extends z.ZodType> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly url: string
  readonly operationId: string
  readonly summary: string
  /** What `:id` of the path is. */
  readonly pathId?: string
  readonly query?: Query
  readonly body?: Body
  readonly answer: Answer
  /** Of the answer; default 200. */
  readonly status?: 200 | 202
  /** Status → meaning. */
  readonly errors?: Readonly<Record<number, string>>
  /** A GET answers 304 without a body where the client has this answer already (`ETag`, `If-None-Match`). */
  readonly entityTag?: boolean
  /** JSON Schema of headers that it reads. */
  readonly headers?: JsonSchema
  /** The handler gets `validationError` instead of the client. */
  readonly attachValidation?: boolean
}

type Handler<Query extends z.ZodType, Body extends z.ZodType, Answer extends z.ZodType> = (
  request: FastifyRequest<{ Params: { id: string }; Querystring: z.infer<Query>; Body: z.infer<Body> }>
) => Promise<Shape<Answer>>

/** Adds a route that is validated, described and typed by its schemas. */
export function addRoute<
  Answer extends z.ZodType,
  Query extends z.ZodType = z.ZodUnknown,
  Body extends z.ZodType = z.ZodUnknown
>(app: FastifyInstance, options: RouteOptions<Query, Body, Answer>, handler: Handler<Query, Body, Answer>): void {
  const { method, url, pathId, query, body, answer, status = 200, errors = {}, ...rest } = options
  const { attachValidation = false, entityTag = false, ...described } = rest
  const content = { 'application/json': { schema: sharedSchema(app, answer) } }
  const schema = {
    ...described,
    ...(entityTag ? { headers: ifNoneMatch } : {}),
    ...(pathId === undefined ? {} : { params: sharedSchema(app, z.object({ id: idSchema(pathId) })) }),
    ...(query === undefined ? {} : { querystring: sharedSchema(app, query) }),
    ...(body === undefined ? {} : { body: sharedSchema(app, body) }),
    response: {
      [status]: { description: options.summary, content, ...(entityTag ? { headers: entityTagHeader } : {}) },
      ...(entityTag
        ? { 304: { type: 'null', description: 'The client has this answer', headers: entityTagHeader } }
        : {}),
      ...mapped(errors, problem)
    }
  }
  app.route({
    ...{ method, url, schema, attachValidation },
    ...(entityTag ? { onSend: tagAnswer } : {}),
    handler: (request, reply) => {
      reply.code(status)
      return handler(request as never)
    }
  })
}

/** Adds a route whose answer is a text of one of these media types. */
export function addTextRoute(
  app: FastifyInstance,
  options: Pick<RouteOptions<never, never, never>, 'url' | 'operationId' | 'summary' | 'errors'>,
  mediaTypes: readonly string[],
  handler: (request: FastifyRequest<{ Params: Record<string, string> }>, reply: FastifyReply) => unknown
): void {
  const { url, errors = {}, ...rest } = options
  const content = Object.fromEntries(mediaTypes.map((type) => [type, { schema: { type: 'string' } }]))
  const response = { 200: { description: rest.summary, content }, ...mapped(errors, problem) }
  app.get(url, { schema: { ...rest, response } }, handler as never)
}

/** As JSON Schema. Schemas with an `id` in their metadata become components of the description, and references. */
function sharedSchema(app: FastifyInstance, type: z.ZodType): JsonSchema {
  const options = { target: 'draft-7', io: 'input' } as const
  // In a wrapper, because the schema itself can become a reference, too.
  const { definitions = {}, properties = {} } = z.toJSONSchema(z.object({ type }), options)
  const shared = (schema: unknown): JsonSchema =>
    JSON.parse(JSON.stringify(schema).replaceAll(/"#\/definitions\/(\w+)"/g, '"$1#"'))
  for (const [$id, schema] of Object.entries(definitions as object))
    if (app.getSchema($id) === undefined) app.addSchema({ ...shared(schema), $id })
  return shared(properties.type)
}

function mapped<T, U>(record: Readonly<Record<string, T>>, of: (value: T, key: string) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, of(value, key)]))
}

/** Must come before the routes. @param tokens whether requests need a token */
export function addDescription(app: FastifyInstance, { version, tokens }: { version: string; tokens: boolean }): void {
  const token = {
    type: 'http',
    scheme: 'bearer',
    description: 'Tokens have roles: `read` asks for lists, `events` posts events, `admin` may do everything'
  } as const
  sharedSchema(app, problemSchema)
  app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'MTMI Stream',
        version,
        description: 'Multi-interest recommendations that follow a clickstream.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' }
      },
      ...(tokens ? { components: { securitySchemes: { token } } } : {})
    },
    convertConstToEnum: false,
    refResolver: { buildLocalReference: ({ $id }, _uri, _fragment, i) => (typeof $id === 'string' ? $id : `def-${i}`) },
    transform: ({ schema, url, route }) => ({
      url,
      schema: schema?.hide === true ? schema : completed(schema ?? {}, { url, method: String(route.method), tokens })
    })
  })
}

export function addDescriptionRoute(app: FastifyInstance): void {
  let description: Readonly<Record<string, unknown>> | undefined
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/openapi.json', operationId: 'openApi', summary: 'This description' },
      answer: z.looseObject({})
    },
    async () => (description ??= { ...app.swagger() })
  )
}

interface Place {
  readonly url: string
  readonly method: string
  readonly tokens: boolean
}

/** With the role and the errors of its kind. */
function completed(schema: FastifySchema, place: Place): FastifySchema {
  const { querystring, response } = schema as { querystring?: JsonSchema; response?: Record<string, unknown> }
  const role = neededRole(place.url)
  return {
    ...schema,
    ...(querystring === undefined ? {} : { querystring: withParameterNames(querystring) }),
    ...(place.tokens && role !== undefined ? { security: [{ token: [role] }] } : {}),
    response: { ...mapped(errorsOf(schema, place), problem), ...response }
  }
}

function errorsOf(schema: FastifySchema, { url, method, tokens }: Place): Record<number, string> {
  const role = neededRole(url)
  const asks = url.includes(':') || schema.querystring !== undefined || schema.body !== undefined
  const otherOrigin = 'A web page of another origin sent this (`serve.corsOrigins`)'
  const forbidden = [
    ...(role !== undefined && tokens ? [`The token is not one for ${role}`] : []),
    ...(method === 'GET' ? [] : [otherOrigin])
  ]
  return {
    ...(asks ? { 400: 'What is wrong with the request' } : {}),
    ...(role !== undefined && tokens ? { 401: 'No token, or an unknown one' } : {}),
    ...(forbidden.length > 0 ? { 403: forbidden.join(', or ') } : {}),
    ...(schema.body === undefined
      ? {}
      : {
          408: 'The body did not arrive in time',
          413: 'The body is too large',
          415: 'The body is not JSON'
        }),
    ...(tokens ? {} : { 421: 'The host name is not localhost, 127.0.0.1 or [::1], and there are no tokens' }),
    431: 'Headers and address together take more than 16 KiB',
    500: 'An error of the service',
    ...(role === undefined
      ? {}
      : {
          429: 'Too many requests of this token (`serve.requestsPerSecond`)',
          503: 'Nothing is published yet, the index is away, or too many requests of this kind are being answered'
        })
  }
}

/** @param status of 429 and 503: with the time after which to try again */
function problem(description: string, status: string): JsonSchema {
  return {
    description,
    content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
    ...(['429', '503'].includes(status)
      ? { headers: { 'Retry-After': { type: 'integer', description: 'Seconds after which to try again' } } }
      : {})
  }
}

/** A facet is sent as one parameter for each field: `filter.genre=Comedy`. */
function withParameterNames(querystring: JsonSchema): JsonSchema {
  const properties = querystring.properties as Readonly<Record<string, JsonSchema>>
  const named = mapped(properties, (schema, name) =>
    schema.type === 'object' ? { ...schema, propertyNames: { pattern: `^${name}\\.` } } : schema
  )
  return { ...querystring, properties: named }
}
