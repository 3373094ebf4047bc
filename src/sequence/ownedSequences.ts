// The windows of a partition of a shared log that this process owns for now: claimed, then brought up to date.
//
// Each process has a store of its own: one that stalls and resumes cannot overwrite another's. Its store may be old;
// how much of `user-sequences` it has is stored beside it, so that only what is missing is read.

import path from 'node:path'
import type { Config } from '../core/config/config.ts'
import { BadEventError, ConfigError } from '../core/errors.ts'
import { openStateFile, type StateKind, z } from '../core/stateFile.ts'
import type { DeadLetters } from '../log/deadLetters.ts'
import { erasureOffset } from '../log/erasure.ts'
import type { LogRecord, NewRecord } from '../log/eventLog.ts'
import { stageDeadLetters } from '../log/followTopic.ts'
import { partitionOf } from '../log/partitioner.ts'
import type { StageIo } from '../log/stageIo.ts'
import { sequenceOf, userOf } from '../log/userRecords.ts'
import type { UserId } from '../records/interaction.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import { LmdbSequenceStore } from './lmdbSequenceStore.ts'
import { sequenceFence } from './ownedPartition.ts'
import { type RestoreReport, restoreStore, type SequenceChange } from './restoreStore.ts'
import type { SequenceStore } from './sequenceStore.ts'

const text = new TextEncoder()
/** How often the held offset is saved: what was emitted since is read again after a rebalance. */
const noteIntervalMs = 5000

/** A process's own disk. */
export interface OwnedDisk {
  open(partition: number): Promise<SequenceStore>
  /** How much of `user-sequences` the partition's store has: the next offset to read of them; 0 if unknown. */
  readHeld(partition: number): bigint
  writeHeld(partition: number, held: bigint): void
  /** How many partitions the topics had when histories were stored here; undefined: none were. */
  readPartitions(): number | undefined
  writePartitions(count: number): void
}

export interface OwnedSequencesOptions {
  readonly io: StageIo
  /** This process's alone. */
  readonly disk: OwnedDisk
  readonly onRestored?: (report: RestoreReport & { readonly partition: number; readonly durationMs: number }) => void
}

/**
 * Claims the partition and opens its store. After the claim no other process can add to the partition's
 * `user-sequences`, so what they hold then is complete.
 *
 * @returns a store whose `committed` is where to read on: that of the store or of the topic, whichever is further
 */
export async function openOwnedSequences(options: OwnedSequencesOptions, partition: number): Promise<SequenceStore> {
  const { io, disk, onRestored } = options
  const { log, clock, config } = io
  const topic = config.topics.userSequences
  await log.append(topic, [], sequenceFence(partition))
  const startedMs = clock.nowMs()
  const ends = await log.ends(topic)
  checkPartitions(config.topics, (await log.ends(config.topics.interactions)).size, ends.size, disk)
  const end = ends.get(partition) ?? 0n
  const store = await disk.open(partition)
  try {
    const held = store.committed() === 0n ? 0n : disk.readHeld(partition)
    if (held < end) {
      const report = await restoreStore(store, partition, changesOf(io, partition, held))
      await emitAgain(io, store, partition, report.outdated)
      onRestored?.({ ...report, partition, durationMs: clock.nowMs() - startedMs })
    }
    disk.writeHeld(partition, end)
    noteHeld(store, io, partition, disk)
    return store
  } catch (error) {
    await store.close()
    throw error
  }
}

/** Before anything else is emitted: `committed` of a later record promises that the topic has everything below it. */
async function emitAgain(
  { log, codecs, config, clock }: StageIo,
  store: SequenceStore,
  partition: number,
  userIds: ReadonlySet<UserId>
): Promise<void> {
  const records = [...userIds].map((userId): NewRecord => {
    const window = store.get(userId)
    const common = { userId, fresh: [], partition, committed: store.committed(), watermarkMs: store.watermarkMs() }
    const value =
      window === undefined ? null : codecs.userSequence.encode({ ...window, ...common, acceptedAtMs: clock.nowMs() })
    return { key: text.encode(userId), value, partition }
  })
  if (records.length > 0) await log.append(config.topics.userSequences, records, sequenceFence(partition))
}

/**
 * A user's events and history are in one partition, which the number of partitions decides: both topics have the same,
 * and it never changes.
 *
 * @throws ConfigError if they differ, or if the number has changed since histories were stored
 */
function checkPartitions(topics: Config['topics'], interactions: number, sequences: number, disk: OwnedDisk): void {
  const stored = disk.readPartitions()
  if (interactions === sequences && (stored === undefined || stored === sequences)) {
    if (stored === undefined) disk.writePartitions(sequences)
    return
  }
  throw partitionsChanged(
    `topic ${topics.interactions} has ${interactions} partitions and ${topics.userSequences} has ${sequences}` +
      (stored === undefined ? '' : `; histories were stored with ${stored}`)
  )
}

function partitionsChanged(what: string): ConfigError {
  return new ConfigError([
    `${what}. Users would move to other partitions than their histories: create new topics with the number you want (topics.interactions, topics.userSequences), and begin a new run (--run NAME) that reads your sources from the beginning`
  ])
}

/** Records held until the next ones are known: of each user among them only the last is decoded. */
const heldBytesMax = 32 * 1024 * 1024

async function* changesOf(io: StageIo, partition: number, from: bigint): AsyncIterable<SequenceChange> {
  const letters = stageDeadLetters(io, { stage: 'sequence', topic: io.config.topics.userSequences })
  let interactionsEnd = 0n
  let newest = new Map<UserId, LogRecord>()
  let bytes = 0
  const change = (record: LogRecord) => used(letters, record, () => changeOf(io, record, interactionsEnd))
  /** Of the record, or if it cannot be used, of the newest usable one of its user before it. */
  async function lastChange(record: LogRecord): Promise<SequenceChange | undefined> {
    const last = change(record)
    if (last !== undefined) return last
    let before: SequenceChange | undefined
    for await (const earlier of recordsOf(io, partition, from)) {
      if (earlier.offset >= record.offset) break
      if (Buffer.compare(earlier.key, record.key) === 0) before = change(earlier) ?? before
    }
    return before
  }
  async function* drain(): AsyncIterable<SequenceChange> {
    // After the records were read: a newer owner may have added some since this one claimed the partition.
    interactionsEnd = (await io.log.ends(io.config.topics.interactions)).get(partition) ?? 0n
    for (const record of newest.values()) {
      const last = await lastChange(record)
      if (last !== undefined) yield last
    }
    await letters.flush()
    newest = new Map()
    bytes = 0
  }
  for await (const record of recordsOf(io, partition, from)) {
    const userId = used(letters, record, () => userOf(record))
    if (userId === undefined) continue
    newest.set(userId, record)
    bytes += record.key.length + (record.value?.length ?? 0)
    if (bytes >= heldBytesMax) yield* drain()
  }
  yield* drain()
}

/** Of one partition alone. */
async function* recordsOf(
  { log, registry, config }: StageIo,
  partition: number,
  from: bigint
): AsyncIterable<LogRecord> {
  const topic = config.topics.userSequences
  const ends = await log.ends(topic)
  const end = ends.get(partition) ?? 0n
  if (from >= end) return
  // The others have nothing from their end on.
  const resume = async (other: number) => (other === partition ? from : (ends.get(other) ?? 0n))
  for await (const event of log.read(topic, { resume, signal: new AbortController().signal, untilEnd: true })) {
    if (event.kind !== 'records' || event.partition !== partition) continue
    await loadSchemas(registry, event.records)
    for (const { key, offset } of event.records)
      if (partitionOf(key, ends.size) !== partition)
        throw partitionsChanged(
          `topic ${topic} has ${ends.size} partitions, but the record at offset ${offset} of partition ${partition} was put there when it had another number`
        )
    yield* event.records
    // The other partitions may wait for transactions of their owners.
    if (event.records.at(-1)!.offset + 1n >= end) return
  }
}

/** undefined: the record has become a dead letter. */
function used<T>(letters: DeadLetters, record: LogRecord, use: () => T): T | undefined {
  let result: T | undefined
  letters.attempt(record, () => {
    result = use()
  })
  return result
}

/** @throws BadEventError also where more was committed than exists: to read on from there would omit events */
function changeOf({ codecs }: StageIo, record: LogRecord, interactionsEnd: bigint): SequenceChange {
  if (record.value === null) return { userId: userOf(record), expired: true, erasedAt: erasureOffset(record) }
  const sequence = sequenceOf(codecs, record)
  if (sequence.committed > interactionsEnd)
    throw new BadEventError(
      `everything below offset ${sequence.committed} was committed, but interactions end at ${interactionsEnd}`
    )
  return sequence
}

/**
 * Saves from time to time how much of `user-sequences` the store has. An end that was looked up is saved when windows
 * that were emitted after the look-up have been committed: only then was the partition still owned at the look-up.
 */
function noteHeld(store: SequenceStore, io: StageIo, partition: number, disk: OwnedDisk): void {
  let lookedUp: { readonly end: bigint; commits: number } | undefined
  let isLooking = false
  let lookedAtMs = io.clock.nowMs()
  store.onCommit((changed) => {
    if (lookedUp !== undefined) {
      // What the first commit holds may have been emitted before the look-up.
      if (lookedUp.commits++ > 0 && changed) {
        disk.writeHeld(partition, lookedUp.end)
        lookedUp = undefined
      }
      return
    }
    if (isLooking || io.clock.nowMs() - lookedAtMs < noteIntervalMs) return
    isLooking = true
    lookedAtMs = io.clock.nowMs()
    io.log.ends(io.config.topics.userSequences).then(
      (ends) => {
        lookedUp = { end: ends.get(partition) ?? 0n, commits: 0 }
        isLooking = false
      },
      // A log that does not answer fails the next append.
      () => {
        isLooking = false
      }
    )
  })
}

const heldOffset: StateKind<{ readonly held: string }> = {
  file: 'held',
  version: 1,
  schema: z.strictObject({ held: z.string().regex(/^\d+$/) }),
  removed: 'windows of the partition are restored from the beginning of `user-sequences`'
}

const partitionCount: StateKind<{ readonly count: number }> = {
  file: 'partitions',
  version: 1,
  schema: z.strictObject({ count: z.int().positive() }),
  removed: 'a changed number of partitions is only noticed by the records that are read'
}

/** @param folder this process's alone */
export function ownedDisk(folder: string): OwnedDisk {
  const partitions = openStateFile(path.join(folder, 'sequences.partitions'), partitionCount)
  const file = (partition: number) => openStateFile(path.join(folder, `sequences-${partition}.held`), heldOffset)
  return {
    open: (partition) => LmdbSequenceStore.open(folder, partition),
    readHeld: (partition) => BigInt(file(partition).load()?.held ?? 0),
    writeHeld: (partition, held) => file(partition).save({ held: String(held) }),
    readPartitions: () => partitions.load()?.count,
    writePartitions: (count) => partitions.save({ count })
  }
}
