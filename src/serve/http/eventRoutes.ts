// Events in, and requests to erase a user: both are durable before the answer.

import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { Account, type AccountNumbers, type Outcome } from '../../core/account.ts'
import type { Clock } from '../../core/clock.ts'
import { AccountMeter } from '../../monitor/accountMetrics.ts'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import { futureProblem, interactionProblem } from '../../records/admission.ts'
import type { Interaction, UserId } from '../../records/interaction.ts'
import { named } from '../answers.ts'
import { ProblemError } from './problem.ts'
import { addRoute } from './route.ts'
import { bodyIdSchema, eventTimeMs, eventTimeSchema, invalid } from './validation.ts'

export interface EventParts {
  /**
   * Resolves when the interactions are durable. `traceparent`: the request's header, as it came. @throws
   * UnavailableError if they cannot be made so now
   */
  readonly accept: (interactions: readonly Interaction[], traceparent: string | undefined) => Promise<void>
  /** Resolves when the request to erase the user is durable. @throws UnavailableError if that is not possible now */
  readonly erase: (userId: UserId) => Promise<void>
  readonly clock: Clock
  /** Time of an event that has none: the clock of the stream, where a recorded one is replayed. Default: `clock`. */
  readonly eventClock?: Clock
  readonly newEventId?: () => string
  /** `events.futureMaxMs`: an event further ahead is rejected here, where its producer sees it. */
  readonly futureMaxMs?: number
}

/** Events in one request: with 200 bytes each a fifth of the default body limit. */
const eventsMax = 1000

export const eventSchema = named('Event', {
  userId: bodyIdSchema('The user'),
  itemId: bodyIdSchema('The item'),
  type: bodyIdSchema(
    'click, view, purchase …: configuration says which ones count. `dislike` and `hide` take the item out of the user’s lists, `unhide` back in'
  ),
  eventTime: eventTimeSchema('ISO 8601 with Z or an offset, or milliseconds since 1970; absent: now').exactOptional(),
  eventId: bodyIdSchema('Unique per event, so that it can be sent again; absent: one is generated').nullish(),
  value: z.number().nullish().describe('A rating, a price, seconds watched; of `hide` the days that it lasts'),
  context: z.record(z.string(), z.string()).nullish().describe('Facts such as device and country'),
  listId: bodyIdSchema('`listId` of the list that the item was chosen from').nullish()
})
type PostedEvent = z.infer<typeof eventSchema>

/** The same key and place in a request give the same event id, and what repeats an id is dropped. */
const idempotencyKey = {
  type: 'object',
  properties: {
    'idempotency-key': {
      type: 'string',
      pattern: '^[!-~]{1,255}$',
      title: '1…255 printable ASCII characters without blanks',
      description:
        'Unique per request, such as a UUID; sent again with the same events, none of them counts twice. For events without an `eventId`'
    }
  }
}

export const acceptedSchema = named('Accepted', {
  accepted: z.int().min(1),
  eventIds: z.array(z.string()).describe('In the order of the request')
})

export function addEventRoutes(app: FastifyInstance, parts: EventParts, account: PostedAccount): void {
  addRoute(
    app,
    {
      ...{ method: 'POST', url: '/v1/events', operationId: 'postEvents', status: 202, attachValidation: true },
      summary: 'Accepts interactions, all of them or none: durable before the answer, training and serving follow',
      body: z.union([eventSchema, z.array(eventSchema).min(1).max(eventsMax)]),
      answer: acceptedSchema,
      headers: idempotencyKey
    },
    async ({ body, headers, validationError }) => {
      const count = Array.isArray(body) ? body.length : 1
      account.read(count)
      let outcome: Outcome<'serve'> = 'refused'
      try {
        if (validationError !== undefined) throw validationError
        const key = headers['idempotency-key']
        const interactions = interactionsOf(body, parts, typeof key === 'string' ? key : undefined)
        outcome = 'failed'
        await parts.accept(interactions, typeof headers.traceparent === 'string' ? headers.traceparent : undefined)
        outcome = 'accepted'
        return { accepted: count, eventIds: interactions.map(({ eventId }) => eventId) }
      } finally {
        account.add(outcome, count)
      }
    }
  )
  addRoute(
    app,
    {
      ...{ method: 'DELETE', url: '/v1/users/:id', operationId: 'erase', pathId: 'The user', status: 202 },
      summary: 'Erases a user: the request is durable before the answer; histories, vectors and examples follow',
      answer: named('Erased', { userId: z.string() })
    },
    async ({ params, body }) => {
      if (body !== undefined) throw new ProblemError(400, 'erasing a user takes no body')
      await parts.erase(params.id)
      return { userId: params.id }
    }
  )
}

/** @throws ProblemError 400 with all problems */
function interactionsOf(body: PostedEvent | PostedEvent[], parts: EventParts, key: string | undefined): Interaction[] {
  const { clock, eventClock = clock, newEventId = randomUUID, futureMaxMs = Number.POSITIVE_INFINITY } = parts
  const nowMs = eventClock.nowMs()
  const problems: string[] = []
  const interactions = [body].flat().map((event, i): Interaction => {
    const { userId, itemId, type, eventId, eventTime = null, value = null, context = null, listId } = event
    const interaction = {
      ...{
        eventId: eventId?.trim() ?? (key === undefined ? newEventId() : `idempotency-key/${key}/${i}`),
        userId: userId.trim(),
        itemId: itemId.trim(),
        type: type.trim()
      },
      eventTimeMs: eventTime === null ? nowMs : eventTimeMs(eventTime)!,
      ...(value === null ? {} : { value }),
      ...(context === null ? {} : { context }),
      ...(listId == null ? {} : { listId: listId.trim() })
    }
    // While a recording is replayed the present is that of the recording; a true event of now is still none of the future.
    const acceptedAtMs = Math.max(nowMs, clock.nowMs())
    const problem =
      feedbackProblem(interaction) ??
      interactionProblem(interaction) ??
      futureProblem(interaction, acceptedAtMs, futureMaxMs)
    if (problem !== undefined) problems.push(Array.isArray(body) ? `[${i}]: ${problem}` : problem)
    return interaction
  })
  if (problems.length > 0) throw invalid(problems)
  return interactions
}

function feedbackProblem({ type, value = 1 }: Interaction): string | undefined {
  if (type !== 'hide' || value > 0) return undefined
  return `value of hide is the number of days, more than 0; without it the item is hidden for ever; got ${value}`
}

/** The outcome of every posted event, as numbers and as metrics. */
export class PostedAccount {
  readonly #account = new Account('serve')
  readonly #meter = new AccountMeter(this.#account.numbers())
  readonly #metrics: Metrics
  #waiting = 0

  constructor(metrics: Metrics) {
    this.#metrics = metrics
  }

  read(count: number): void {
    this.#account.read(count)
    this.#change(count)
  }

  add(outcome: Outcome<'serve'>, count: number): void {
    this.#account.add(outcome, count)
    this.#change(-count)
  }

  numbers(): AccountNumbers<'serve'> {
    return this.#account.numbers(this.#waiting)
  }

  #change(waiting: number): void {
    this.#waiting += waiting
    this.#metrics.apply(this.#meter.entries(this.#account.numbers(this.#waiting)))
  }
}
