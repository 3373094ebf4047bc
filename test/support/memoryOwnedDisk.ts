// The disk of a process that sequences, in memory.

import type { OwnedDisk, StoredPosition, StoredTopics } from '../../src/sequence/ownedSequences.ts'
import { MemoryDisk, MemorySequenceStore } from './memorySequenceStore.ts'

export function ownedDisk(): OwnedDisk {
  const stores = new Map<number, MemoryDisk>()
  const positions = new Map<number, StoredPosition>()
  let topics: StoredTopics | undefined
  return {
    async open(partition) {
      const disk = stores.get(partition) ?? new MemoryDisk()
      stores.set(partition, disk)
      return new MemorySequenceStore(disk)
    },
    load: (partition) => positions.get(partition),
    save: (partition, position) => void positions.set(partition, position),
    remove: (partition) => void stores.delete(partition),
    loadTopics: () => topics,
    saveTopics: (stored) => {
      topics = stored
    }
  }
}
