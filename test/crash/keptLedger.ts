// A ledger whose entries are kept elsewhere before they are forgotten: so that the whole run can be learned again.

import type { BatchLedger, LedgerEntry } from '../../src/train/checkpoint/batchLedger.ts'

export class KeptLedger implements BatchLedger {
  readonly #ledger: BatchLedger
  readonly #kept: BatchLedger

  constructor(ledger: BatchLedger, kept: BatchLedger) {
    this.#ledger = ledger
    this.#kept = kept
    this.#keep()
  }

  append(entry: LedgerEntry): void {
    this.#ledger.append(entry)
  }

  after(step: number): readonly LedgerEntry[] {
    return this.#ledger.after(step)
  }

  truncateBefore(step: number): void {
    this.#keep()
    this.#ledger.truncateBefore(step)
  }

  close(): void {
    this.#keep()
    this.#ledger.close()
    this.#kept.close()
  }

  #keep(): void {
    const last = this.#kept.after(0).at(-1)?.step ?? 0
    for (const entry of this.#ledger.after(last)) this.#kept.append(entry)
  }
}
