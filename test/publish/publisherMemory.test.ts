// The memory in the index: lists of items with and without their points, and how users vote.

import assert from 'node:assert/strict'
import test from 'node:test'
import { ManualClock } from '../../src/core/clock.ts'
import { UnavailableError } from '../../src/core/errors.ts'
import type { Neighbours } from '../../src/index/memory.ts'
import type { ItemMemory, VectorPoint } from '../../src/index/vectorIndex.ts'
import { Publisher } from '../../src/publish/publisher.ts'
import { memoryUsers } from '../support/memoryUserStore.ts'
import { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import { PlainEncoder } from './publisherEncoder.ts'

/** Notes what is written. */
class WatchedIndex extends MemoryVectorIndex {
  readonly points: string[] = []
  readonly lists: string[] = []

  override upsert(version: string, step: number, points: readonly VectorPoint[]): Promise<number> {
    this.points.push(...points.map(({ id }) => id))
    return super.upsert(version, step, points)
  }

  override updateMemory(version: string, step: number, lists: readonly ItemMemory[]): Promise<number> {
    this.lists.push(...lists.map(({ id }) => id))
    return super.updateMemory(version, step, lists)
  }
}

function setUp() {
  const encoder = new PlainEncoder()
  const index = new WatchedIndex()
  const clock = new ManualClock(1_000_000)
  const lists = new Map<string, Neighbours>()
  const memory = { memory: { weight: 2, decay: 0.5 }, neighboursOf: (itemId: string) => lists.get(itemId) }
  const options = { userWaitMs: 50, sweepIntervalMs: 60_000 }
  const publisher = new Publisher({
    encoder,
    index,
    users: memoryUsers(),
    options,
    clock,
    catalogue: new Map(),
    memory
  })
  const note = (changedItems: readonly string[], changedNeighbours: readonly string[]) =>
    publisher.noteModel({ changedItems, changedNeighbours, expired: [], weightsChanged: false, counts: new Map() })
  const learn = (...itemIds: string[]) => {
    for (const itemId of itemIds) encoder.angles.set(itemId, encoder.angles.size)
    note(itemIds, [])
  }
  const remember = (itemId: string, weights: Readonly<Record<string, number>>) => {
    lists.set(itemId, { neighbours: Object.keys(weights), weights: Float32Array.from(Object.values(weights)) })
    note([], [itemId])
  }
  const click = (userId: string, ...itemIds: string[]) => {
    const steps = itemIds.map((itemId, i) => ({ itemId, eventTimeMs: i * 1000 }))
    publisher.noteSequence({ userId, steps, acceptedAtMs: clock.nowMs() })
    clock.advance(50)
  }
  const weightOf = async (itemId: string, of: string) =>
    (await index.items('a', [itemId], { memory: [of] })).get(itemId)?.memory?.[0]
  return { encoder, index, publisher, memory, lists, learn, remember, click, weightOf }
}

test('a list comes with its point, and alone where the point stays as it is', async () => {
  const { index, publisher, learn, remember, weightOf } = setUp()
  remember('x', { h: 0.5 }) // before the model knows it
  learn('x', 'y')
  assert.deepEqual(pick(await publisher.publishItems()), [2, 0, 0])
  assert.equal(await weightOf('x', 'h'), 0.5)
  remember('x', { h: 0.25, y: 0.125 })
  assert.equal(publisher.waiting().items, 1)
  assert.deepEqual(pick(await publisher.publishItems()), [0, 1, 0])
  assert.deepEqual([await weightOf('x', 'h'), await weightOf('x', 'y')], [0.25, 0.125])
  assert.deepEqual([index.points, index.lists], [['x', 'y'], ['x']])
})

test('a list that changes while its point is written is written afterwards', async () => {
  const { index, publisher, learn, remember, weightOf } = setUp()
  learn('x')
  index.beforeUpsert = async () => remember('x', { h: 0.5 })
  await publisher.publishItems()
  assert.equal(await weightOf('x', 'h'), 0.5)
})

test('lists that the index does not accept wait, and so does the list of a point that it does not', async () => {
  const { index, publisher, learn, remember, weightOf } = setUp()
  learn('x')
  await publisher.publishItems()
  remember('x', { h: 0.5 })
  for (const change of [() => {}, () => learn('x')]) {
    change()
    index.down = true
    await assert.rejects(publisher.publishItems(), UnavailableError)
    index.down = false
    await publisher.publishItems()
    assert.equal(await weightOf('x', 'h'), 0.5)
    assert.equal(publisher.waiting().items, 0)
    remember('x', { h: 0.75 })
    await publisher.publishItems()
    remember('x', { h: 0.5 })
  }
})

test('an item that leaves the memory has no list, and one that leaves the index is not written', async () => {
  const { index, publisher, lists, learn, remember, weightOf } = setUp()
  learn('x', 'y')
  remember('x', { h: 0.5 })
  await publisher.publishItems()
  lists.delete('x')
  publisher.noteModel({
    ...{ changedItems: [], changedNeighbours: ['x', 'nobody'], expired: [], weightsChanged: false },
    counts: new Map()
  })
  publisher.removeItems(['y'])
  await publisher.publishItems()
  assert.equal(await weightOf('x', 'h'), 0)
  assert.deepEqual(index.contents('a').items, ['x'])
  assert.equal(publisher.waiting().items, 0)
})

test('users vote as the model says when they are written', async () => {
  const { index, publisher, memory, learn, click } = setUp()
  learn('x', 'y')
  await publisher.publishItems()
  click('u', 'x', 'y')
  await publisher.publishUsers()
  assert.deepEqual((await index.user('u'))?.payload.memory, { weight: 2, decay: 0.5 })
  memory.memory.weight = 0
  click('u', 'x', 'y', 'x')
  await publisher.publishUsers()
  assert.deepEqual((await index.user('u'))?.payload.memory, { weight: 0, decay: 0.5 })
})

test('a user whose items the memory alone knows is written without vectors, and again once the model knows one', async () => {
  const { index, publisher, learn, remember, click } = setUp()
  learn('x')
  await publisher.publishItems()
  click('u', 'odd')
  const first = await publisher.publishUsers()
  assert.deepEqual([first.unknown, first.written, await index.user('u')], [1, 0, undefined])
  remember('odd', { x: 0.5 }) // pairs are in the lists of both
  const second = await publisher.publishUsers()
  assert.deepEqual([second.unknown, second.written, second.waiting], [1, 0, 0])
  assert.deepEqual([(await index.user('u'))?.vectors.length, (await index.user('u'))?.payload.recent], [0, ['odd']])
  assert.equal(publisher.waiting().unknownUsers, 1)
  learn('odd')
  const third = await publisher.publishUsers()
  assert.deepEqual([third.unknown, third.written], [0, 1])
  assert.equal((await index.user('u'))?.vectors.length, 4)
  publisher.forget('u')
  await publisher.publishUsers()
  assert.equal(await index.user('u'), undefined)
})

const pick = ({ written, lists, pending }: { written: number; lists: number; pending: number }) => [
  ...[written, lists, pending]
]
