import { sequenceStoreSuite } from '../conformance/sequenceStoreSuite.ts'
import { MemoryDisk, MemorySequenceStore } from './memorySequenceStore.ts'

sequenceStoreSuite('memory', () => {
  const disk = new MemoryDisk()
  return { open: () => new MemorySequenceStore(disk), dispose: async () => {} }
})
