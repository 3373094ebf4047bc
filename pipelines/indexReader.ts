// Queries to the index of a run from the command line, whether or not its stages are running.

import { systemClock } from '../src/core/clock.ts'
import type { Config } from '../src/core/config/config.ts'
import { ConfigError } from '../src/core/errors.ts'
import { interestScoreOf } from '../src/index/interestScore.ts'
import type { VectorIndex } from '../src/index/vectorIndex.ts'
import { limitMax } from '../src/serve/listRequest.ts'
import { Recommender } from '../src/serve/recommender.ts'
import { readIndex } from './parts.ts'
import { runToRead } from './runs.ts'

/** @param limit of a list, as given @throws ConfigError if it is out of range, or nothing is published */
export function withRecommender<T>(
  config: Config,
  limit: number,
  work: (recommender: Recommender, index: VectorIndex) => Promise<T>
): Promise<T> {
  if (limit < 1 || limit > limitMax) throw new ConfigError([`--limit must be 1…${limitMax}, got ${limit}`])
  const { recommend: options, model } = config
  return readIndex(config, runToRead(config), (index) =>
    work(new Recommender({ index, clock: systemClock, options, scoring: interestScoreOf(model) }), index)
  )
}
