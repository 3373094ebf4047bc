// `mtmi serve`: HTTP. Recommendations from the index, events into the log.

import type { AccountNumbers } from '../src/core/account.ts'
import { BackgroundTasks } from '../src/core/backgroundTasks.ts'
import { interestScoreOf } from '../src/index/interestScore.ts'
import type { MetricsReport, TaskName } from '../src/monitor/metrics.ts'
import { createMetrics } from '../src/monitor/metricsRegistry.ts'
import { Recommender } from '../src/serve/recommender.ts'
import { startHttpService } from './http.ts'
import { startOpsServer } from './opsServer.ts'
import { openIndex, watchIndex } from './parts.ts'
import { type StageContext, untilDone } from './stageProcess.ts'
import { startModelThread } from './thread/client.ts'
import { versionNumbers } from './versionsReport.ts'

export async function serve({ io, run, logger, opsPort, servePort, begun }: StageContext): Promise<void> {
  const { config, clock } = io
  const metrics = createMetrics({ clock })
  const measure = (report: MetricsReport) => metrics.apply(report)
  const onFailure = (task: TaskName) => metrics.taskFailures.inc({ task })
  const tasks = new BackgroundTasks<TaskName>({ clock, onProblem: logger.warn, onFailure })
  const index = await openIndex(config, run, { searchThread: true, measure, onProblem: logger.warn })
  try {
    const watched = watchIndex(index, { tasks, metrics })
    let accounts: readonly AccountNumbers[] = []
    const readiness = () => {
      const live = watched.live()
      return tasks.readiness(
        live === undefined
          ? { ready: false, detail: 'nothing is published yet', accounts }
          : { ready: true, detail: `index version ${live.indexVersion}, step ${live.step}`, accounts }
      )
    }
    const task = { config, dataDir: config.dataDir, run: run.name, stages: ['encode'], logStyle: logger.style } as const
    const sessions = !config.serve.sessions
      ? undefined
      : await startModelThread(task, (message) => {
          if (message.kind === 'metrics') metrics.apply(message.report)
          else if (message.kind === 'encode') accounts = message.accounts
          else if (message.kind === 'problem') logger.warn(message.message)
        })
    const scoring = interestScoreOf(config.model)
    const service = await startHttpService(
      {
        ...{ io, metrics, readiness },
        recommender: new Recommender({ index, clock, options: config.recommend, scoring }),
        ...(sessions === undefined ? {} : { sessions }),
        lookup: { index, versions: () => versionNumbers(config, run, index) }
      },
      servePort!
    )
    begun()
    const ops = await startOpsServer({ port: opsPort, io, metrics, ready: readiness, say: logger.info })
    logger.info(`serving ${run.root} on ${service.url}`)
    try {
      // Without its session encoder the process ends, so that its supervisor starts another.
      await untilDone(sessions?.ended ?? new Promise(() => {}))
    } finally {
      await service.close()
      await ops.close()
    }
    await sessions?.stop()
  } finally {
    await tasks.stop()
    await index.close()
  }
}
