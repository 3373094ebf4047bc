// A small stream that has been sequenced, and a small model to learn it: for tests of the stages behind.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { loadInteractions } from '../../src/ingest/load.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import type { TrainStage } from '../../src/train/trainStage.ts'
import { MemoryDisk, MemorySequenceStore } from './memorySequenceStore.ts'
import { type TestStageIo, testStageIo } from './stageIo.ts'

const settings = {
  model: { dimensions: 8, interestCount: 2 },
  train: {
    batchSize: 32,
    negatives: 16,
    reservoirMax: 100,
    checkpointIntervalMs: 1000,
    updateIntervalMs: 1000
  }
}

/** A log with sequences of a few hundred simulated clicks. @param train settings besides */
export async function ioWithSequences(train: Readonly<Record<string, unknown>> = {}): Promise<TestStageIo> {
  const io = await testStageIo({ ...settings, train: { ...settings.train, ...train } })
  const { signal } = new AbortController()
  const simulation = simulate({ events: 600, users: 40, items: 60, topics: 4, badShare: 0 })
  await loadInteractions(simulation.interactions(), {
    log: io.log,
    codecs: io.codecs,
    topic: 'interactions',
    name: 's',
    signal,
    hasRoom: async () => true
  })
  const stop = new AbortController()
  const stage = new SequenceStage({ ...io, openStore: async () => new MemorySequenceStore(new MemoryDisk()) })
  stage.drain(true)
  const running = stage.run(stop.signal)
  await until(
    async () => stage.consumed().get(0) === (await io.log.ends('interactions')).get(0) && stage.committed,
    running
  )
  stop.abort()
  await running
  return io
}

export const newTrainer = ({ config }: TestStageIo) =>
  new IncrementalTrainer({ model: config.model, train: config.train, historyMax: config.sequence.historyMax, seed: 1 })

export async function until(condition: () => Promise<boolean>, running: Promise<void>): Promise<void> {
  while (!(await condition())) await Promise.race([running, nextTurn()])
}

export async function learnAll(stage: TrainStage, io: TestStageIo): Promise<void> {
  const stop = new AbortController()
  stage.drain(true)
  const running = stage.run(stop.signal)
  const end = (await io.log.ends('user-sequences')).get(0)
  await until(async () => stage.consumed().get(0) === end && stage.updatesSent, running)
  stop.abort()
  await running
}
