// Retention and compaction of one topic of the local log, a bounded part of the work a transaction.

import { createHash } from 'node:crypto'
import { writeLmdb } from '../../core/lmdbTurns.ts'
import type { LogRecord } from '../eventLog.ts'
import { blockHead, repackBlock, unpackBlock } from './localLogBlock.ts'
import {
  blockKey,
  blockOf,
  type Databases,
  offsetOf,
  type PartitionState,
  statesOf,
  storedState,
  topicKey
} from './localLogStore.ts'

/** Work of one clean-up transaction: a few milliseconds in which the event loop and other writers wait. */
const cleanBlocksMax = 1000
const cleanBytesMax = 4 * 1024 * 1024

export class LocalLogCleaner {
  readonly #directory: string
  readonly #partitions: number
  readonly #databases: Databases

  constructor(directory: string, partitions: number, databases: Databases) {
    this.#directory = directory
    this.#partitions = partitions
    this.#databases = databases
  }

  /**
   * Removes blocks taken before `beforeMs`, oldest first. @returns records removed, and whether there may be more to do
   */
  async expire(beforeMs: number): Promise<{ removed: number; more: boolean }> {
    this.#databases.env.resetReadTxn()
    // Seen without the write lock first: mostly there is nothing to do.
    if (this.#expired(beforeMs, 1).length === 0) return { removed: 0, more: false }
    return this.#write(() => {
      const expired = this.#expired(beforeMs, cleanBlocksMax)
      let removed = 0
      for (const [key, count] of expired) {
        removed += count
        void this.#databases.blocks.remove(key)
      }
      return { removed, more: expired.length >= cleanBlocksMax }
    })
  }

  /**
   * Of the records taken before `beforeMs`, keeps the newest of each key, and nothing of a key whose newest is a null,
   * unless tombstones are kept. A part of the work: call again while there is `more`.
   */
  async compact(beforeMs: number, keepTombstones = false): Promise<{ removed: number; more: boolean }> {
    this.#databases.env.resetReadTxn()
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
          state.cleaned = unpackBlock(bytes, partition, base, 0n, records, this.#directory)
          for (const record of records) removed += this.#supersede(record, keepTombstones)
        }
      }
      void this.#databases.state.put(topicKey, storedState(states))
      return { removed, more: states.some((state, partition) => due(partition, state)) }
    })
  }

  #supersede(record: LogRecord, keepTombstones: boolean): number {
    const key = latestKey(record)
    const before = this.#databases.latest.get(key)
    let removed = before === undefined ? 0 : this.#drop(record.partition, before.readBigUInt64BE(0))
    if (record.value === null && !keepTombstones) {
      removed += this.#drop(record.partition, record.offset)
      if (before !== undefined) void this.#databases.latest.remove(key)
    } else {
      const offset = Buffer.allocUnsafe(8)
      offset.writeBigUInt64BE(record.offset)
      void this.#databases.latest.put(key, offset)
    }
    return removed
  }

  /** Takes one record out of its block. */
  #drop(partition: number, offset: bigint): number {
    const key = blockOf(this.#databases.blocks, partition, offset)
    const bytes = this.#databases.blocks.get(key)
    if (bytes === undefined) return 0
    const head = blockHead(bytes)
    const base = offsetOf(key)
    const records: LogRecord[] = []
    unpackBlock(bytes, partition, base, 0n, records, this.#directory)
    const kept = records.filter((record) => record.offset !== offset)
    if (kept.length === records.length) return 0
    if (kept.length === 0) void this.#databases.blocks.remove(key)
    else void this.#databases.blocks.put(key, repackBlock(kept, base, head.span, head.timestampMs))
    return 1
  }

  #due(partition: number, state: PartitionState, beforeMs: number, limit: number): { base: bigint; bytes: Buffer }[] {
    const due: { base: bigint; bytes: Buffer }[] = []
    let total = 0
    const range = { start: blockKey(partition, state.cleaned), end: blockKey(partition, state.end), limit }
    for (const { key, value } of this.#databases.blocks.getRange(range)) {
      if (blockHead(value).timestampMs >= beforeMs || total > cleanBytesMax) break
      due.push({ base: offsetOf(key), bytes: value })
      total += value.length
    }
    return due
  }

  #expired(beforeMs: number, limit: number): [Buffer, number][] {
    const expired: [Buffer, number][] = []
    for (let partition = 0; partition < this.#partitions && expired.length < limit; partition++) {
      const range = { start: blockKey(partition, 0n), end: blockKey(partition + 1, 0n), limit: limit - expired.length }
      for (const { key, value } of this.#databases.blocks.getRange(range)) {
        const { timestampMs, count } = blockHead(value)
        if (timestampMs >= beforeMs) break
        expired.push([Buffer.from(key), count])
      }
    }
    return expired
  }

  #states(): PartitionState[] {
    return statesOf(this.#databases.state, this.#directory)
  }

  #write<T>(change: () => T): Promise<T> {
    return writeLmdb(this.#directory, () => this.#databases.env.transaction(change))
  }
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
