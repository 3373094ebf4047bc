// The ledger in memory: the twin of BatchLedgerFile where a restart need not be bit-equal.

import type { BatchLedger, LedgerEntry } from './ledger.ts'

export class BatchLedgerMemory implements BatchLedger {
  #entries: LedgerEntry[] = []

  append(entry: LedgerEntry): void {
    const last = this.#entries.at(-1)
    if (!(Number.isSafeInteger(entry.step) && entry.step >= 0))
      throw new Error(`ledger: step ${entry.step} is not a whole number`)
    if (last !== undefined && entry.step <= last.step)
      throw new Error(`ledger: step ${entry.step} after step ${last.step}`)
    this.#entries.push(entry)
  }

  after(step: number): readonly LedgerEntry[] {
    return this.#entries.filter((entry) => entry.step > step)
  }

  truncateBefore(step: number): void {
    this.#entries = this.#entries.filter((entry) => entry.step >= step)
  }

  truncateAfter(step: number): void {
    this.#entries = this.#entries.filter((entry) => entry.step <= step)
  }

  close(): void {}
}
