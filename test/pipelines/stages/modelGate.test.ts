// A publisher meets weights that are worse than the live ones, or broken: what is live stays, and the next good ones go on.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import type { GateHistory } from '../../../pipelines/stages/modelGate.ts'
import { PublishStage } from '../../../pipelines/stages/publishStage.ts'
import { TrainStage } from '../../../pipelines/stages/trainStage.ts'
import { BatchLedgerMemory } from '../../../src/io/state/batchLedgerMemory.ts'
import { CheckpointMemory } from '../../../src/io/state/checkpointMemory.ts'
import { loadBackend } from '../../../src/model/backend.ts'
import { ModelReplica } from '../../../src/train/modelReplica.ts'
import type { ModelUpdate } from '../../../src/train/modelUpdate.ts'
import { MemoryVectorIndex } from '../../support/memoryVectorIndex.ts'
import { learnAll, newTrainer, until, wireWithSequences } from './smallStream.ts'
import type { TestWire } from './wire.ts'

before(async () => {
  await loadBackend()
})

async function send(wire: TestWire, updates: readonly ModelUpdate[]): Promise<void> {
  const key = (update: ModelUpdate) => new TextEncoder().encode(`${update.kind}/${'name' in update ? update.name : ''}`)
  await wire.log.append(
    'model-updates',
    updates.map((update) => ({ key: key(update), value: wire.codecs.modelUpdate.encode(update), partition: 0 }))
  )
}

test('bad weights are held, with all that comes beside them; serving goes on; good ones pass', async () => {
  const wire = await wireWithSequences()
  const trainer = newTrainer(wire)
  await learnAll(new TrainStage({ ...wire, trainer, checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }), wire)
  const index = new MemoryVectorIndex()
  let history: GateHistory | undefined
  const gates = {
    load: () => history,
    save: (kept: GateHistory) => {
      history = kept
    }
  }
  const stage = new PublishStage({
    ...wire,
    index,
    replica: new ModelReplica({ gated: true }),
    offsets: { load: () => new Map(), save: () => {} },
    gates
  })
  const stop = new AbortController()
  stage.hurry(true)
  const running = stage.run(stop.signal)
  const settle = async () => {
    const sequences = (await wire.log.ends('user-sequences')).get(0)
    const updates = (await wire.log.ends('model-updates')).get(0)
    await until(async () => {
      const { sequences: read, model } = stage.consumed()
      const { items, users } = stage.waiting()
      return read.get(0) === sequences && model === updates && items === 0 && users === 0
    }, running)
  }
  const outcomes = () => history?.records.map(({ step, outcome }) => [step, outcome])
  await settle()
  const itemId = [...trainer.items.admitted()].map((row) => trainer.items.idOf(row))[0]!
  const served = await index.item(itemId)
  const good = trainer.takeUpdates(true, 0)
  const commit = good.at(-1)!
  assert.ok(commit.kind === 'commit')
  const row: ModelUpdate = { kind: 'item-row', itemId, row: new Float32Array(8).fill(1), count: 1 }

  // Not a number.
  const broken = good.map((update) => (update.kind === 'weights' ? { ...update, values: update.values.map(() => Number.NaN) } : update))
  await send(wire, [row, ...broken.slice(0, -1), { ...commit, step: 1001 }])
  await settle()
  assert.deepEqual(outcomes()?.at(-1), [1001, 'refused'])
  assert.deepEqual([stage.held?.step, history?.records.at(-1)?.reasons[0]?.check], [1001, 'vectors'])
  // Rows alone that come meanwhile belong to what is held.
  await send(wire, [row, { ...commit, step: 1002, weightsChanged: false }])
  await settle()
  assert.deepEqual(outcomes()?.at(-1), [1001, 'refused'])
  assert.deepEqual(await index.item(itemId), served)

  // The weights that are live already, in other memory: nobody can object.
  await send(wire, [...good.slice(0, -1), { ...commit, step: 1003 }])
  await settle()
  assert.deepEqual([outcomes()?.at(-1), stage.held], [[1003, 'accepted'], undefined])
  assert.equal(history?.held, undefined)
  assert.notDeepEqual((await index.item(itemId))?.vector, served?.vector) // the row that waited
  stop.abort()
  await running
  wire.dispose()
})
