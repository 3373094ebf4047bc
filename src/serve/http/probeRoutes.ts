// What supervisors and Prometheus query of every process: liveness, readiness and metrics.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { type AccountNumbers, accountText, unaccounted } from '../../core/account.ts'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import { named, readySchema } from '../answers.ts'
import { ProblemError } from './problem.ts'
import { addRoute, addTextRoute } from './route.ts'

const liveSchema = named('Live', { live: z.literal(true) })

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

export function addProbeRoutes(app: FastifyInstance, { readiness, metrics }: ProbeParts): void {
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/livez', operationId: 'live', summary: 'Whether the process runs' },
      answer: liveSchema
    },
    async () => ({ live: true as const })
  )
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/readyz', operationId: 'ready' },
      summary: 'Whether answers are fresh: fails while work waits without progress',
      answer: readySchema,
      errors: { 503: 'Not ready, and why' }
    },
    async () => {
      const { ready, detail, accounts } = readiness()
      if (!ready) throw new ProblemError(503, detail, { headers: { 'retry-after': '5' } })
      return { ready, detail: `${detail}${balanceDetail(accounts)}`, ...(accounts === undefined ? {} : { accounts }) }
    }
  )
  const description = { url: '/metrics', operationId: 'metrics', summary: 'Metrics for Prometheus' }
  addTextRoute(app, description, ['text/plain'], async (_request, reply) => {
    const { contentType, body } = await metrics.expose()
    return reply.header('content-type', contentType).send(body)
  })
}

/** Names accounts that do not balance: the work continues, but a bug here lost a record or counted one twice. */
function balanceDetail(accounts: readonly AccountNumbers[] = []): string {
  const wrong = accounts.filter((account) => unaccounted(account) !== 0)
  return wrong.map((account) => `; ${account.reader}: ${accountText(account)}`).join('')
}
