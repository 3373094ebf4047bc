// Routes to inspect the state of the pipeline, users and items as they are in the index. The console uses them.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { Clock } from '../../core/clock.ts'
import { hashKey } from '../../core/hashKey.ts'
import { meets } from '../../index/itemFilter.ts'
import type { Filter, PopularItem, VectorIndex } from '../../index/vectorIndex.ts'
import { idBytesMax } from '../../records/admission.ts'
import type { UserId } from '../../records/interaction.ts'
import {
  type AnswerNumbers,
  itemProfileSchema,
  itemsSchema,
  type PipelineNumbers,
  statusSchema,
  type Users,
  userProfileSchema,
  usersSchema,
  type VersionNumbers,
  versionsSchema
} from '../answers.ts'
import { versionOf, wordsOf } from '../describedItems.ts'
import { Profiles } from '../profiles.ts'
import { pageOf } from './cursor.ts'
import { FilterCheck } from './filterCheck.ts'
import { filterOfQuery, queryFilterSchema } from './filters.ts'
import { itemMissing, pagedList } from './listRoutes.ts'
import { cursorSchema, limitSchema } from './listSchemas.ts'
import type { Readiness } from './probeRoutes.ts'
import { ProblemError } from './problem.ts'
import { addRoute } from './route.ts'

export interface LookupParts {
  readonly index: Pick<
    VectorIndex,
    'live' | 'search' | 'popular' | 'user' | 'item' | 'usersFrom' | 'itemsLike' | 'fields' | 'holdsAny'
  >
  /** What this process knows of the pipeline; absent: it only serves. */
  readonly numbers?: () => PipelineNumbers
  /** Versions of the model; absent: not known here. */
  readonly versions?: () => Promise<VersionNumbers>
  /** Users by their newest event, newest first; absent: not known here. */
  readonly newestUsers?: (limit: number) => readonly UserId[]
  /** Event types with a weight; the console sends clicks as the first one. */
  readonly eventTypes: readonly string[]
}

interface Surroundings {
  readonly readiness: () => Readiness
  readonly answers: () => AnswerNumbers
  readonly clock: Clock
  readonly version: string
}

const flag = (description: string) => z.boolean().default(false).describe(description)
const vectors = flag('With the vectors themselves')
const textSchema = (description: string) => z.string().max(idBytesMax).default('').describe(description)

export const usersQuery = z.strictObject({
  limit: limitSchema,
  cursor: cursorSchema,
  prefix: textSchema('Only ids with this prefix')
})
export const userQuery = z.strictObject({
  nearest: z.int().min(1).max(20).default(6).describe('Items shown for each interest'),
  map: flag('With the place of everything on the plane along which the interests differ most'),
  vectors
})
export const itemsQuery = z.strictObject({
  limit: limitSchema,
  cursor: cursorSchema,
  filter: queryFilterSchema.exactOptional(),
  text: textSchema('Only items whose id or title contains it, in any case')
})
export const itemQuery = z.strictObject({ vectors })

export function addLookupRoutes(app: FastifyInstance, parts: LookupParts, surroundings: Surroundings): void {
  const profiles = new Profiles(parts.index)
  addStatusRoutes(app, parts, surroundings)
  addUserRoutes(app, parts, profiles)
  addItemRoutes(app, parts.index, profiles, new FilterCheck({ index: parts.index, clock: surroundings.clock }))
}

function addStatusRoutes(
  app: FastifyInstance,
  { index, numbers, versions, eventTypes }: LookupParts,
  { readiness, answers, clock, version }: Surroundings
): void {
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/status', operationId: 'status' },
      summary: 'The state of the whole pipeline, as far as this process knows it',
      answer: statusSchema
    },
    async () => {
      const { ready, detail } = readiness()
      // An index that does not answer is part of the state, not a reason to hide the rest.
      const live = await index.live().catch(() => undefined)
      return {
        ...{ version, nowMs: clock.nowMs(), ready, detail, eventTypes },
        index: live ?? null,
        answers: answers(),
        ...numbers?.()
      }
    }
  )
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/versions', operationId: 'versions' },
      summary: 'The live model version, the rejected ones, and those that a rollback can return to',
      answer: versionsSchema
    },
    async () => {
      if (versions !== undefined) return versions()
      const live = await index.live()
      const none = { kept: [], gates: [], checkpoints: [], held: [] }
      return { live: live === undefined ? null : versionOf(live), ...none }
    }
  )
}

function addUserRoutes(app: FastifyInstance, { index, newestUsers }: LookupParts, profiles: Profiles): void {
  const listed = (userId: UserId, payload: { historyLength: number; newestMs: number }) => {
    const { historyLength, newestMs } = payload
    return { userId, historyLength, newestMs }
  }
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/users', operationId: 'users', entityTag: true },
      summary: 'Some users: by their newest event where that is known, otherwise by id',
      query: usersQuery,
      answer: usersSchema
    },
    async ({ query: { limit, prefix, cursor } }): Promise<Users> => {
      const page = pageOf(cursor, ['users', prefix], limit)
      const paged = (all: readonly Users['users'][number][], order: Users['order']): Users => {
        const users = all.filter(({ userId }) => !page.shown.has(hashKey(userId))).slice(0, limit)
        const next = page.next(
          users.map(({ userId }) => userId),
          limit
        )
        return { users, order, ...(next === undefined ? {} : { next }) }
      }
      const wanted = limit + page.shown.size
      const newest = prefix === '' ? (newestUsers?.(wanted) ?? []) : []
      const found = await Promise.all(newest.map(async (userId) => ({ userId, user: await index.user(userId) })))
      const users = found.flatMap(({ userId, user }) => (user === undefined ? [] : [listed(userId, user.payload)]))
      if (users.length > 0) return paged(users, 'newest')
      if (index.usersFrom !== undefined) {
        const byId = await index.usersFrom(prefix, wanted)
        return paged(
          byId.map(({ userId, payload }) => listed(userId, payload)),
          'id'
        )
      }
      // An index without such a list finds whole ids.
      const user = prefix === '' ? undefined : await index.user(prefix)
      return paged(user === undefined ? [] : [listed(prefix, user.payload)], 'id')
    }
  )
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/users/:id', operationId: 'user', pathId: 'The user' },
      summary: 'A user in the index: the history, and the interests by the items nearest to them',
      query: userQuery,
      answer: userProfileSchema,
      errors: { 404: 'There are no vectors of this user' }
    },
    async ({ params: { id }, query }) => {
      const profile = await profiles.user({ ...query, userId: id })
      if (profile !== undefined) return profile
      throw new ProblemError(404, `user ${JSON.stringify(id)} has no vectors: never seen, or not published yet`)
    }
  )
}

function addItemRoutes(
  app: FastifyInstance,
  index: LookupParts['index'],
  profiles: Profiles,
  filters: FilterCheck
): void {
  const listed = ({ itemId, payload }: Pick<PopularItem, 'itemId' | 'payload'>) => ({
    ...{ itemId, ...wordsOf(payload), count: payload.count }
  })
  const found = async (text: string, limit: number, filter: Filter) => {
    if (text === '') {
      const { items } = await index.popular(limit, filter)
      return items.map((item) => ({ ...listed(item), popularity: item.score }))
    }
    if (index.itemsLike !== undefined) return (await index.itemsLike(text, limit, filter)).map(listed)
    // An index without a list of titles finds whole ids.
    const item = await index.item(text)
    return item === undefined || !meets(item.payload.features, filter.features)
      ? []
      : [listed({ itemId: text, payload: item.payload })]
  }
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/items', operationId: 'items', entityTag: true },
      summary: 'The most popular items now, or those that match a text, by interactions',
      query: itemsQuery,
      answer: itemsSchema
    },
    async ({ query: { text, filter, ...options } }) =>
      pagedList(filters, ['items', text], options, filterOfQuery(filter), async ({ limit, filter, shown }) => {
        const all = await found(text, limit + shown.size, filter === undefined ? {} : { features: filter })
        return { items: all.filter(({ itemId }) => !shown.has(hashKey(itemId))).slice(0, limit) }
      })
  )
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/items/:id', operationId: 'item', summary: 'An item in the index' },
      pathId: 'The item',
      query: itemQuery,
      answer: itemProfileSchema,
      errors: { 404: 'The item is not in the index' }
    },
    async ({ params: { id }, query }) => {
      const profile = await profiles.item(id, query)
      if (profile === undefined) throw itemMissing(id)
      return profile
    }
  )
}
