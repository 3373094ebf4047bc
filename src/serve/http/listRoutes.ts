// Lists: recommendations for a user or for a history that is not stored, and similar items.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { Clock } from '../../core/clock.ts'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import { recommendationsSchema, sessionRecommendationsSchema, similarItemsSchema } from '../answers.ts'
import { type ListRequest, limitMax, noKnownItem, type Recommender } from '../recommender.ts'
import type { SessionEncoder } from '../sessions.ts'
import { ProblemError } from './problem.ts'
import { addRoute } from './route.ts'
import { bodyIdSchema, eventTimeMs, eventTimeSchema, idSchema } from './validation.ts'

export interface ListParts {
  readonly recommender: Pick<Recommender, 'recommend' | 'similar' | 'recommendFor' | 'popular'>
  /** Without it, only stored users get a list. */
  readonly sessions?: SessionEncoder
  readonly metrics: Metrics
  readonly clock: Clock
}

/** Steps of a history in a request: the longest window that can be configured. */
const historyStepsMax = 1000
const limitDefault = 10
/** Items that one request may exclude by id: more than a basket holds. */
const excludeMax = 200
/** Facts of a context: more than popularity can be counted by. */
const contextMax = 8

export const limitSchema = z.int().min(1).max(limitMax).default(limitDefault).describe('Maximum length of the list')

const filterSchema = z
  .record(z.string(), z.string())
  .describe('Only items with these values: `filter.genre=Comedy`, one parameter per field')
  .exactOptional()

const listSchema = z.strictObject({
  limit: limitSchema,
  explain: z.boolean().default(false).describe('Name the items of the history that are nearest to each result'),
  filter: filterSchema,
  context: z
    .record(z.string(), z.string())
    .meta({
      maxProperties: contextMax,
      description:
        'Where nothing is known of the user, what is popular in this context comes first; the first field with enough interactions counts: `context.country=de`, one parameter per field'
    })
    .exactOptional(),
  exclude: z
    .array(idSchema('An item'))
    .max(excludeMax)
    .describe('Excluded besides the history, such as the items in the basket')
    .exactOptional(),
  quota: z
    .number()
    .min(0)
    .max(1)
    .describe('Share of the list that is divided evenly among the interests')
    .exactOptional(),
  diversity: z
    .number()
    .min(0)
    .max(1)
    .describe('How much an item must differ from those in the list already: 0 not at all, 1 nothing else counts')
    .exactOptional(),
  diversityBy: z
    .string()
    .max(256)
    .describe('A field of the features in which items are to differ; empty: their vectors')
    .exactOptional(),
  repeats: z.boolean().describe('Whether items of the history may be recommended again').exactOptional()
})

const historySchema = listSchema
  .extend({
    history: z
      .array(
        z.union([
          bodyIdSchema('An item'),
          z.strictObject({
            itemId: bodyIdSchema('An item'),
            eventTime: eventTimeSchema(
              'ISO 8601 with Z or an offset, or milliseconds since 1970; absent: a second before the next step'
            ).exactOptional()
          })
        ])
      )
      .min(1)
      .max(historyStepsMax)
  })
  .meta({ id: 'HistoryRequest' })

type ListQuery = z.infer<typeof listSchema>

export function addListRoutes(app: FastifyInstance, parts: ListParts): void {
  const { recommender, sessions, metrics } = parts
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/users/:id/recommendations', operationId: 'recommend', pathId: 'The user' },
      summary:
        'Recommendations for a user: the items nearest to each interest, merged, the history excluded; for an unknown user, popular items',
      query: listSchema,
      answer: recommendationsSchema
    },
    async ({ params, query }) => {
      const list = await recommender.recommend({ ...requestOf(query), userId: params.id })
      metrics.served.inc({ source: list.coldStart ?? 'vectors' })
      return list
    }
  )
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/items/:id/similar', operationId: 'similar', pathId: 'The item' },
      summary: 'The items nearest to one',
      query: listSchema.pick({ limit: true, filter: true }),
      answer: similarItemsSchema,
      errors: { 404: 'The item is not in the index' }
    },
    async ({ params, query }) => {
      const list = await recommender.similar({ ...query, itemId: params.id })
      if (list === undefined) throw itemMissing(params.id)
      metrics.served.inc({ source: 'similar' })
      return list
    }
  )
  if (sessions !== undefined) addSessionRoute(app, sessions, parts)
}

function addSessionRoute(
  app: FastifyInstance,
  sessions: SessionEncoder,
  { recommender, metrics, clock }: ListParts
): void {
  addRoute(
    app,
    {
      ...{ method: 'POST', url: '/v1/recommendations', operationId: 'recommendForHistory' },
      summary: 'Recommendations for a session that is not stored, by its history',
      body: historySchema,
      answer: sessionRecommendationsSchema
    },
    async ({ body }) => {
      const { history: steps, ...options } = body
      const history = steps
        .map((step, i) => {
          const { itemId, eventTime = null } = typeof step === 'string' ? { itemId: step } : step
          const assumedMs = clock.nowMs() - (steps.length - 1 - i) * 1000
          return { itemId: itemId.trim(), eventTimeMs: eventTime === null ? assumedMs : eventTimeMs(eventTime)! }
        })
        .sort((a, b) => a.eventTimeMs - b.eventTimeMs)
      const newestFirst = [...new Set(history.map(({ itemId }) => itemId).reverse())]
      const request = { ...requestOf(options), history: newestFirst }
      const encoded = await sessions.encode(history)
      const list =
        encoded === undefined
          ? await recommender.popular(request, noKnownItem)
          : await recommender.recommendFor({ ...request, ...encoded })
      metrics.served.inc({ source: list.coldStart ?? 'vectors' })
      return list
    }
  )
}

export function itemMissing(itemId: string): ProblemError {
  return new ProblemError(
    404,
    `item ${JSON.stringify(itemId)} is not in the index: it is unknown, or not published yet`
  )
}

function requestOf({ quota, ...rest }: ListQuery): ListRequest {
  return { ...rest, ...(quota === undefined ? {} : { quotaShare: quota }) }
}
