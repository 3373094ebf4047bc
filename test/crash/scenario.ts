// What a seed stands for: a stream with faults in it, and settings that make every boundary come up often.

import { Rng } from '../../src/core/rng.ts'
import { type Simulation, simulate } from '../../src/lab/simulation/simulation.ts'

const dayMs = 24 * 60 * 60_000

export interface Scenario {
  readonly seed: number
  readonly events: number
  /** Of the configuration, as nested objects. */
  readonly settings: Readonly<Record<string, Readonly<Record<string, unknown>> | number>>
}

export function scenarioOf(seed: number, events: number): Scenario {
  const rng = new Rng(seed).fork('scenario')
  const oneOf = <T>(...values: readonly T[]): T => values[rng.integer(values.length)]!
  return {
    seed,
    events,
    settings: {
      seed,
      topics: { partitions: oneOf(1, 1, 2, 3) },
      sequence: {
        // Short: steps fall off within a batch of events.
        historyMax: oneOf(4, 10, 50),
        graceMs: oneOf(10, 60) * 60_000,
        // The simulation takes two weeks: with the shorter limit users expire, and come back.
        ...oneOf({}, { historyAgeMaxMs: dayMs / 2, idleMaxMs: dayMs }),
        emitEventsMax: oneOf(8, 32, 256),
        commitIntervalMs: oneOf(0, 20, 100)
      },
      model: { dimensions: 8, interestCount: 2 },
      train: {
        batchSize: oneOf(16, 32, 64),
        batchWaitMaxMs: oneOf(5, 50, 1000),
        negatives: oneOf(16, 64),
        replayRatio: oneOf(0, 1),
        reservoirMax: oneOf(50, 500),
        admissionMin: oneOf(1, 2),
        // Fewer than the simulation has: items lose their rows, and get them again.
        itemsMax: oneOf(150, 150, 10_000_000),
        checkpointIntervalMs: oneOf(50, 200),
        checkpointKeep: oneOf(1, 2, 3),
        updateIntervalMs: oneOf(20, 100),
        weightsIntervalMs: oneOf(50, 300)
      },
      progressive: { share: oneOf<number | string>('auto', 0.5, 1) },
      publish: { userWaitMs: oneOf(0, 20), sweepIntervalMs: oneOf(500, 60_000) }
    }
  }
}

/** Few users and items, so that each acts often; many faults. */
export function streamOf({ seed, events, settings }: Scenario): Simulation {
  const { graceMs } = settings.sequence as { graceMs: number }
  return simulate({
    seed,
    events,
    users: 150,
    items: 300,
    topics: 12,
    duplicateShare: 0.05,
    outOfOrderShare: 0.1,
    lateShare: 0.02,
    badShare: 0.02,
    // Without any, an item that lost its row has no vector, and leaves the index.
    features: new Rng(seed).fork('features').integer(2) === 0 ? 'none' : 'topic',
    graceMs
  })
}
