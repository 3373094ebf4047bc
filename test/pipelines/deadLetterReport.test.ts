import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { deadLetterParts } from '../../pipelines/deadLetterReport.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { deadLetterOf } from '../../src/log/deadLetter.ts'
import { createMetrics } from '../../src/monitor/metricsRegistry.ts'
import { createHttpService } from '../../src/serve/http/httpService.ts'
import { Recommender } from '../../src/serve/recommender.ts'
import { describedAnswer } from '../support/describedAnswer.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { testStageIo } from '../support/stageIo.ts'

const text = new TextEncoder()
const source = { topic: 'clicks', format: 'json', user: 'user', item: 'item', type: '=click', time: 'log:time' }
const dlq = 'clicks.mtmi.dlq'

test('bad records over HTTP: counted by reason, shown with what they would become now, and replayed once', async (t) => {
  const io = await testStageIo({ sources: [source] })
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-dead-letters-'))
  t.after(() => {
    io.dispose()
    rmSync(folder, { recursive: true, force: true })
  })
  const index = new MemoryVectorIndex()
  const service = createHttpService({
    recommender: new Recommender({ index, clock: io.clock }),
    deadLetters: deadLetterParts(io, new RunDirectory(folder, 'run').make({}), new AbortController().signal),
    ...{ accept: async () => {}, erase: async () => {}, readiness: () => ({ ready: true, detail: '' }) },
    metrics: createMetrics({ clock: io.clock, processMetrics: false }),
    ...{ clock: io.clock, options: { ...io.config.serve, port: 0 }, lookup: { index, eventTypes: ['click'] } }
  })
  t.after(() => service.close())
  const description = (await service.app.inject('/openapi.json')).json()
  const get = async (query = '') => {
    const answer = await service.app.inject(`/v1/dead-letters${query}`)
    return describedAnswer(description, answer, '/v1/dead-letters')
  }
  const replay = async (payload: object) =>
    (await service.app.inject({ method: 'POST', url: '/v1/dead-letters', payload })).json()
  assert.deepEqual(await get(), { topics: [] })

  const values = ['{"user":"u1"}', '{"user":"u2"}', '{"user":"u3","item":"i3"}', '{"user":']
  await io.log.append(
    'clicks',
    values.map((value) => ({ key: text.encode('k'), value: text.encode(value) }))
  )
  const from = { topic: 'clicks', topicId: '' }
  const errors = [
    'item (item) is "7": missing',
    'item (item) is "8": missing',
    'was not mapped before a fix',
    'no JSON'
  ]
  for (const [i, record] of io.log.records('clicks').entries())
    await io.log.append(dlq, [deadLetterOf(record, from, new Error(errors[i]), 'ingest')])

  const { topics } = await get()
  assert.deepEqual([topics[0].topic, topics[0].deadLetters, topics[0].records, topics[0].replayed], [dlq, 4, 4, 0])
  const [reason] = topics[0].reasons
  assert.deepEqual(reason, { stage: 'ingest', reason: 'Error: item (item) is "…": missing', deadLetters: 2 })
  const query = (of: string) => `?${new URLSearchParams({ topic: dlq, reason: `Error: ${of}` })}`
  const { newest } = await get(query('item (item) is "…": missing'))
  assert.deepEqual([newest.source, newest.message], [{ topic: 'clicks', partition: 0, offset: '1' }, errors[1]])
  assert.deepEqual(newest.value, { bytes: 13, hex: Buffer.from(values[1]!).toString('hex'), text: values[1] })
  assert.match(newest.now, /^refused: item is missing: nothing at item/)
  const fixed = (await get(query('was not mapped before a fix'))).newest
  assert.match(fixed.now, /^mapped: \{.*"userId":"u3","itemId":"i3"/)
  assert.equal((await get(query('nothing like it'))).newest, undefined)

  const ask = { topic: dlq, reason: 'Error: was not mapped before a fix' }
  assert.deepEqual([await replay(ask), await replay(ask)], [{ replayed: 1 }, { replayed: 0 }])
  assert.equal(new TextDecoder().decode(io.log.records('clicks').at(-1)!.value!), values[2])
  assert.equal((await get()).topics[0].replayed, 1)
  const foreign = await replay({ topic: 'interactions' })
  assert.deepEqual(
    [foreign.status, foreign.detail],
    [400, 'interactions is no dead-letter topic of this configuration']
  )
  assert.equal((await service.app.inject('/v1/dead-letters?reason=x')).statusCode, 400)
})
