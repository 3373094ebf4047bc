// An account as metrics. A counter has what this process counted; an account may continue that of an earlier process.

import { type AccountNumbers, accountSince, outcomesOf, type Reader, unaccounted } from '../core/account.ts'
import type { MetricsEntry, MetricsReport } from './metrics.ts'

export class AccountMeter<R extends Reader> {
  #reported: AccountNumbers<R>

  /** @param from what the account held when this process began */
  constructor(from: AccountNumbers<R>) {
    this.#reported = from
  }

  /** What was added since the last call, and the present state. */
  entries(now: AccountNumbers<R>): MetricsReport {
    const { reader } = now
    const since = accountSince(now, this.#reported)
    this.#reported = now
    const outcomes = outcomesOf(reader).filter((outcome) => since.outcomes[outcome] !== 0)
    return [
      { metric: 'recordsRead', labels: { reader }, value: since.read },
      ...outcomes.map(
        (outcome) =>
          ({ metric: 'records', labels: { reader, outcome }, value: since.outcomes[outcome] }) as MetricsEntry
      ),
      { metric: 'waitingRecords', labels: { reader }, value: now.waiting },
      { metric: 'unaccountedRecords', labels: { reader }, value: unaccounted(now) }
    ]
  }
}
