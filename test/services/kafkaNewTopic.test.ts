// Topics that are deleted and created again on a real broker, with fewer, as many and more records: every stage that has
// stored offsets stops, and continues with --accept-new-topic. And offsets of every stage, shown and reset.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileOffsets } from '../../pipelines/ingestOffsets.ts'
import { systemClock } from '../../src/core/clock.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { CorruptError } from '../../src/core/errors.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { IngestStage } from '../../src/ingest/ingestStage.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { applyTopics, wantedTopics } from '../../src/log/kafka/kafkaTopics.ts'
import { partitionOf } from '../../src/log/partitioner.ts'
import type { StageIo } from '../../src/log/stageIo.ts'
import { createCodecs } from '../../src/records/avro/avroCodecs.ts'
import { LocalRegistry } from '../../src/records/registry/localRegistry.ts'
import { openOwnedSequences, ownedDisk } from '../../src/sequence/ownedSequences.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'
import { brokers, hangMs, kafka, kafkaOptions, openLog, removeTopics, skip } from './kafka.ts'

let users = 5
let clicks = 0

/** One run; each stage reads everything, and ends. */
class Run {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-new-topic-'))
  readonly name = `t${path.basename(this.folder).slice(-6)}`
  readonly source = `${this.name}-clicks`
  readonly topics = {
    interactions: `${this.name}-interactions`,
    items: `${this.name}-items`,
    userSequences: `${this.name}-user-sequences`,
    modelUpdates: `${this.name}-model-updates`
  }
  readonly settings = {
    ...{ log: 'kafka', dataDir: this.folder, run: 'a', kafka: { brokers, clientId: this.name } },
    topics: { ...this.topics, partitions: 2 },
    model: { dimensions: 8, interestCount: 2 },
    train: { batchSize: 16, negatives: 8, reservoirMax: 100 },
    sources: [
      { topic: this.source, format: 'json', user: 'u', item: 'i', type: '=click', time: { path: 't', unit: 'ms' } }
    ]
  }
  config = resolveConfig(this.settings, {})

  async begin(): Promise<void> {
    writeFileSync(path.join(this.folder, 'mtmi.json'), JSON.stringify(this.settings))
    new RunDirectory(this.folder, 'a').make({ configFile: null })
    await applyTopics(kafkaOptions(), wantedTopics(this.config))
    await this.make(this.source)
  }

  async make(topic: string): Promise<void> {
    const { interactions, userSequences } = this.topics
    const admin = kafka.admin()
    await admin.connect()
    const numPartitions = [interactions, userSequences].includes(topic) ? 2 : 1
    await admin.createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: false })
    await admin.disconnect()
  }

  async remake(topic: string): Promise<void> {
    await removeTopics(topic)
    await pause(500) // the broker deletes it in the background
    await this.make(topic)
  }

  async #with<T>(work: (io: StageIo, run: RunDirectory) => Promise<T>): Promise<T> {
    const run = new RunDirectory(this.folder, 'a')
    const log = await KafkaLog.open(kafkaOptions({ clientId: this.name }), systemClock, { run: 'a' })
    const registry = new LocalRegistry(run.path('schemas'))
    const codecs = await createCodecs(registry, this.config.topics)
    const io = { config: this.config, clock: systemClock, log, registry, codecs, maintain: async () => {} }
    return work(io, run).finally(() => log.close())
  }

  click(count: number): Promise<void> {
    return this.#with(({ log }) => {
      const records = Array.from({ length: count }, () => {
        const n = clicks++
        const event = { u: `user-${n % users}`, i: `item-${n % 17}`, t: Date.UTC(2026, 4, 1) + n * 60_000 }
        return { key: Buffer.alloc(0), value: Buffer.from(JSON.stringify(event)), partition: 0 }
      })
      return log.append(this.source, records)
    })
  }

  ingest(acceptNewTopic = false): Promise<void> {
    return this.#with(async (io, run) => {
      const sources = io.config.sources.map((source) => openSource(source, io))
      const stage = new IngestStage({ ...io, sources, offsets: fileOffsets(run), acceptNewTopic })
      await stage.run(new AbortController().signal, { untilEnd: true })
    })
  }

  sequence(acceptNewTopic = false): Promise<void> {
    return this.#with(async (io, run) => {
      const disk = ownedDisk(run.path('sequence-0'))
      const stage = new SequenceStage({
        ...io,
        openStore: (partition, reset) => openOwnedSequences({ io, disk, acceptNewTopic }, partition, reset)
      })
      const ends = await io.log.ends(io.config.topics.interactions)
      const stop = new AbortController()
      stage.drain(true)
      const running = stage.run(stop.signal)
      const isDone = () => {
        const consumed = stage.consumed()
        return stage.committed && [...ends].every(([partition, end]) => (consumed.get(partition) ?? -1n) >= end)
      }
      while (!isDone()) await Promise.race([running, pause(20)])
      stop.abort()
      await running
    })
  }

  ends(topic: string): Promise<bigint> {
    return this.#with(async ({ log }) => [...(await log.ends(topic)).values()].reduce((sum, end) => sum + end, 0n))
  }

  /** Steps that a trainer has not seen before; and how many there are in the histories. */
  sequences(): Promise<{ fresh: number; steps: number }> {
    return this.#with(async ({ log, config, codecs }) => {
      const newest = new Map<string, number>()
      const fresh = new Set<string>()
      const options = { resume: async () => 0n, signal: new AbortController().signal, untilEnd: true }
      for await (const event of log.read(config.topics.userSequences, options)) {
        if (event.kind !== 'records') continue
        for (const { value, partition } of event.records) {
          const sequence = codecs.userSequence.decode(value!)
          newest.set(sequence.userId, sequence.steps.length)
          for (const { offset } of sequence.fresh) fresh.add(`${partition}/${offset}`)
        }
      }
      return { fresh: fresh.size, steps: [...newest.values()].reduce((sum, steps) => sum + steps, 0) }
    })
  }

  async mtmi(...words: string[]): Promise<string> {
    const done = await mtmi(['--config', path.join(this.folder, 'mtmi.json'), ...words], { cwd: this.folder })
    assert.equal(done.status, 0, `${words.join(' ')}\n${done.stderr.slice(-3000)}`)
    return done.stdout === '' ? done.stderr : done.stdout
  }

  /** A process that refuses the new topic without the option, and accepts it with it. */
  async accepts(stage: string, topic: string): Promise<string> {
    const refused = await mtmi(['--config', path.join(this.folder, 'mtmi.json'), stage, '--once'], { cwd: this.folder })
    assert.equal(refused.status, 2, `${stage}\n${refused.stderr.slice(-3000)}`)
    assert.match(refused.stderr, new RegExp(`topic ${topic} was created again.*--accept-new-topic`, 's'))
    return this.mtmi(stage, '--once', '--accept-new-topic')
  }

  async remove(): Promise<void> {
    await removeTopics(this.source, ...wantedTopics(this.config).map(({ topic }) => topic)).catch(() => {})
    rmSync(this.folder, { recursive: true })
  }
}

/** Users whose events and history are in one partition, which is the one that their id decides. */
async function isOrdered(run: Run, partitions: number): Promise<void> {
  const log = await openLog()
  const options = { resume: async () => 0n, signal: new AbortController().signal, untilEnd: true }
  for (const topic of [run.config.topics.interactions, run.config.topics.userSequences])
    for await (const event of log.read(topic, options)) {
      if (event.kind !== 'records') continue
      for (const { key, partition } of event.records) assert.equal(partition, partitionOf(key, partitions))
    }
  await log.close()
}

test('topics that were grown from two to four partitions are refused; repartition keeps every history', {
  skip,
  timeout: hangMs
}, async () => {
  const run = new Run()
  users = 200
  await run.begin()
  const { interactions, userSequences } = run.topics
  try {
    await run.click(600)
    await run.ingest()
    await run.sequence()
    const admin = kafka.admin()
    await admin.connect()
    const topicPartitions = [interactions, userSequences].map((topic) => ({ topic, count: 4 }))
    await admin.createPartitions({ topicPartitions })
    await admin.disconnect()
    await run.click(400)
    await run.ingest()
    await assert.rejects(run.sequence(), /histories were stored with 2.*mtmi topics repartition/s)
    const refused = await mtmi(
      ['--config', path.join(run.folder, 'mtmi.json'), 'topics', 'repartition', '--partitions', '3'],
      { cwd: run.folder }
    )
    assert.equal(refused.status, 78)
    assert.match(refused.stderr, /train has \d+ records of .* to read/)

    const report = lastLine(
      await run.mtmi('topics', 'repartition', '--partitions', '3', '--skip-unread', '--json')
    ) as unknown as { users: number; events: number; topics: { interactions: string; userSequences: string } }
    assert.equal(report.users, users)
    assert(report.events >= 400)
    const { topics } = run.config
    run.config = { ...run.config, topics: { ...topics, ...report.topics, partitions: 3 } }
    await assert.rejects(run.sequence(), /--accept-new-topic/)
    await run.sequence(true)
    await run.click(200)
    await run.ingest()
    await run.sequence()
    assert.equal((await run.sequences()).steps, 1200, 'every event is in one history, once')
    await isOrdered(run, 3)
    await removeTopics(interactions, userSequences)
  } finally {
    users = 5
    await run.remove()
  }
})

const refusesTopic = (topic: string) => (error: unknown) =>
  error instanceof CorruptError && error.message.includes(`topic ${topic} was created again`)

test('ingest and sequence notice topics that were created again with fewer, as many and more records', {
  skip,
  timeout: hangMs
}, async () => {
  const run = new Run()
  await run.begin()
  const { interactions, userSequences } = run.topics
  try {
    await run.click(20)
    await run.ingest()
    await run.sequence()
    let total = 20
    for (const count of [12, 12, 30]) {
      const before = await run.ends(interactions)
      await run.remake(run.source)
      await run.click(count)
      await assert.rejects(run.ingest(), refusesTopic(run.source))
      await run.ingest(true)
      assert.equal((await run.ends(interactions)) - before, BigInt(count), 'all of the new topic is read')
      await run.sequence()
      total += count
      assert.deepEqual(await run.sequences(), { fresh: total, steps: total }, 'no event is taken for a known one')
    }
    for (const count of [10, 60]) {
      await run.remake(interactions)
      await run.click(count)
      await run.ingest()
      await assert.rejects(run.sequence(), refusesTopic(interactions))
      await run.sequence(true)
      total += count
      assert.deepEqual(await run.sequences(), { fresh: total, steps: total })
    }
    await run.remake(userSequences)
    await assert.rejects(run.sequence(), refusesTopic(userSequences))
    await run.sequence(true)
    assert.deepEqual(
      await run.sequences(),
      { fresh: 0, steps: total },
      'histories are kept, and no example comes twice'
    )
  } finally {
    await run.remove()
  }
})

test('train and publish notice topics that were created again; offsets of all stages are shown and reset', {
  skip,
  timeout: hangMs
}, async () => {
  const run = new Run()
  await run.begin()
  const { userSequences, modelUpdates } = run.topics
  try {
    await run.click(40)
    await run.ingest()
    await run.sequence()
    await run.mtmi('train', '--once')
    await run.mtmi('publish', '--once')

    await run.remake(userSequences)
    await run.remake(modelUpdates)
    await run.click(20)
    await run.ingest()
    await run.sequence(true)
    await run.accepts('train', userSequences)
    await run.accepts('publish', userSequences)

    const { stages } = lastLine(await run.mtmi('offsets', 'show', '--json')) as {
      stages: { stage: string; topic: string; partitions: { next?: string; end: string }[] }[]
    }
    assert.deepEqual([...new Set(stages.map(({ stage }) => stage))], ['ingest', 'sequence', 'train', 'publish'])
    for (const { stage, topic, partitions } of stages)
      for (const { next, end } of partitions)
        if (end !== '0') assert(BigInt(next ?? -1) > 0n, `${stage} is shown in ${topic}: ${next} of ${end}`)

    const examples = (text: string) => Number(/(\d+) examples read/.exec(text)?.[1])
    const before = examples(await run.mtmi('train', '--once'))
    await run.mtmi('offsets', 'reset', '--stage', 'train', '--to', 'earliest')
    const again = examples(await run.mtmi('train', '--once'))
    assert.equal(again - before, 20, 'the examples of the topic are trained on once more')
    await run.mtmi('offsets', 'reset', '--stage', 'sequence', '--to', 'earliest')
    const sequenced = await run.sequences()
    await run.sequence()
    assert.deepEqual(await run.sequences(), sequenced, 'events that are known change nothing')
  } finally {
    await run.remove()
  }
})
