// Drops the fresh steps that a crashed and restarted sequencer emits again.

import type { UserSequence } from '../records/userSequence.ts'

/** JSON-able, for checkpoints: by partition of `interactions`; offsets as decimal strings. */
export type RepeatFilterState = Readonly<Record<string, { readonly floor: string; readonly seen: readonly string[] }>>

interface Seen {
  /** Every offset below it is a repeat. */
  floor: bigint
  /** Offsets from the floor on that have passed. */
  offsets: Set<bigint>
}

/**
 * Every fresh step passes once, if the records of one partition of `interactions` arrive in the order in which they
 * were emitted (as they do when `user-sequences` is keyed by user and has as many partitions) and none before the
 * filter's state is missing.
 *
 * Why. Let C be the greatest `committed` seen in the partition.
 * 1. A fresh step at an offset ≥ C passes exactly if it is not in the set, which holds all that passed from C on.
 * 2. A fresh step below C is a repeat: C was committed only after every record with a fresh step below C had been
 *    acknowledged, so these were appended before the
 *    first record that says C, and have been read before it. They passed then, at a time when the floor was not above
 *    them: a record that says C' carries only
 *    fresh offsets ≥ C', because a sequencer that has committed C' reads on from C'.
 * 3. What is not fresh but in the window was fresh in another record.
 * The set holds what is emitted between two commits, and is empty again soon after.
 */
export class RepeatFilter {
  readonly #partitions = new Map<number, Seen>()

  /**
   * The record with only the fresh steps that were in no record before; the same object if these are all, as is usual.
   */
  admit(sequence: UserSequence): UserSequence {
    let seen = this.#partitions.get(sequence.partition)
    if (seen === undefined) {
      seen = { floor: 0n, offsets: new Set() }
      this.#partitions.set(sequence.partition, seen)
    }
    if (sequence.committed > seen.floor) {
      seen.floor = sequence.committed
      for (const offset of seen.offsets) if (offset < seen.floor) seen.offsets.delete(offset)
    }
    let repeats = 0
    for (const { offset } of sequence.fresh) if (isRepeat(seen, offset)) repeats++
    const fresh = repeats === 0 ? sequence.fresh : sequence.fresh.filter(({ offset }) => !isRepeat(seen, offset))
    for (const { offset } of fresh) seen.offsets.add(offset)
    return repeats === 0 ? sequence : { ...sequence, fresh }
  }

  /** Offsets held in memory, over all partitions. */
  get size(): number {
    let size = 0
    for (const { offsets } of this.#partitions.values()) size += offsets.size
    return size
  }

  state(): RepeatFilterState {
    return Object.fromEntries(
      [...this.#partitions].map(([partition, { floor, offsets }]) => [
        String(partition),
        { floor: String(floor), seen: [...offsets].sort((a, b) => (a < b ? -1 : 1)).map(String) }
      ])
    )
  }

  static from(state: RepeatFilterState): RepeatFilter {
    const filter = new RepeatFilter()
    for (const [partition, { floor, seen }] of Object.entries(state)) {
      filter.#partitions.set(Number(partition), { floor: BigInt(floor), offsets: new Set(seen.map(BigInt)) })
    }
    return filter
  }
}

function isRepeat(seen: Seen, offset: bigint): boolean {
  return offset < seen.floor || seen.offsets.has(offset)
}
