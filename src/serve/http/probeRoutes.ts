// What supervisors and Prometheus ask of every process: whether it lives, whether its work gets on, and its numbers.

import type { FastifyInstance } from 'fastify'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import { ProblemError } from './problem.ts'
import { balanceDetail, type Readiness } from './readiness.ts'

export interface ProbeParts {
  readonly readiness: () => Readiness
  readonly metrics: Pick<Metrics, 'expose'>
}

/**
 * `/livez`, `/readyz` (503 with the reason while it is not; otherwise what is fresh, and the accounts) and `/metrics`.
 */
export function addProbeRoutes(app: FastifyInstance, { readiness, metrics }: ProbeParts): void {
  app.get('/livez', async () => ({ live: true }))

  app.get('/readyz', async () => {
    const { ready, detail, accounts } = readiness()
    if (!ready) throw new ProblemError(503, detail, { headers: { 'retry-after': '5' } })
    return accounts === undefined
      ? { ready, detail }
      : { ready, detail: `${detail}${balanceDetail(accounts)}`, accounts }
  })

  app.get('/metrics', async (_request, reply) => {
    const { contentType, body } = await metrics.expose()
    return reply.header('content-type', contentType).send(body)
  })
}
