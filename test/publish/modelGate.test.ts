// A publisher meets weights that are worse than the live ones, or broken: what is live stays, and the next good ones go
// on.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import type { GateHistory, GateStore } from '../../src/publish/modelGate.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import type { PublishStageOptions } from '../../src/publish/publishStageOptions.ts'
import type { ModelUpdate } from '../../src/records/modelUpdate.ts'
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

/** A publisher's life on what is in the log: `settle` waits until all of it has been taken. */
function liveOn(io: TestStageIo, more: Omit<PublishStageOptions, keyof TestStageIo | 'replica' | 'users'>) {
  const replica = new ModelReplica({ gated: true })
  const stage = new PublishStage({ ...io, ...more, replica, users: new MemoryUserDisk() })
  const stop = new AbortController()
  stage.drain(true)
  const running = stage.run(stop.signal)
  const settle = async () => {
    const sequences = (await io.log.ends('user-sequences')).get(0)
    const updates = (await io.log.ends('model-updates')).get(0)
    await until(async () => {
      const { sequences: read, model } = stage.consumed()
      const { items, users } = stage.waiting()
      return read.get(0) === sequences && model === updates && items === 0 && users === 0
    }, running)
  }
  const end = async () => {
    stop.abort()
    await running
  }
  return { stage, replica, settle, end }
}

/** Weights that are not the model's, under the next step. */
function other(updates: readonly ModelUpdate[], step: number, value: (x: number) => number): ModelUpdate[] {
  return updates.map((update) => {
    if (update.kind === 'weights') return { ...update, values: update.values.map(value) }
    return update.kind === 'commit' ? { ...update, step } : update
  })
}

class Gates implements GateStore {
  history: GateHistory | undefined
  load(): GateHistory | undefined {
    return this.history
  }
  save(history: GateHistory): void {
    this.history = history
  }
  get outcomes(): (string | number)[][] {
    return this.history?.records.map(({ step, outcome }) => [step, outcome]) ?? []
  }
}

async function send(io: TestStageIo, updates: readonly ModelUpdate[]): Promise<void> {
  // As the trainer's: an older record of the same key goes with compaction.
  const key = (update: ModelUpdate) => {
    if (update.kind === 'item-row') return `item/${update.itemId}`
    return update.kind === 'weights' ? `weights/${update.name}` : update.kind
  }
  await io.log.append(
    'model-updates',
    updates.map((update) => ({
      key: new TextEncoder().encode(key(update)),
      value: io.codecs.modelUpdate.encode(update),
      partition: 0
    }))
  )
}

test('bad weights are held, with all that comes beside them; serving goes on; good ones pass', async () => {
  const io = await ioWithSequences()
  const trainer = newTrainer(io)
  await learnAll(
    new TrainStage({ ...io, trainer, checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }),
    io
  )
  const index = new MemoryVectorIndex()
  const gates = new Gates()
  const { stage, settle, end } = liveOn(io, { index, gates })
  await settle()
  // Rarely a target, or the gate would miss it where its row is another.
  const { items } = trainer
  const itemId = items.idOf(
    [...items.admitted()].reduce((rare, row) => (items.count(row) < items.count(rare) ? row : rare))
  )
  const served = await index.item(itemId)
  const good = trainer.takeUpdates(true, 0)
  const commit = good.at(-1)!
  assert.ok(commit.kind === 'commit')
  const row: ModelUpdate = { kind: 'item-row', itemId, row: new Float32Array(8).fill(1), count: 1 }

  // Not a number.
  await send(io, [row, ...other(good, 1001, () => Number.NaN)])
  await settle()
  assert.deepEqual(gates.outcomes.at(-1), [1001, 'refused'])
  assert.deepEqual([stage.rejected?.step, gates.history?.records.at(-1)?.reasons[0]?.check], [1001, 'vectors'])
  // Rows alone that come meanwhile belong to what is held.
  await send(io, [row, { ...commit, step: 1002, weightsChanged: false }])
  await settle()
  assert.deepEqual(gates.outcomes.at(-1), [1001, 'refused'])
  assert.deepEqual(await index.item(itemId), served)

  // The weights that are live already, in other memory: nobody can object.
  await send(
    io,
    other(good, 1003, (x) => x)
  )
  await settle()
  assert.deepEqual([gates.outcomes.at(-1), stage.rejected], [[1003, 'accepted'], undefined])
  assert.equal(gates.history?.held, undefined)
  assert.notDeepEqual((await index.item(itemId))?.vector, served?.vector) // the row that waited
  await end()
  io.dispose()
})

test('restarted while weights are held, again and again: what was live comes back, goes on answering clicks, and goes on holding', async () => {
  const io = await ioWithSequences()
  const trainer = newTrainer(io)
  await learnAll(
    new TrainStage({ ...io, trainer, checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }),
    io
  )
  const [index, gates, liveModel] = [new MemoryVectorIndex(), new Gates(), new CheckpointMemory(1)]
  let life = liveOn(io, { index, gates, liveModel })
  await life.settle()
  const liveStep = life.replica.step
  trainer.resendAll()
  const good = trainer.takeUpdates(true, 0)
  const items = [...trainer.items.admitted()].map((row) => trainer.items.idOf(row))
  const served = await Promise.all(items.map((itemId) => index.item(itemId)))
  // All that the log has after compaction are rows and towers that were refused.
  const broken = other(good, 1001, () => Number.NaN)
  await send(
    io,
    broken.map((update) => (update.kind === 'item-row' ? { ...update, row: new Float32Array(8).fill(1) } : update))
  )
  await life.settle()
  assert.deepEqual(gates.outcomes.at(-1), [1001, 'refused'])
  const verdicts = gates.outcomes.length
  const last = io.log.records('user-sequences').at(-1)!
  for (let restart = 1; restart <= 3; restart++) {
    await life.end()
    io.log.compact('model-updates')
    const user = io.codecs.userSequence.decode(last.value!)
    const steps = [...user.steps, { ...user.steps[0]!, eventTimeMs: user.newestMs + restart }]
    const value = io.codecs.userSequence.encode({ ...user, steps, fresh: [], newestMs: user.newestMs + restart })
    await io.log.append('user-sequences', [{ key: last.key, value, partition: 0 }])
    life = liveOn(io, { index, gates, liveModel })
    await life.settle()
    assert.deepEqual([life.replica.step, life.stage.rejected?.step], [liveStep, 1001])
    assert.deepEqual([gates.outcomes.length, gates.outcomes.at(-1)], [verdicts + restart, [1001, 'refused']])
    assert.equal((await index.user(user.userId))?.payload.newestMs, user.newestMs + restart)
    for (const [i, itemId] of items.entries()) assert.deepEqual((await index.item(itemId))?.vector, served[i]?.vector)
  }
  // What is accepted then is what the next life begins with.
  await send(
    io,
    other(good, 1002, (x) => x)
  )
  await life.settle()
  await life.end()
  life = liveOn(io, { index, gates, liveModel })
  await life.settle()
  assert.deepEqual([life.replica.step, life.stage.rejected, gates.outcomes.length], [1002, undefined, verdicts + 4])
  await life.end()
  io.dispose()
})

test('killed while weights are tried: they are tried again, and not taken for those that are live', async () => {
  const io = await ioWithSequences()
  const trainer = newTrainer(io)
  await learnAll(
    new TrainStage({ ...io, trainer, checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }),
    io
  )
  const [index, gates, liveModel] = [new MemoryVectorIndex(), new Gates(), new CheckpointMemory(1)]
  const first = liveOn(io, { index, gates, liveModel })
  await first.settle()
  await first.end()
  await send(
    io,
    other(trainer.takeUpdates(true, 0), 1001, () => Number.NaN)
  )
  io.log.compact('model-updates')
  const second = liveOn(io, { index, gates, liveModel })
  await second.settle()
  assert.deepEqual([gates.outcomes.at(-1), second.stage.rejected?.step], [[1001, 'refused'], 1001])
  assert.ok((await index.live())!.step < 1001)
  await second.end()
  io.dispose()
})
