// The counters of every account, told as increments: an account may hold what earlier processes counted, a counter is
// one process's.

import {
  type AccountNumbers,
  accountSince,
  type Outcome,
  outcomesOf,
  type Reader,
  unaccounted
} from '../core/account.ts'
import type { MetricName, MetricsEntry, MetricsReport } from './metrics.ts'

const metricsOf = {
  source: { read: 'sourceRead', outcomes: 'sourceRows' },
  ingest: { read: 'ingestRead', outcomes: 'ingested' },
  sequence: { read: 'sequenceRead', outcomes: 'events' },
  train: { read: 'trainRead', outcomes: 'examples' },
  publish: { read: 'publishRead', outcomes: 'changes' },
  popularity: { read: 'popularityRead', outcomes: 'popularityEvents' },
  model: { read: 'modelRead', outcomes: 'modelUpdates' },
  catalogue: { read: 'catalogueRead', outcomes: 'catalogueRecords' },
  serve: { read: 'postedRead', outcomes: 'posted' }
} as const satisfies Readonly<Record<Reader, { readonly read: MetricName; readonly outcomes: MetricName }>>

export class AccountMeter<R extends Reader> {
  #reported: AccountNumbers<R>

  /** @param from what the account held when this process began */
  constructor(from: AccountNumbers<R>) {
    this.#reported = from
  }

  /** What came since the last call, and how the account stands. */
  entries(now: AccountNumbers<R>): MetricsReport {
    const { reader } = now
    const since = accountSince(now, this.#reported)
    this.#reported = now
    const { read, outcomes } = metricsOf[reader]
    const counts: MetricsEntry[] = outcomesOf(reader)
      .filter((outcome) => since.outcomes[outcome] !== 0)
      .map(
        (outcome: Outcome<R>) =>
          ({ metric: outcomes, labels: { outcome }, value: since.outcomes[outcome] }) as MetricsEntry
      )
    return [
      { metric: read, value: since.read },
      ...counts,
      { metric: 'waitingRecords', labels: { reader }, value: now.waiting },
      { metric: 'unaccountedRecords', labels: { reader }, value: unaccounted(now) }
    ]
  }
}
