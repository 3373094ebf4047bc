// Lists: recommendations for a user or for a history that is not stored, what is popular, and similar items.

import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import type { Clock } from '../../core/clock.ts'
import type { FeatureFilter } from '../../index/itemFilter.ts'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import type { ItemId } from '../../records/interaction.ts'
import {
  recommendationsSchema,
  type SessionRecommendations,
  sessionRecommendationsSchema,
  similarItemsSchema
} from '../answers.ts'
import type { Attribution } from '../attribution/attribution.ts'
import type { ListContent, ListSource } from '../attribution/listId.ts'
import type { ListRequest } from '../listRequest.ts'
import { type Rule, rulesOfRequest } from '../listRules.ts'
import { noKnownItem, type Recommender } from '../recommender.ts'
import type { SessionEncoder } from '../sessions.ts'
import { pageOf } from './cursor.ts'
import { FilterCheck } from './filterCheck.ts'
import { filterOfBody, filterOfQuery } from './filters.ts'
import {
  type BodyRequest,
  type ListOptions,
  listSchema,
  popularSchema,
  requestSchema,
  similarSchema,
  type stepSchema
} from './listSchemas.ts'
import { ProblemError } from './problem.ts'
import { addRoute } from './route.ts'
import { eventTimeMs } from './validation.ts'
import { WorkLimit } from './workLimit.ts'

export interface ListParts {
  readonly recommender: Pick<
    Recommender,
    'recommend' | 'similar' | 'recommendFor' | 'recommendTogether' | 'popular' | 'features' | 'variants'
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

/** A list as an answer has it, before it is paged and its filter is checked. */
interface List {
  readonly items: readonly { readonly itemId: string }[]
  readonly warnings?: readonly string[]
}

type PagedOptions = Partial<ListOptions & Pick<BodyRequest, 'negative' | 'rules'>> & Pick<ListOptions, 'limit'>

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
      query: popularSchema,
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
      query: similarSchema,
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
  const { history, userId, userIds, basket, filter, ...options } = body
  const isTogether = userIds !== undefined || basket !== undefined
  const stored = [...(userIds ?? []), ...(userId === undefined ? [] : [userId])].map((id) => id.trim())
  if ((history === undefined) === (stored.length === 0 && basket === undefined))
    throw new ProblemError(
      400,
      'give either history, the items of a session, or stored users as userId or userIds, a basket, or both'
    )
  const recommended = answered(making)
  const subject = history !== undefined ? { history } : isTogether ? { userIds: stored, basket } : { userId: stored[0] }
  return pagedList(filters, subject, options, filterOfBody(filter), async (request) => {
    if (history !== undefined) return recommended(await listForHistory(history, request, parts), request)
    if (isTogether) return recommended(await listTogether(stored, basket ?? [], request, parts), request)
    const { userId: id, ...list } = await parts.recommender.recommend({ ...request, userId: stored[0]! })
    return recommended(list, request, id)
  })
}

async function listTogether(
  userIds: readonly string[],
  posted: readonly string[],
  request: ListRequest,
  { recommender, sessions }: ListParts
): Promise<SessionRecommendations> {
  const basket = [...new Set(posted.map((itemId) => itemId.trim()))]
  // For the weight of its votes.
  const encoded =
    basket.length === 0 ? undefined : await sessions?.encode(basket.map((itemId) => ({ itemId, eventTimeMs: 0 })))
  const voting = encoded?.voting
  return recommender.recommendTogether({ ...request, userIds, basket, ...(voting === undefined ? {} : { voting }) })
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
  { cursor, quota, repeatsAfter, pin, rules: posted, ...options }: PagedOptions,
  filter: FeatureFilter | undefined,
  make: (request: ListRequest & { readonly shown: ReadonlySet<number> }) => Promise<L>
): Promise<L & { next?: string; warnings?: readonly string[] }> {
  const { limit, explain: _, ...same } = options
  const page = pageOf(cursor, [subject, same, quota, repeatsAfter, filter, pin, posted], limit)
  if (options.repeats !== undefined && repeatsAfter !== undefined)
    throw new ProblemError(400, 'give either repeats or repeatsAfter, not both')
  const rules = [
    ...rulesOfRequest(posted),
    ...(pin === undefined ? [] : [{ name: 'pin', items: pin, pin: 1, repeats: false }])
  ]
  const warnings = await filters.check(filter)
  for (const { name, features } of rules)
    warnings.push(...(await filters.check(features)).map((text) => `${name}: ${text}`))
  const { diversity = 1, diversityBy = '' } = options
  if (diversity > 0 && diversityBy !== '') await filters.checkFields([diversityBy])
  const list = await make({
    ...options,
    ...{ shown: page.shown },
    ...(filter === undefined ? {} : { filter }),
    ...(quota === undefined ? {} : { quotaShare: quota }),
    ...(repeatsAfter === undefined ? {} : { repeats: repeatsAfter }),
    ...(rules.length === 0 ? {} : { rules })
  })
  const ids = list.items.map(({ itemId }) => itemId)
  if (ids.length === 0 && warnings.length === 0 && filter !== undefined) warnings.push(await filters.whyEmpty(filter))
  if (cursor === undefined) warnings.push(...missingPins(rules, ids, limit))
  warnings.push(...(list.warnings ?? []))
  const next = page.next(ids, limit)
  return {
    ...list,
    ...(next === undefined ? {} : { next }),
    ...(warnings.length === 0 ? {} : { warnings })
  }
}

/** Of the items that were pinned to a place of the page, those that are not in the list. */
function missingPins(rules: readonly Rule[], ids: readonly ItemId[], limit: number): string[] {
  return rules.flatMap(({ name, items = [], pin }) =>
    pin === undefined
      ? []
      : items
          .slice(0, Math.max(0, limit - pin + 1))
          .filter((itemId) => !ids.includes(itemId))
          .map(
            (itemId) =>
              `${name}: ${JSON.stringify(itemId)} is not in the list: there is no such item, or it is not available now, seen, hidden, or left out by a filter`
          )
  )
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
