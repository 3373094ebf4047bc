// The memory's lists take effect with their commit, are replaced and deleted, and belong to a model version.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { configSchema } from '../../../src/core/config/config.ts'
import { modelSchema } from '../../../src/core/config/modelOptions.ts'
import { loadBackend } from '../../../src/model/backend.ts'
import { liveModelFromCheckpoint, liveModelToCheckpoint } from '../../../src/model/replica/liveModel.ts'
import { ModelReplica } from '../../../src/model/replica/modelReplica.ts'
import { NeighbourLists } from '../../../src/model/replica/neighbourLists.ts'
import { type ModelUpdate, updateKey, updateProblem } from '../../../src/records/modelUpdate.ts'
import { IncrementalTrainer } from '../../../src/train/incrementalTrainer.ts'

before(() => loadBackend())

const listOf = (itemId: string, ...pairs: readonly (readonly [string, number])[]): ModelUpdate => ({
  kind: 'item-neighbours',
  itemId,
  neighbours: pairs.map(([neighbour]) => neighbour),
  weights: Float32Array.from(pairs, ([, weight]) => weight)
})

function makeTrainer(): IncrementalTrainer {
  const { train } = configSchema.parse({ train: { negatives: 4 } })
  const model = modelSchema.parse({ dimensions: 4, interestCount: 2 })
  return new IncrementalTrainer({ model, train, historyMax: 6, seed: 1 })
}

function pairsOf(replica: Pick<ModelReplica, 'neighboursOf'>, itemId: string) {
  const list = replica.neighboursOf(itemId)
  return list?.neighbours.map((neighbour, i) => [neighbour, list.weights[i]])
}

test('lists take effect with their commit, the newest of an item counts, an empty one deletes', () => {
  const trainer = makeTrainer()
  const replica = new ModelReplica()
  replica.apply(listOf('x', ['a', 0.5]))
  replica.apply(listOf('x', ['b', 0.5], ['a', 0.25]))
  assert.equal(replica.neighboursOf('x'), undefined)
  const first = trainer
    .takeUpdates(true, 1)
    .map((update) => replica.apply(update))
    .at(-1)
  assert.deepEqual(first?.changedNeighbours, ['x'])
  assert.deepEqual(first?.changedItems, [])
  assert.deepEqual(pairsOf(replica, 'x'), [
    ['b', 0.5],
    ['a', 0.25]
  ])
  replica.apply(listOf('x'))
  assert.deepEqual(pairsOf(replica, 'x'), [
    ['b', 0.5],
    ['a', 0.25]
  ])
  const second = replica.apply(trainer.takeUpdates(false, 2).at(-1)!)
  assert.deepEqual(second?.changedNeighbours, ['x'])
  assert.equal(replica.neighboursOf('x'), undefined)
  replica.dispose()
})

test('a new model version begins without lists', () => {
  const trainer = makeTrainer()
  const replica = new ModelReplica()
  replica.apply(listOf('x', ['a', 0.5]))
  for (const update of trainer.takeUpdates(true, 1)) replica.apply(update)
  // Before its beginning: what compaction left of the version before.
  replica.apply(listOf('old', ['a', 0.5]))
  trainer.beginVersion('next')
  replica.apply({ kind: 'model-version', modelVersion: 'next', reason: 'rebuild', begunAtMs: 2 })
  replica.apply(listOf('y', ['b', 1]))
  const applied = trainer
    .takeUpdates(true, 2)
    .map((update) => replica.apply(update))
    .at(-1)
  assert.deepEqual(applied?.changedNeighbours, ['y'])
  assert.deepEqual(
    ['x', 'old', 'y'].map((itemId) => pairsOf(replica, itemId)),
    [undefined, undefined, [['b', 1]]]
  )
  replica.dispose()
})

test('a model saved whole keeps its lists', () => {
  const trainer = makeTrainer()
  const before = new ModelReplica({ gated: true })
  before.apply(listOf('x', ['a', 0.5], ['b', 0.25]))
  before.apply(listOf('y', ['x', 2]))
  for (const update of trainer.takeUpdates(true, 1)) before.apply(update, 1n)
  const after = new ModelReplica({ gated: true })
  const applied = after.resume(liveModelFromCheckpoint(liveModelToCheckpoint(before.liveModel(true))))
  assert.deepEqual(applied?.changedNeighbours, ['x', 'y'])
  for (const itemId of ['x', 'y', 'a']) assert.deepEqual(pairsOf(after, itemId), pairsOf(before, itemId))
  for (const replica of [before, after]) replica.dispose()
})

test('items that are no longer named take no memory', () => {
  const lists = new NeighbourLists()
  for (let i = 0; i < 20_000; i++) {
    lists.set(`x${i}`, { neighbours: [`h${i}`, 'stays'], weights: Float32Array.of(2, 1) })
    if (i >= 10) lists.set(`x${i - 10}`, { neighbours: [], weights: new Float32Array(0) })
  }
  assert.equal(lists.size, 10)
  assert(lists.state().get('idLengths')!.length < 2000, `${lists.state().get('idLengths')!.length} ids`)
  for (const i of [19_990, 19_999]) assert.deepEqual(lists.of(`x${i}`)?.neighbours, [`h${i}`, 'stays'])
  assert.deepEqual(NeighbourLists.from(lists.state()).of('x19999'), lists.of('x19999'))
})

test('a list that the trainer cannot have sent is refused with the reason', () => {
  const good = listOf('x', ['a', 0.5], ['b', 0.5])
  assert.equal(updateProblem(good), undefined)
  assert.equal(updateProblem(listOf('x')), undefined)
  assert.equal(updateKey(good), 'neighbours/x')
  const bad: readonly [RegExp, ModelUpdate][] = [
    [/include itself/, listOf('x', ['x', 1])],
    [/twice/, listOf('x', ['a', 1], ['a', 1])],
    [/weight 0 .* is 0/, listOf('x', ['a', 0])],
    [/weight 0 .* is NaN/, listOf('x', ['a', Number.NaN])],
    [/descending/, listOf('x', ['a', 1], ['b', 2])],
    [/are 1, with 2 weights/, { ...listOf('x', ['a', 1]), weights: Float32Array.of(2, 1) } as ModelUpdate],
    [/at most 512/, listOf('x', ...Array.from({ length: 513 }, (_, i) => [`${i}`, 1] as const))],
    [/itemId/, listOf('', ['a', 1])],
    [/neighbour/, listOf('x', ['', 1])]
  ]
  for (const [message, update] of bad) assert.match(updateProblem(update) ?? 'no problem', message)
})
