import { forEachSeen } from '../../src/records/seenItems.ts'

/** Oldest first: hash of the item's id, event type, and time to the minute. @param seen what `addSeen` wrote */
export function readSeen(seen: Uint8Array): { hash: number; type: string; atMs: number }[] {
  const items: { hash: number; type: string; atMs: number }[] = []
  forEachSeen(seen, (types) => {
    return (hash, type, atMs) => void items.push({ hash, type: types[type] ?? '', atMs })
  })
  return items
}
