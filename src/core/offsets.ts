// Where in a partitioned log something was, as in Kafka: an offset names a record, and the NEXT one to read.

import { z } from 'zod'

/** Next offset to read, by partition. */
export type Offsets = Map<number, bigint>

/** Offsets in JSON: partition → offset, both in decimal. */
export const offsetsSchema = z.record(z.string().regex(/^\d+$/), z.string().regex(/^\d+$/))

export function offsetsToJson(offsets: Offsets): Record<string, string> {
  return Object.fromEntries([...offsets].map(([partition, offset]) => [partition, String(offset)]))
}

export function offsetsFromJson(json: Readonly<Record<string, string>>): Offsets {
  return new Map(Object.entries(json).map(([partition, offset]) => [Number(partition), BigInt(offset)]))
}

/** How many records before `ends` are not consumed, over the partitions of `ends`. */
export function recordsBehind(consumed: Offsets | Readonly<Record<string, string>>, ends: Offsets): number {
  const next = consumed instanceof Map ? (consumed as Offsets) : offsetsFromJson(consumed)
  let sum = 0
  for (const [partition, end] of ends) sum += Number(end - (next.get(partition) ?? 0n))
  return sum
}

/** Half-open ranges of offsets, at most one a partition: which records something was made from. */
export type OffsetRanges = ReadonlyMap<number, { readonly from: bigint; readonly to: bigint }>
