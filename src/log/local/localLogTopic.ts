// One topic of the local log: an LMDB environment of its own, so that topics do not share a write lock.
//
//     blocks   (partition uint32, base offset uint64; big-endian, so that LMDB's order is ours) → a block of records
//     state    'topic' → next offsets and the like of every partition; 'id' → of this topic alone; fences; see below
//     latest   compacted topics: (partition, hash of the key) → offset of its newest record that is old enough to be compacted
//
// Every call here is synchronous but for the transactions; the caller takes care of waiting and waking.

import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { type Database, open as openEnvironment, type RootDatabase } from 'lmdb'
import { diskFault } from '../../core/diskFault.ts'
import { ConfigError, CorruptError, FencedError, UnavailableError } from '../../core/errors.ts'
import { checkLmdbFile } from '../../core/lmdbFile.ts'
import { endLmdb, openLmdb, writeLmdb } from '../../core/lmdbTurns.ts'
import type { Offsets } from '../../core/offsets.ts'
import { handledLater } from '../../core/promises.ts'
import type { LogRecord } from '../eventLog.ts'
import { type Block, blockHead, repackBlock, stamp, unpackBlock } from './localLogBlock.ts'

/**
 * A batch that is read ends with the block that reaches either. A block has at most 512 records and 256 KiB, or one
 * large record.
 */
const readRecordsMax = 512
const readBytesMax = 1024 * 1024
/** Work of one clean-up transaction: a few milliseconds in which the event loop and other writers wait. */
const cleanBlocksMax = 1000
const cleanBytesMax = 4 * 1024 * 1024

const topicKey = 'topic'
const idKey = 'id'
const remedy = 'restore it, or reset it'

interface PartitionState {
  /** Next offset to give out. */
  end: bigint
  /** When the newest record was taken: times never go back. */
  timestampMs: number
  /** Records below this have been through compaction. */
  cleaned: bigint
}

/** As JSON, which has no bigints. */
interface StoredState {
  readonly format: 1
  readonly partitions: readonly { readonly end: string; readonly timestampMs: number; readonly cleaned: string }[]
}

/** This thread's open topics, and those being closed, by directory. */
const open = new Map<string, Promise<LocalLogTopic>>()
const closing = new Map<string, Promise<void>>()

interface Databases {
  readonly env: RootDatabase<Buffer, Buffer>
  readonly state: Database<StoredState | string, string>
  readonly blocks: Database<Buffer, Buffer>
  readonly latest: Database<Buffer, Buffer>
}

export class LocalLogTopic {
  readonly name: string
  readonly directory: string
  readonly partitions: number
  readonly #env: RootDatabase<Buffer, Buffer>
  readonly #blocks: Database<Buffer, Buffer>
  readonly #state: Databases['state']
  readonly #latest: Database<Buffer, Buffer>

  #users = 0

  /**
   * Opens, or makes, the topic. All LocalLogs of a thread share what is open: lmdb-js has one writer for an environment
   * and thread.
   *
   * @param directory of the topic alone
   * @throws ConfigError if it has another number of partitions; CorruptError; UnavailableError
   */
  static async open(directory: string, name: string, partitions: number): Promise<LocalLogTopic> {
    const key = path.resolve(directory)
    for (;;) {
      // Closed meanwhile by its last user: that is waited for, too.
      await closing.get(key)
      let opening = open.get(key)
      if (opening === undefined) {
        opening = handledLater(LocalLogTopic.#open(directory, name, partitions))
        open.set(key, opening)
        opening.catch(() => open.delete(key)) // whoever awaits it gets the error; the next caller tries again
      }
      const topic = await opening
      if (open.get(key) !== opening) continue
      topic.#users++
      if (topic.partitions === partitions) return topic
      await topic.close()
      throw new ConfigError([
        `topic ${name} has ${topic.partitions} partitions in ${directory}, ${partitions} are configured: keys would change their partition. Configure ${topic.partitions}, or reset`
      ])
    }
  }

  static async #open(directory: string, name: string, partitions: number): Promise<LocalLogTopic> {
    checkLmdbFile(path.join(directory, 'data.mdb'), remedy)
    let opened: Databases
    try {
      mkdirSync(directory, { recursive: true })
      opened = await openLmdb(directory, () => openDatabases(directory))
    } catch (error) {
      if (/MDB_(INVALID|CORRUPTED|PAGE_NOTFOUND|VERSION_MISMATCH)/.test(String(error))) {
        throw new CorruptError(`topic ${name}: ${directory} is not a database (${String(error)}): ${remedy}`, {
          cause: error
        })
      }
      throw (
        diskFault(error, directory) ??
        new UnavailableError(`topic ${name}: cannot open ${directory}: ${String(error)}`, { cause: error })
      )
    }
    const { env, state } = opened
    try {
      if (state.get(topicKey) === undefined) {
        const states = Array.from({ length: partitions }, () => ({ end: 0n, timestampMs: 0, cleaned: 0n }))
        await writeLmdb(directory, () =>
          env.transaction(() => {
            // Another process may have been first.
            if (state.get(topicKey) !== undefined) return
            void state.put(topicKey, storedState(states))
            void state.put(idKey, randomUUID())
          })
        )
      }
      return new LocalLogTopic(directory, name, statesOf(state, directory).length, opened)
    } catch (error) {
      await endLmdb(directory, env.close())
      throw error
    }
  }

  private constructor(directory: string, name: string, partitions: number, { env, state, blocks, latest }: Databases) {
    this.directory = directory
    this.name = name
    this.partitions = partitions
    this.#env = env
    this.#state = state
    this.#blocks = blocks
    this.#latest = latest
  }

  /** Once for each `open`; the last one closes it. */
  async close(): Promise<void> {
    if (--this.#users > 0) return
    const key = path.resolve(this.directory)
    open.delete(key)
    const closed = handledLater(endLmdb(this.directory, this.#env.close()).finally(() => closing.delete(key)))
    closing.set(key, closed)
    await closed
  }

  /**
   * Appends blocks to their partitions in one durable transaction. @param fence absent: everybody may. Without blocks it
   * is claimed.
   */
  async append(
    groups: ReadonlyMap<number, readonly Block[]>,
    clock: { nowMs(): number },
    fence?: Fence
  ): Promise<void> {
    try {
      await this.#write(() => this.#put(groups, clock, fence))
    } catch (error) {
      if (fence !== undefined) fence.hasFailed = true
      throw error
    }
  }

  #put(groups: ReadonlyMap<number, readonly Block[]>, clock: { nowMs(): number }, fence: Fence | undefined): void {
    if (fence !== undefined) this.#checkFence(fence, groups.size === 0)
    try {
      const states = this.#states()
      const nowMs = clock.nowMs()
      const puts: [Buffer, Buffer][] = []
      for (const [partition, blocks] of groups) {
        const state = states[partition]!
        state.timestampMs = Math.max(state.timestampMs, nowMs)
        for (const { bytes, span } of blocks) {
          stamp(bytes, state.timestampMs)
          puts.push([blockKey(partition, state.end), bytes])
          state.end += BigInt(span)
        }
      }
      // The state first: should a put fail (disk full), offsets are left out, never given twice.
      if (puts.length > 0) void this.#state.put(topicKey, storedState(states))
      for (const [key, bytes] of puts) void this.#blocks.put(key, bytes)
    } catch (error) {
      // Now: the next append may be in the same commit.
      if (fence !== undefined) fence.hasFailed = true
      throw error
    }
  }

  #write<T>(change: () => T): Promise<T> {
    return writeLmdb(this.directory, () => this.#env.transaction(change))
  }

  get id(): string {
    return (this.#state.get(idKey) as string | undefined) ?? ''
  }

  /** Next offset by partition, as of now: other processes' appends included. */
  ends(): Offsets {
    this.#env.resetReadTxn()
    return new Map(this.#states().map((state, partition) => [partition, state.end]))
  }

  /**
   * Records of one partition from `position` on, below `until`; `next` is where to go on. No records and `next` =
   * `position`: there are none yet. Records and `next` both move on where compaction left a gap.
   */
  read(partition: number, position: bigint, until?: bigint): { records: LogRecord[]; next: bigint; end: bigint } {
    this.#env.resetReadTxn()
    const end = this.#states()[partition]!.end
    const stop = until !== undefined && until < end ? until : end
    const records: LogRecord[] = []
    if (position >= stop) return { records, next: position, end }
    let bytes = 0
    let next = stop
    const range = { start: this.#blockOf(partition, position), end: blockKey(partition, stop), limit: readRecordsMax }
    let blocks = 0
    for (const { key, value } of this.#blocks.getRange(range)) {
      blocks++
      const from = bytes === 0 ? position : 0n
      const after = unpackBlock(value, partition, offsetOf(key), from, records, this.directory)
      bytes += value.length
      if (records.length >= readRecordsMax || bytes >= readBytesMax || blocks === readRecordsMax) {
        next = after
        break
      }
    }
    // The block that holds `position` may be the last one that is left, and end before it.
    return { records, next: next > position ? next : position, end }
  }

  /**
   * Removes blocks taken before `beforeMs`, oldest first. @returns records removed, and whether there may be more to do
   */
  async expire(beforeMs: number): Promise<{ removed: number; more: boolean }> {
    this.#env.resetReadTxn()
    // Seen without the write lock first: mostly there is nothing to do.
    if (this.#expired(beforeMs, 1).length === 0) return { removed: 0, more: false }
    return this.#write(() => {
      const expired = this.#expired(beforeMs, cleanBlocksMax)
      let removed = 0
      for (const [key, count] of expired) {
        removed += count
        void this.#blocks.remove(key)
      }
      return { removed, more: expired.length >= cleanBlocksMax }
    })
  }

  /**
   * Of the records taken before `beforeMs`, keeps the newest of each key, and nothing of a key whose newest is a null,
   * unless tombstones are kept. A part of the work: call again while there is `more`.
   */
  async compact(beforeMs: number, keepTombstones = false): Promise<{ removed: number; more: boolean }> {
    this.#env.resetReadTxn()
    const due = (partition: number, state: PartitionState) => this.#due(partition, state, beforeMs, 1).length > 0
    if (!this.#states().some((state, partition) => due(partition, state))) return { removed: 0, more: false }
    return this.#write(() => {
      const states = this.#states()
      let removed = 0
      let left = cleanBlocksMax
      for (const [partition, state] of states.entries()) {
        if (left === 0) break
        const blocks = this.#due(partition, state, beforeMs, left)
        left -= blocks.length
        for (const { base, bytes } of blocks) {
          const records: LogRecord[] = []
          state.cleaned = unpackBlock(bytes, partition, base, 0n, records, this.directory)
          for (const record of records) removed += this.#supersede(record, keepTombstones)
        }
      }
      void this.#state.put(topicKey, storedState(states))
      return { removed, more: states.some((state, partition) => due(partition, state)) }
    })
  }

  #supersede(record: LogRecord, keepTombstones: boolean): number {
    const key = latestKey(record)
    const before = this.#latest.get(key)
    let removed = before === undefined ? 0 : this.#drop(record.partition, before.readBigUInt64BE(0))
    if (record.value === null && !keepTombstones) {
      removed += this.#drop(record.partition, record.offset)
      if (before !== undefined) void this.#latest.remove(key)
    } else {
      const offset = Buffer.allocUnsafe(8)
      offset.writeBigUInt64BE(record.offset)
      void this.#latest.put(key, offset)
    }
    return removed
  }

  /** Takes one record out of its block. */
  #drop(partition: number, offset: bigint): number {
    const key = this.#blockOf(partition, offset)
    const bytes = this.#blocks.get(key)
    if (bytes === undefined) return 0
    const head = blockHead(bytes)
    const base = offsetOf(key)
    const records: LogRecord[] = []
    unpackBlock(bytes, partition, base, 0n, records, this.directory)
    const kept = records.filter((record) => record.offset !== offset)
    if (kept.length === records.length) return 0
    if (kept.length === 0) void this.#blocks.remove(key)
    else void this.#blocks.put(key, repackBlock(kept, base, head.span, head.timestampMs))
    return 1
  }

  #due(partition: number, state: PartitionState, beforeMs: number, limit: number): { base: bigint; bytes: Buffer }[] {
    const due: { base: bigint; bytes: Buffer }[] = []
    let total = 0
    const range = { start: blockKey(partition, state.cleaned), end: blockKey(partition, state.end), limit }
    for (const { key, value } of this.#blocks.getRange(range)) {
      if (blockHead(value).timestampMs >= beforeMs || total > cleanBytesMax) break
      due.push({ base: offsetOf(key), bytes: value })
      total += value.length
    }
    return due
  }

  #expired(beforeMs: number, limit: number): [Buffer, number][] {
    const expired: [Buffer, number][] = []
    for (let partition = 0; partition < this.partitions && expired.length < limit; partition++) {
      const range = { start: blockKey(partition, 0n), end: blockKey(partition + 1, 0n), limit: limit - expired.length }
      for (const { key, value } of this.#blocks.getRange(range)) {
        const { timestampMs, count } = blockHead(value)
        if (timestampMs >= beforeMs) break
        expired.push([Buffer.from(key), count])
      }
    }
    return expired
  }

  /** Key of the block that holds `offset`, or, where there is none, a key at which the next one is found. */
  #blockOf(partition: number, offset: bigint): Buffer {
    const range = { start: blockKey(partition, offset), end: blockKey(partition, 0n), reverse: true, limit: 1 }
    for (const key of this.#blocks.getKeys(range)) return Buffer.from(key)
    return blockKey(partition, 0n)
  }

  #states(): PartitionState[] {
    return statesOf(this.#state, this.directory)
  }

  #checkFence(fence: Fence, isClaim: boolean): void {
    if (isClaim) fence.hasFailed = false
    if (fence.hasFailed === true) {
      throw new FencedError(
        `append to topic ${this.name} refused: an earlier append under fence ${fence.name} has failed. Claim the fence again, and continue from what the log holds`,
        { hasNewerOwner: false }
      )
    }
    // A name of any length, in LMDB's keys of limited length.
    const key = `fence:${createHash('sha256').update(fence.name).digest('hex')}`
    const stored = BigInt((this.#state.get(key) as string | undefined) ?? 0)
    const mine = fence.epoch ?? stored + 1n
    if (stored > mine) {
      throw new FencedError(
        `append to topic ${this.name} refused: fence ${fence.name} was claimed by a newer owner (epoch ${stored}, ours is ${mine}). Stop this process: another one does its work`,
        { hasNewerOwner: true }
      )
    }
    fence.epoch = mine
    if (stored !== mine) void this.#state.put(key, String(mine))
  }
}

export interface Fence {
  readonly name: string
  /** Absent until the first append claims it. */
  epoch?: bigint
  /** An append has failed: later ones are refused until the fence is claimed again. */
  hasFailed?: boolean
}

function blockKey(partition: number, base: bigint): Buffer {
  const key = Buffer.allocUnsafe(12)
  key.writeUInt32BE(partition, 0)
  key.writeBigUInt64BE(base, 4)
  return key
}

function offsetOf(key: Buffer): bigint {
  return key.readBigUInt64BE(4)
}

/**
 * 16 bytes of a hash instead of the key, which may be longer than LMDB's keys: no two keys of a topic will ever share
 * them.
 */
function latestKey(record: LogRecord): Buffer {
  const key = Buffer.allocUnsafe(20)
  key.writeUInt32BE(record.partition, 0)
  createHash('sha256').update(record.key).digest().copy(key, 4, 0, 16)
  return key
}

function storedState(states: readonly PartitionState[]): StoredState {
  const partitions = states.map((state) => ({ ...state, end: String(state.end), cleaned: String(state.cleaned) }))
  return { format: 1, partitions }
}

/** @throws CorruptError */
function statesOf(state: Databases['state'], directory: string): PartitionState[] {
  try {
    const { format, partitions } = state.get(topicKey) as StoredState
    if (format !== 1) throw new Error(`format ${String(format)}`)
    return partitions.map((each) => ({ ...each, end: BigInt(each.end), cleaned: BigInt(each.cleaned) }))
  } catch (cause) {
    throw new CorruptError(`${directory}: its state is not what was written (${String(cause)}): ${remedy}`, { cause })
  }
}

function openDatabases(directory: string): Databases {
  const options = { encoding: 'binary', keyEncoding: 'binary' } as const
  // Without overlapping sync a record is on the disk before anybody can read it, so no reader's state is ever ahead of
  // the log after a power loss.
  const env = openEnvironment<Buffer, Buffer>(directory, {
    ...options,
    noSubdir: false,
    overlappingSync: false,
    maxReaders: 1024
  })
  const database = (name: string) => env.openDB(name, options) as Database<Buffer, Buffer>
  try {
    const state = env.openDB('state', { encoding: 'json' }) as unknown as Databases['state']
    return { env, state, blocks: database('blocks'), latest: database('latest') }
  } catch (error) {
    void env.close()
    throw error
  }
}
