import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { unaccounted } from '../../src/core/account.ts'
import { UnavailableError } from '../../src/core/errors.ts'
import { erasedSequence } from '../../src/log/erasure.ts'
import { loadBackend } from '../../src/model/backend.ts'
import type { Checkpoint, SaveOptions } from '../../src/model/replica/checkpoint.ts'
import type { Example } from '../../src/records/example.ts'
import { checkpointsNaming } from '../../src/train/forgetUser.ts'
import type { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import type { BatchReport } from '../../src/train/trainer.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { BatchLedgerMemory } from '../support/batchLedgerMemory.ts'
import { CheckpointMemory } from '../support/checkpointMemory.ts'
import { allArrays } from '../support/copies.ts'
import { ioWithSequences, learnAll, newTrainer, until } from '../support/smallStream.ts'
import type { TestStageIo } from '../support/stageIo.ts'

before(async () => {
  await loadBackend()
})

const names = (examples: readonly Example[]) => examples.map(({ source }) => source.offset)

test('every example is learned once, in the order of time within a batch, across a restart from a checkpoint', async () => {
  const io = await ioWithSequences()
  const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
  const learned = new Map<number, bigint[]>()
  const note = (batch: number, examples: readonly Example[]) => {
    for (let i = 1; i < examples.length; i++)
      assert(examples[i - 1]!.target.eventTimeMs <= examples[i]!.target.eventTimeMs)
    learned.set(batch, names(examples))
  }
  const stop = new AbortController()
  const first = new TrainStage({
    ...io,
    ...stores,
    trainer: newTrainer(io),
    onTrained: note,
    onBatch: ({ batch }) => batch === 5 && stop.abort()
  })
  await first.run(stop.signal)
  assert.equal(first.batch, 5)
  const second = new TrainStage({ ...io, ...stores, trainer: newTrainer(io), onTrained: note })
  await learnAll(second, io)
  const all = [...learned.values()].flat()
  assert.equal(new Set(all).size, all.length)
  const fresh = io.log.records('user-sequences').flatMap(({ value }) => io.codecs.userSequence.decode(value!).fresh)
  const expected = fresh.filter(({ position }) => position > 0).map(({ offset }) => offset)
  assert.deepEqual(all.sort(), expected.sort())
  // Every new step has its outcome, those that the first process took included.
  const account = second.account()
  assert.deepEqual([account.read, unaccounted(account)], [fresh.length, 0])
  const { trained: taught, first: without, unknownItem, unknownHistory } = account.outcomes
  assert.deepEqual([without, taught + unknownItem + unknownHistory], [fresh.length - expected.length, expected.length])
  assert.equal(second.examplesTrained, taught)
  assert.equal(second.evaluator.report().examples, expected.length)
  io.dispose()
})

test('a stage has not caught up before it has followed the offset that tools have set', async () => {
  const io = await ioWithSequences()
  const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
  const first = new TrainStage({ ...io, ...stores, trainer: newTrainer(io) })
  await learnAll(first, io)
  const read = io.log.read.bind(io.log)
  let join = () => {}
  const joined = new Promise<void>((resolve) => {
    join = resolve
  })
  io.log.read = (topic, options) => {
    const resume = async (partition: number) => {
      await joined
      return options.resume(partition, 0n, 0n)
    }
    return read(topic, topic === 'user-sequences' ? { ...options, resume } : options)
  }
  const second = new TrainStage({ ...io, ...stores, trainer: newTrainer(io) })
  const stop = new AbortController()
  second.drain(true)
  const running = second.run(stop.signal)
  const end = (await io.log.ends('user-sequences')).get(0)
  await until(async () => second.consumed().get(0) === end, running)
  for (let turn = 0; turn < 50; turn++) {
    await nextTurn()
    assert(!second.updatesSent, 'the checkpoint is at the end, but the group is not')
  }
  join()
  await until(async () => second.consumed().get(0) === end && second.updatesSent, running)
  stop.abort()
  await running
  assert.equal(second.account().read, 2 * first.account().read, 'every example is read once more')
  io.dispose()
})

test('an erased user is out of every kept checkpoint as soon as the event is read, also where a batch is waiting', async () => {
  const io = await ioWithSequences()
  const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
  const learn = () =>
    learnAll(new TrainStage({ ...io, ...stores, trainer: newTrainer(io), onBatch: () => io.clock.advance(600) }), io)
  await learn()
  const steps = await stores.checkpoints.steps()
  assert.ok(steps.length > 3, 'nothing would be proved of older ones')
  const holders = (userId: string) => checkpointsNaming(stores.checkpoints, userId)
  const sequences = io.log.records('user-sequences')
  const last = io.codecs.userSequence.decode(sequences.at(-1)!.value!)
  const { userId } = last
  assert(await holders(userId), 'nothing would be proved')
  await io.log.append('user-sequences', [erasedSequence(userId, 0, 0n)])
  await learn()
  assert.equal(await holders(userId), 0)
  // One batch: the user's own record, the erasure after it, and the record of another. The first is not learned.
  const other = sequences
    .map(({ value }) => io.codecs.userSequence.decode(value!))
    .find((sequence) => sequence.userId !== userId && sequence.steps.length > 2)!
  const again = [last, other].map((sequence, i) => ({
    key: new TextEncoder().encode(sequence.userId),
    value: io.codecs.userSequence.encode({
      ...sequence,
      fresh: [{ position: sequence.steps.length - 1, offset: 1_000_000n + BigInt(i) }]
    })
  }))
  await io.log.append('user-sequences', [again[0]!, erasedSequence(userId, 0, 0n), again[1]!])
  const learned: string[] = []
  const stage = new TrainStage({
    ...io,
    ...stores,
    trainer: newTrainer(io),
    onTrained: (_, examples) => learned.push(...examples.map((example) => example.userId))
  })
  await learnAll(stage, io)
  assert.deepEqual(learned, [other.userId])
  assert.equal(await holders(userId), 0)
  io.dispose()
})

test('after several steps that are not finite it goes back to a checkpoint that was taken before it went wrong, and goes on', async () => {
  const io = await ioWithSequences()
  const trainer = newTrainer(io)
  const reports: BatchReport[] = []
  const stage: TrainStage = new TrainStage({
    ...io,
    trainer,
    checkpoints: new CheckpointMemory(3),
    ledger: new BatchLedgerMemory(),
    onBatch: (report) => {
      reports.push(report)
      io.clock.advance(600) // a checkpoint after every other batch
      // Every item's row is broken, as after an update with a broken gradient.
      if (report.batch === 6) breakRows(trainer)
    }
  })
  await learnAll(stage, io)
  // The checkpoint after batch 6 has the broken rows: three more batches show it, then the one before is taken.
  assert.equal(stage.figures.rollbacks, 2)
  assert.equal(stage.figures.batchesDropped, 6)
  assert.deepEqual(
    reports.filter(({ step }) => step === undefined).map(({ batch }) => batch),
    [7, 8, 9, 10, 11, 12]
  )
  assert(reports.length > 14)
  for (const { batch, step } of reports) if (batch > 12) assert(Number.isFinite(step?.loss))
  io.dispose()
})

test('the log is told of the model in whole commits whose number never goes back', async () => {
  const io = await ioWithSequences()
  const stage = new TrainStage({
    ...io,
    trainer: newTrainer(io),
    checkpoints: new CheckpointMemory(3),
    ledger: new BatchLedgerMemory(),
    onBatch: () => io.clock.advance(600)
  })
  await learnAll(stage, io)
  const updates = io.log.records('model-updates').map(({ value }) => io.codecs.modelUpdate.decode(value!))
  assert.equal(updates.at(-1)?.kind, 'commit')
  const steps = updates.flatMap((update) => (update.kind === 'commit' ? [update.step] : []))
  assert(steps.length > 2)
  assert.deepEqual(
    steps,
    [...steps].sort((a, b) => a - b)
  )
  assert.equal(steps.at(-1), stage.batch)
  const firstCommit = updates.findIndex(({ kind }) => kind === 'commit')
  assert(updates.slice(0, firstCommit).some(({ kind }) => kind === 'weights')) // nobody can use rows without weights
  io.dispose()
})

test('while batches are learned again after a restart nothing is sent: the number of a commit never goes back', async () => {
  const io = await ioWithSequences({ updateIntervalMs: 1, checkpointIntervalMs: 3_600_000 })
  const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
  // The first life ends without a checkpoint, after what it has learned was sent.
  const killed = new UnavailableError('killed')
  const onBatch = ({ batch }: BatchReport) => {
    io.clock.advance(600)
    if (batch === 6) throw killed
  }
  await assert.rejects(learnAll(new TrainStage({ ...io, ...stores, trainer: newTrainer(io), onBatch }), io), killed)
  assert.deepEqual(await stores.checkpoints.steps(), [])
  const second = new TrainStage({
    ...io,
    ...stores,
    trainer: newTrainer(io),
    onBatch: () => io.clock.advance(600)
  })
  await learnAll(second, io)
  const steps = io.log.records('model-updates').flatMap(({ value }) => {
    const update = io.codecs.modelUpdate.decode(value!)
    return update.kind === 'commit' ? [update.step] : []
  })
  assert(steps.includes(5), 'nothing would be proved')
  assert.deepEqual(
    steps,
    [...steps].sort((a, b) => a - b)
  )
  assert.equal(steps.at(-1), second.batch)
  io.dispose()
})

test('what a user did after an erasure is learned once, also where a restarted sequencer repeats the erasure', async () => {
  const io = await ioWithSequences({ batchSize: 5000 })
  const last = io.log.records('user-sequences').at(-1)!
  const template = io.codecs.userSequence.decode(last.value!)
  const sequence = (...offsets: readonly bigint[]) => {
    const steps = template.steps.slice(0, 1).concat(template.steps.slice(0, 1), template.steps.slice(0, 1))
    const fresh = offsets.map((offset, i) => ({ position: 1 + i, offset }))
    const value = io.codecs.userSequence.encode({ ...template, userId: 'again', steps, fresh })
    return { key: new TextEncoder().encode('again'), value, partition: 0 }
  }
  const erased = erasedSequence('again', 0, 5_000_002n)
  const before = sequence(5_000_000n, 5_000_001n)
  const after = sequence(5_000_003n, 5_000_004n)
  // All of it is in one batch.
  await io.log.append('user-sequences', [before, erased, after, erased, after])
  const learned: bigint[] = []
  const onTrained = (_batch: number, examples: readonly Example[]) => learned.push(...names(examples))
  const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
  const stage = new TrainStage({ ...io, ...stores, trainer: newTrainer(io), onTrained })
  await learnAll(stage, io)
  assert.deepEqual(
    learned.filter((offset) => offset >= 5_000_000n),
    [5_000_003n, 5_000_004n]
  )
  // Once more, in a batch of its own: repeats.
  await io.log.append('user-sequences', [erased, after])
  const next = new TrainStage({ ...io, ...stores, trainer: newTrainer(io), onTrained })
  await learnAll(next, io)
  assert.deepEqual(
    learned.filter((offset) => offset >= 5_000_000n),
    [5_000_003n, 5_000_004n]
  )
  assert.equal(unaccounted(next.account()), 0)
  io.dispose()
})

/** Number of the batch whose tower weights were sent last; 0: none. */
const weightsSent = (io: TestStageIo) =>
  io.log.records('model-updates').reduce((last, { value }) => {
    const update = io.codecs.modelUpdate.decode(value!)
    return update.kind === 'commit' && update.weightsChanged ? update.step : last
  }, 0)

test('a flush sends the tower weights of the last batch, also where its rows went before them and an erasure is still waiting', async () => {
  const io = await ioWithSequences({ updateIntervalMs: 1, weightsIntervalMs: 3_600_000 })
  const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
  await learnAll(new TrainStage({ ...io, ...stores, trainer: newTrainer(io) }), io)
  const last = io.log.records('user-sequences').at(-1)!
  const sequence = io.codecs.userSequence.decode(last.value!)
  const value = io.codecs.userSequence.encode({
    ...sequence,
    fresh: [{ position: sequence.steps.length - 1, offset: 1_000_000n }]
  })
  await io.log.append('user-sequences', [{ key: last.key, value }, erasedSequence('another', 0, 0n)])
  const config = { ...io.config, train: { ...io.config.train, batchSize: 1 } }
  const onBatch = () => io.clock.advance(600)
  const stage = new TrainStage({ ...io, ...stores, config, trainer: newTrainer(io), onBatch })
  await learnAll(stage, io)
  assert.equal(weightsSent(io), stage.batch)
  io.dispose()
})

test('when no other batch follows, the tower weights of the last are sent after their interval', async () => {
  const io = await ioWithSequences({ updateIntervalMs: 1, weightsIntervalMs: 5000, batchWaitMaxMs: 10 })
  const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
  const stage = new TrainStage({ ...io, ...stores, trainer: newTrainer(io) })
  const stop = new AbortController()
  const running = stage.run(stop.signal)
  const end = (await io.log.ends('user-sequences')).get(0)
  const latestMs = io.clock.nowMs() + 3_600_000
  const isSent = () => stage.consumed().get(0) === end && weightsSent(io) === stage.batch
  await until(async () => {
    io.clock.advance(50)
    return isSent() || io.clock.nowMs() > latestMs
  }, running)
  stop.abort()
  await running
  assert(isSent(), `after an hour those of batch ${weightsSent(io)} of ${stage.batch} were the last`)
  io.dispose()
})

/** A store whose first save waits until it is let go, or fails when it is. */
class SlowStore extends CheckpointMemory {
  readonly saved: number[] = []
  #release: (failure?: Error) => void = () => {}
  readonly #held = new Promise<void>((resolve, reject) => {
    this.#release = (failure) => (failure === undefined ? resolve() : reject(failure))
  })

  letGo(failure?: Error): void {
    this.#release(failure)
  }

  override async save(
    step: number,
    checkpoint: Checkpoint,
    options?: SaveOptions
  ): Promise<{ bytes: number; oldest: number }> {
    if (this.saved.length === 0) await this.#held
    const saved = await super.save(step, checkpoint, options)
    this.saved.push(step)
    return saved
  }
}

test('learning goes on while a checkpoint is written, which holds what was learned when it was taken', async () => {
  const io = await ioWithSequences()
  const trainer = newTrainer(io)
  const checkpoints = new SlowStore(100)
  const stage: TrainStage = new TrainStage({
    ...io,
    trainer,
    checkpoints,
    ledger: new BatchLedgerMemory(),
    onBatch: ({ batch }) => {
      if (batch === 4) io.clock.advance(60_000) // a checkpoint is due, and waits in the store …
      if (batch === 9) checkpoints.letGo() // … while five more batches are learned
    }
  })
  await learnAll(stage, io)
  assert.equal(checkpoints.saved[0], 4)
  assert.equal(checkpoints.saved.at(-1), stage.batch)
  const stop = new AbortController()
  const expected = newTrainer(io)
  const undisturbed = new TrainStage({
    ...io,
    trainer: expected,
    checkpoints: new CheckpointMemory(1),
    ledger: new BatchLedgerMemory(),
    onBatch: ({ batch }) => batch === 4 && stop.abort()
  })
  await undisturbed.run(stop.signal)
  const restored = newTrainer(io)
  restored.restore(await checkpoints.load(4))
  sameButForDirty(restored, expected)
  io.dispose()
})

test('between whole checkpoints there are such of changes; the next life goes on from the last of them', async () => {
  const io = await ioWithSequences()
  const stores = { checkpoints: new CheckpointMemory(3), ledger: new BatchLedgerMemory() }
  const since: (number | undefined)[] = []
  const save = stores.checkpoints.save.bind(stores.checkpoints)
  stores.checkpoints.save = (step, checkpoint, options = {}) => {
    since.push(options.since)
    return save(step, checkpoint, options)
  }
  const stop = new AbortController()
  const trainer = newTrainer(io)
  const first: TrainStage = new TrainStage({
    ...{ ...io, ...stores, trainer },
    onBatch: ({ batch }) => {
      io.clock.advance(600)
      if (batch === 8) stop.abort()
    }
  })
  await first.run(stop.signal)
  const steps = await stores.checkpoints.steps()
  assert.equal(since[0], undefined)
  assert.ok(since.filter((step) => step !== undefined).length > 1, `${since}`)
  for (const [i, step] of since.entries()) if (step !== undefined) assert.equal(step, steps[i - 1])
  const restored = newTrainer(io)
  restored.restore((await stores.checkpoints.latest())!.checkpoint)
  sameButForDirty(restored, trainer)
  // Whoever takes a copy of the trainer in between makes the next one whole.
  const second = new TrainStage({
    ...{ ...io, ...stores, trainer: restored },
    onBatch: () => {
      io.clock.advance(1100)
      restored.checkpoint()
    }
  })
  since.length = 0
  await learnAll(second, io)
  assert.ok(since.length > 2 && since.every((step) => step === undefined), `${since}`)
  io.dispose()
})

/** Rows that wait to be sent are not part of what was learned. */
function sameButForDirty(actual: IncrementalTrainer, expected: IncrementalTrainer): void {
  const [a, b] = [actual.checkpoint(), expected.checkpoint()]
  assert.deepEqual(a.header, b.header)
  const arrays = allArrays(b)
  for (const [name, array] of allArrays(a))
    if (!name.endsWith('/dirty')) assert.deepEqual(array, arrays.get(name), name)
}

/** A bit flips in memory. */
function breakRows({ items }: IncrementalTrainer): void {
  for (const row of items.admitted()) {
    items.willChange(row)
    items.values(row)[0] = Number.NaN
  }
}

test('a checkpoint that cannot be written ends the stage', async () => {
  const io = await ioWithSequences()
  const checkpoints = new SlowStore(100)
  const stage: TrainStage = new TrainStage({
    ...io,
    trainer: newTrainer(io),
    checkpoints,
    ledger: new BatchLedgerMemory(),
    onBatch: ({ batch }) => {
      if (batch === 4) io.clock.advance(60_000)
      if (batch === 6) checkpoints.letGo(new UnavailableError('the disk is full'))
    }
  })
  const stop = new AbortController()
  await assert.rejects(stage.run(stop.signal), /the disk is full/)
  stop.abort() // whoever runs the stage does, and what else it had begun ends
  assert.deepEqual(await checkpoints.steps(), [])
  io.dispose()
})
