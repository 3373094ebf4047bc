// Health and metrics of a stage that serves nothing else: /livez, /readyz, /metrics. Meant for supervisors and Prometheus, not for the public.

import fastify from 'fastify'
import { ConfigError, UnavailableError } from '../../core/errors.ts'
import type { Metrics } from '../../monitor/metrics.ts'
import { addProbeRoutes } from './probeRoutes.ts'
import { ProblemError, problemBody, problemContentType, problemOf } from './problem.ts'
import type { Readiness } from './readiness.ts'

export interface OpsServiceParts {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly metrics: Pick<Metrics, 'expose'>
  readonly readiness: () => Readiness
}

export interface OpsService {
  readonly url: string
  close(): Promise<void>
}

/** No body is read and no answer takes long: a caller that is slower than this is gone. */
const timeoutMs = 10_000

/** @throws UnavailableError if the port is taken, ConfigError if the address cannot be used */
export async function startOpsService({ host, port, metrics, readiness }: OpsServiceParts): Promise<OpsService> {
  const app = fastify({ requestTimeout: timeoutMs, handlerTimeout: timeoutMs, bodyLimit: 1024, forceCloseConnections: 'idle' })
  app.setErrorHandler((error, _request, reply) => {
    const { error: problem } = problemOf(error)
    return reply
      .code(problem.status)
      .headers(problem.headers)
      .type(problemContentType)
      .send(JSON.stringify(problemBody(problem)))
  })
  app.setNotFoundHandler(() => {
    throw new ProblemError(404, 'here are /livez, /readyz and /metrics')
  })
  app.addHook('onSend', async (_request, reply) => {
    reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store')
  })
  addProbeRoutes(app, { readiness, metrics })
  try {
    const url = await app.listen({ host, port })
    return { url, close: () => app.close() }
  } catch (error) {
    await app.close()
    const { code } = error as { code?: string }
    if (code === 'EADDRINUSE')
      throw new UnavailableError(`port ${port} of ${host} is taken: end what listens there, or set ops.port to another one (0: none)`, {
        cause: error
      })
    if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
      throw new ConfigError([
        `ops.host ${host} with ops.port ${port} cannot be listened on (${code}): give an address of this machine and a port above 1023`
      ])
    throw error
  }
}
