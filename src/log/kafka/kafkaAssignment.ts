// Which member of a group gets which partitions: as even as can be, and moving as few as can be, since each that moves
// has its state restored elsewhere.

interface AssignedMember {
  readonly id: string
  /** What it had before. Two may claim the same, if one of them has slept. */
  readonly owned: readonly number[]
}

/**
 * Every partition goes to exactly one member; the numbers that two members get differ by one at most.
 *
 * @returns by member id, partitions ascending; the same for the same arguments, in whatever order the members come
 */
export function assignPartitions(
  members: readonly AssignedMember[],
  partitions: readonly number[]
): Map<string, number[]> {
  const sorted = [...members].sort((a, b) => b.owned.length - a.owned.length || (a.id < b.id ? -1 : 1))
  const free = new Set(partitions)
  const least = Math.floor(partitions.length / sorted.length)
  // Those who have most keep the odd ones.
  let odd = partitions.length % sorted.length
  const assigned = new Map<string, number[]>()
  for (const { id, owned } of sorted) {
    const claims = owned.filter((partition) => free.has(partition))
    const kept = claims.slice(0, odd > 0 ? least + 1 : least)
    if (kept.length > least) odd--
    for (const partition of kept) free.delete(partition)
    assigned.set(id, kept)
  }
  const left = [...free].sort((a, b) => a - b)
  for (const own of assigned.values()) {
    const room = own.length > least ? 0 : least - own.length + (odd-- > 0 ? 1 : 0)
    own.push(...left.splice(0, room))
    own.sort((a, b) => a - b)
  }
  return assigned
}
