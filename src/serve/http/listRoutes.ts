// Lists: recommendations for a user or for a history that is not stored, what is popular, and similar items.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { Clock } from '../../core/clock.ts'
import type { FeatureFilter } from '../../index/itemFilter.ts'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import {
  recommendationsSchema,
  type SessionRecommendations,
  sessionRecommendationsSchema,
  similarItemsSchema
} from '../answers.ts'
import type { Attribution } from '../attribution/attribution.ts'
import type { ListContent, ListSource } from '../attribution/listId.ts'
import { type ListRequest, limitMax, noKnownItem, type Recommender } from '../recommender.ts'
import type { SessionEncoder } from '../sessions.ts'
import { pageOf } from './cursor.ts'
import { FilterCheck } from './filterCheck.ts'
import { bodyFilterSchema, filterOfBody, filterOfQuery, queryFilterSchema } from './filters.ts'
import { ProblemError } from './problem.ts'
import { addRoute } from './route.ts'
import { bodyIdSchema, eventTimeMs, eventTimeSchema, idSchema } from './validation.ts'
import { WorkLimit } from './workLimit.ts'

export interface ListParts {
  readonly recommender: Pick<
    Recommender,
    'recommend' | 'similar' | 'recommendFor' | 'popular' | 'features' | 'variants'
  >
  /** Without it, only stored users get a list. */
  readonly sessions?: SessionEncoder
  readonly metrics: Metrics
  readonly clock: Clock
  /** Gets what failed for one user of a batch and is a bug or a fault of the service. */
  readonly onListError?: (error: unknown) => void
}

/** What makes lists, for all routes. */
export interface ListMaking {
  readonly parts: ListParts
  readonly filters: FilterCheck
  readonly work: WorkLimit
  readonly attribution: Attribution
}

/** Steps of a history in a request: the longest window that can be configured. */
const historyStepsMax = 1000
const limitDefault = 10
/** Items that one request may exclude by id. */
const excludeMax = 1000
/** Event types of `repeatsAfter`. */
const repeatTypesMax = 16
/** Facts of a context: more than popularity can be counted by. */
const contextMax = 8

export const limitSchema = z.int().min(1).max(limitMax).default(limitDefault).describe('Maximum length of the list')

export const cursorSchema = z
  .string()
  .min(1)
  .max(8192)
  .describe('`next` of the page before, with the same parameters; absent: the first page')
  .exactOptional()

const listSchema = z.strictObject({
  limit: limitSchema,
  explain: z
    .boolean()
    .default(false)
    .describe('Name the items of the history that are nearest to each result, and those after which it is often taken'),
  memory: z
    .boolean()
    .describe('Whether what others took after the newest items of the history counts; default true')
    .exactOptional(),
  cursor: cursorSchema,
  filter: queryFilterSchema.exactOptional(),
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
    .describe(
      'Excluded besides the history, such as the items in the basket; in a query repeated, or separated by commas'
    )
    .exactOptional(),
  quota: z
    .number()
    .min(0)
    .max(1)
    .describe('Share of the list that is divided among the interests by strength')
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
  variant: z
    .string()
    .min(1)
    .max(32)
    .describe('With the options of this arm of `recommend.variants`, to try it: the list is not counted in attribution')
    .exactOptional(),
  repeats: z.boolean().describe('Whether items that the user has seen may be recommended again').exactOptional(),
  repeatsAfter: z
    .record(z.string(), z.int().min(0).max(1e15))
    .meta({
      title: 'milliseconds by event type, such as repeatsAfter.view=2592000000',
      maxProperties: repeatTypesMax,
      description:
        'By event type, after how many milliseconds seen items may be recommended again: `repeatsAfter.view=2592000000`, one parameter per type; items of other types never. In place of `repeats`'
    })
    .exactOptional()
})

const stepSchema = z.union([
  bodyIdSchema('An item'),
  z.strictObject({
    itemId: bodyIdSchema('An item'),
    eventTime: eventTimeSchema(
      'ISO 8601 with Z or an offset, or milliseconds since 1970; absent: a second before the next step'
    ).exactOptional()
  })
])

/** For whom the list is: either a history or a user. */
export const requestSchema = listSchema
  .extend({
    history: z
      .array(stepSchema)
      .min(1)
      .max(historyStepsMax)
      .describe('For a session that is not stored: its items, in any order')
      .exactOptional(),
    userId: bodyIdSchema('For a stored user').exactOptional(),
    filter: bodyFilterSchema.exactOptional()
  })
  .meta({ id: 'ListRequest' })

type BodyRequest = z.infer<typeof requestSchema>
type ListOptions = Omit<z.infer<typeof listSchema>, 'filter'>

/** A list as an answer has it, before it is paged and its filter is checked. */
interface List {
  readonly items: readonly { readonly itemId: string }[]
}

export function listMaking(parts: ListParts, attribution: Attribution): ListMaking {
  const filters = new FilterCheck({ index: parts.recommender.features, clock: parts.clock })
  return { parts, filters, work: new WorkLimit(parts.metrics), attribution }
}

export function addListRoutes(app: FastifyInstance, making: ListMaking): void {
  const { parts, filters, work } = making
  const { recommender } = parts
  const recommended = answered(making)
  addRoute(
    app,
    {
      ...{
        method: 'GET',
        url: '/v1/users/:id/recommendations',
        operationId: 'recommend',
        pathId: 'The user',
        entityTag: true
      },
      summary:
        'Recommendations for a user: the items nearest to each interest, merged, the history excluded; for an unknown user, popular items',
      query: listSchema,
      answer: recommendationsSchema
    },
    async ({ params, query: { filter, ...options } }) =>
      work.run(() =>
        pagedList(filters, { userId: params.id }, options, filterOfQuery(filter), async (request) =>
          recommended(await recommender.recommend({ ...request, userId: params.id }), request, params.id)
        )
      )
  )
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/popular', operationId: 'popular', entityTag: true },
      summary: 'What is popular now, in a context first where one is given',
      query: listSchema.pick({ limit: true, cursor: true, filter: true, exclude: true, context: true }),
      answer: sessionRecommendationsSchema
    },
    async ({ query: { filter, ...options } }) =>
      work.run(() =>
        pagedList(filters, 'popular', options, filterOfQuery(filter), async (request) =>
          recommended(await recommender.popular(request, 'this list is what is popular'), request)
        )
      )
  )
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/items/:id/similar', operationId: 'similar', pathId: 'The item', entityTag: true },
      summary: 'The items nearest to one',
      query: listSchema.pick({ limit: true, cursor: true, filter: true, exclude: true }),
      answer: similarItemsSchema,
      errors: { 404: 'The item is not in the index' }
    },
    async ({ params, query: { filter, ...options } }) =>
      work.run(() =>
        pagedList(filters, { itemId: params.id }, options, filterOfQuery(filter), async (request) => {
          const list = await recommender.similar({ ...request, itemId: params.id })
          if (list === undefined) throw itemMissing(params.id)
          return recommended(list, request, undefined, 'similar')
        })
      )
  )
  addRoute(
    app,
    {
      ...{ method: 'POST', url: '/v1/recommendations', operationId: 'recommendByBody' },
      summary:
        'Recommendations for a session that is not stored, by its history, or for a stored user, with the request as JSON',
      body: requestSchema,
      answer: sessionRecommendationsSchema
    },
    async ({ body }) => work.run(() => listByBody(body, making))
  )
}

/** The list of a request in a body. */
async function listByBody(body: BodyRequest, making: ListMaking): Promise<SessionRecommendations> {
  const { parts, filters } = making
  const { history, userId, filter, ...options } = body
  if ((history === undefined) === (userId === undefined))
    throw new ProblemError(400, 'give either history, the items of a session, or userId, a stored user')
  const recommended = answered(making)
  const subject = userId === undefined ? { history } : { userId: userId.trim() }
  return pagedList(filters, subject, options, filterOfBody(filter), async (request) => {
    if (history !== undefined) return recommended(await listForHistory(history, request, parts), request)
    const { userId: id, ...list } = await parts.recommender.recommend({ ...request, userId: userId!.trim() })
    return recommended(list, request, id)
  })
}

async function listForHistory(
  steps: readonly z.infer<typeof stepSchema>[],
  request: ListRequest,
  { recommender, sessions, clock }: ListParts
): Promise<SessionRecommendations> {
  if (sessions === undefined)
    throw new ProblemError(400, 'this service does not encode histories (`serve.sessions` is off): ask by userId')
  const history = steps
    .map((step, i) => {
      const { itemId, eventTime = null } = typeof step === 'string' ? { itemId: step } : step
      const assumedMs = clock.nowMs() - (steps.length - 1 - i) * 1000
      return { itemId: itemId.trim(), eventTimeMs: eventTime === null ? assumedMs : eventTimeMs(eventTime)! }
    })
    .sort((a, b) => a.eventTimeMs - b.eventTimeMs)
  const newestFirst = [...new Set(history.map(({ itemId }) => itemId).reverse())]
  const forHistory = { ...request, history: newestFirst }
  const encoded = await sessions.encode(history)
  return encoded === undefined
    ? recommender.popular(forHistory, noKnownItem)
    : recommender.recommendFor({ ...forHistory, ...encoded })
}

/**
 * Checks the filter, leaves out what earlier pages showed, and adds the cursor of the next page and warnings.
 *
 * @param subject for whom or what the list is
 * @throws ProblemError 400 for a cursor of another request, and for a field that no item has
 */
export async function pagedList<L extends List>(
  filters: FilterCheck,
  subject: unknown,
  { cursor, quota, repeatsAfter, ...options }: Partial<ListOptions> & Pick<ListOptions, 'limit'>,
  filter: FeatureFilter | undefined,
  make: (request: ListRequest & { readonly shown: ReadonlySet<number> }) => Promise<L>
): Promise<L & { next?: string; warnings?: readonly string[] }> {
  const { limit, explain: _, ...same } = options
  const page = pageOf(cursor, [subject, same, quota, repeatsAfter, filter], limit)
  if (options.repeats !== undefined && repeatsAfter !== undefined)
    throw new ProblemError(400, 'give either repeats or repeatsAfter, not both')
  const warnings = await filters.check(filter)
  const { diversity = 1, diversityBy = '' } = options
  if (diversity > 0 && diversityBy !== '') await filters.checkFields([diversityBy])
  const list = await make({
    ...options,
    ...{ shown: page.shown },
    ...(filter === undefined ? {} : { filter }),
    ...(quota === undefined ? {} : { quotaShare: quota }),
    ...(repeatsAfter === undefined ? {} : { repeats: repeatsAfter })
  })
  const ids = list.items.map(({ itemId }) => itemId)
  if (ids.length === 0 && warnings.length === 0 && filter !== undefined) warnings.push(await filters.whyEmpty(filter))
  const next = page.next(ids, limit)
  return {
    ...list,
    ...(next === undefined ? {} : { next }),
    ...(warnings.length === 0 ? {} : { warnings })
  }
}

/** Counts a list, and adds its `listId`. */
export function answered({ attribution }: Pick<ListMaking, 'attribution'>) {
  return <L extends Pick<ListContent, 'version' | 'items'> & Pick<SessionRecommendations, 'coldStart' | 'variant'>>(
    list: L,
    { shown, variant }: Pick<ListRequest, 'shown' | 'variant'>,
    userId?: string,
    source: ListSource = list.coldStart ?? 'vectors'
  ): L & { listId: string } => {
    const content = { ...list, source, userId, first: shown?.size ?? 0 }
    const counted = { ...content, variant: list.variant ?? (userId === undefined ? 'none' : 'default') }
    return { ...list, listId: attribution.answered(counted, variant === undefined) }
  }
}

export function itemMissing(itemId: string): ProblemError {
  return new ProblemError(
    404,
    `item ${JSON.stringify(itemId)} is not in the index: it is unknown, or not published yet`
  )
}
