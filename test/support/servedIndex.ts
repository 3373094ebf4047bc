// Recommendations of an index over HTTP, as `serve` answers them, and connections to ask for them.

import { systemClock } from '../../src/core/clock.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { interestScoreOf } from '../../src/index/interestScore.ts'
import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import { createMetrics } from '../../src/monitor/metricsRegistry.ts'
import { createHttpService } from '../../src/serve/http/httpService.ts'
import { Recommender } from '../../src/serve/recommender.ts'
import { getter } from './openLoop.ts'

/** By default settings, on a free port. `get` throws for a status that is not 200; `close` leaves the index open. */
export async function servedIndex(
  index: VectorIndex
): Promise<{ get(path: string): Promise<string>; close(): Promise<void> }> {
  const config = resolveConfig(undefined, {}, { serve: { port: 0 } })
  const service = createHttpService({
    recommender: new Recommender({
      index,
      clock: systemClock,
      options: config.recommend,
      scoring: interestScoreOf(config.model)
    }),
    accept: async () => {},
    erase: async () => {},
    readiness: () => ({ ready: true, detail: '' }),
    metrics: createMetrics({ clock: systemClock, processMetrics: false }),
    options: config.serve,
    clock: systemClock
  })
  const { get, close } = getter(await service.listen())
  return {
    get,
    close: async () => {
      close()
      await service.close()
    }
  }
}
