// `mtmi serve`: HTTP. Recommendations from the index, events into the log.

import type { AccountNumbers } from '../src/core/account.ts'
import { interestScoreOf } from '../src/index/interestScore.ts'
import { keptAttribution } from '../src/serve/attribution/attributionWatch.ts'
import { Recommender } from '../src/serve/recommender.ts'
import { startHttpService } from './http.ts'
import { startOpsServer } from './opsServer.ts'
import { openIndex, watchIndex } from './parts.ts'
import { type StageContext, untilDone } from './stageProcess.ts'
import { keepSessionThread } from './thread/client.ts'
import { versionNumbers } from './versionsReport.ts'

export async function serve(context: StageContext): Promise<void> {
  const { io, run, place, logger, metrics, measure, tasks, opsPort, servePort, begun } = context
  const { config, clock } = io
  const index = await openIndex(config, run, { searchThread: true, tasks, measure, onProblem: logger.warn })
  try {
    const watched = watchIndex(index, { tasks, metrics })
    let accounts: readonly AccountNumbers[] = []
    let encodes = true
    const ready = () => {
      const live = watched.live()
      if (live === undefined) return { ready: false, detail: 'nothing is published yet', accounts }
      const sessions = encodes ? '' : '; sessions get popular items until the live model has been read'
      // Lists come from the index: they are answered while no broker is.
      const brokers = io.health?.problem()
      const detail = `index version ${live.indexVersion}, step ${live.step}${sessions}`
      return { ready: true, detail: brokers === undefined ? detail : `${detail}; ${brokers}`, accounts }
    }
    const task = { config, dataDir: config.dataDir, run: run.name, stages: ['encode'], logStyle: logger.style } as const
    const sessions = !config.serve.sessions
      ? undefined
      : await keepSessionThread(tasks, task, (message) => {
          if (message.kind === 'metrics') measure(message.report)
          else if (message.kind === 'encode') ({ accounts, ready: encodes } = message)
          else if (message.kind === 'problem') logger.warn(message.message)
        })
    const ops = await startOpsServer({ port: opsPort, io, metrics, tasks, ready, say: logger.info })
    const service = await startHttpService(
      {
        ...{ io, run, metrics, tasks, readiness: ops.readiness },
        attribution: run.state(keptAttribution, `attribution-${place}.json`),
        recommender: new Recommender({
          index,
          clock,
          options: config.recommend,
          scoring: interestScoreOf(config.model)
        }),
        ...(sessions === undefined ? {} : { sessions }),
        lookup: { index, versions: () => versionNumbers(config, run, index) }
      },
      servePort!
    )
    begun()
    logger.info(`serving ${run.root} on ${service.url}`)
    try {
      await untilDone(tasks)
    } finally {
      await service.close()
      await ops.close()
    }
  } finally {
    await tasks.stop().finally(() => index.close())
  }
}
