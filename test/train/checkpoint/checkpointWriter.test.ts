import assert from 'node:assert/strict'
import test from 'node:test'
import { systemClock } from '../../../src/core/clock.ts'
import { configSchema } from '../../../src/core/config/config.ts'
import type { MetricsReport } from '../../../src/monitor/metrics.ts'
import { CheckpointWriter } from '../../../src/train/checkpoint/checkpointWriter.ts'
import { IncrementalTrainer } from '../../../src/train/incrementalTrainer.ts'
import { CheckpointMemory } from '../../support/checkpointMemory.ts'

const { model, train } = configSchema.parse({ model: { dimensions: 64, interestCount: 2 } })

function trainerOf(items: number): IncrementalTrainer {
  const trainer = new IncrementalTrainer({ model, train, historyMax: 5, seed: 1 })
  for (let i = 0; i < items; i++) trainer.items.observe(`item${i}`, 1)
  return trainer
}

const nothing = { header: {}, parts: [] }

test('learning waits for the checkpoint once too much has been set aside for it, and that is told', async () => {
  const trainer = trainerOf(10_000) // two blocks and a half
  const checkpoints = new CheckpointMemory(1)
  let letGo = () => {}
  const held = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const save = checkpoints.save.bind(checkpoints)
  checkpoints.save = (...args) => held.then(() => save(...args))
  const stalls: MetricsReport[number][] = []
  const writer = new CheckpointWriter({
    ...{ trainer, checkpoints, clock: systemClock, waitingBlocksMax: 1 },
    measure: (report) => stalls.push(...report)
  })
  writer.take(1, nothing, { version: false, onSaved: () => {} })
  assert.equal(stalls.length, 1)
  const change = (from: number, to: number) => {
    for (let row = from; row < to; row++) trainer.items.willChange(row)
  }
  change(1, 5000)
  await writer.keepUp()
  assert.deepEqual([trainer.waitingBlocks, writer.isWriting], [1, true])
  change(5000, 9000)
  assert.equal(trainer.waitingBlocks, 2)
  let waited = false
  const waiting = writer.keepUp().then(() => {
    waited = true
  })
  await new Promise(setImmediate)
  assert.equal(waited, false)
  letGo()
  await waiting
  assert.deepEqual([trainer.waitingBlocks, writer.isWriting, stalls.length], [0, false, 2])
})

test('a whole one is followed by such of changes until these weigh as much, and by a whole one for a version', async () => {
  const trainer = trainerOf(3000)
  const checkpoints = new CheckpointMemory(100, 100)
  const writer = new CheckpointWriter({ trainer, checkpoints, clock: systemClock })
  const kinds: string[] = []
  const save = checkpoints.save.bind(checkpoints)
  checkpoints.save = (step, checkpoint, options = {}) => {
    kinds.push(options.since === undefined ? 'whole' : `since ${options.since}`)
    return save(step, checkpoint, options)
  }
  const take = async (step: number, share: number, version = false) => {
    for (let row = 1; row < trainer.items.rows * share; row++) trainer.items.willChange(row)
    writer.take(step, nothing, { version, onSaved: () => {} })
    await writer.saved()
  }
  await take(1, 0)
  await take(2, 0.6)
  await take(3, 0.6)
  await take(4, 0.6) // 2 and 3 weighed more than 1
  await take(5, 0)
  await take(6, 0, true)
  await take(7, 0)
  await take(7, 0) // of the same step: what would it build on?
  assert.deepEqual(kinds, ['whole', 'since 1', 'since 2', 'whole', 'since 4', 'whole', 'since 6', 'whole'])
})
