// What exactness costs: `sequence` on Kafka (decode, drop repeats, order, store durably, emit in transactions) against
// bare kafkajs that consumes and decodes the same records and produces the very bytes that `sequence` emitted, in
// turns, in one run. `npm run bench -- ingest [--json] [--events N] [--users N] [--partitions N]`
//
// What should be possible. An interaction is 90 bytes, a record of user-sequences 800: 40,000 events a second are 36
// MB/s, a tenth of what a disk or loopback takes. CPU a event: read and decode 1.5 µs, place 2, encode 50 steps 4,
// write the batch .5, its lz4 and checksum 1, LMDB's share (a pack and a put for each user and commit) 6: 15 µs or
// 65,000 a second on a core of its own, as long as nothing waits for the broker.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'
import { open } from 'lmdb'
import { openStageIo } from '../../pipelines/parts.ts'
import { type Config, resolveConfig } from '../../src/core/config/config.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import type { LogRecord, NewRecord } from '../../src/log/eventLog.ts'
import { applyTopics, wantedTopics } from '../../src/log/kafka/kafkaTopics.ts'
import type { StageIo } from '../../src/log/stageIo.ts'
import { openOwnedSequences, ownedDisk } from '../../src/sequence/ownedSequences.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { benchBroker } from './benchBroker.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    events: { type: 'string', default: '300000' },
    users: { type: 'string', default: '5000' },
    partitions: { type: 'string', default: '4' },
    repeats: { type: 'string', default: '5' }
  }
})
const [events, users, partitions, repeats] = [values.events, values.users, values.partitions, values.repeats].map(
  Number
) as [number, number, number, number]
const text = new TextEncoder()
const say = (line: string) => {
  if (!values.json) process.stderr.write(`${line}\n`)
}

interface Run {
  readonly seconds: number
  readonly cpuSeconds: number
}

/** Bytes that this process has caused to be written to a disk; undefined where the system does not say. */
function bytesWritten(): number | undefined {
  try {
    return Number(/^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1])
  } catch {
    return undefined
  }
}

async function measured(work: () => Promise<void>): Promise<Run> {
  const cpu = process.cpuUsage()
  const startedMs = performance.now()
  await work()
  const { user, system } = process.cpuUsage(cpu)
  return { seconds: (performance.now() - startedMs) / 1000, cpuSeconds: (user + system) / 1e6 }
}

/** Until everything that the topic holds is emitted and committed. */
async function runSequence(io: StageIo, folder: string): Promise<void> {
  const stage = new SequenceStage({
    ...io,
    openStore: (partition) => openOwnedSequences({ io, disk: ownedDisk(folder) }, partition)
  })
  const ends = await io.log.ends(io.config.topics.interactions)
  const stop = new AbortController()
  const running = stage.run(stop.signal)
  const watch = setInterval(() => {
    const consumed = stage.consumed()
    if ([...ends].every(([partition, end]) => (consumed.get(partition) ?? 0n) >= end)) stop.abort()
  }, 5)
  await running
  clearInterval(watch)
}

async function recordsOf({ log }: StageIo, topic: string): Promise<Map<number, LogRecord[]>> {
  const records = new Map<number, LogRecord[]>()
  for await (const event of log.read(topic, {
    resume: async () => 0n,
    signal: new AbortController().signal,
    untilEnd: true
  })) {
    if (event.kind !== 'records') continue
    const list = records.get(event.partition) ?? []
    list.push(...event.records)
    records.set(event.partition, list)
  }
  return records
}

/**
 * kafkajs as its documentation has it: a batch at a time, of several partitions at once, each with its share of the
 * output before the next.
 */
async function runBare(
  io: StageIo,
  brokers: string[],
  output: string,
  outputs: ReadonlyMap<number, readonly LogRecord[]>,
  group: string
): Promise<void> {
  const { codecs, config, log } = io
  const kafka = new kafkajs.Kafka({ brokers, clientId: group, logLevel: kafkajs.logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: group, maxWaitTimeInMs: 100, sessionTimeout: 60_000 })
  const producer = kafka.producer()
  await Promise.all([consumer.connect(), producer.connect()])
  const ends = await log.ends(config.topics.interactions)
  const left = new Set([...ends].filter(([, end]) => end > 0n).map(([partition]) => partition))
  const sent = new Map<number, number>()
  await consumer.subscribe({ topic: config.topics.interactions, fromBeginning: true })
  await new Promise<void>((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
    consumer
      .run({
        partitionsConsumedConcurrently: partitions,
        eachBatch: async ({ batch }) => {
          for (const { value } of batch.messages) codecs.interaction.decode(value!)
          const end = ends.get(batch.partition)!
          const next = BigInt(batch.lastOffset()) + 1n
          const all = outputs.get(batch.partition) ?? []
          const from = sent.get(batch.partition) ?? 0
          const to = next >= end ? all.length : Math.floor((all.length * Number(next)) / Number(end))
          sent.set(batch.partition, to)
          for (let at = from; at < to; ) {
            const messages: { key: Buffer; value: Buffer | null; partition: number }[] = []
            for (let bytes = 0; at < to && bytes < config.kafka.requestBytesMax; at++) {
              const { key, value, partition } = all[at]!
              messages.push({ key: Buffer.from(key), value: value as Buffer | null, partition })
              bytes += key.length + (value?.length ?? 0) + 64
            }
            await producer.send({ topic: output, messages, acks: -1, compression: kafkajs.CompressionTypes.LZ4 })
          }
          if (next < end) return
          left.delete(batch.partition)
          if (left.size === 0) resolve()
        }
      })
      .catch(reject)
  })
  await Promise.all([consumer.disconnect(), producer.disconnect()])
}

/**
 * Of the pages that histories and their index by time are on; those that are free or hold the dictionary of items are
 * not a user's.
 */
function bytesPerUser(folder: string): number {
  let bytes = 0
  let count = 0
  for (let partition = 0; partition < partitions; partition++) {
    const environment = open({
      path: path.join(folder, `sequences-${partition}.lmdb`),
      readOnly: true,
      maxDbs: 5,
      noSubdir: true,
      pageSize: 8192
    })
    for (const [name, encoding] of [
      ['windows', 'binary'],
      ['idle', 'binary']
    ] as const) {
      const { pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages, entryCount } = environment
        .openDB(name, { encoding })
        .getStats() as Record<string, number>
      bytes += pageSize! * (treeBranchPageCount! + treeLeafPageCount! + overflowPages!)
      if (name === 'windows') count += entryCount!
    }
    void environment.close()
  }
  return bytes / count
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!
}

const { brokers, stop } = await benchBroker()
const dataDir = mkdtempSync(path.join(os.tmpdir(), 'mtmi-ingest-'))
const name = `ingest-${process.pid}`
const configOf = (repeat: number): Config =>
  resolveConfig(
    {},
    {},
    {
      dataDir,
      log: 'kafka',
      kafka: { brokers, clientId: `${name}-${repeat}` },
      // Everybody reads the same interactions, and writes topics of their own.
      topics: {
        interactions: `${name}.i`,
        items: `${name}.c`,
        userSequences: `${name}.s${repeat}`,
        modelUpdates: `${name}.m`,
        partitions
      }
    }
  )
try {
  const run = new RunDirectory(dataDir, 'live')
  mkdirSync(run.root, { recursive: true })
  const feeder = await openStageIo(configOf(0), run)
  await applyTopics(feeder.config.kafka, wantedTopics(feeder.config))
  let block: NewRecord[] = []
  let inputBytes = 0
  let count = 0
  const options = {
    seed: 1,
    users,
    events,
    items: 20_000,
    userSkew: 0,
    duplicateShare: 0.02,
    lateShare: 0.005,
    badShare: 0
  }
  for (const simulated of simulate(options).interactions()) {
    // As `ingest` writes them: an id of the producer's, and where the record came from.
    const eventId = `${simulated.eventId.padStart(12, '0')}-5f7c-4d2e-9a41-c0ffee`
    const source = { topic: 'shop.clicks', partition: count % 8, offset: BigInt(count >> 3) }
    const value = feeder.codecs.interaction.encode({ ...simulated, eventId, source })
    inputBytes += value.length
    count++
    block.push({ key: text.encode(simulated.userId), value })
    if (block.length < 2000) continue
    await feeder.log.append(feeder.config.topics.interactions, block)
    block = []
  }
  await feeder.log.append(feeder.config.topics.interactions, block)
  await feeder.log.close()
  say(`${count} interactions of ${Math.round(inputBytes / count)} bytes are there`)

  const ours: Run[] = []
  const bares: Run[] = []
  let written: number | undefined
  let perUser = 0
  let emitted = { records: 0, bytes: 0 }
  for (let repeat = 0; repeat <= repeats; repeat++) {
    const config = configOf(repeat)
    await applyTopics(config.kafka, wantedTopics(config))
    const io = await openStageIo(config, run)
    const folder = run.path(`sequence-${repeat}`)
    const before = bytesWritten()
    const one = await measured(() => runSequence(io, folder))
    const after = bytesWritten()
    if (before !== undefined && after !== undefined) written = after - before
    const outputs = await recordsOf(io, config.topics.userSequences)
    const all = [...outputs.values()].flat()
    emitted = {
      records: all.length,
      bytes: all.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0)
    }
    const copies = `${name}.o${repeat}`
    await applyTopics(config.kafka, [{ topic: copies, partitions, settings: {} }])
    const bare = await measured(() => runBare(io, brokers, copies, outputs, `${name}-bare-${repeat}`))
    perUser = bytesPerUser(folder)
    await io.log.close()
    say(
      `${repeat === 0 ? 'warm-up' : `run ${repeat}`}: ${Math.round(count / one.seconds)} events/s, ${one.cpuSeconds.toFixed(1)} s of CPU; ` +
        `bare ${Math.round(count / bare.seconds)} events/s, ${bare.cpuSeconds.toFixed(1)} s of CPU; ${emitted.records} records of ${Math.round(emitted.bytes / emitted.records)} bytes`
    )
    if (repeat === 0) continue
    ours.push(one)
    bares.push(bare)
  }
  const eventsPerSecond = count / median(ours.map(({ seconds }) => seconds))
  const bareEventsPerSecond = count / median(bares.map(({ seconds }) => seconds))
  const line = {
    bench: 'ingest',
    eventsPerSecond: Math.round(eventsPerSecond),
    bareEventsPerSecond: Math.round(bareEventsPerSecond),
    // Of each pair of runs: what else the machine had to do weighs on both.
    ratio: Number(median(ours.map(({ seconds }, i) => bares[i]!.seconds / seconds)).toFixed(2)),
    cpuSecondsPerMillion: Number(((median(ours.map(({ cpuSeconds }) => cpuSeconds)) / count) * 1e6).toFixed(1)),
    bareCpuSecondsPerMillion: Number(((median(bares.map(({ cpuSeconds }) => cpuSeconds)) / count) * 1e6).toFixed(1)),
    bytesPerUser: Math.round(perUser),
    bytesWrittenPerEvent: written === undefined ? null : Math.round(written / count),
    bytesEmittedPerEvent: Math.round(emitted.bytes / count),
    recordsPerEvent: Number((emitted.records / count).toFixed(2)),
    events: count,
    users,
    partitions,
    repeats,
    slowest: Math.round(count / Math.max(...ours.map(({ seconds }) => seconds))),
    fastest: Math.round(count / Math.min(...ours.map(({ seconds }) => seconds))),
    cpu: os.cpus()[0]?.model,
    cores: os.cpus().length,
    load: Number(os.loadavg()[0]!.toFixed(1)),
    node: process.version
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
} finally {
  await stop()
  rmSync(dataDir, { recursive: true, force: true })
}
