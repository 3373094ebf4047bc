// The ledger in memory.

import { type BatchLedger, checkNext, type LedgerEntry } from '../../src/train/checkpoint/batchLedger.ts'

export class BatchLedgerMemory implements BatchLedger {
  #entries: LedgerEntry[] = []

  append(entry: LedgerEntry): void {
    checkNext(entry, this.#entries.at(-1))
    this.#entries.push(entry)
  }

  after(step: number): readonly LedgerEntry[] {
    return this.#entries.filter((entry) => entry.step > step)
  }

  truncateBefore(step: number): void {
    this.#entries = this.#entries.filter((entry) => entry.step >= step)
  }

  close(): void {}
}
