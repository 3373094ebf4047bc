// Metrics and readiness of a stage that runs in a process of its own. Nothing listens unless `ops.port` is set.

import type { AccountNumbers } from '../src/core/account.ts'
import type { BackgroundTasks } from '../src/core/backgroundTasks.ts'
import type { Config } from '../src/core/config/config.ts'
import { version } from '../src/core/version.ts'
import type { StageIo } from '../src/log/stageIo.ts'
import type { TaskName } from '../src/monitor/metrics.ts'
import type { Metrics } from '../src/monitor/metricsRegistry.ts'
import type { BoundPort } from '../src/serve/http/boundPort.ts'
import { bindOpsPort, type OpsService, startOpsService } from '../src/serve/http/opsService.ts'
import type { Readiness } from '../src/serve/http/probeRoutes.ts'
import { buildInfo } from './backendInfo.ts'
import { ProgressWatch, type StageProgress } from './progressWatch.ts'
import type { ModelThread } from './thread/client.ts'

/** How often offsets are looked at: far below any interval of scraping. */
const watchMs = 1000

type WatchedStage = 'ingest' | 'sequence' | 'train' | 'publish'

interface OpsServer {
  /** Sets the backend of the build info. */
  backend(report: ModelThread['backend']): void
  /** Whether the stage makes progress, and otherwise what waits since when. */
  readiness(): Readiness
  close(): Promise<void>
}

/** Comes before any other work, so that a port in use is reported first. @returns undefined where none is configured */
export async function bindOps({ ops }: Pick<Config, 'ops'>): Promise<BoundPort | undefined> {
  return ops.port > 0 ? bindOpsPort(ops) : undefined
}

interface OpsServerParts {
  /** Bound; without it nothing listens. */
  readonly port: BoundPort | undefined
  readonly io: Pick<StageIo, 'config' | 'clock' | 'codecs' | 'health'>
  /** Of the process. */
  readonly metrics: Metrics
  readonly tasks: BackgroundTasks<TaskName>
  /** Observed once a second; without it readiness is `ready`. */
  readonly watched?: { readonly stage: WatchedStage; readonly look: () => Promise<StageProgress | undefined> }
  readonly ready?: () => Readiness
  /** The outcome of every record that the stage has read. */
  readonly accounts?: () => readonly AccountNumbers[]
  readonly say: (text: string) => void
}

export async function startOpsServer({
  port,
  io,
  watched,
  ready,
  accounts,
  metrics,
  tasks,
  say
}: OpsServerParts): Promise<OpsServer> {
  const { clock } = io
  metrics.info({ version, backend: 'none', node: process.versions.node })
  const watch = new ProgressWatch<WatchedStage>()
  let seen = watched === undefined

  const look = async () => {
    const progress = await watched?.look()
    if (watched === undefined || progress === undefined) return
    const nowMs = clock.nowMs()
    watch.note(watched.stage, progress, nowMs)
    watch.measure(metrics, nowMs)
    seen = true
  }

  const readiness = (): Readiness => {
    const brokers = watched === undefined ? undefined : io.health?.problem()
    const detail = brokers ?? watch.stalled(clock.nowMs()) ?? (seen ? undefined : 'nothing has been read yet')
    if (detail !== undefined) return tasks.readiness({ ready: false, detail })
    const state = tasks.readiness(ready?.() ?? { ready: true, detail: `${watched?.stage ?? 'the stage'} keeps up` })
    return accounts === undefined ? state : { ...state, accounts: accounts() }
  }

  let service: OpsService | undefined
  if (port !== undefined) {
    service = await startOpsService({ port, metrics, readiness })
    say(`health and metrics on ${service.url}`)
    if (watched !== undefined)
      tasks.every('progress', 'reading where the log ends', { intervalMs: watchMs, required: true }, look)
  }
  const measureLog = () => metrics.apply(io.health?.takeReport() ?? [])
  tasks.every('report', 'the report of the state of the log', { intervalMs: watchMs, required: true }, measureLog)
  return {
    readiness,
    backend: (report) => metrics.info(buildInfo(report)),
    async close() {
      measureLog()
      await service?.close()
    }
  }
}
