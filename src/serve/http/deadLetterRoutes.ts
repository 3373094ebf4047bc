// Records that could not be used: by reason, one of them, and their replay.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { named, type Shape } from '../answers.ts'
import { ProblemError } from './problem.ts'
import { addRoute } from './route.ts'

const count = (description: string) => z.int().min(0).describe(description)
const topicSchema = z.string().min(1).max(300).describe('The dead-letter topic, as `GET /v1/dead-letters` names it')
const reasonSchema = z
  .string()
  .min(1)
  .max(1000)
  .describe('Only records of this reason, as the list names it')
  .exactOptional()

export const deadLetterQuery = z.strictObject({ topic: topicSchema.exactOptional(), reason: reasonSchema })
export const replaySchema = z.strictObject({ topic: topicSchema, reason: reasonSchema }).meta({ id: 'ReplayRequest' })

const bytesSchema = z
  .strictObject({
    bytes: count('All of them'),
    hex: z.string().describe('The first 2,048'),
    text: z.string().describe('The same as text; absent where they are not UTF-8').exactOptional()
  })
  .nullable()

const deadLetterSchema = named('DeadLetter', {
  ...{ partition: count('Of the dead-letter record'), offset: z.string() },
  writtenMs: z.number().describe('When it was dead-lettered, milliseconds since 1970'),
  stage: z.string(),
  source: z
    .strictObject({ topic: z.string(), partition: count('Of the topic'), offset: z.string() })
    .describe('Where the record was read'),
  ...{ exception: z.string(), message: z.string() },
  replayed: z.boolean(),
  ...{ key: bytesSchema, value: bytesSchema },
  now: z.string().describe('What the record would become with the present configuration')
})

export const deadLettersSchema = named('DeadLetters', {
  topics: z.array(
    z.strictObject({
      topic: z.string(),
      deadLetters: count('Dead-letter records'),
      records: count('Records that they are of: several stages may have dead-lettered one'),
      replayed: count('Dead-letter records that were replayed'),
      reasons: z.array(
        z.strictObject({
          stage: z.string().describe('That could not use the record'),
          reason: z.string().describe('Without what differs from record to record'),
          deadLetters: count('Dead-letter records of this reason')
        })
      )
    })
  ),
  newest: deadLetterSchema
    .describe('With `topic`: its newest dead-letter record, of the reason; absent: there is none')
    .exactOptional()
})

export const replayedSchema = named('Replayed', { replayed: count('Records that were appended to their topic again') })

export type ShownDeadLetter = Shape<typeof deadLetterSchema>

export interface DeadLetterParts {
  list(): Promise<Shape<typeof deadLettersSchema>['topics']>
  /** The newest of a topic, of this reason where one is given. @throws BadEventError for an unknown topic */
  newest(topic: string, reason: string | undefined): Promise<ShownDeadLetter | undefined>
  /**
   * Appends the records that were not replayed yet to the topic that they came from. @returns how many
   * @throws BadEventError for a topic whose records cannot be replayed
   */
  replay(topic: string, reason: string | undefined): Promise<number>
}

export function addDeadLetterRoutes(app: FastifyInstance, deadLetters: DeadLetterParts): void {
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/dead-letters', operationId: 'deadLetters' },
      summary: 'Records that could not be used, by topic and reason, and one of them; reads all of them',
      query: deadLetterQuery,
      answer: deadLettersSchema
    },
    async ({ query: { topic, reason } }) => {
      if (topic === undefined && reason !== undefined) throw new ProblemError(400, 'reason needs a topic')
      const newest = topic === undefined ? undefined : await deadLetters.newest(topic, reason)
      return { topics: await deadLetters.list(), ...(newest === undefined ? {} : { newest }) }
    }
  )
  addRoute(
    app,
    {
      ...{ method: 'POST', url: '/v1/dead-letters', operationId: 'replayDeadLetters' },
      summary: 'Appends dead-letter records to the topic that they came from, each once',
      body: replaySchema,
      answer: replayedSchema
    },
    async ({ body: { topic, reason } }) => ({ replayed: await deadLetters.replay(topic, reason) })
  )
}
