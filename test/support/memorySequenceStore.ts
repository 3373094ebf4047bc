// A SequenceStore in memory. What is on its `disk` outlives it, as a file outlives a process.

import type { UserId } from '../../src/records/interaction.ts'
import { newStepDictionary, packWindow, unpackWindow } from '../../src/records/packWindow.ts'
import type { UserWindow } from '../../src/records/userSequence.ts'
import { noCounts, type SequenceCounts, type SequenceStore } from '../../src/sequence/sequenceStore.ts'

/** What the last commit left: windows packed, so that nothing of a process's memory survives in them. */
export class MemoryDisk {
  windows = new Map<UserId, { bytes: Uint8Array; newestMs: number }>()
  next = 0n
  watermarkMs = 0
  counts: SequenceCounts = noCounts
  readonly dictionary = newStepDictionary()
}

export class MemorySequenceStore implements SequenceStore {
  readonly #disk: MemoryDisk
  readonly #changed = new Map<UserId, UserWindow | undefined>()
  #listener: ((changed: boolean) => void) | undefined

  constructor(disk = new MemoryDisk()) {
    this.#disk = disk
  }

  get(userId: UserId): UserWindow | undefined {
    if (this.#changed.has(userId)) return this.#changed.get(userId)
    const stored = this.#disk.windows.get(userId)
    return stored === undefined ? undefined : unpackWindow(stored.bytes, this.#disk.dictionary)
  }

  put(userId: UserId, window: UserWindow): void {
    this.#changed.set(userId, window)
  }

  delete(userId: UserId): void {
    this.#changed.set(userId, undefined)
  }

  onCommit(listener: (changed: boolean) => void): void {
    this.#listener = listener
  }

  async commit(next: bigint, watermarkMs: number, counts: SequenceCounts = this.#disk.counts): Promise<void> {
    this.#disk.counts = counts
    for (const [userId, window] of this.#changed) {
      if (window === undefined) this.#disk.windows.delete(userId)
      else
        this.#disk.windows.set(userId, { bytes: packWindow(window, this.#disk.dictionary), newestMs: window.newestMs })
    }
    const changed = [...this.#changed.values()].some((window) => window !== undefined)
    this.#changed.clear()
    this.#disk.next = next
    this.#disk.watermarkMs = watermarkMs
    this.#listener?.(changed)
  }

  committed(): bigint {
    return this.#disk.next
  }

  watermarkMs(): number {
    return this.#disk.watermarkMs
  }

  counts(): SequenceCounts {
    return this.#disk.counts
  }

  *users(): Iterable<[UserId, UserWindow]> {
    for (const userId of [...this.#disk.windows.keys()].sort()) {
      yield [userId, unpackWindow(this.#disk.windows.get(userId)!.bytes, this.#disk.dictionary)]
    }
  }

  idle(beforeMs: number, limit: number): UserId[] {
    const found: UserId[] = []
    for (const [userId, { newestMs }] of this.#disk.windows) {
      if (found.length >= limit) break
      if (newestMs < beforeMs) found.push(userId)
    }
    return found
  }

  userCount(): number {
    return this.#disk.windows.size
  }

  async close(): Promise<void> {}
}
