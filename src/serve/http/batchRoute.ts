// Lists for many users in one request.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { mapConcurrently } from '../../core/promises.ts'
import { idProblem } from '../../records/admission.ts'
import { named, problemSchema, recommendationsSchema, type Shape } from '../answers.ts'
import { filterOfBody } from './filters.ts'
import { answered, type ListMaking, pagedList } from './listRoutes.ts'
import { requestSchema } from './listSchemas.ts'
import { ProblemError, problemBody, problemOf } from './problem.ts'
import { addRoute } from './route.ts'

/** Users in one request. */
const usersMax = 100
/** Lists of a request that are made at a time: further ones would delay the lists of other requests. */
const batchLists = 4

export const batchSchema = requestSchema
  .omit({ userId: true, userIds: true, basket: true, history: true, cursor: true })
  .extend({ userIds: z.array(z.string()).min(1).max(usersMax).describe('Stored users') })
  .meta({ id: 'BatchRequest' })

const failureSchema = named('FailedList', { userId: z.string(), error: problemSchema })
export const listsSchema = named('BatchOfLists', {
  lists: z
    .array(z.union([recommendationsSchema, failureSchema]))
    .describe('In the order of the request. `next` of a list is a `cursor` of `POST /v1/recommendations`')
})

type BatchList = Shape<typeof listsSchema>['lists'][number]

export function addBatchRoute(app: FastifyInstance, making: ListMaking): void {
  const { parts, filters, work } = making
  const { recommender, onListError } = parts
  const recommended = answered(making)
  addRoute(
    app,
    {
      ...{ method: 'POST', url: '/v1/recommendations/batch', operationId: 'recommendBatch' },
      summary: 'Recommendations for many users: for each its list, or why there is none',
      body: batchSchema,
      answer: listsSchema
    },
    async ({ body: { userIds, filter: posted, ...options } }) =>
      work.run(async () => {
        const filter = filterOfBody(posted)
        let unavailable: ProblemError | undefined
        const listOf = async (text: string): Promise<BatchList> => {
          const userId = text.trim()
          const failed = (error: ProblemError) => ({ userId: text, error: problemBody(error) })
          const problem = idProblem('userId', userId)
          if (problem !== undefined) return failed(new ProblemError(400, problem))
          // Without an index for one user, there is none for the next: each would wait until its time is up.
          if (unavailable !== undefined) return failed(unavailable)
          try {
            return await pagedList(filters, { userId }, options, filter, async (request) =>
              recommended(await recommender.recommend({ ...request, userId }), request, userId)
            )
          } catch (error) {
            const answer = problemOf(error)
            if (answer.error.status === 400) throw answer.error // the same for every user
            if (answer.error.status === 503) unavailable = answer.error
            if (answer.internal) onListError?.(error)
            return failed(answer.error)
          }
        }
        const lists = await mapConcurrently(userIds, batchLists, listOf)
        if (unavailable !== undefined && lists.every((list) => 'error' in list && list.error.status === 503))
          throw unavailable
        return { lists }
      }, batchLists)
  )
}
