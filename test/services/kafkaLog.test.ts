import assert from 'node:assert/strict'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { eventLogSuite, FailingClock } from '../conformance/eventLogSuite.ts'
import { makeTopic, openLog, removeTopics, skip } from './kafka.ts'

if (skip !== false) test('KafkaLog: the conformance suite', { skip }, () => {})
else
  eventLogSuite('KafkaLog', async (partitions) => {
    const topic = await makeTopic(partitions)
    const clock = new FailingClock(Date.now())
    const logs = [await openLog({}, clock)]
    return {
      log: logs[0]!,
      clock,
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

test('what is fetched while its reader is busy is given to it together', { skip }, async () => {
  const topic = await makeTopic(1)
  const log = await openLog()
  const stop = new AbortController()
  try {
    const appended = 60
    const append = (i: number) => log.append(topic, [{ key: Uint8Array.of(1), value: Uint8Array.of(i) }])
    await append(0)
    const sizes: number[] = []
    let read = 0
    for await (const event of log.read(topic, { resume: async () => 0n, signal: stop.signal })) {
      if (event.kind !== 'records') continue
      for (const { value } of event.records) assert.equal(value?.[0], read++)
      sizes.push(event.records.length)
      if (read === appended) break
      if (sizes.length > 1) continue
      for (let i = 1; i < appended; i++) await append(i)
      await pause(500) // five times what a broker holds a fetch for
    }
    // At most the last fetch is still on its way when the reader comes back.
    assert.ok(sizes.length <= 3, `${appended - 1} appends came in ${sizes.length - 1} pieces: ${sizes}`)
  } finally {
    stop.abort()
    await log.close()
    await removeTopics(topic)
  }
})

test('a look-up after the log was closed is refused: no connection keeps the process alive', { skip }, async () => {
  const topic = await makeTopic(1)
  const log = await openLog()
  try {
    await log.ends(topic)
    await log.close()
    const sockets = () => process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP')).length
    const before = sockets()
    await assert.rejects(log.ends(topic), /the log was closed/)
    await assert.rejects(log.describe(topic), /the log was closed/)
    assert.equal(sockets(), before)
  } finally {
    await log.close()
    await removeTopics(topic)
  }
})
