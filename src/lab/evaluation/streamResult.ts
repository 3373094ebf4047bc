// What a streaming evaluation found, period by period.

import { meanOf, type NextItemMetrics, type StreamMetrics } from './streamMetrics.ts'

/**
 * - `static`: learned from the first period, never updated
 * - `finetune`: updated with each period's own interactions
 * - `replay`: as many older ones beside each new one
 * - `last-period`: trained from scratch on the last period alone
 * - `retrain`: trained from scratch on all periods so far
 * - `…-markov`: first-order Markov chains of the same
 */
export const streamPolicies = [
  'static',
  'finetune',
  'replay',
  'last-period',
  'retrain',
  'static-markov',
  'last-period-markov',
  'cumulative-markov'
] as const
export type StreamPolicy = (typeof streamPolicies)[number]

export interface PeriodResult {
  readonly name: string
  readonly metrics: StreamMetrics
  /** Share of the possible targets whose item was not met before: no model can find them. */
  readonly unknownShare: number
  /** Of the first period's held-out users, with the weights as they were for this period. */
  readonly firstPeriod: NextItemMetrics
  /** From the period before to this one: reading, counting and learning. */
  readonly updateSeconds: number
  /** Positions learned in it, with repetitions. */
  readonly updatePositions: number
  /**
   * `updateSeconds` as a share of training on all periods from scratch at this run's speed; null for such a policy,
   * and for counting.
   */
  readonly shareOfRetrain: number | null
}

export interface StreamResult {
  readonly model: string
  readonly data: string
  readonly protocol: 'stream'
  readonly policy: StreamPolicy
  readonly seed: number
  readonly users: number
  readonly items: number
  readonly interactions: number
  readonly periods: readonly PeriodResult[]
  /** Over the periods, each counting the same. */
  readonly mean: StreamMeans
  /** Recall@20 on the first period's held-out users: what was known after it, less what is known at the end. */
  readonly forgetting: number | null
  readonly parameters: number
  readonly backend: string
}

interface StreamMeans {
  readonly 'recall@20': number | null
  readonly 'mrr@20': number | null
  readonly newItemRecall: number | null
  readonly newUserRecall: number | null
  readonly updateSeconds: number | null
  readonly shareOfRetrain: number | null
}

export function streamMeans(periods: readonly PeriodResult[]): StreamMeans {
  const of = (value: (period: PeriodResult) => number | null) => meanOf(periods.map(value))
  return {
    'recall@20': of(({ metrics }) => metrics.all['recall@20']),
    'mrr@20': of(({ metrics }) => metrics.all['mrr@20']),
    newItemRecall: of(({ metrics }) => metrics.newItems['recall@20']),
    newUserRecall: of(({ metrics }) => metrics.newUsers['recall@20']),
    updateSeconds: of(({ updateSeconds }) => updateSeconds),
    shareOfRetrain: of(({ shareOfRetrain }) => shareOfRetrain)
  }
}

/** @param afterFirst recall@20 right after the first period was learned */
export function forgetting(afterFirst: number | null, periods: readonly PeriodResult[]): number | null {
  const last = periods.at(-1)?.firstPeriod['recall@20'] ?? null
  return afterFirst === null || last === null ? null : afterFirst - last
}
