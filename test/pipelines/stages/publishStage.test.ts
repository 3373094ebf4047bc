import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { feedItems } from '../../../pipelines/stages/feed.ts'
import { PublishStage } from '../../../pipelines/stages/publishStage.ts'
import { TrainStage } from '../../../pipelines/stages/trainStage.ts'
import type { Offsets } from '../../../src/base/offsets.ts'
import { simulate } from '../../../src/event/simulation.ts'
import { BatchLedgerMemory } from '../../../src/io/state/batchLedgerMemory.ts'
import { CheckpointMemory } from '../../../src/io/state/checkpointMemory.ts'
import { loadBackend } from '../../../src/model/backend.ts'
import { Recommender } from '../../../src/recommend/recommender.ts'
import { ModelReplica } from '../../../src/train/modelReplica.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'
import { learnAll, newTrainer, until, wireWithSequences } from './smallStream.ts'
import type { TestWire } from './wire.ts'

before(async () => {
  await loadBackend()
})

class Kept {
  offsets: Offsets = new Map()
  load(): Offsets {
    return new Map(this.offsets)
  }
  save(offsets: Offsets): void {
    this.offsets = new Map(offsets)
  }
}

async function learned(): Promise<TestWire> {
  const wire = await wireWithSequences()
  await learnAll(
    new TrainStage({ ...wire, trainer: newTrainer(wire), checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }),
    wire
  )
  return wire
}

/** Runs until everything in the log is in the index. */
async function publishAll(stage: PublishStage, wire: TestWire): Promise<void> {
  const stop = new AbortController()
  stage.hurry(true)
  const running = stage.run(stop.signal)
  const sequences = (await wire.log.ends('user-sequences')).get(0)
  const updates = (await wire.log.ends('model-updates')).get(0)
  await until(async () => {
    const { sequences: read, model } = stage.consumed()
    const { items, users } = stage.waiting()
    return read.get(0) === sequences && model === updates && items === 0 && users === 0
  }, running)
  stop.abort()
  await running
}

test('every user with a known history and every item is published; an index that is away for a while costs nothing but time', async () => {
  const wire = await learned()
  const index = new MemoryVectorIndex()
  index.down = true
  let problems = 0
  const stage = new PublishStage({
    ...wire,
    index,
    replica: new ModelReplica(),
    offsets: new Kept(),
    onProblem: () => {
      problems++
      index.down = false // back after the first complaint
    }
  })
  await publishAll(stage, wire)
  assert.equal(problems, 1)
  const users = new Set(wire.log.records('user-sequences').map(({ value }) => wire.codecs.userSequence.decode(value!).userId))
  const live = await index.live()
  assert.equal(live?.users, users.size)
  for (const userId of users) {
    const last = wire.log.records('user-sequences').findLast(({ key }) => new TextDecoder().decode(key) === userId)
    const { steps } = wire.codecs.userSequence.decode(last!.value!)
    const stored = await index.user(userId)
    assert.equal(stored?.payload.recent[0], steps.at(-1)?.itemId)
    assert.equal(stored?.payload.historyLength, steps.length)
  }
  wire.dispose()
})

test('a restart publishes again only what it may not have published, and reports no freshness for what is old', async () => {
  const wire = await learned()
  const index = new MemoryVectorIndex()
  const offsets = new Kept()
  let ages = 0
  const make = () =>
    new PublishStage({
      ...wire,
      index,
      replica: new ModelReplica(),
      offsets,
      onPublished: ({ users }) => {
        ages += users?.agesMs.length ?? 0
      }
    })
  await publishAll(make(), wire)
  assert(ages > 0)
  assert.equal(offsets.offsets.get(0), (await wire.log.ends('user-sequences')).get(0))
  ages = 0
  await publishAll(make(), wire)
  assert.equal(ages, 0)
  wire.dispose()
})

test('an item of the catalogue that nobody has clicked yet gets a vector from its features, and is recommended', async () => {
  const wire = await wireWithSequences()
  const { signal } = new AbortController()
  const catalogue = simulate({ events: 600, users: 40, items: 60, topics: 4, badShare: 0 }).items()
  const items = [...catalogue]
  const fresh = { ...items[0]!, itemId: 'brand-new', title: 'Brand new' }
  await feedItems([...items, fresh], { log: wire.log, codecs: wire.codecs, topic: 'items', signal })
  const trained = new TrainStage({
    ...wire,
    trainer: newTrainer(wire),
    checkpoints: new CheckpointMemory(3),
    ledger: new BatchLedgerMemory()
  })
  await learnAll(trained, wire)
  const index = new MemoryVectorIndex()
  await publishAll(new PublishStage({ ...wire, index, replica: new ModelReplica(), offsets: new Kept() }), wire)
  const stored = await index.item('brand-new')
  assert.equal(stored?.payload.count, 0)
  assert(Math.abs(Math.hypot(...stored.vector) - 1) < 1e-3)
  const userId = new TextDecoder().decode(wire.log.records('user-sequences').at(-1)!.key)
  const recommender = new Recommender({ index, clock: wire.clock })
  const { items: list } = await recommender.recommend({ userId, limit: 200 })
  const found = list.find(({ itemId }) => itemId === 'brand-new')
  assert.equal(found?.title, 'Brand new')
  assert.notEqual(found?.interest, null)
  wire.dispose()
})
