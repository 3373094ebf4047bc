// One run on the broker whose stages are started one after another, each to the end of its topic.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileOffsets } from '../../pipelines/ingestOffsets.ts'
import { systemClock } from '../../src/core/clock.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { IngestStage } from '../../src/ingest/ingestStage.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import { KafkaLog } from '../../src/log/kafka/kafkaLog.ts'
import { applyTopics, wantedTopics } from '../../src/log/kafka/kafkaTopics.ts'
import type { StageIo } from '../../src/log/stageIo.ts'
import { createCodecs } from '../../src/records/avro/avroCodecs.ts'
import { LocalRegistry } from '../../src/records/registry/localRegistry.ts'
import { openOwnedSequences, ownedDisk } from '../../src/sequence/ownedSequences.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { mtmi } from '../support/mtmiProcess.ts'
import { brokers, kafka, kafkaOptions, removeTopics } from './kafka.ts'

/** One run; each stage reads everything, and ends. */
export class Run {
  users = 5
  #clicks = 0
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
  readonly sequenceFolder = new RunDirectory(this.folder, 'a').path('sequence-0')

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

  async with<T>(work: (io: StageIo, run: RunDirectory) => Promise<T>): Promise<T> {
    const run = new RunDirectory(this.folder, 'a')
    const log = await KafkaLog.open(kafkaOptions({ clientId: this.name }), systemClock, { run: 'a' })
    const registry = new LocalRegistry(run.path('schemas'))
    const codecs = await createCodecs(registry, this.config.topics)
    const io = { config: this.config, clock: systemClock, log, registry, codecs, maintain: async () => {} }
    return work(io, run).finally(() => log.close())
  }

  click(count: number): Promise<void> {
    return this.with(({ log }) => {
      const records = Array.from({ length: count }, () => {
        const n = this.#clicks++
        const event = { u: `user-${n % this.users}`, i: `item-${n % 17}`, t: Date.UTC(2026, 4, 1) + n * 60_000 }
        return { key: Buffer.alloc(0), value: Buffer.from(JSON.stringify(event)), partition: 0 }
      })
      return log.append(this.source, records)
    })
  }

  ingest(acceptNewTopic = false): Promise<void> {
    return this.with(async (io, run) => {
      const sources = io.config.sources.map((source) => openSource(source, io))
      const stage = new IngestStage({ ...io, sources, offsets: fileOffsets(run), acceptNewTopic })
      await stage.run(new AbortController().signal, { untilEnd: true })
    })
  }

  sequence(acceptNewTopic = false): Promise<void> {
    return this.with(async (io) => {
      const disk = ownedDisk(this.sequenceFolder)
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
    return this.with(async ({ log }) => [...(await log.ends(topic)).values()].reduce((sum, end) => sum + end, 0n))
  }

  /** Steps that a trainer has not seen before; and how many there are in the histories. */
  sequences(): Promise<{ fresh: number; steps: number }> {
    return this.with(async ({ log, config, codecs }) => {
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
