// Health and metrics of a stage that serves nothing else: /livez, /readyz, /metrics. Meant for supervisors and
// Prometheus, not for the public.

import type { RequestListener } from 'node:http'
import fastify from 'fastify'
import type { Metrics } from '../../monitor/metricsRegistry.ts'
import { BoundPort } from './boundPort.ts'
import { addProbeRoutes } from './probeRoutes.ts'
import { ProblemError, problemBody, problemContentType, problemOf } from './problem.ts'
import type { Readiness } from './readiness.ts'

export interface OpsServiceParts {
  readonly port: BoundPort
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
export async function bindOpsPort({
  host,
  port
}: {
  readonly host: string
  readonly port: number
}): Promise<BoundPort> {
  return new BoundPort({ host, port, section: 'ops', requestTimeoutMs: timeoutMs }).bind()
}

/** @param parts.port bound */
export async function startOpsService({ port, metrics, readiness }: OpsServiceParts): Promise<OpsService> {
  let handler: RequestListener | undefined
  const app = fastify({
    serverFactory: (own) => {
      handler = own
      return port.server
    },
    ...{ requestTimeout: timeoutMs, handlerTimeout: timeoutMs, bodyLimit: 1024, forceCloseConnections: 'idle' }
  })
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
  await app.ready()
  port.handle(handler!)
  return {
    url: port.url,
    close: async () => {
      await Promise.all([port.close(), app.close()])
    }
  }
}
