// What the LMDB environment of a topic holds: its databases, their keys, and the state of its partitions.
//
//     blocks   (partition uint32, base offset uint64; big-endian, so that LMDB's order is ours) → a block of records
//     state    'topic' → next offsets and the like of every partition; 'id' → of this topic alone; fences
//     latest   compacted topics: (partition, hash of the key) → offset of its newest record that may be
//              compacted

import { type Database, open as openEnvironment, type RootDatabase } from 'lmdb'
import { CorruptError } from '../../core/errors.ts'

export const topicKey = 'topic'
export const idKey = 'id'
export const remedy = 'restore it, or reset it'

export interface PartitionState {
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

export interface Databases {
  readonly env: RootDatabase<Buffer, Buffer>
  readonly state: Database<StoredState | string, string>
  readonly blocks: Database<Buffer, Buffer>
  readonly latest: Database<Buffer, Buffer>
}

export function blockKey(partition: number, base: bigint): Buffer {
  const key = Buffer.allocUnsafe(12)
  key.writeUInt32BE(partition, 0)
  key.writeBigUInt64BE(base, 4)
  return key
}

export function offsetOf(key: Buffer): bigint {
  return key.readBigUInt64BE(4)
}

/** Key of the block that holds `offset`, or, where there is none, a key at which the next one is found. */
export function blockOf(blocks: Databases['blocks'], partition: number, offset: bigint): Buffer {
  const range = { start: blockKey(partition, offset), end: blockKey(partition, 0n), reverse: true, limit: 1 }
  for (const key of blocks.getKeys(range)) return Buffer.from(key)
  return blockKey(partition, 0n)
}

export function storedState(states: readonly PartitionState[]): StoredState {
  const partitions = states.map((state) => ({ ...state, end: String(state.end), cleaned: String(state.cleaned) }))
  return { format: 1, partitions }
}

/** @throws CorruptError */
export function statesOf(state: Databases['state'], directory: string): PartitionState[] {
  try {
    const { format, partitions } = state.get(topicKey) as StoredState
    if (format !== 1) throw new Error(`format ${String(format)}`)
    return partitions.map((each) => ({ ...each, end: BigInt(each.end), cleaned: BigInt(each.cleaned) }))
  } catch (cause) {
    throw new CorruptError(`${directory}: its state is not what was written (${String(cause)}): ${remedy}`, { cause })
  }
}

export function openDatabases(directory: string): Databases {
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
