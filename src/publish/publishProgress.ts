// How far the topics were read, and how far the users' changes are in the index.

import { type Offsets, offsetsSchema } from '../core/offsets.ts'
import type { StateKind } from '../core/stateFile.ts'
import type { LogRecord } from '../log/eventLog.ts'

/** How often the offsets are saved. */
const saveIntervalMs = 1000
/** Shown by the tools of the log. */
export const publishName = 'mtmi-publish'

/** Losing it repeats work only. */
export const publishedOffsets: StateKind<Readonly<Record<string, string>>> = {
  file: 'published.json',
  version: 1,
  schema: offsetsSchema,
  removed: 'every user is published again, from the beginning of `user-sequences`'
}

export interface PublishedOffsets {
  load(): Offsets
  save(offsets: Offsets): void
}

export class PublishProgress {
  readonly #store: PublishedOffsets
  /** Next offset of user-sequences to read, by partition. */
  readonly #sequences = new Map<number, bigint>()
  /** Changes below these were in the index before this process began. */
  readonly #publishedBefore: Map<number, bigint>
  /** Ends of the topics when this process began. */
  #ends: { readonly model: bigint; readonly sequences: Offsets } | undefined
  #savedAtMs = 0
  /** Next offset of model-updates to read. */
  model = 0n
  /** When the log took the newest user sequence that was read, milliseconds; 0 before the first. */
  takenAtMs = 0

  constructor(store: PublishedOffsets) {
    this.#store = store
    this.#publishedBefore = new Map(store.load())
  }

  begin(model: bigint, sequences: Offsets): void {
    this.#ends = { model, sequences }
    // Offsets of a log that has been replaced.
    for (const [partition, offset] of this.#publishedBefore)
      if (offset > (sequences.get(partition) ?? 0n)) this.#publishedBefore.delete(partition)
  }

  /** Changes from here on are published again. */
  reset(partition: number, next: bigint): void {
    if (next < (this.#publishedBefore.get(partition) ?? 0n)) this.#publishedBefore.set(partition, next)
  }

  wasPublished({ partition, offset }: LogRecord): boolean {
    return offset < (this.#publishedBefore.get(partition) ?? 0n)
  }

  readSequence({ partition, offset, timestampMs }: LogRecord): void {
    this.#sequences.set(partition, offset + 1n)
    this.takenAtMs = timestampMs
  }

  get sequences(): Offsets {
    return new Map(this.#sequences)
  }

  /**
   * Whether both topics were read to where they ended when this process began. Before, a user would be encoded by an
   * older step than the index has: the write is refused, and the user waits for the next sweep.
   */
  get isCaughtUp(): boolean {
    return this.#ends !== undefined && this.model >= this.#ends.model && this.#sequencesCaughtUp
  }

  get #sequencesCaughtUp(): boolean {
    const ends = [...(this.#ends?.sequences ?? [])]
    return this.#ends !== undefined && ends.every(([partition, end]) => (this.#sequences.get(partition) ?? 0n) >= end)
  }

  /**
   * Saves the oldest change of each partition that is not in the index: a restart repeats, at most, the changes since
   * then and those written since the last save.
   */
  save(nowMs: number, unanswered: () => ReadonlyMap<number, bigint>, force = false): void {
    if (!this.#sequencesCaughtUp || (!force && nowMs - this.#savedAtMs < saveIntervalMs)) return
    const next = new Map(this.#sequences)
    for (const [partition, offset] of unanswered())
      if (offset < (next.get(partition) ?? 0n)) next.set(partition, offset)
    this.#store.save(next)
    this.#savedAtMs = nowMs
  }
}
