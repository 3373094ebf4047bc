// Health and metrics of a stage that serves nothing else. Meant for supervisors and Prometheus, not for the public.

import { BoundPort } from './boundPort.ts'
import { createHttpApp } from './httpApp.ts'
import { addProbeRoutes, type ProbeParts } from './probeRoutes.ts'
import { ProblemError } from './problem.ts'

interface OpsServiceParts extends ProbeParts {
  /** Bound. */
  readonly port: BoundPort
}

export interface OpsService {
  readonly url: string
  close(): Promise<void>
}

/** No body is read and no answer takes long: a slower client is gone. */
const timeoutMs = 10_000

/** @throws UnavailableError if the port is taken, ConfigError if the address cannot be used */
export async function bindOpsPort(address: { readonly host: string; readonly port: number }): Promise<BoundPort> {
  return new BoundPort({ ...address, section: 'ops', requestTimeoutMs: timeoutMs }).bind()
}

export async function startOpsService({ port, metrics, readiness }: OpsServiceParts): Promise<OpsService> {
  const { app, start } = createHttpApp({ port, timeoutMs, bodyMaxBytes: 1024 })
  app.setNotFoundHandler(() => {
    throw new ProblemError(404, 'the paths here are /livez, /readyz and /metrics')
  })
  addProbeRoutes(app, { readiness, metrics })
  await start()
  return {
    url: port.url,
    close: async () => {
      await Promise.all([port.close(), app.close()])
    }
  }
}
