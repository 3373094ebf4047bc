// What supervisors and Prometheus query of every process: liveness, readiness and metrics.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { type AccountNumbers, accountText, unaccounted } from '../../core/account.ts'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import { readySchema, type Shape } from '../answers.ts'
import { component, routeSchema } from './description.ts'
import { ProblemError } from './problem.ts'

/** Whether a process does its work. */
export interface Readiness {
  readonly ready: boolean
  /** What is fresh, or what waits since when. */
  readonly detail: string
  /** The outcome of every record that the process has read. */
  readonly accounts?: readonly AccountNumbers[]
}

export interface ProbeParts {
  readonly readiness: () => Readiness
  readonly metrics: Pick<Metrics, 'expose'>
}

/** `/livez`, `/readyz` (503 with the reason while not ready) and `/metrics`. */
export function addProbeRoutes(app: FastifyInstance, { readiness, metrics }: ProbeParts): void {
  const liveSchema = routeSchema({
    operationId: 'live',
    summary: 'Whether the process runs',
    answers: { 200: ['It runs', component(app, 'Live', z.strictObject({ live: z.literal(true) }))] }
  })
  app.get('/livez', { schema: liveSchema }, async () => ({ live: true }))

  const schema = routeSchema({
    operationId: 'ready',
    summary: 'Whether answers are fresh: fails while work waits without progress',
    answers: { 200: ['Ready', component(app, 'Ready', readySchema)] },
    errors: { 503: 'Not ready, and why' }
  })
  app.get('/readyz', { schema }, async (): Promise<Shape<typeof readySchema>> => {
    const { ready, detail, accounts } = readiness()
    if (!ready) throw new ProblemError(503, detail, { headers: { 'retry-after': '5' } })
    return { ready, detail: `${detail}${balanceDetail(accounts)}`, ...(accounts === undefined ? {} : { accounts }) }
  })

  const metricsSchema = routeSchema({
    operationId: 'metrics',
    summary: 'Metrics for Prometheus',
    answers: { 200: ['Text format', ['text/plain']] }
  })
  app.get('/metrics', { schema: metricsSchema }, async (_request, reply) => {
    const { contentType, body } = await metrics.expose()
    return reply.header('content-type', contentType).send(body)
  })
}

/** Names accounts that do not balance: the work continues, but a bug here lost a record or counted one twice. */
function balanceDetail(accounts: readonly AccountNumbers[] = []): string {
  const wrong = accounts.filter((account) => unaccounted(account) !== 0)
  return wrong.map((account) => `; ${account.reader}: ${accountText(account)}`).join('')
}
