import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { Popularity } from '../../src/index/popularity.ts'
import { loadItems } from '../../src/ingest/load.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import type { KeptPopularity } from '../../src/publish/popularityWatch.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import { Recommender } from '../../src/serve/recommender.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { BatchLedgerMemory } from '../support/batchLedgerMemory.ts'
import { CheckpointMemory } from '../support/checkpointMemory.ts'
import { MemoryUserDisk } from '../support/memoryUserStore.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { ioWithSequences, learnAll, newTrainer, until } from '../support/smallStream.ts'
import type { TestStageIo } from '../support/stageIo.ts'

before(async () => {
  await loadBackend()
})

async function learned(): Promise<TestStageIo> {
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
  return io
}

/** Runs until everything in the log is in the index. */
async function publishAll(stage: PublishStage, io: TestStageIo): Promise<void> {
  const stop = new AbortController()
  stage.drain(true)
  const running = stage.run(stop.signal)
  const sequences = (await io.log.ends('user-sequences')).get(0)
  const updates = (await io.log.ends('model-updates')).get(0)
  const interactions = (await io.log.ends('interactions')).get(0)
  await until(async () => {
    const { sequences: read, model, interactions: counted } = stage.consumed()
    const { items, users } = stage.waiting()
    return (
      read.get(0) === sequences && model === updates && counted.get(0) === interactions && items === 0 && users === 0
    )
  }, running)
  stop.abort()
  await running
}

test('every user with a known history and every item is published; an index that is away for a while costs nothing but time', async () => {
  const io = await learned()
  const index = new MemoryVectorIndex()
  index.down = true
  const problems: string[] = []
  const stage = new PublishStage({
    ...io,
    index,
    replica: new ModelReplica(),
    users: new MemoryUserDisk(),
    onProblem: (problem) => {
      problems.push(problem)
      index.down = false // back after the first report
    }
  })
  await publishAll(stage, io)
  assert.equal(problems.length, 2, 'an outage is reported when it begins and when it ends')
  assert.match(problems[0]!, /fails and is tried again: the index is down/)
  assert.match(problems[1]!, /works again after 0 s/)
  const users = new Set(
    io.log.records('user-sequences').map(({ value }) => io.codecs.userSequence.decode(value!).userId)
  )
  const live = await index.live()
  assert.equal(live?.users, users.size)
  for (const userId of users) {
    const last = io.log.records('user-sequences').findLast(({ key }) => new TextDecoder().decode(key) === userId)
    const { steps } = io.codecs.userSequence.decode(last!.value!)
    const stored = await index.user(userId)
    assert.equal(stored?.payload.recent[0], steps.at(-1)?.itemId)
    assert.equal(stored?.payload.historyLength, steps.length)
  }
  io.dispose()
})

test('a restart publishes again only what it may not have published, and reports no freshness for what is old', async () => {
  const io = await learned()
  const index = new MemoryVectorIndex()
  const users = new MemoryUserDisk()
  let ages = 0
  const make = () =>
    new PublishStage({
      ...io,
      index,
      replica: new ModelReplica(),
      users,
      onPublished: ({ users }) => {
        ages += users?.agesMs.length ?? 0
      }
    })
  await publishAll(make(), io)
  assert(ages > 0)
  assert.equal(users.at(0).committed(), (await io.log.ends('user-sequences')).get(0))
  ages = 0
  await publishAll(make(), io)
  assert.equal(ages, 0)
  io.dispose()
})

test('what is popular is in the index, and a restart counts no interaction twice, nor leaves one out', async () => {
  const io = await learned()
  const index = new MemoryVectorIndex()
  let kept: KeptPopularity | undefined
  const popularity = {
    load: () => kept,
    save: (next: KeptPopularity) => {
      kept = JSON.parse(JSON.stringify(next)) as KeptPopularity
    }
  }
  const make = () =>
    new PublishStage({ ...io, index, replica: new ModelReplica(), users: new MemoryUserDisk(), popularity })
  await publishAll(make(), io)
  const interactions = io.log.records('interactions').map(({ value }) => io.codecs.interaction.decode(value!))
  const compare = async () => {
    const counted = new Popularity(io.config.popularity, io.config.events.types) // without a restart
    for (const interaction of interactions) counted.note(interaction)
    const { items } = await index.popular(5)
    for (const { itemId, payload } of items) {
      const expected = counted.of(itemId).popularity
      assert(
        Math.abs(payload.popularity! - expected) < Math.log2(1.1),
        `${itemId}: ${payload.popularity} for ${expected}`
      )
    }
    return items[0]!.itemId
  }
  await compare()
  // From the middle on it is not popular yet, and then by far the most.
  const rising = interactions.at(-1)!
  const key = new TextEncoder().encode('u')
  for (let i = 0; i < 50; i++) {
    const interaction = {
      ...rising,
      userId: `visitor ${i}`,
      eventId: `visit ${i}`,
      itemId: 'i7',
      eventTimeMs: rising.eventTimeMs + i
    }
    interactions.push(interaction)
    await io.log.append('interactions', [{ key, value: io.codecs.interaction.encode(interaction) }])
  }
  await publishAll(make(), io)
  assert.equal(await compare(), 'i7')
  const before = kept?.offsets['0']
  await publishAll(make(), io)
  assert.equal(await compare(), 'i7')
  assert.equal(before, kept?.offsets['0'])
  io.dispose()
})

test('an item of the catalogue that nobody has clicked yet gets a vector from its features, and goes to those whose interests it matches', async () => {
  const io = await ioWithSequences()
  const { signal } = new AbortController()
  const items = [...simulate({ events: 600, users: 40, items: 60, topics: 4, badShare: 0, features: 'topic' }).items()]
  const topics = [...new Set(items.map(({ features }) => features.topic![0]!))]
  const fresh = topics.map((topic) => ({
    ...items[0]!,
    itemId: `new in ${topic}`,
    title: `New, ${topic}`,
    features: { topic: [topic] }
  }))
  await loadItems([...items, ...fresh], { log: io.log, codecs: io.codecs, topic: 'items', signal })
  const trainer = newTrainer(io)
  await learnAll(
    new TrainStage({ ...io, trainer, checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }),
    io
  )
  const index = new MemoryVectorIndex()
  await publishAll(new PublishStage({ ...io, index, replica: new ModelReplica(), users: new MemoryUserDisk() }), io)
  const stored = await index.item(fresh[0]!.itemId)
  assert.equal(stored?.payload.count, 0)
  assert(Math.abs(Math.hypot(...stored.vector) - 1) < 1e-3)
  const topicOf = new Map(items.map(({ itemId, features }) => [itemId, features.topic![0]!]))
  const recommender = new Recommender({ index, clock: io.clock })
  const placed = { own: [] as number[], other: [] as number[] }
  for (const userId of new Set(io.log.records('user-sequences').map(({ key }) => new TextDecoder().decode(key)))) {
    const { recent } = (await index.user(userId))!.payload
    const own = new Set(recent.slice(0, 10).map((itemId) => topicOf.get(itemId)!))
    if (own.size === topics.length) continue // everything matches
    const { items: list } = await recommender.recommend({ userId, limit: 200 })
    for (const [i, topic] of topics.entries()) {
      const place = list.findIndex(({ itemId }) => itemId === fresh[i]!.itemId)
      assert(place >= 0, `${fresh[i]!.itemId} is not among ${list.length}`)
      placed[own.has(topic) ? 'own' : 'other'].push(place)
    }
  }
  const mean = (places: number[]) => places.reduce((sum, place) => sum + place, 0) / places.length
  assert(placed.own.length >= 40 && placed.other.length >= 40)
  // Of some 58 places: a new item stands far ahead where its topic is among the last ten clicks.
  assert(
    mean(placed.own) < mean(placed.other) - 10,
    `on average at place ${mean(placed.own)}, and ${mean(placed.other)} where it does not match`
  )
  io.dispose()
})
