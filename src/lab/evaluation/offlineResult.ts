// What one offline evaluation found, and several of them together.

import type { ColdPoint } from './coldStart.ts'
import type { Finding } from './failureSignatures.ts'
import type { InterestMeasures } from './interestMeasures.ts'
import type { MemoryChoice } from './memoryLists.ts'
import { metricNames, type OfflineMetrics } from './offlineMetrics.ts'
import type { OfflineProtocol } from './offlineSplit.ts'
import { type Spread, spread } from './spread.ts'

export interface OfflineResult {
  readonly model: string
  readonly data: string
  readonly protocol: OfflineProtocol
  readonly seed: number
  /** After the filter. */
  readonly users: number
  readonly items: number
  readonly interactions: number
  readonly metrics: OfflineMetrics
  /** With the history's own items left out of targets and lists. */
  readonly withoutHistory: OfflineMetrics
  /** The same weights, scored with the memory; absent for simple methods, and where `evaluate.memory` is false. */
  readonly withMemory?: WithMemory
  /** Mean cosine of two interests of a test user; null where there is one vector, or none. */
  readonly intraUserCosine: number | null
  /** Share of the items that are on some test user's first twenty. */
  readonly coverage: number
  /** Of learning alone. */
  readonly trainSeconds: number
  readonly examplesPerSecond: number
  /** Learned; the best of them counts. */
  readonly epochs: number
  /** Numbers that were learned. */
  readonly parameters: number
  readonly details: OfflineDetails
}

export interface WithMemory extends MemoryChoice {
  readonly metrics: OfflineMetrics
  readonly withoutHistory: OfflineMetrics
  readonly coverage: number
  readonly byItemCount: readonly ColdPoint[]
  readonly interests: InterestMeasures
}

interface OfflineDetails {
  readonly trainUsers: number
  readonly validationUsers: number
  readonly testUsers: number
  readonly testUsersWithoutHistory: number
  readonly bestEpoch: number
  readonly curve: readonly EpochReport[]
  /** Share of the targets to which interest k is the nearest. [K] */
  readonly wins: readonly number[]
  /** Mean over test users of e^entropy of the strengths of their interests: 1 … K; absent for simple methods. */
  readonly effectiveInterests?: number
  readonly scoreSeconds: number
  /** Without the memory. */
  readonly interests: InterestMeasures
  /** Up to 1,000 test users with all but their last steps forgotten. */
  readonly byHistoryLength: readonly ColdPoint[]
  /** Targets by how often they were met in training. */
  readonly byItemCount: readonly ColdPoint[]
  /**
   * Tensors of the first step of learning at the most; absent for simple methods, and in results of an earlier release.
   */
  readonly stepBytes?: number
  readonly findings: readonly Finding[]
  /** Engine and version. */
  readonly backend: string
}

export interface EpochReport {
  readonly epoch: number
  readonly loss: number
  /** Recall@50 of the validation users; null where there are none. */
  readonly validationRecall: number | null
  /** Recall@50 of as many training users, asked in the same way: what was learned by heart. */
  readonly trainRecall: number
  readonly intraUserCosine: number | null
}

export interface OfflineSummary extends Omit<OfflineResult, 'seed' | 'details' | 'withMemory'> {
  readonly seed: readonly number[]
  /** Standard deviations between the seeds, beside the means above. */
  readonly spreads: {
    readonly metrics: OfflineMetrics
    readonly withoutHistory: OfflineMetrics
    readonly intraUserCosine: number | null
    readonly coverage: number
  }
  /** Present where every run has it. λ and ρ: of each run. */
  readonly withMemory?: Pick<WithMemory, 'metrics' | 'withoutHistory'> & {
    readonly spreads: Pick<WithMemory, 'metrics' | 'withoutHistory'>
    readonly choices: readonly MemoryChoice[]
  }
  readonly runs: readonly OfflineResult[]
}

/** @param runs at least one, the same but for the seed */
export function summarise(runs: readonly OfflineResult[]): OfflineSummary {
  const first = runs[0]!
  const of = (value: (run: OfflineResult) => number) => spread(runs.map(value))
  const metricsOf = (found: (run: OfflineResult) => OfflineMetrics, pick: (found: Spread) => number) =>
    Object.fromEntries(
      metricNames.map((name) => [name, pick(of((run) => found(run)[name]))])
    ) as unknown as OfflineMetrics
  const metrics = (part: 'metrics' | 'withoutHistory', pick: (found: Spread) => number) =>
    metricsOf((run) => run[part], pick)
  const memorySummary = () => {
    const both = (pick: (found: Spread) => number) => ({
      metrics: metricsOf((run) => run.withMemory!.metrics, pick),
      withoutHistory: metricsOf((run) => run.withMemory!.withoutHistory, pick)
    })
    const choices = runs.map(({ withMemory }) => ({ weight: withMemory!.weight, decay: withMemory!.decay }))
    return { ...both(({ mean }) => mean), spreads: both(({ deviation }) => deviation), choices }
  }
  const cosine = first.intraUserCosine === null ? undefined : of((run) => run.intraUserCosine ?? Number.NaN)
  const { details: _, withMemory: _withMemory, ...same } = first
  return {
    ...same,
    seed: runs.map(({ seed }) => seed),
    users: of((run) => run.users).mean,
    metrics: metrics('metrics', ({ mean }) => mean),
    withoutHistory: metrics('withoutHistory', ({ mean }) => mean),
    intraUserCosine: cosine?.mean ?? null,
    coverage: of((run) => run.coverage).mean,
    trainSeconds: of((run) => run.trainSeconds).mean,
    examplesPerSecond: of((run) => run.examplesPerSecond).mean,
    epochs: of((run) => run.epochs).mean,
    parameters: of((run) => run.parameters).mean,
    spreads: {
      metrics: metrics('metrics', ({ deviation }) => deviation),
      withoutHistory: metrics('withoutHistory', ({ deviation }) => deviation),
      intraUserCosine: cosine?.deviation ?? null,
      coverage: of((run) => run.coverage).deviation
    },
    ...(runs.every(({ withMemory }) => withMemory !== undefined) ? { withMemory: memorySummary() } : {}),
    runs
  }
}
