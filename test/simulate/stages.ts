// The stages as a process of a simulated run has them: their own loops, and every part around them replaced.

import { createHash } from 'node:crypto'
import type { Config } from '../../src/core/config/config.ts'
import type { VectorPoint } from '../../src/index/vectorIndex.ts'
import { type IngestOffsets, IngestStage } from '../../src/ingest/ingestStage.ts'
import { openSource } from '../../src/ingest/sourceMapper.ts'
import { CatalogueReader } from '../../src/log/catalogueReader.ts'
import type { StageIo } from '../../src/log/stageIo.ts'
import type { CheckpointStore } from '../../src/model/replica/checkpoint.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { DriftWatch, type DriftWatchState } from '../../src/monitor/driftWatch.ts'
import type { GateHistory } from '../../src/publish/modelGate.ts'
import type { KeptPopularity } from '../../src/publish/popularityWatch.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import type { Codecs } from '../../src/records/avro/avroCodecs.ts'
import type { Catalogue } from '../../src/records/catalogue.ts'
import { featureKeys } from '../../src/records/catalogueItem.ts'
import type { ModelUpdate } from '../../src/records/modelUpdate.ts'
import type { SchemaRegistry } from '../../src/records/registry/schemaRegistry.ts'
import type { UserSequence } from '../../src/records/userSequence.ts'
import { openOwnedSequences } from '../../src/sequence/ownedSequences.ts'
import { SequenceStage } from '../../src/sequence/sequenceStage.ts'
import { EncodeStage } from '../../src/serve/encodeStage.ts'
import type { ControlRequest, ControlResult } from '../../src/train/modelControl.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import type { MemoryVectorIndex } from '../support/memoryVectorIndex.ts'
import type { Faults } from './faults.ts'
import type { SimBroker } from './simBroker.ts'
import { type IndexChecks, simIndex } from './simIndex.ts'
import { SimLog } from './simLog.ts'
import { type SimDisk, simCheckpoints, simLedger } from './simState.ts'
import { StandInTrainer } from './standInTrainer.ts'
import type { Life } from './world.ts'

/** What outlives the processes. */
export interface Parts {
  readonly config: Config
  readonly broker: SimBroker
  readonly index: MemoryVectorIndex
  readonly registry: SchemaRegistry
  readonly codecs: Codecs
  readonly faults: Faults
  /** The newest request to the trainer. */
  request: ControlRequest | undefined
  /** Batches by number, as they were learned first: names of their examples. */
  readonly batches: Map<number, string>
  /** Names of examples that were learned at least once, or whose step was not finite. */
  readonly seen: Set<string>
  /** A rollback or a divergence has undone what was learned: examples are then missing from the model on purpose. */
  isUndone: boolean
  /** Where requests find the versions of the model. */
  checkpoints: CheckpointStore | undefined
  /** The newest. */
  trainer: StandInTrainer | undefined
  /** Of the newest publisher. */
  published: ModelReplica | undefined
  /** Replicas hold memory of the engine. */
  readonly replicas: ModelReplica[]
}

/** A stage at work. */
export interface Running {
  readonly name: string
  run(signal: AbortSignal): Promise<void>
  /** While on, nothing waits to be gathered. */
  drain(on: boolean): void
  /** What keeps it from having nothing left to do; undefined: nothing. */
  behind(): string | undefined
  /** Of interactions, by partition, where the processes share them. */
  consumed?(): ReadonlyMap<number, bigint>
}

export type Start = (parts: Parts, life: Life, disk: SimDisk) => Running[]

export function ioOf({ config, broker, registry, codecs, faults }: Parts, life: Life): StageIo {
  const known = new Set<number>()
  return {
    config,
    clock: life.world.clockOf(life),
    log: new SimLog(broker, life, faults),
    // Schemas are asked for once a process, so that each has to meet a registry that is away.
    registry: {
      idFor: (subject, schema) =>
        faults.call(life, 'registry', 'id of a schema', () => registry.idFor(subject, schema)),
      schemaOf: (id) =>
        faults.call(life, 'registry', `schema ${id}`, async () => {
          const schema = await registry.schemaOf(id)
          known.add(id)
          return schema
        }),
      cached: (id) => (known.has(id) ? registry.cached(id) : undefined)
    },
    codecs,
    maintain: async () => {}
  }
}

export function lag(broker: SimBroker, topic: string, consumed: ReadonlyMap<number, bigint>): string | undefined {
  for (const [partition, end] of broker.ends(topic)) {
    const at = consumed.get(partition) ?? 0n
    if (at < end) return `${topic}/${partition} is read to ${at} of ${end}`
  }
  return undefined
}

export const ingest: Start = (parts, life, disk) => {
  const io = ioOf(parts, life)
  const offsets: IngestOffsets = {
    load: (topic, partition) => {
      const saved = disk.file<string>(life, parts.faults, `ingest-${topic}-${partition}`).load()
      return saved === undefined ? undefined : { next: BigInt(saved), topicId: '' }
    },
    save: (topic, partition, { next }) =>
      disk.file<string>(life, parts.faults, `ingest-${topic}-${partition}`).save(String(next))
  }
  const sources = parts.config.sources.map((source) => openSource(source, io))
  const stage = new IngestStage({ ...io, sources, offsets })
  const behind = () => {
    for (const { topic } of parts.config.sources) {
      const found = lag(parts.broker, topic, stage.consumed().get(topic) ?? new Map())
      if (found !== undefined) return found
    }
    return undefined
  }
  return [{ name: 'ingest', run: (signal) => stage.run(signal), drain: () => {}, behind }]
}

function sequence(parts: Parts, life: Life, disk: SimDisk, shared: boolean): Running {
  const io = ioOf(parts, life)
  const { config, faults } = parts
  const catalogue = new CatalogueReader(io, { stage: 'sequence' })
  const drift = new DriftWatch({
    options: config.drift,
    catalogue: catalogue.catalogue,
    clock: io.clock,
    measure: () => {},
    store: disk.file<DriftWatchState>(life, faults, 'drift.json')
  })
  const stage = new SequenceStage({
    ...io,
    ...{ drift, catalogue },
    openStore: (partition) =>
      shared
        ? openOwnedSequences({ io, disk: disk.owned(life, faults) }, partition)
        : disk.store(life, faults, partition),
    measure: () => {}
  })
  const behind = () => (stage.committed ? undefined : 'not committed')
  return {
    name: life.name,
    run: (signal) => stage.run(signal),
    drain: (on) => stage.drain(on),
    behind,
    consumed: () => stage.consumed()
  }
}

/** A member of the group. */
export const sequenceShare: Start = (parts, life, disk) => [sequence(parts, life, disk, true)]

interface Beside {
  readonly catalogue: CatalogueReader
  readonly betweenBatches: () => Promise<void>
}

/** @param beside of the publisher in the same thread */
function train(parts: Parts, life: Life, disk: SimDisk, beside?: Beside): Running {
  const io = ioOf(parts, life)
  const { config, broker, faults } = parts
  const trainer = new StandInTrainer(config.model, config.sequence.historyMax, (batch) => {
    const diverges = hashShare(batch) < faults.divergedShare
    if (diverges) for (const name of batch.split(' ')) parts.seen.add(name)
    if (diverges) parts.isUndone = true
    return diverges
  })
  parts.trainer = trainer
  parts.checkpoints = disk.checkpoints
  const results = disk.file<ControlResult>(life, faults, 'control-result.json')
  const stage = new TrainStage({
    ...io,
    trainer,
    checkpoints: simCheckpoints(disk.checkpoints, life, faults),
    ledger: simLedger(disk.ledger, life, faults),
    control: { request: () => parts.request, result: () => results.load(), finish: (result) => results.save(result) },
    measure: () => {},
    onTrained: (batch, examples) => {
      const names = examples.map(({ source }) => `${source.partition}/${source.offset}`).join(' ')
      const before = parts.batches.get(batch)
      if (before !== undefined && before !== names)
        life.world.violated(`batch ${batch} was ${before}, and is learned again as ${names}`)
      parts.batches.set(batch, names)
      for (const name of names.split(' ')) parts.seen.add(name)
    },
    ...beside
  })
  const behind = () => {
    if ((results.load()?.id ?? 0) < (parts.request?.id ?? 0)) return `request ${parts.request?.id} is not carried out`
    return (
      lag(broker, config.topics.userSequences, stage.consumed()) ??
      (stage.updatesSent ? undefined : 'updates are not sent')
    )
  }
  return { name: 'train', run: (signal) => stage.run(signal), drain: (on) => stage.drain(on), behind }
}

function publish(
  parts: Parts,
  life: Life,
  disk: SimDisk,
  catalogue?: CatalogueReader
): Running & { stage: PublishStage } {
  const io = ioOf(parts, life)
  const { config, broker, faults } = parts
  const replica = new ModelReplica({ gated: true })
  parts.replicas.push(replica)
  parts.published = replica
  const items = catalogue ?? new CatalogueReader(io, { stage: 'publish' })
  const stage: PublishStage = new PublishStage({
    ...io,
    catalogue: items,
    replica,
    index: simIndex(parts.index, life, faults, {
      upsert: neverOlder(parts, life),
      ...promotionRules(parts, replica, items.catalogue, () => stage.consumed().sequences)
    }),
    users: disk.users(life, faults),
    liveModel: simCheckpoints(disk.liveModel, life, faults),
    gates: disk.file<GateHistory>(life, faults, 'gates.json'),
    limits: { epsilon: 0, batchSize: 5, popularityIntervalMs: 2000 },
    // All weights are accepted: what is in the index is then known.
    gate: { chanceMax: 0, cosineMax: 1, overlapMin: 0, canaries: 2, timeShareMax: 1 },
    popularity: disk.file<KeptPopularity>(life, faults, 'popularity.json'),
    onProblem: (problem) => life.world.trace(life.name, `problem: ${problem}`),
    measure: () => {}
  })
  const behind = () => {
    const { sequences, model, interactions } = stage.consumed()
    const waiting = stage.waiting()
    return (
      lag(broker, config.topics.userSequences, sequences) ??
      lag(broker, config.topics.interactions, interactions) ??
      lag(broker, config.topics.modelUpdates, new Map([[0, model]])) ??
      lag(broker, config.topics.items, new Map([[0, items.next]])) ??
      (waiting.items + waiting.users > 0
        ? `${waiting.items} items and ${waiting.users} users wait to be published`
        : undefined)
    )
  }
  return { name: 'publish', run: (signal) => stage.run(signal), drain: (on) => stage.drain(on), behind, stage }
}

/** Of a text, in [0, 1): what happens to a batch happens to it again when it is learned again. */
function hashShare(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32LE() / 2 ** 32
}

/**
 * A publisher that has just started must not write a user's window older than the newest that was in the log then: later
 * ones may be older, where a sequencer that was killed repeats itself.
 */
function neverOlder({ broker, codecs, config }: Parts, life: Life): (points: readonly VectorPoint[]) => void {
  const topic = config.topics.userSequences
  const ends = broker.ends(topic)
  const text = new TextDecoder()
  return (points) => {
    for (const point of points) {
      if (point.role !== 'user') continue
      const { newestMs } = point.payload
      const ofUser = broker.records(topic).filter(({ key }) => text.decode(key) === point.id)
      const before = ofUser.findLastIndex(({ partition, offset }) => offset < ends.get(partition)!)
      const since = ofUser.slice(Math.max(0, before)).flatMap(({ value }) => decoded(codecs, value) ?? [])
      if (before < 0 || ofUser[before]!.value === null || since.length === 0) continue
      if (newestMs < since[0]!.newestMs && !since.some((window) => window.newestMs === newestMs))
        life.world.violated(`user ${point.id}: a window older than the log had when the publisher started is written`)
    }
  }
}

function decoded(codecs: Codecs, value: Uint8Array | null): UserSequence | undefined {
  try {
    return value === null ? undefined : codecs.userSequence.decode(value)
  } catch {
    return undefined // poison
  }
}

/**
 * When a version may go live without an item or user of the live one: its model knows nothing of them, or the user's
 * history has changed since the version was opened, which is a change like any other (seeds 2813, 6957).
 */
function promotionRules(
  { broker, codecs, config }: Parts,
  replica: ModelReplica,
  catalogue: Catalogue,
  read: () => ReadonlyMap<number, bigint>
): Required<Pick<IndexChecks, 'open' | 'mayMiss'>> {
  const text = new TextDecoder()
  const topic = config.topics.userSequences
  const ends = broker.ends(topic)
  /** Next offset of each partition when the version was opened, or when the process began, whichever is later. */
  const opened = new Map<string, Map<number, bigint>>()
  const open = (indexVersion: string) => {
    const next = [...ends].map(([partition, end]): [number, bigint] => {
      const at = read().get(partition) ?? 0n
      return [partition, at > end ? at : end]
    })
    opened.set(indexVersion, new Map(next))
  }
  const mayMiss: NonNullable<IndexChecks['mayMiss']> = (indexVersion, role, id) => {
    if (replica.modelVersion !== indexVersion) return true // it has advanced to the next
    if (role === 'items') {
      const item = catalogue.get(id)
      const features = item === undefined ? [] : featureKeys(item)
      return replica.itemVectors([{ itemId: id, features }]).known[0] === 0
    }
    // A history that the publisher has not read yet gives the user vectors when it is read.
    const newest = broker
      .records(topic)
      .findLast(({ key, partition, offset }) => text.decode(key) === id && offset < (read().get(partition) ?? 0n))
    const steps = decoded(codecs, newest?.value ?? null)?.steps
    if (steps === undefined || replica.interests([steps]).known[0] === 0) return true
    return newest!.offset >= (opened.get(indexVersion)?.get(newest!.partition) ?? 0n)
  }
  return { open, mayMiss }
}

/** undefined: no record, or poison. */
export function updateIn(codecs: Codecs, value: Uint8Array | null): ModelUpdate | undefined {
  try {
    return value === null ? undefined : codecs.modelUpdate.decode(value)
  } catch {
    return undefined
  }
}

export const trainAlone: Start = (parts, life, disk) => [train(parts, life, disk)]
export const publishAlone: Start = (parts, life, disk) => [publish(parts, life, disk)]

/** A server's reader of the model. */
export const encode: Start = (parts, life) => {
  const io = ioOf(parts, life)
  const replica = new ModelReplica({ gated: true })
  parts.replicas.push(replica)
  const stage = new EncodeStage({
    ...io,
    catalogue: new CatalogueReader(io, { stage: 'serve' }),
    replica,
    index: simIndex(parts.index, life, parts.faults)
  })
  const behind = () => (stage.ready ? undefined : 'no model to encode sessions with')
  return [{ name: 'encode', run: (signal) => stage.run(signal), drain: () => {}, behind }]
}

/** `mtmi start`: all stages in one process, the trainer giving the publisher a turn after every batch. */
export const whole: Start = (parts, life, disk) => {
  const catalogue = new CatalogueReader(ioOf(parts, life), { stage: 'train' })
  const publishing = publish(parts, life, disk, catalogue)
  const training = train(parts, life, disk, { catalogue, betweenBatches: () => publishing.stage.catchUp() })
  return [sequence(parts, life, disk, false), training, publishing]
}
