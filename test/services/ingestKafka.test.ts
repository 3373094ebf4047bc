// `ingest` on a real broker: without any state of its own it goes on where its group was.

import assert from 'node:assert/strict'
import test from 'node:test'
import { IngestStage } from '../../src/ingest/ingestStage.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import { testStageIo } from '../support/stageIo.ts'
import { makeTopic, openLog, removeTopics, skip } from './kafka.ts'

const utf8 = new TextEncoder()

test('a member without a data folder of its own repeats nothing', { skip }, async () => {
  const [clicks, interactions] = [await makeTopic(2), await makeTopic(2)]
  const deadLetters = `${clicks}.mtmi.dlq`
  const io = await testStageIo({
    topics: { interactions },
    sources: [{ topic: clicks, format: 'json', user: 'u', item: 'i', type: '=click', time: 'log:time' }]
  })
  const log = await openLog()
  try {
    const append = (from: number, to: number) =>
      log.append(
        clicks,
        Array.from({ length: to - from }, (_, i) => ({
          key: utf8.encode(String(i)),
          value: utf8.encode(JSON.stringify({ u: `u${i}`, i: 'x' }))
        }))
      )
    const ingest = async () => {
      const forgetful = { load: () => undefined, save: () => {} }
      const stage = new IngestStage({
        ...io,
        log,
        sources: [openSource(io.config.sources[0]!, io)],
        offsets: forgetful
      })
      await stage.run(new AbortController().signal, { untilEnd: true })
      return stage.accounts().get(clicks)
    }
    await append(0, 100)
    const account = (read: number) => ({
      reader: 'ingest',
      read,
      outcomes: { mapped: read, partly: 0, filtered: 0, refused: 0 },
      waiting: 0
    })
    assert.deepEqual(await ingest(), account(100))
    await append(100, 130)
    assert.deepEqual(await ingest(), account(30))
    const total = [...(await log.ends(interactions)).values()].reduce((sum, end) => sum + Number(end), 0)
    assert(total >= 130)
  } finally {
    await log.close()
    await removeTopics(clicks, interactions, deadLetters).catch(() => {})
    io.dispose()
  }
})
