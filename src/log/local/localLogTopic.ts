// One topic of the local log: an LMDB environment of its own, so that topics do not share a write lock.
//
//     blocks   (partition uint32, base offset uint64; big-endian, so that LMDB's order is ours) → a block of records
//     state    'topic' → next offsets and the like of every partition; fences; see below
//     latest   compacted topics: (partition, hash of the key) → offset of its newest record that is old enough to be compacted
//
// Every call here is synchronous but for the transactions; the caller takes care of waiting and waking.

import { createHash } from 'node:crypto'
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readSync } from 'node:fs'
import path from 'node:path'
import { type Database, open as openEnvironment, type RootDatabase } from 'lmdb'
import { diskFault } from '../../core/diskFault.ts'
import { ConfigError, CorruptError, FencedError, UnavailableError } from '../../core/errors.ts'
import { openLmdb, writeLmdb } from '../../core/lmdbTurns.ts'
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

const stateFormat = 1
const stateHeaderBytes = 8
const statePartitionBytes = 24
const topicKey = Buffer.from('topic')

interface PartitionState {
  /** Next offset to give out. */
  end: bigint
  /** When the newest record was taken: times never go back. */
  timestampMs: number
  /** Records below this have been through compaction. */
  cleaned: bigint
}

/** This thread's open topics, and those being closed, by directory. */
const open = new Map<string, Promise<LocalLogTopic>>()
const closing = new Map<string, Promise<void>>()

interface Databases {
  readonly env: RootDatabase<Buffer, Buffer>
  readonly state: Database<Buffer, Buffer>
  readonly blocks: Database<Buffer, Buffer>
  readonly latest: Database<Buffer, Buffer>
}

export class LocalLogTopic {
  readonly name: string
  readonly directory: string
  readonly partitions: number
  readonly #env: RootDatabase<Buffer, Buffer>
  readonly #blocks: Database<Buffer, Buffer>
  readonly #state: Database<Buffer, Buffer>
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
    checkFile(path.join(directory, 'data.mdb'))
    let opened: Databases
    try {
      mkdirSync(directory, { recursive: true })
      opened = await openLmdb(directory, () => openDatabases(directory))
    } catch (error) {
      if (/MDB_(INVALID|CORRUPTED|PAGE_NOTFOUND|VERSION_MISMATCH)/.test(String(error))) {
        throw new CorruptError(
          `topic ${name}: ${directory} is not a database (${String(error)}): restore it, or reset it`,
          {
            cause: error
          }
        )
      }
      throw (
        diskFault(error, directory) ??
        new UnavailableError(`topic ${name}: cannot open ${directory}: ${String(error)}`, { cause: error })
      )
    }
    const { env, state } = opened
    try {
      if (state.get(topicKey) === undefined) {
        await writeLmdb(directory, () =>
          env.transaction(() => {
            // Another process may have been first.
            if (state.get(topicKey) === undefined) void state.put(topicKey, packState(newStates(partitions)))
          })
        )
      }
      const bytes = state.get(topicKey)
      if (bytes === undefined)
        throw new CorruptError(`topic ${name}: ${directory} holds no state: restore it, or reset it`)
      return new LocalLogTopic(directory, name, unpackState(bytes, directory).length, opened)
    } catch (error) {
      await env.close()
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
    const closed = handledLater(this.#env.close().finally(() => closing.delete(key)))
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
      if (puts.length > 0) void this.#state.put(topicKey, packState(states))
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
      void this.#state.put(topicKey, packState(states))
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
    const bytes = this.#state.get(topicKey)
    if (bytes === undefined)
      throw new CorruptError(`topic ${this.name}: its state is gone from ${this.directory}: restore it, or reset it`)
    return unpackState(bytes, this.directory)
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
    const key = Buffer.from(`fence:${createHash('sha256').update(fence.name).digest('hex')}`)
    const bytes = this.#state.get(key)
    const stored = bytes === undefined ? 0n : bytes.readBigUInt64BE(0)
    const mine = fence.epoch ?? stored + 1n
    if (stored > mine) {
      throw new FencedError(
        `append to topic ${this.name} refused: fence ${fence.name} was claimed by a newer owner (epoch ${stored}, ours is ${mine}). Stop: somebody else does this work now`,
        { hasNewerOwner: true }
      )
    }
    fence.epoch = mine
    if (stored === mine) return
    const epoch = Buffer.allocUnsafe(8)
    epoch.writeBigUInt64BE(mine)
    void this.#state.put(key, epoch)
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

function newStates(partitions: number): PartitionState[] {
  return Array.from({ length: partitions }, () => ({ end: 0n, timestampMs: 0, cleaned: 0n }))
}

function packState(states: readonly PartitionState[]): Buffer {
  const bytes = Buffer.alloc(stateHeaderBytes + statePartitionBytes * states.length)
  bytes.writeUInt32LE(stateFormat, 0)
  bytes.writeUInt32LE(states.length, 4)
  states.forEach((state, i) => {
    const at = stateHeaderBytes + statePartitionBytes * i
    bytes.writeBigUInt64LE(state.end, at)
    bytes.writeDoubleLE(state.timestampMs, at + 8)
    bytes.writeBigUInt64LE(state.cleaned, at + 16)
  })
  return bytes
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
    return { env, state: database('state'), blocks: database('blocks'), latest: database('latest') }
  } catch (error) {
    void env.close()
    throw error
  }
}

function unpackState(bytes: Buffer, directory: string): PartitionState[] {
  const count = bytes.length >= stateHeaderBytes && bytes.readUInt32LE(0) === stateFormat ? bytes.readUInt32LE(4) : -1
  if (bytes.length !== stateHeaderBytes + statePartitionBytes * count) {
    throw new CorruptError(`${directory}: its state is not what was written: restore it, or reset it`)
  }
  return Array.from({ length: count }, (_, i) => {
    const at = stateHeaderBytes + statePartitionBytes * i
    return {
      end: bytes.readBigUInt64LE(at),
      timestampMs: bytes.readDoubleLE(at + 8),
      cleaned: bytes.readBigUInt64LE(at + 16)
    }
  })
}

const lmdbMagic = 0xbeefc0de
const pageHeaderBytes = 24

/**
 * LMDB maps the file into memory and believes it: a file that is none, or that was cut short, would end the process
 * with a signal. So its first two pages are looked at before.
 *
 * @throws CorruptError
 */
function checkFile(file: string): void {
  if (!existsSync(file)) return
  const descriptor = openSync(file, 'r')
  try {
    // Just made, perhaps by another process that is about to fill it.
    if (fstatSync(descriptor).size === 0) return
    const problem = problemOf(descriptor)
    if (problem !== undefined) {
      throw new CorruptError(`${file} is not a database, or not all of it (${problem}): restore it, or reset it`)
    }
  } finally {
    closeSync(descriptor)
  }
}

function problemOf(descriptor: number): string | undefined {
  const page = Buffer.alloc(168)
  let pageBytes = 0
  let newest = -1n
  let roots: bigint[] = []
  for (let i = 0; i < 2; i++) {
    if (readSync(descriptor, page, 0, page.length, i * pageBytes) < page.length)
      return `${fstatSync(descriptor).size} bytes long`
    if (page.readUInt32LE(pageHeaderBytes) !== lmdbMagic) return `page ${i} does not begin as it should`
    // Behind the magic: version, address, size of the map; the free list's tree, whose first number is the page size;
    // the main tree; last page, transaction.
    const trees = pageHeaderBytes + 24
    if (i === 0) pageBytes = page.readUInt32LE(trees)
    if (pageBytes < 256 || pageBytes > 65536 || (pageBytes & (pageBytes - 1)) !== 0)
      return `pages of ${pageBytes} bytes`
    const transaction = page.readBigUInt64LE(trees + 104)
    if (transaction >= newest) {
      newest = transaction
      roots = [page.readBigUInt64LE(trees + 40), page.readBigUInt64LE(trees + 88)]
    }
  }
  // The length comes last: another process may be writing, and a root is written after its page.
  const pages = BigInt(Math.floor(fstatSync(descriptor).size / pageBytes))
  const empty = 0xffffffffffffffffn
  const missing = roots.find((root) => root !== empty && root >= pages)
  return missing === undefined ? undefined : `page ${missing} is needed, ${pages} are there`
}
