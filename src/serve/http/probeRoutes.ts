// What supervisors and Prometheus ask of every process: whether it lives, whether its work gets on, and its numbers.

import type { FastifyInstance } from 'fastify'
import type { Metrics } from '../../monitor/metrics.ts'
import { ProblemError } from './problem.ts'

export interface ProbeParts {
  readonly readiness: () => { readonly ready: boolean; readonly detail: string }
  readonly metrics: Pick<Metrics, 'expose'>
}

/** `/livez`, `/readyz` (503 with the reason while it is not) and `/metrics`. */
export function addProbeRoutes(app: FastifyInstance, { readiness, metrics }: ProbeParts): void {
  app.get('/livez', async () => ({ live: true }))

  app.get('/readyz', async () => {
    const { ready, detail } = readiness()
    if (!ready) throw new ProblemError(503, detail, { headers: { 'retry-after': '5' } })
    return { ready, detail }
  })

  app.get('/metrics', async (_request, reply) => {
    const { contentType, body } = await metrics.expose()
    return reply.header('content-type', contentType).send(body)
  })
}
