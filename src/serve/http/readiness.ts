// Whether a process does what it is there for, as /readyz says it.

import { type AccountNumbers, accountText, unaccounted } from '../../core/account.ts'

export interface Readiness {
  readonly ready: boolean
  /** What is fresh, or what waits since when. */
  readonly detail: string
  /** What became of every record that the process has read. */
  readonly accounts?: readonly AccountNumbers[]
}

/**
 * What readiness adds where an account does not balance: work goes on, but a bug of ours lost a record or counted one
 * twice.
 */
export function balanceDetail(accounts: readonly AccountNumbers[]): string {
  const wrong = accounts.filter((account) => unaccounted(account) !== 0)
  return wrong.map((account) => `; ${account.reader}: ${accountText(account)}`).join('')
}
