// `sequence` from the beginning of a large topic, then once more without its data folder: with
// `npm run test:services -- --full` two million events of 200,000 users, else a hundredth of both.

import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import test from 'node:test'
import type { LogRecord } from '../../src/log/eventLog.ts'
import { hangMs, skip } from './kafka.ts'
import { Run } from './kafkaRun.ts'

const isFull = process.env.SERVICES_FULL === '1'
const userCount = isFull ? 200_000 : 2000
const eventsOfUser = 10
const blockRecords = 20_000

test(`${userCount * eventsOfUser} events of ${userCount} users, read from the beginning, are in the right histories`, {
  skip,
  timeout: isFull ? 4 * hangMs : hangMs
}, async (t) => {
  const run = new Run()
  await run.begin()
  try {
    const startMs = performance.now()
    const seconds = () => ((performance.now() - startMs) / 1000).toFixed(1)
    await run.with(async ({ log, codecs, config }) => {
      for (let from = 0; from < userCount * eventsOfUser; from += blockRecords) {
        const records = Array.from({ length: blockRecords }, (_, i) => {
          const n = from + i
          const value = codecs.interaction.encode({
            ...{ eventId: `e${n}`, userId: `u${n % userCount}`, itemId: `i${n % 997}`, type: 'click' },
            eventTimeMs: Date.UTC(2026, 4, 1) + n
          })
          return { key: Buffer.from(`u${n % userCount}`), value }
        })
        await log.append(config.topics.interactions, records)
      }
    })
    t.diagnostic(`written after ${seconds()} s`)
    for (const what of ['from the beginning', 'once more, without its data folder']) {
      await run.sequence()
      t.diagnostic(`sequenced ${what} after ${seconds()} s`)
      assert.deepEqual(await wrongUsers(run), [], what)
      rmSync(run.sequenceFolder, { recursive: true })
    }
  } finally {
    await run.remove()
  }
})

/** Users whose newest window is not their ten events in order. */
async function wrongUsers(run: Run): Promise<string[]> {
  return run.with(async ({ log, codecs, config }) => {
    const newest = new Map<string, LogRecord>()
    const options = { resume: async () => 0n, signal: new AbortController().signal, untilEnd: true }
    for await (const event of log.read(config.topics.userSequences, options))
      if (event.kind === 'records')
        for (const record of event.records) newest.set(Buffer.from(record.key).toString(), record)
    const wrong = Array.from({ length: userCount }, (_, i) => i).filter((user) => {
      const record = newest.get(`u${user}`)
      const steps = record === undefined ? [] : codecs.userSequence.decode(record.value!).steps
      const wanted = Array.from({ length: eventsOfUser }, (_, k) => `i${(user + k * userCount) % 997}`)
      return steps.map(({ itemId }) => itemId).join() !== wanted.join()
    })
    return wrong.map((user) => `u${user}`)
  })
}
