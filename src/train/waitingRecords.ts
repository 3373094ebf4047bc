// Records of user-sequences that were read and are in no batch yet, and where the next batch begins in each partition.

import type { Clock } from '../core/clock.ts'
import type { OffsetRanges, Offsets } from '../core/offsets.ts'
import type { UserId } from '../records/interaction.ts'
import type { Traces } from '../records/traceContext.ts'
import type { UserSequence } from '../records/userSequence.ts'

/** A decoded record and where it was. */
export interface WaitingRecord {
  /** Or the user who is erased at this offset. */
  readonly sequence: UserSequence | { readonly erased: UserId }
  readonly partition: number
  readonly offset: bigint
  readonly timestampMs: number
  readonly traces: Traces | undefined
}

export class WaitingRecords {
  readonly #clock: Clock
  /** Next offset that is in no batch yet, by partition. */
  #next: Offsets = new Map()
  /** Next offset that has been read. */
  readonly #read: Offsets = new Map()
  #waiting: WaitingRecord[] = []
  #examples = 0
  #sinceMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Next offset that is in no batch yet, by partition. */
  get next(): Offsets {
    return new Map(this.#next)
  }

  restore(next: Offsets): void {
    this.#next = new Map(next)
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  /** Fresh steps of all waiting records: an upper bound of their examples. */
  get examples(): number {
    return this.#examples
  }

  /** How long the oldest has waited, or since a batch was cut, milliseconds. */
  get waitedMs(): number {
    return this.isEmpty ? 0 : this.#clock.nowMs() - this.#sinceMs
  }

  /** Only erasures wait. */
  get onlyErasures(): boolean {
    return this.#waiting.every(({ sequence }) => 'erased' in sequence)
  }

  add(record: WaitingRecord): void {
    this.#read.set(record.partition, record.offset + 1n)
    if (this.#examples === 0) this.#sinceMs = this.#clock.nowMs()
    this.#waiting.push(record)
    this.#examples += freshOf(record)
  }

  /** A record that is in no batch. */
  skip(partition: number, offset: bigint): void {
    this.#read.set(partition, offset + 1n)
    if (this.isEmpty) this.#next.set(partition, offset + 1n)
  }

  /**
   * The ranges of as many records as make a batch. Batches end between records: a record's fresh steps stay together.
   */
  nextRanges(batchSize: number): OffsetRanges {
    const ranges = new Map<number, { from: bigint; to: bigint }>()
    let examples = 0
    for (const record of this.#waiting) {
      const { partition, offset } = record
      ranges.set(partition, { from: this.#next.get(partition) ?? 0n, to: offset + 1n })
      examples += freshOf(record)
      if (examples >= batchSize) break
    }
    return ranges
  }

  /** Whether everything in the ranges has been read. */
  covers(ranges: OffsetRanges): boolean {
    return [...ranges].every(
      ([partition, { to }]) => (this.#read.get(partition) ?? this.#next.get(partition) ?? 0n) >= to
    )
  }

  /**
   * Takes out the records of the ranges, which are the first of each partition. Their order does not depend on how the
   * partitions were interleaved.
   */
  cut(ranges: OffsetRanges): WaitingRecord[] {
    const taken: WaitingRecord[] = []
    const left: WaitingRecord[] = []
    for (const record of this.#waiting) {
      const range = ranges.get(record.partition)
      if (range !== undefined && record.offset < range.to) taken.push(record)
      else left.push(record)
    }
    this.#waiting = left
    this.#sinceMs = this.#clock.nowMs()
    for (const record of taken) this.#examples -= freshOf(record)
    return taken.sort((a, b) => a.partition - b.partition || (a.offset < b.offset ? -1 : 1))
  }

  /** The ranges are in a batch now. */
  advance(ranges: OffsetRanges): void {
    for (const [partition, { to }] of ranges) this.#next.set(partition, to)
    // Nothing waits: what was read beyond the ranges are expired users, which are in no batch.
    if (this.isEmpty) for (const [partition, offset] of this.#read) this.#next.set(partition, offset)
  }

  /** Takes everything out without a batch: for erasures when no example waits. */
  takeErased(): UserId[] {
    const erased: UserId[] = []
    for (const { sequence, partition, offset } of this.#waiting.splice(0)) {
      if ('erased' in sequence) erased.push(sequence.erased)
      this.#next.set(partition, offset + 1n)
    }
    return erased
  }
}

function freshOf({ sequence }: WaitingRecord): number {
  return 'erased' in sequence ? 0 : sequence.fresh.length
}
