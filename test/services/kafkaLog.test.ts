import test from 'node:test'
import { eventLogSuite } from '../conformance/eventLogSuite.ts'
import { makeTopic, openLog, removeTopics, skip } from './kafka.ts'

if (skip !== false) test('KafkaLog: the conformance suite', { skip }, () => {})
else
  eventLogSuite('KafkaLog', async (partitions) => {
    const topic = await makeTopic(partitions)
    const logs = [await openLog()]
    return {
      log: logs[0]!,
      topic,
      another: async () => {
        const log = await openLog()
        logs.push(log)
        return log
      },
      close: async () => {
        for (const log of logs) await log.close()
        await removeTopics(topic)
      }
    }
  })
