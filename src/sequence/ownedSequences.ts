// The windows of a partition of a shared log that this process owns for now: claimed, then brought up to date.
//
// Each process has a store of its own: one that stalls and resumes cannot overwrite another's. Its store may be old;
// how much of `user-sequences` it has is stored beside it, so that only what is missing is read.

import { rmSync } from 'node:fs'
import path from 'node:path'
import { ConfigError } from '../core/errors.ts'
import { openStateFile, type StateKind, z } from '../core/stateFile.ts'
import type { DeadLetters } from '../log/deadLetters.ts'
import { erasureOffset } from '../log/erasure.ts'
import type { LogRecord, NewRecord, TopicDescription } from '../log/eventLog.ts'
import { stageDeadLetters } from '../log/followTopic.ts'
import { partitionOf } from '../log/partitioner.ts'
import type { StageIo } from '../log/stageIo.ts'
import { newTopic } from '../log/topicIdentity.ts'
import { readSource, sequenceOf, sourceHeaders, userOf } from '../log/userRecords.ts'
import type { UserId } from '../records/interaction.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import { LmdbSequenceStore } from './lmdbSequenceStore.ts'
import { sequenceFence } from './ownedPartition.ts'
import { type RestoreReport, restoreStore, type SequenceChange } from './restoreStore.ts'
import type { SequenceStore } from './sequenceStore.ts'

const text = new TextEncoder()
/** How often the held offset is saved: what was emitted since is read again after a rebalance. */
const noteIntervalMs = 5000

/**
 * After a topic was replaced, and after a reset, offsets of `interactions` continue behind all that were used before, so
 * that those in windows, in `user-sequences` and in the trainer's state keep their meaning: `base` is added to each.
 */
export const baseStep = 2n ** 32n

/** A process's own disk. */
export interface OwnedDisk {
  open(partition: number): Promise<SequenceStore>
  /** What the partition's store has, and of which topics; undefined: nothing is known. */
  load(partition: number): StoredPosition | undefined
  save(partition: number, position: StoredPosition): void
  /** Deletes the partition's store. */
  remove(partition: number): void
  /** The topics that the stores are of; undefined: there are none. */
  loadTopics(): StoredTopics | undefined
  saveTopics(topics: StoredTopics): void
}

export interface StoredTopics {
  /** Id of `user-sequences`. */
  readonly sequences: string
  readonly partitions: number
}

/** In JSON. */
export interface StoredPosition {
  /** How much of `user-sequences` the store has: the next offset to read. */
  readonly held: string
  /** Ids of the topics. */
  readonly sequences: string
  readonly interactions: string
  readonly base: string
}

interface OwnedSequencesOptions {
  readonly io: StageIo
  /** This process's alone. */
  readonly disk: OwnedDisk
  /** Whether a topic that was created again is read from its beginning, instead of ending the stage. */
  readonly acceptNewTopic?: boolean
  /** On the embedded log no other process sequences: the store has all that was emitted, and all that it has counted. */
  readonly isAlone?: boolean
  readonly onRestored?: (report: RestoreReport & { readonly partition: number; readonly durationMs: number }) => void
}

/**
 * Claims the partition and opens its store. After the claim no other process can add to the partition's
 * `user-sequences`, so what they hold then is complete.
 *
 * @returns a store whose `committed` is where to read on: that of the store or of the topic, whichever is further
 */
export async function openOwnedSequences(
  options: OwnedSequencesOptions,
  partition: number,
  reset?: bigint
): Promise<SequenceStore> {
  const { io, disk, isAlone = false, onRestored } = options
  const { log, clock, config } = io
  const topic = config.topics.userSequences
  await log.append(topic, [], sequenceFence(partition))
  const startedMs = clock.nowMs()
  const sequences = await log.describe(topic)
  const interactions = await log.describe(config.topics.interactions)
  await checkTopics(options, interactions.partitions, sequences)
  const end = (await log.ends(topic)).get(partition) ?? 0n
  const stored = disk.load(partition)
  const isOther = stored !== undefined && stored.sequences !== sequences.id
  if (isOther && end > 0n && !isAlone) disk.remove(partition) // the new topic has the histories
  const store = await disk.open(partition)
  try {
    const held = store.committed() === 0n || isOther ? 0n : BigInt(stored?.held ?? 0)
    const source = new TopicSource(store.committed() === 0n ? undefined : stored)
    let outdated: Iterable<UserId> = []
    if (held < end && !isAlone) {
      const report = await restoreStore(store, partition, changesOf(io, { partition, from: held, source }))
      onRestored?.({ ...report, partition, durationMs: clock.nowMs() - startedMs })
      outdated = report.outdated
    } else if (end === 0n) outdated = usersOf(store, partition, sequences.partitions) // a topic that lost its histories
    await settleSource(store, { ...options, source, partition, id: interactions.id, reset })
    await emitAgain(io, store, partition, outdated)
    const save = (held: bigint) =>
      disk.save(partition, { held: String(held), sequences: sequences.id, ...source.state() })
    save(end)
    noteHeld(store, io, partition, save)
    return store
  } catch (error) {
    await store.close()
    throw error
  }
}

/** Which topic the store's offsets of `interactions` are of, and what was added to them: the newest of what is known. */
class TopicSource {
  id: string | undefined
  base: bigint

  constructor(stored: StoredPosition | undefined) {
    this.id = stored?.interactions
    this.base = BigInt(stored?.base ?? 0)
  }

  note({ headers }: LogRecord): void {
    const written = readSource(headers)
    if (written === undefined || written.base <= this.base) return
    this.id = written.id
    this.base = written.base
  }

  state(): Pick<StoredPosition, 'interactions' | 'base'> {
    return { interactions: this.id ?? '', base: String(this.base) }
  }
}

interface SettledSource extends OwnedSequencesOptions {
  readonly source: TopicSource
  readonly partition: number
  /** Of `interactions`. */
  readonly id: string
  readonly reset: bigint | undefined
}

/** @throws CorruptError if `interactions` is another topic than that of the store's offsets, and that is not accepted */
async function settleSource(
  store: SequenceStore,
  { io, acceptNewTopic, source, partition, id, reset }: SettledSource
): Promise<void> {
  const { interactions } = io.config.topics
  const next = store.committed()
  const end = (await io.log.ends(interactions)).get(partition) ?? 0n
  const isOther = (source.id !== undefined && source.id !== id) || next - source.base > end
  if (isOther && acceptNewTopic !== true) throw newTopic(interactions)
  source.id = id
  if (isOther || reset !== undefined) {
    // What was emitted and not committed has offsets beyond `next`, too (decision 0057).
    const first = next + baseStep
    source.base = first - (isOther ? 0n : reset!)
    await store.commit(first, store.watermarkMs())
  }
  if (source.base > 0n) store.source = { id, base: source.base }
}

/** Those that belong to the partition; others, of another number of partitions, are deleted. */
function usersOf(store: SequenceStore, partition: number, partitions: number): UserId[] {
  const users: UserId[] = []
  for (const [userId] of [...store.users()])
    if (partitionOf(text.encode(userId), partitions) === partition) users.push(userId)
    else store.delete(userId)
  return users
}

/** Before anything else is emitted: `committed` of a later record promises that the topic has everything below it. */
async function emitAgain(
  { log, codecs, config, clock }: StageIo,
  store: SequenceStore,
  partition: number,
  userIds: Iterable<UserId>
): Promise<void> {
  const position = { partition, committed: store.committed(), watermarkMs: store.watermarkMs() }
  const records = Array.from(userIds, (userId): NewRecord => {
    const window = store.get(userId)
    const common = { userId, fresh: [], ...position, acceptedAtMs: clock.nowMs() }
    const value = window === undefined ? null : codecs.userSequence.encode({ ...window, ...common })
    return { key: text.encode(userId), value, partition, ...sourceHeaders(store.source) }
  })
  // At once: a topic that has a part of them looks as if it had all.
  if (records.length > 0) await log.append(config.topics.userSequences, records, sequenceFence(partition))
}

/**
 * A user's events and history are in one partition, which the number of partitions decides: both topics have the same,
 * and it changes with `mtmi topics repartition` only.
 *
 * @throws ConfigError if they differ, or if the number has changed since histories were stored; CorruptError if
 *   `user-sequences` is another topic, and that is not accepted
 */
async function checkTopics(
  { io: { log, config }, disk, acceptNewTopic }: OwnedSequencesOptions,
  interactions: number,
  sequences: TopicDescription
): Promise<void> {
  const { topics } = config
  const stored = disk.loadTopics()
  const isOther = stored !== undefined && stored.sequences !== sequences.id
  const hasChanged = stored !== undefined && stored.partitions !== sequences.partitions
  const isEmpty = async () => [...(await log.ends(topics.userSequences)).values()].every((end) => end === 0n)
  if (interactions !== sequences.partitions || (hasChanged && (!isOther || (await isEmpty()))))
    throw partitionsChanged(
      `topic ${topics.interactions} has ${interactions} partitions and ${topics.userSequences} has ${sequences.partitions}` +
        (stored === undefined ? '' : `; histories were stored with ${stored.partitions}`)
    )
  if (isOther && acceptNewTopic !== true) throw newTopic(topics.userSequences)
  if (stored === undefined || isOther) disk.saveTopics({ sequences: sequences.id, partitions: sequences.partitions })
}

function partitionsChanged(what: string): ConfigError {
  return new ConfigError([
    `${what}. Users would move to other partitions than their histories: stop all stages, and write both topics again with \`mtmi topics repartition\``
  ])
}

/** Records held until the next ones are known: of each user among them only the last is decoded. */
const heldBytesMax = 32 * 1024 * 1024

async function* changesOf(
  io: StageIo,
  { partition, from, source }: { readonly partition: number; readonly from: bigint; readonly source: TopicSource }
): AsyncIterable<SequenceChange> {
  const letters = stageDeadLetters(io, { stage: 'sequence', topic: io.config.topics.userSequences })
  let newest = new Map<UserId, LogRecord>()
  let bytes = 0
  const change = (record: LogRecord) => used(letters, record, () => changeOf(io, record))
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
    source.note(record)
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

/** @throws BadEventError */
function changeOf({ codecs }: StageIo, record: LogRecord): SequenceChange {
  if (record.value === null) return { userId: userOf(record), expired: true, erasedAt: erasureOffset(record) }
  return sequenceOf(codecs, record)
}

/**
 * Saves from time to time how much of `user-sequences` the store has. An end that was looked up is saved when windows
 * that were emitted after the look-up have been committed: only then was the partition still owned at the look-up.
 */
function noteHeld(store: SequenceStore, io: StageIo, partition: number, save: (held: bigint) => void): void {
  let lookedUp: { readonly end: bigint; commits: number } | undefined
  let isLooking = false
  let lookedAtMs = io.clock.nowMs()
  store.onCommit((changed) => {
    if (lookedUp !== undefined) {
      // What the first commit holds may have been emitted before the look-up.
      if (lookedUp.commits++ > 0 && changed) {
        save(lookedUp.end)
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

const storedPosition: StateKind<StoredPosition> = {
  file: 'held',
  version: 1,
  schema: z.strictObject({
    ...{ held: z.string().regex(/^\d+$/), sequences: z.string(), interactions: z.string() },
    base: z.string().regex(/^-?\d+$/)
  }),
  removed: 'windows of the partition are restored from the beginning of `user-sequences`'
}

const storedTopics: StateKind<StoredTopics> = {
  file: 'partitions',
  version: 1,
  schema: z.strictObject({ sequences: z.string(), partitions: z.int().positive() }),
  removed: 'a changed number of partitions is only noticed by the records that are read'
}

/** @param folder this process's alone */
export function ownedDisk(folder: string): OwnedDisk {
  const topics = openStateFile(path.join(folder, 'sequences.partitions'), storedTopics)
  const file = (partition: number) => path.join(folder, `sequences-${partition}.held`)
  return {
    open: (partition) => LmdbSequenceStore.open(folder, partition),
    load: (partition) => openStateFile(file(partition), storedPosition).load(),
    save: (partition, position) => openStateFile(file(partition), storedPosition).save(position),
    remove(partition) {
      rmSync(file(partition), { force: true })
      LmdbSequenceStore.remove(folder, partition)
    },
    loadTopics: () => topics.load(),
    saveTopics: (stored) => topics.save(stored)
  }
}
