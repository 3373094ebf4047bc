// An index that does not answer for a minute, for each stage that needs it.

import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { CatalogueReader } from '../../src/log/catalogueReader.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import type { MetricsReport } from '../../src/monitor/metrics.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import { EncodeStage } from '../../src/serve/encodeStage.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { BatchLedgerMemory } from '../support/batchLedgerMemory.ts'
import { CheckpointMemory } from '../support/checkpointMemory.ts'
import { MemoryUserDisk } from '../support/memoryUserStore.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { ioWithSequences, learnAll, newTrainer } from '../support/smallStream.ts'
import { SteppedClock } from '../support/steppedClock.ts'

before(async () => {
  await loadBackend()
})

/** A log whose events are learned; stages after it run by a clock that the test moves. */
async function learned() {
  const io = await ioWithSequences()
  await learnAll(
    new TrainStage({
      ...io,
      trainer: newTrainer(io),
      checkpoints: new CheckpointMemory(3),
      ledger: new BatchLedgerMemory()
    }),
    io
  )
  const clock = new SteppedClock(io.clock.nowMs())
  const counted = new Map<string, number>()
  const measure = (report: MetricsReport) => {
    for (const { metric } of report) counted.set(metric, (counted.get(metric) ?? 0) + 1)
  }
  const problems: string[] = []
  const index = new MemoryVectorIndex()
  return {
    io: { ...io, clock },
    clock,
    counted,
    problems,
    index,
    parts: { measure, onProblem: (text: string) => problems.push(text) }
  }
}

test('the publisher waits for an index that is away for a minute, at its start and later, and then publishes everything', async () => {
  const { io, clock, counted, problems, index, parts } = await learned()
  const replica = new ModelReplica()
  const stage = new PublishStage({
    ...io,
    ...parts,
    index,
    replica,
    users: new MemoryUserDisk(),
    liveModel: new CheckpointMemory(1)
  })
  const stop = new AbortController()
  index.down = true
  let ended = false
  const running = stage.run(stop.signal).finally(() => {
    ended = true
  })
  await clock.pass(60_000)
  assert.match(stage.outage ?? '', /^writing to the index fails since .*the index is down$/)
  index.down = false
  await clock.pass(70_000)
  assert.equal(stage.outage, undefined)
  const users = new Set(io.log.records('user-sequences').map(({ key }) => new TextDecoder().decode(key)))
  assert.equal((await index.live())?.users, users.size)
  assert.equal(problems.length, 2)
  const failures = counted.get('publishFailures') ?? 0
  assert(failures >= 5 && failures < 20, `${failures} attempts in a minute`)
  // Nothing waits: what looks at the index now is the watch of vectors, and publishing does not depend on it.
  index.down = true
  await clock.pass(60_000)
  assert.equal(stage.outage, undefined)
  assert.equal(counted.get('publishFailures'), failures)
  assert.equal(counted.get('taskFailures'), 6)
  assert.equal(problems.length, 3)
  index.down = false
  await clock.pass(20_000)
  assert.equal(problems.length, 4)
  assert.equal(ended, false)
  stop.abort()
  await clock.pass(1000)
  await running
  io.dispose()
})

test('sessions are encoded again after an index was away for a minute', async () => {
  const { io, clock, counted, problems, index, parts } = await learned()
  const publish = new PublishStage({
    ...io,
    index,
    replica: new ModelReplica(),
    users: new MemoryUserDisk()
  })
  const replica = new ModelReplica({ gated: true })
  const stage = new EncodeStage({
    ...io,
    ...parts,
    index,
    replica,
    catalogue: new CatalogueReader(io, { stage: 'serve' })
  })
  const stop = new AbortController()
  const running = Promise.all([publish.run(stop.signal), stage.run(stop.signal)])
  await clock.pass(1000)
  assert.equal(stage.ready, true)
  await io.log.append('model-updates', lastCommit(io))
  index.down = true
  await clock.pass(60_000)
  assert.equal(problems.length, 1)
  assert((counted.get('taskFailures') ?? 0) > 5)
  index.down = false
  await clock.pass(20_000)
  assert.equal(problems.length, 2)
  assert.equal(stage.ready, true)
  stop.abort()
  await clock.pass(1000)
  await running
  io.dispose()
})

/** Weights of the last commit once more: something that the stage has to propose, and so to ask the index for. */
function lastCommit(io: Awaited<ReturnType<typeof learned>>['io']) {
  const records = io.log.records('model-updates')
  const decoded = records.map(({ key, value }) => ({ key, value, update: io.codecs.modelUpdate.decode(value!) }))
  const commit = decoded.findLast(({ update }) => update.kind === 'commit')!
  const weights = new Map(
    decoded.filter(({ update }) => update.kind === 'weights').map((each) => [new TextDecoder().decode(each.key), each])
  )
  const update = { ...commit.update, step: (commit.update as { step: number }).step + 1 } as typeof commit.update
  return [
    ...[...weights.values()].map(({ key, value }) => ({ key, value })),
    { key: commit.key, value: io.codecs.modelUpdate.encode(update) }
  ]
}
