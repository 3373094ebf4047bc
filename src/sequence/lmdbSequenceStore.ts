// The state of `sequence` on disk: windows, with the watermark and the counts of their partition.

import type { OffsetSource } from '../log/userRecords.ts'
import { LmdbWindowStore, openWindows, removeWindows, type WindowFile } from '../records/lmdbWindowStore.ts'
import { noCounts, type SequenceCounts, type SequenceStore } from './sequenceStore.ts'

/** At some 3 KB each: active users come back. */
const cachedMax = 16_384

interface SequenceState {
  readonly watermarkMs: number
  readonly counts: SequenceCounts
}

const fileOf = (directory: string, partition: number): WindowFile => ({
  ...{ directory, partition, cachedMax },
  name: 'sequences'
})

export class LmdbSequenceStore extends LmdbWindowStore<SequenceState> implements SequenceStore {
  source?: OffsetSource

  /**
   * Opens, or creates, the store of one partition of `interactions`: one file in `directory`. @throws as `openWindows`
   */
  static open(
    directory: string,
    partition: number,
    options: { readonly readOnly?: boolean } = {}
  ): Promise<LmdbSequenceStore> {
    const file = { ...fileOf(directory, partition), ...options }
    return openWindows(file, () => new LmdbSequenceStore(file))
  }

  /** No process may have it open. */
  static remove(directory: string, partition: number): void {
    removeWindows(fileOf(directory, partition))
  }

  commit(next: bigint, watermarkMs: number, counts = this.counts()): Promise<void> {
    return this.save(next, { watermarkMs, counts })
  }

  watermarkMs(): number {
    return this.state()?.watermarkMs ?? 0
  }

  counts(): SequenceCounts {
    return this.state()?.counts ?? noCounts
  }
}
