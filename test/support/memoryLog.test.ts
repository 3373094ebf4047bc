import { ManualClock } from '../../src/core/clock.ts'
import { eventLogSuite } from '../conformance/eventLogSuite.ts'
import { MemoryLog } from './memoryLog.ts'

eventLogSuite('MemoryLog', async (partitions) => {
  const options = { partitions: () => partitions, clock: new ManualClock() }
  const log = new MemoryLog(options)
  return { log, topic: 'events', another: async () => new MemoryLog(options, log), close: () => log.close() }
})
