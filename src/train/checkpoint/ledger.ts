// Which records each training step was cut from, written down before the step is learned: what makes weights bit-equal
// after a crash.

import type { OffsetRanges } from '../../core/offsets.ts'

export interface LedgerEntry {
  /** The step that learns this batch: the first is 1 more than the last checkpoint's, and they ascend. */
  readonly step: number
  /** Records of `user-sequences` that the batch was cut from. */
  readonly ranges: OffsetRanges
  /** Examples cut from them, replayed ones left out: a batch may end inside a record. */
  readonly examples: number
  /**
   * Whatever else cutting the same batch again needs, small and JSON-able: the order of partitions, where within its
   * first record it began.
   */
  readonly detail?: Readonly<Record<string, unknown>>
}

/**
 * Append-only list of batch boundaries. To restart: restore the checkpoint of step S, learn `after(S)` again, batch by
 * batch, then go on from where the last range ended.
 */
export interface BatchLedger {
  /**
   * When it returns, the entry survives the death of this process (SIGKILL); whether also that of the machine is the
   * implementation's to say.
   * @throws Error if `entry.step` is not above the last one's: a bug of the caller
   */
  append(entry: LedgerEntry): void
  /** Entries with a step above `step`, ascending. */
  after(step: number): readonly LedgerEntry[]
  /**
   * Forgets entries below `step`: call it with 1 more than the OLDEST kept checkpoint's, since the newer ones may turn
   * out damaged.
   */
  truncateBefore(step: number): void
  /**
   * Forgets entries above `step`: for going back on purpose (a divergence), when the steps after it will be cut anew.
   */
  truncateAfter(step: number): void
  close(): void
}
