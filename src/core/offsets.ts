// Where in a partitioned log something was, as in Kafka: an offset names a record, and the NEXT one to read.

import { z } from 'zod'

/** Next offset to read, by partition. */
export type Offsets = Map<number, bigint>

/** Offsets as they are kept in JSON: partition → offset, both in decimal. */
export const offsetsSchema = z.record(z.string().regex(/^\d+$/), z.string().regex(/^\d+$/))

/** Half-open ranges of offsets, at most one a partition: which records something was made from. */
export type OffsetRanges = ReadonlyMap<number, { readonly from: bigint; readonly to: bigint }>

/** The least ranges that hold both. */
export function unite(a: OffsetRanges, b: OffsetRanges): OffsetRanges {
  const united = new Map(a)
  for (const [partition, range] of b) {
    const before = united.get(partition)
    united.set(
      partition,
      before === undefined
        ? range
        : { from: before.from < range.from ? before.from : range.from, to: before.to > range.to ? before.to : range.to }
    )
  }
  return united
}
