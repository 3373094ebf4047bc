import assert from 'node:assert/strict'
import test from 'node:test'
import type { StageLogger } from '../../src/monitor/stageLogger.ts'
import { UserTraces } from '../../src/publish/userTraces.ts'
import { traceHeaders, tracesOf } from '../../src/records/traceContext.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { MemoryDisk, MemorySequenceStore } from '../support/memorySequenceStore.ts'
import { until } from '../support/smallStream.ts'
import { testStageIo } from '../support/stageIo.ts'

const text = new TextEncoder()
const traceparent = (digit: number) => `00-${String(digit).repeat(32)}-${'a'.repeat(16)}-01`

/** Five clicks of two users, those of `traced` with a trace, through the sequencer. */
async function sequenced(enabled: boolean, traced: readonly number[]) {
  const io = await testStageIo({ trace: { enabled } })
  const clicks = ['ann', 'ann', 'bob', 'ann', 'bob'].map((userId, i) => ({
    key: text.encode(userId),
    value: io.codecs.interaction.encode({
      eventId: `e${i}`,
      userId,
      itemId: `i${i}`,
      type: 'click',
      eventTimeMs: io.clock.nowMs() + i
    }),
    ...(traced.includes(i) ? { headers: traceHeaders({ newest: traceparent(i + 1), links: [] }) } : {})
  }))
  await io.log.append('interactions', clicks)
  const told: Record<string, unknown>[] = []
  const note = (fields: Readonly<Record<string, unknown>>, msg: string) => void told.push({ ...fields, msg })
  const logger: StageLogger = { debug: note, info: note, warn: note, error: note }
  const disk = new MemoryDisk()
  const stop = new AbortController()
  const stage = new SequenceStage({ ...io, logger, openStore: async () => new MemorySequenceStore(disk) })
  stage.drain(true)
  const running = stage.run(stop.signal)
  await until(async () => stage.consumed().get(0) === 5n && stage.committed, running)
  stop.abort()
  await running
  const records = io.log.records('user-sequences')
  io.dispose()
  return { records, told }
}

test('a record goes on with the trace of its newest event and links to those of the others; its bytes are those without', async () => {
  const traced = await sequenced(true, [0, 1, 3, 4])
  const without = await sequenced(true, [])
  const off = await sequenced(false, [0, 1, 3, 4])
  assert.deepEqual(
    traced.records.map(({ headers }) => tracesOf(headers)),
    [
      { newest: traceparent(4), links: [traceparent(2), traceparent(1)] }, // ann
      { newest: traceparent(5), links: [] } // bob, whose first click has none
    ]
  )
  for (const other of [without, off]) {
    assert.deepEqual(
      traced.records.map(({ value }) => value),
      other.records.map(({ value }) => value)
    )
    for (const { headers } of other.records) assert.deepEqual(headers, {})
    assert(!other.told.some((line) => 'traceId' in line))
  }
  const [ann] = traced.told.filter(({ msg }) => msg === 'placed in a window')
  assert.deepEqual(ann, {
    ...{ topic: 'interactions', partition: 0, from: 0n, to: 4n, msg: 'placed in a window' },
    ...{ traceId: '4'.repeat(32), linkedTraceIds: ['2'.repeat(32), '1'.repeat(32)] }
  })
})

test('where a partition is read from and to is told, with what became of its records', async () => {
  const { told } = await sequenced(false, [])
  assert.deepEqual(told, [
    { topic: 'interactions', partition: 0, from: 0n, msg: 'partition 0 is assigned, from offset 0' },
    {
      ...{ topic: 'interactions', partition: 0, from: 0n, to: 5n, msg: 'partition 0 sequenced to 5' },
      ...{ read: 5, placed: 5 }
    }
  ])
})

test('traces wait for their users up to a bound', () => {
  const waiting = new UserTraces()
  const of = (digit: number) => ({ newest: traceparent(digit), links: [] })
  waiting.note('ann', of(1), 100)
  waiting.note('ann', of(2), 200)
  assert.deepEqual(waiting.take('ann'), { traces: { newest: traceparent(2), links: [traceparent(1)] }, startMs: 100 })
  assert.equal(waiting.take('ann'), undefined)
  for (let i = 0; i < 10_050; i++) waiting.note(`u${i}`, of(1), i)
  assert.equal(waiting.size, 10_000)
  assert.equal(waiting.take('u0'), undefined)
})
