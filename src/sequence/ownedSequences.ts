// The histories of a partition that is this process's for now, on a log that others write to as well: claimed, then
// brought up to what the log says.
//
// A store of its own for each process: one that was taken for dead and wakes up has nothing of another's to overwrite.
// What it holds may be old; how much of user-sequences it holds is written beside it, so that only what is missing is
// read.

import path from 'node:path'
import { BadEventError } from '../core/errors.ts'
import { openStateFile, type StateKind, z } from '../core/stateFile.ts'
import type { DeadLetters } from '../log/deadLetters.ts'
import { erasureOffset } from '../log/erasure.ts'
import type { LogRecord } from '../log/eventLog.ts'
import { stageDeadLetters } from '../log/followTopic.ts'
import type { StageIo } from '../log/stageIo.ts'
import { sequenceOf, userOf } from '../log/userRecords.ts'
import type { Codecs } from '../records/avro/avroCodecs.ts'
import type { UserId } from '../records/interaction.ts'
import { loadSchemas } from '../records/registry/schemaRegistry.ts'
import type { UserWindow } from '../records/userSequence.ts'
import { LmdbSequenceStore } from './lmdbSequenceStore.ts'
import { catchUpStore, type RestoreReport, restoreStore, type SequenceChange } from './restoreStore.ts'
import { sequenceFence } from './sequenceStage.ts'
import type { SequenceCounts, SequenceStore } from './sequenceStore.ts'

/** How often it is written down how much the store holds: what was emitted since is read again after a rebalance. */
const noteIntervalMs = 5000

/** A process's own disk. */
export interface OwnedDisk {
  open(partition: number): Promise<SequenceStore>
  /**
   * How much of user-sequences the partition's store holds: the next offset to read of them. 0 where that is not known:
   * then everything is read.
   */
  readHeld(partition: number): bigint
  writeHeld(partition: number, held: bigint): void
}

export interface OwnedSequencesOptions {
  readonly io: StageIo
  /** This process's alone. */
  readonly disk: OwnedDisk
  readonly onRestored?: (report: RestoreReport & { readonly partition: number; readonly durationMs: number }) => void
}

/**
 * Claims the partition and opens its store. From the claim on nobody else can add to the partition's user-sequences, so
 * what they hold then is all there is.
 *
 * @returns a store whose `committed` is where to go on: where the store or the topic is further
 */
export async function openOwnedSequences(options: OwnedSequencesOptions, partition: number): Promise<SequenceStore> {
  const { io, disk, onRestored } = options
  const { log, clock, config } = io
  const topic = config.topics.userSequences
  await log.append(topic, [], sequenceFence(partition))
  const startedMs = clock.nowMs()
  const end = (await log.ends(topic)).get(partition) ?? 0n
  const store = await disk.open(partition)
  try {
    const fresh = store.committed() === 0n
    const held = fresh ? 0n : disk.readHeld(partition)
    if (held < end) {
      const records = changesOf(io, partition, held)
      const report = await (fresh ? restoreStore(store, partition, records) : catchUpStore(store, partition, records))
      onRestored?.({ ...report, partition, durationMs: clock.nowMs() - startedMs })
    }
    disk.writeHeld(partition, end)
    return new OwnedSequences(store, io, partition, disk)
  } catch (error) {
    await store.close()
    throw error
  }
}

/**
 * Records held until it is known that no later one of the same user is among them: only the last of each is read in
 * full.
 */
const heldBytesMax = 32 * 1024 * 1024

async function* changesOf(io: StageIo, partition: number, from: bigint): AsyncIterable<SequenceChange> {
  const { log, codecs, config } = io
  const topic = config.topics.userSequences
  const letters = stageDeadLetters(io, { stage: 'sequence', topic })
  const interactionsEnd = (await log.ends(config.topics.interactions)).get(partition) ?? 0n
  let newest = new Map<UserId, LogRecord>()
  let bytes = 0
  const superseded = (record: LogRecord): SequenceChange => ({
    ...ofThisLog(codecs.progressOf(record.value!), interactionsEnd),
    superseded: true
  })
  async function* drain(): AsyncIterable<SequenceChange> {
    for (const record of newest.values()) {
      const change = await lastChange(record)
      if (change !== undefined) yield change
    }
    await letters.flush()
    newest = new Map()
    bytes = 0
  }
  /** What the record says, or the newest before it of the same user, where it cannot be used. */
  async function lastChange(record: LogRecord): Promise<SequenceChange | undefined> {
    const change = used(letters, record, () => changeOf(codecs, record, interactionsEnd))
    if (change !== undefined) return change
    let before: SequenceChange | undefined
    for await (const earlier of recordsOf(io, partition, from)) {
      if (earlier.offset >= record.offset) break
      if (Buffer.compare(earlier.key, record.key) === 0)
        before = used(letters, earlier, () => changeOf(codecs, earlier, interactionsEnd)) ?? before
    }
    return before
  }
  for await (const record of recordsOf(io, partition, from)) {
    const userId = used(letters, record, () => userOf(record))
    if (userId === undefined) continue
    const before = newest.get(userId)
    const progress =
      before === undefined || before.value === null ? undefined : used(letters, before, () => superseded(before))
    if (progress !== undefined) yield progress
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
  // The others have nothing from their end on.
  const resume = async (other: number) => (other === partition ? from : (ends.get(other) ?? 0n))
  for await (const event of log.read(topic, { resume, signal: new AbortController().signal, untilEnd: true })) {
    if (event.kind !== 'records' || event.partition !== partition) continue
    await loadSchemas(registry, event.records)
    yield* event.records
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

function changeOf(codecs: Codecs, record: LogRecord, interactionsEnd: bigint): SequenceChange {
  return record.value === null
    ? { userId: userOf(record), expired: true, erasedAt: erasureOffset(record) }
    : ofThisLog(sequenceOf(codecs, record), interactionsEnd)
}

/** @throws BadEventError if more was committed than there ever was: reading on from there would leave events out */
function ofThisLog<T extends { readonly committed: bigint }>(progress: T, interactionsEnd: bigint): T {
  if (progress.committed <= interactionsEnd) return progress
  throw new BadEventError(
    `everything below offset ${progress.committed} was committed, but interactions end at ${interactionsEnd}`
  )
}

/** Passes everything on, and notes now and then how much of user-sequences the store holds. */
class OwnedSequences implements SequenceStore {
  readonly #store: SequenceStore
  readonly #io: StageIo
  readonly #partition: number
  readonly #disk: OwnedDisk
  /**
   * An end of user-sequences that was looked up, and whether something of ours was emitted after that: then it was
   * still ours when it was looked up.
   */
  #candidate: bigint | undefined
  #emittedSince = false
  #looking = false
  #lookedAtMs: number

  constructor(store: SequenceStore, io: StageIo, partition: number, disk: OwnedDisk) {
    this.#store = store
    this.#io = io
    this.#partition = partition
    this.#disk = disk
    this.#lookedAtMs = io.clock.nowMs()
  }

  get(userId: UserId): UserWindow | undefined {
    return this.#store.get(userId)
  }

  put(userId: UserId, window: UserWindow): void {
    this.#emittedSince = true
    this.#store.put(userId, window)
  }

  delete(userId: UserId): void {
    this.#store.delete(userId)
  }

  load(userId: UserId, window: UserWindow | undefined): Promise<void> | undefined {
    return this.#store.load(userId, window)
  }

  /** Everything that was put has been emitted, and the emission acknowledged: so the sequencer's caller does. */
  async commit(next: bigint, watermarkMs: number, counts?: SequenceCounts): Promise<void> {
    const { candidate, emitted } = { candidate: this.#candidate, emitted: this.#emittedSince }
    await this.#store.commit(next, watermarkMs, counts)
    if (candidate !== undefined && emitted) {
      this.#disk.writeHeld(this.#partition, candidate)
      this.#candidate = undefined
    }
    this.#lookNowAndThen()
  }

  committed(): bigint {
    return this.#store.committed()
  }

  watermarkMs(): number {
    return this.#store.watermarkMs()
  }

  counts(): SequenceCounts {
    return this.#store.counts()
  }

  users(): Iterable<[UserId, UserWindow]> {
    return this.#store.users()
  }

  idle(beforeMs: number, limit: number): UserId[] {
    return this.#store.idle(beforeMs, limit)
  }

  userCount(): number {
    return this.#store.userCount()
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  /** In the background: nobody waits for it, and a log that does not answer is the next append's trouble. */
  #lookNowAndThen(): void {
    const { clock, log, config } = this.#io
    if (this.#looking || this.#candidate !== undefined || clock.nowMs() - this.#lookedAtMs < noteIntervalMs) return
    this.#looking = true
    this.#lookedAtMs = clock.nowMs()
    log.ends(config.topics.userSequences).then(
      (ends) => {
        this.#candidate = ends.get(this.#partition)
        this.#emittedSince = false
        this.#looking = false
      },
      () => {
        this.#looking = false
      }
    )
  }
}

const heldOffset: StateKind<{ readonly held: string }> = {
  file: 'held',
  version: 1,
  schema: z.strictObject({ held: z.string().regex(/^\d+$/) }),
  removed: 'histories of the partition are restored from the beginning of `user-sequences`'
}

/** @param folder this process's alone */
export function ownedDisk(folder: string): OwnedDisk {
  const file = (partition: number) => openStateFile(path.join(folder, `sequences-${partition}.held`), heldOffset)
  return {
    open: (partition) => LmdbSequenceStore.open(folder, partition),
    readHeld: (partition) => {
      return BigInt(file(partition).load()?.held ?? 0)
    },
    writeHeld: (partition, held) => {
      file(partition).save({ held: String(held) })
    }
  }
}
