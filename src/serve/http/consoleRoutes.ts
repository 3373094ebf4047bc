// Routes for those who look: the state of the flow, users and items as they are in the index, and the console's page.

import type { FastifyInstance } from 'fastify'
import type { Clock } from '../../core/clock.ts'
import type { PopularItem, VectorIndex } from '../../index/vectorIndex.ts'
import type { ItemId, UserId } from '../../records/interaction.ts'
import { Profiles } from '../profiles.ts'
import { wordsOf } from '../recommender.ts'
import { type ConsoleFiles, consoleHeaders } from './consoleFiles.ts'
import type { AnswerCount, PipelineNumbers, ServiceStatus } from './consoleStatus.ts'
import type { VersionNumbers } from './consoleVersions.ts'
import { limitDefault, pathId, plainQuery } from './httpServiceInput.ts'
import { ProblemError } from './problem.ts'
import type { Readiness } from './readiness.ts'

export interface LookupParts {
  readonly index: Pick<VectorIndex, 'live' | 'search' | 'popular' | 'user' | 'item' | 'usersFrom' | 'itemsLike'>
  /** What this process knows of the pipeline; absent: it only serves. */
  readonly numbers?: () => PipelineNumbers
  /** Versions of the model; absent: not known here. */
  readonly versions?: () => Promise<VersionNumbers>
  /** Users who acted last, newest first; absent: not known here. */
  readonly newestUsers?: (limit: number) => readonly UserId[]
  /** Event types that count, the one that a click on the page is sent as first. */
  readonly eventTypes: readonly string[]
}

interface Surroundings {
  readonly readiness: () => Readiness
  readonly answers: AnswerCount
  readonly clock: Clock
  readonly limitMax: number
  readonly version: string
}

export interface UserListed {
  readonly userId: UserId
  readonly historyLength: number
  /** Event time of the newest step, milliseconds since the Unix epoch. */
  readonly newestMs: number
}

export interface ItemListed {
  readonly itemId: ItemId
  readonly title?: string
  readonly about?: string
  /** Interactions seen by the trainer. */
  readonly count: number
  /** Faded interactions as a share of those of the most popular item: what the list without a text is sorted by. */
  readonly popularity?: number
}

/** Items shown for each interest, if not asked for otherwise; and at most. */
const nearestDefault = 6
const nearestMax = 20

export function addLookupRoutes(
  app: FastifyInstance,
  { index, numbers, versions, newestUsers, eventTypes }: LookupParts,
  { readiness, answers, clock, limitMax, version }: Surroundings
): void {
  const profiles = new Profiles({ index, clock })

  app.get('/v1/status', async (): Promise<ServiceStatus> => {
    const { ready, detail } = readiness()
    // An index that is away is told of, not a reason to tell nothing.
    const live = await index.live().catch(() => undefined)
    return {
      version,
      nowMs: clock.nowMs(),
      ready,
      detail,
      index: live ?? null,
      answers: answers.numbers(),
      eventTypes,
      ...numbers?.()
    }
  })

  app.get('/v1/versions', async (): Promise<VersionNumbers> => {
    if (versions !== undefined) return versions()
    const live = await index.live()
    return {
      live: live === undefined ? null : `${live.indexVersion}@${live.step}`,
      kept: [],
      gates: [],
      checkpoints: [],
      held: []
    }
  })

  app.get('/v1/users', async ({ query }): Promise<{ users: readonly UserListed[]; order: 'newest' | 'id' }> => {
    const { limit, prefix } = plainQuery(query, {
      texts: ['prefix'],
      numbers: { limit: { default: limitDefault, max: limitMax } }
    })
    const newest = prefix === '' ? (newestUsers?.(limit) ?? []) : []
    const found = await Promise.all(newest.map(async (userId) => ({ userId, user: await index.user(userId) })))
    const users: UserListed[] = found.flatMap(({ userId, user }) =>
      user === undefined ? [] : [listed(userId, user.payload)]
    )
    if (users.length > 0) return { users, order: 'newest' }
    if (index.usersFrom === undefined) {
      // An index without such a list knows whole ids.
      const user = prefix === '' ? undefined : await index.user(prefix)
      return { users: user === undefined ? [] : [listed(prefix, user.payload)], order: 'id' }
    }
    const byId = await index.usersFrom(prefix, limit)
    return { users: byId.map(({ userId, payload }) => listed(userId, payload)), order: 'id' }
  })

  app.get<{ Params: { id: string } }>('/v1/users/:id', async ({ params, query }) => {
    const { nearest, map, vectors } = plainQuery(query, {
      flags: ['map', 'vectors'],
      numbers: { nearest: { default: nearestDefault, max: nearestMax } }
    })
    const userId = pathId(params.id)
    const profile = await profiles.user({ userId, nearest, map, vectors })
    if (profile !== undefined) return profile
    throw new ProblemError(404, `user ${JSON.stringify(userId)} has no vectors: never seen, or not published yet`)
  })

  app.get('/v1/items', async ({ query }) => {
    const { limit, text } = plainQuery(query, {
      texts: ['text'],
      numbers: { limit: { default: limitDefault, max: limitMax } }
    })
    const listed = ({ itemId, payload }: Pick<PopularItem, 'itemId' | 'payload'>): ItemListed => ({
      ...{ itemId, ...wordsOf(payload), count: payload.count }
    })
    if (text !== '') return { items: (await itemsLike(index, text, limit)).map(listed) }
    const { items } = await index.popular(limit)
    return { items: items.map((item): ItemListed => ({ ...listed(item), popularity: item.score })) }
  })

  app.get<{ Params: { id: string } }>('/v1/items/:id', async ({ params, query }) => {
    const { vectors } = plainQuery(query, { flags: ['vectors'] })
    const itemId = pathId(params.id)
    const profile = await profiles.item(itemId, { vectors })
    if (profile !== undefined) return profile
    throw new ProblemError(
      404,
      `item ${JSON.stringify(itemId)} is not in the index: it is unknown, or not published yet`
    )
  })
}

/** Where the index has no list of titles: the item with just this id. */
async function itemsLike(
  index: Pick<VectorIndex, 'item' | 'itemsLike'>,
  text: string,
  limit: number
): Promise<readonly Pick<PopularItem, 'itemId' | 'payload'>[]> {
  if (index.itemsLike !== undefined) return index.itemsLike(text, limit)
  const item = await index.item(text)
  return item === undefined ? [] : [{ itemId: text, payload: item.payload }]
}

export function addConsoleRoutes(app: FastifyInstance, files: ConsoleFiles): void {
  app.get('/', async (_request, reply) => {
    const { type, body } = files.get('index.html')!
    return reply.headers(consoleHeaders).type(type).send(body)
  })

  app.get<{ Params: { file: string } }>('/console/:file', async ({ params }, reply) => {
    const file = files.get(params.file)
    if (file === undefined)
      throw new ProblemError(404, `the console has no file ${JSON.stringify(params.file.slice(0, 80))}`)
    return reply.headers(consoleHeaders).type(file.type).send(file.body)
  })
}

function listed(userId: UserId, { historyLength, newestMs }: { historyLength: number; newestMs: number }): UserListed {
  return { userId, historyLength, newestMs }
}
