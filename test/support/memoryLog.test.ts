import { eventLogSuite, FailingClock } from '../conformance/eventLogSuite.ts'
import { MemoryLog } from './memoryLog.ts'

eventLogSuite('MemoryLog', async (partitions) => {
  const options = { partitions: () => partitions, clock: new FailingClock() }
  const log = new MemoryLog(options)
  return {
    log,
    topic: 'events',
    clock: options.clock,
    another: async () => new MemoryLog(options, log),
    close: () => log.close()
  }
})
