// Which partition a key belongs to: murmur2, as Kafka's Java client has it, so that records written by anybody's
// producer meet.

/** 32-bit murmur2 with Kafka's seed, signed. */
export function murmur2(key: Uint8Array): number {
  const m = 0x5bd1e995
  const length = key.length
  let h = 0x9747b28c ^ length
  let i = 0
  for (; i + 4 <= length; i += 4) {
    let k = key[i]! | (key[i + 1]! << 8) | (key[i + 2]! << 16) | (key[i + 3]! << 24)
    k = Math.imul(k, m)
    k ^= k >>> 24
    k = Math.imul(k, m)
    h = Math.imul(h, m) ^ k
  }
  const left = length - i
  if (left >= 3) h ^= key[i + 2]! << 16
  if (left >= 2) h ^= key[i + 1]! << 8
  if (left >= 1) h = Math.imul(h ^ key[i]!, m)
  h = Math.imul(h ^ (h >>> 13), m)
  return h ^ (h >>> 15)
}

/** 0 … partitions − 1. Kafka clears the sign bit instead of negating. */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return partitions === 1 ? 0 : (murmur2(key) & 0x7fffffff) % partitions
}
