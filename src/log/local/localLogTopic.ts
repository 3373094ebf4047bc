// One topic of the local log: an LMDB environment of its own, so that topics do not share a write lock.
//
// What the environment holds: localLogStore.ts. Every call here is synchronous but for the transactions; the caller
// takes care of waiting and waking.

import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { diskFault } from '../../core/diskFault.ts'
import { ConfigError, CorruptError, FencedError, UnavailableError } from '../../core/errors.ts'
import { checkLmdbFile } from '../../core/lmdbFile.ts'
import { endLmdb, openLmdb, writeLmdb } from '../../core/lmdbTurns.ts'
import type { Offsets } from '../../core/offsets.ts'
import { handledLater } from '../../core/promises.ts'
import type { LogRecord } from '../eventLog.ts'
import { type Block, stamp, unpackBlock } from './localLogBlock.ts'
import { LocalLogCleaner } from './localLogCleaner.ts'
import {
  blockKey,
  blockOf,
  type Databases,
  idKey,
  offsetOf,
  openDatabases,
  type PartitionState,
  remedy,
  statesOf,
  storedState,
  topicKey
} from './localLogStore.ts'

/**
 * A batch that is read ends with the block that reaches either. A block has at most 512 records and 256 KiB, or one
 * large record.
 */
const readRecordsMax = 512
const readBytesMax = 1024 * 1024
/** This thread's open topics, and those being closed, by directory. */
const open = new Map<string, Promise<LocalLogTopic>>()
const closing = new Map<string, Promise<void>>()

export class LocalLogTopic {
  readonly name: string
  readonly directory: string
  readonly partitions: number
  /** Removes what retention and compaction allow. */
  readonly cleaner: LocalLogCleaner
  readonly #env: Databases['env']
  readonly #blocks: Databases['blocks']
  readonly #state: Databases['state']
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
        opening.catch(() => open.delete(key)) // the awaiting caller gets the error; the next one tries again
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

  private constructor(directory: string, name: string, partitions: number, databases: Databases) {
    this.directory = directory
    this.name = name
    this.partitions = partitions
    this.cleaner = new LocalLogCleaner(directory, partitions, databases)
    this.#env = databases.env
    this.#state = databases.state
    this.#blocks = databases.blocks
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
   * Records of one partition from `position` on, below `until`; `next` is where to read next. No records and `next` =
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
    const range = {
      start: blockOf(this.#blocks, partition, position),
      end: blockKey(partition, stop),
      limit: readRecordsMax
    }
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
