// The service described for machines: OpenAPI 3.1. A test checks that it and the routes tell the same.

import { neededRole } from './access.ts'
import { consolePaths, consoleSchemas } from './consoleOpenapi.ts'
import { contextMax, eventsMax, excludeMax, historyStepsMax, limitDefault } from './httpServiceInput.ts'
import {
  accountShape,
  body,
  id,
  type Json,
  json,
  list,
  object,
  optional,
  problem,
  ref,
  retry,
  text
} from './openapiParts.ts'

export interface Described {
  readonly limitMax: number
  /** Whether sessions that are not stored can be answered. */
  readonly historyRoute: boolean
  /** Whether bearer tokens are asked for. */
  readonly tokens?: boolean
  /** Whether users and items can be looked at. */
  readonly lookups?: boolean
  /** Whether there is a page at `/`. */
  readonly console?: boolean
  readonly version: string
}

export function openApi(described: Described): Json {
  return described.tokens === true ? secured(pageOf(described)) : pageOf(described)
}

/** With the token that each route asks for. */
function secured(page: Page): Json {
  const paths = Object.entries(page.paths).map(([path, methods]) => {
    const role = neededRole(path.replaceAll('{id}', ':id'))
    if (role === undefined) return [path, methods] as const
    const denied = {
      '401': problem('No token, or one that is not known'),
      '403': problem(
        `The token is not one for ${role}, or a web page of another origin sent this (\`serve.corsOrigins\`)`
      )
    }
    const locked = Object.entries(methods).map(([method, operation]) => [
      method,
      { ...operation, security: [{ token: [role] }], responses: { ...(operation.responses as Json), ...denied } }
    ])
    return [path, Object.fromEntries(locked) as Json] as const
  })
  const description = 'Tokens have roles: `read` asks for lists, `events` posts events, `admin` may do everything'
  const securitySchemes = { token: { type: 'http', scheme: 'bearer', description } }
  return { ...page, paths: Object.fromEntries(paths), components: { ...page.components, securitySchemes } }
}

interface Page extends Json {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Json>>>>
  readonly components: Json
}

function pageOf({
  limitMax,
  historyRoute,
  lookups = false,
  console = false,
  tokens = false,
  version
}: Described): Page {
  const limit = {
    ...{ name: 'limit', in: 'query', description: 'Longest list wanted' },
    schema: { type: 'integer', minimum: 1, maximum: limitMax, default: Math.min(limitDefault, limitMax) }
  }
  const filter = {
    name: 'filter',
    in: 'query',
    description: 'Only items that have these values: `filter.genre=Comedy`, one parameter per field',
    schema: { type: 'object', propertyNames: { pattern: '^filter\\.' }, additionalProperties: text() },
    style: 'form',
    explode: true
  }
  const context = {
    name: 'context',
    in: 'query',
    description: `${contextWords}: \`context.country=de\`, one parameter per field`,
    schema: {
      type: 'object',
      propertyNames: { pattern: '^context\\.' },
      additionalProperties: text(),
      maxProperties: contextMax
    },
    style: 'form',
    explode: true
  }
  const path = (description: string) => ({
    name: 'id',
    in: 'path',
    required: true,
    description,
    schema: id('Percent-encoded in the path')
  })
  const failed = {
    ...(tokens
      ? {}
      : { '421': problem('The host name is not localhost, 127.0.0.1 or [::1], and there are no tokens') }),
    '431': problem('Headers and address together take more than 16 KiB'),
    '500': problem('Our fault')
  }
  const common = {
    ...failed,
    '400': problem('What is wrong with the request'),
    '503': retry('Nothing published yet, the index is away, or too many requests of this kind are being answered')
  }
  const otherOrigin = { '403': problem('Sent by a web page of another origin (`serve.corsOrigins`)') }
  const posted = {
    ...common,
    ...otherOrigin,
    '408': problem('The body did not arrive in time'),
    '413': problem('The body is too large'),
    '415': problem('The body is not JSON')
  }
  const lookupPaths = consolePaths({ lookups, console, limit, common, failed })
  const erasing = {
    delete: {
      operationId: 'erase',
      summary:
        'Erases a user: durable before the answer; histories, vectors and examples follow as their stages come to it',
      parameters: [path('The user')],
      responses: { '202': json('The user will be erased', ref('Erased')), ...common, ...otherOrigin }
    }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'MTMI Stream',
      version,
      description: 'Multi-interest recommendations that follow a clickstream.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' }
    },
    paths: {
      '/v1/users/{id}/recommendations': {
        get: {
          operationId: 'recommend',
          summary:
            'What to show a user: the items nearest to each interest, merged, the history excluded; what is popular to one never seen',
          parameters: [
            path('The user'),
            limit,
            filter,
            context,
            ...Object.entries(listWishes).map(([name, schema]) => ({ name, in: 'query', schema }))
          ],
          responses: { '200': json('The list', ref('Recommendations')), ...common }
        }
      },
      '/v1/items/{id}/similar': {
        get: {
          operationId: 'similar',
          summary: 'The items nearest to one',
          parameters: [path('The item'), limit, filter],
          responses: {
            '200': json('The list', ref('SimilarItems')),
            ...common,
            '404': problem('The item is not in the index')
          }
        }
      },
      '/v1/events': {
        post: {
          operationId: 'postEvents',
          summary: 'Takes interactions in: all of them, or none. They are durable before the answer',
          requestBody: body({ oneOf: [ref('Event'), list(ref('Event'), { minItems: 1, maxItems: eventsMax })] }),
          responses: { '202': json('Durable; learning and serving follow', ref('Accepted')), ...posted }
        }
      },
      ...(historyRoute
        ? {
            '/v1/recommendations': {
              post: {
                operationId: 'recommendForHistory',
                summary: 'What to show a session that is not stored, by its history',
                requestBody: body(ref('HistoryRequest')),
                responses: { '200': json('The list', ref('SessionRecommendations')), ...posted }
              }
            }
          }
        : {}),
      ...lookupPaths,
      '/v1/users/{id}': { ...(lookupPaths['/v1/users/{id}'] as Json | undefined), ...erasing },
      '/livez': {
        get: {
          operationId: 'live',
          summary: 'Whether the process runs',
          responses: { '200': json('It runs', ref('Live')), ...failed }
        }
      },
      '/readyz': {
        get: {
          operationId: 'ready',
          summary: 'Whether answers are fresh: fails when work waits without progress',
          responses: { '200': json('Ready', ref('Ready')), ...failed, '503': retry('Not ready, and why') }
        }
      },
      '/metrics': {
        get: {
          operationId: 'metrics',
          summary: 'Prometheus',
          responses: { '200': { description: 'Text format', content: { 'text/plain': { schema: text() } } }, ...failed }
        }
      },
      '/openapi.json': {
        get: {
          operationId: 'openApi',
          summary: 'This page',
          responses: { '200': json('OpenAPI 3.1', { type: 'object' }), ...failed }
        }
      }
    },
    components: { schemas: { ...schemas(limitMax, historyRoute), ...consoleSchemas(lookups) } }
  }
}

const contextWords =
  'Of who asks. Where nothing else is known, what is popular there comes first; the first that says anything counts'

/** What can be said of a list, in a query and in a body. */
const listWishes: Json = {
  explain: {
    type: 'boolean',
    default: false,
    description: 'Name the items of the history that are nearest to each result'
  },
  exclude: list(id('An item'), {
    maxItems: excludeMax,
    description: 'Left out besides the history: what is in the basket already'
  }),
  quota: {
    type: 'number',
    minimum: 0,
    maximum: 1,
    description: 'Share of the list that is divided evenly among the interests'
  },
  diversity: {
    ...{ type: 'number', minimum: 0, maximum: 1 },
    description: 'How much an item must differ from those in the list already: 0 not at all, 1 nothing else counts'
  },
  diversityBy: text('A field of the features in which items are to differ; empty: their vectors'),
  repeats: { type: 'boolean', default: false, description: 'Whether items of the history may come again' }
}

function schemas(limitMax: number, historyRoute: boolean): Json {
  const time = {
    description: 'ISO 8601 with Z or an offset, or milliseconds since 1970',
    oneOf: [
      { type: 'string', format: 'date-time' },
      { type: 'integer', minimum: 0 }
    ]
  }
  const listFields = {
    version: text('`indexVersion@step` of the vectors that answered'),
    items: list(ref('RecommendedItem')),
    coldStart: {
      const: 'popular',
      description: 'The list is not personal: it is of what is popular now, older interactions faded'
    },
    why: text('Why it is not personal'),
    popularIn: text('`country=de`: the first items are those popular within this context of the request'),
    vectorsAgeMs: { type: 'number', minimum: 0, description: "Age of the user's vectors" }
  }
  return {
    RecommendedItem: object(
      {
        itemId: text(),
        score: {
          type: 'number',
          description:
            'What the list is sorted by: of the cosines to the user’s interests the soft maximum τ ln mean e^(cosine/τ), or the greatest (model.score); of a popular item its faded interactions as a share of those of the most popular one'
        },
        interest: { type: ['integer', 'null'], minimum: 0, description: '0-based tower that found it; null: popular' },
        title: text(),
        about: text('Some of its features'),
        because: list(text(), { description: 'Items of the history that are nearest to it, nearest first' })
      },
      ['itemId', 'score', 'interest']
    ),
    Recommendations: object({ userId: text(), ...listFields }, ['userId', 'version', 'items']),
    SimilarItems: object(
      {
        itemId: text(),
        version: text('`indexVersion@step` of the vectors that answered'),
        items: list(
          object(
            {
              itemId: text(),
              score: { type: 'number', minimum: -1.001, maximum: 1.001 },
              title: text(),
              about: text()
            },
            ['itemId', 'score']
          )
        )
      },
      ['itemId', 'version', 'items']
    ),
    Event: object(
      {
        userId: id('Who'),
        itemId: id('What'),
        type: id('click, view, purchase …: which ones count is configuration'),
        eventTime: optional({ ...time, description: `${time.description}; absent: now` }),
        eventId: optional(id('Unique per event, so that sending it again does no harm; absent: one is made')),
        value: optional({ type: 'number', description: 'A rating, a price, seconds watched' }),
        context: optional({ type: 'object', additionalProperties: text() })
      },
      ['userId', 'itemId', 'type']
    ),
    Accepted: object(
      {
        accepted: { type: 'integer', minimum: 1 },
        eventIds: list(text(), { description: 'In the order of the request' })
      },
      ['accepted', 'eventIds']
    ),
    ...(historyRoute
      ? {
          SessionRecommendations: object(listFields, ['version', 'items']),
          HistoryRequest: object(
            {
              history: list(
                { oneOf: [id('An item'), object({ itemId: id('An item'), eventTime: optional(time) }, ['itemId'])] },
                { minItems: 1, maxItems: historyStepsMax }
              ),
              limit: { type: 'integer', minimum: 1, maximum: limitMax },
              filter: { type: 'object', additionalProperties: text() },
              context: {
                type: 'object',
                additionalProperties: text(),
                maxProperties: contextMax,
                description: contextWords
              },
              ...listWishes
            },
            ['history']
          )
        }
      : {}),
    Erased: object({ userId: text() }, ['userId']),
    Live: object({ live: { const: true } }, ['live']),
    Ready: object({ ready: { const: true }, detail: text(), accounts: list(accountShape()) }, ['ready', 'detail']),
    Problem: object(
      {
        type: text('Names the kind; stable'),
        title: text(),
        status: { type: 'integer' },
        detail: text('What was wrong this time'),
        instance: text('Path of the request'),
        problems: list(text(), { description: 'Everything that was wrong' }),
        requestId: text('Finds the log line')
      },
      ['type', 'title', 'status', 'detail'],
      'RFC 9457'
    )
  }
}
