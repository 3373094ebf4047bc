// The description of the service for machines: OpenAPI 3.1, made by @fastify/swagger from the schemas of the routes.
// What applies to every route of a kind (errors, tokens) is added here.

import swagger from '@fastify/swagger'
import type { FastifyInstance, FastifySchema } from 'fastify'
import { z } from 'zod'
import { problemSchema } from '../answers.ts'
import { neededRole } from './access.ts'
import { idSchema, type JsonSchema, jsonSchema } from './validation.ts'

/** What a route says of itself. Its errors need no mention where `description.ts` adds them. */
export interface RouteDescription {
  readonly operationId: string
  readonly summary: string
  /** What `:id` of the path is. */
  readonly pathId?: string
  readonly querystring?: z.ZodObject
  readonly body?: JsonSchema
  /** Status → what it means and holds: a schema, or the media types of a text. */
  readonly answers: Readonly<Record<number, Answer>>
  /** Status → when. */
  readonly errors?: Readonly<Record<number, string>>
}

type Answer = readonly [description: string, content: JsonSchema | readonly string[]]

/** A reference to a schema of the description, which is added when it is first referred to. */
export function component(app: FastifyInstance, $id: string, type: z.ZodType): JsonSchema {
  if (app.getSchema($id) === undefined) app.addSchema({ $id, ...jsonSchema(type) })
  return { $ref: `${$id}#` }
}

/** The schemas of a route, as fastify takes them. */
export function routeSchema(description: RouteDescription): FastifySchema {
  const { pathId, querystring, body, answers, errors = {}, ...rest } = description
  const contentOf = (content: Answer[1]) =>
    Array.isArray(content)
      ? Object.fromEntries((content as readonly string[]).map((type) => [type, { schema: { type: 'string' } }]))
      : { 'application/json': { schema: content } }
  return {
    ...rest,
    ...(pathId === undefined ? {} : { params: jsonSchema(z.object({ id: idSchema(`${pathId}, percent-encoded`) })) }),
    ...(querystring === undefined ? {} : { querystring: jsonSchema(querystring) }),
    ...(body === undefined ? {} : { body }),
    response: {
      ...mapped(answers, ([meaning, content]) => ({ description: meaning, content: contentOf(content) })),
      ...mapped(errors, problem)
    }
  }
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
  app.addSchema({ $id: 'Problem', ...jsonSchema(problemSchema) })
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
  let text: string | undefined
  const schema = routeSchema({
    ...{ operationId: 'openApi', summary: 'This description' },
    answers: { 200: ['OpenAPI 3.1', { type: 'object' }] }
  })
  app.get('/openapi.json', { schema }, async (_request, reply) => {
    text ??= JSON.stringify(app.swagger())
    return reply.type('application/json').send(text)
  })
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
      : { 503: 'Nothing is published yet, the index is away, or too many requests of this kind are being answered' })
  }
}

/** @param status of 503: with the time after which to try again */
function problem(description: string, status: string): JsonSchema {
  return {
    description,
    content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
    ...(Number(status) === 503
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
