// The rolling windows of one partition's users in LMDB: packed, and committed together with the offset that they were
// made from.

import { closeSync, existsSync, mkdirSync, openSync, readSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Database, open, type RootDatabase } from 'lmdb'
import { diskFault } from '../core/diskFault.ts'
import { ConfigError, CorruptError, MtmiError, UnavailableError } from '../core/errors.ts'
import { lmdbFault, openLmdb, writeLmdb } from '../core/lmdbTurns.ts'
import { handledLater } from '../core/promises.ts'
import { type LmdbLayout, rewriteLmdb } from '../core/rewriteLmdb.ts'
import type { UserId } from '../records/interaction.ts'
import type { UserWindow } from '../records/userSequence.ts'
import { packWindow, unpackNewestMs, unpackWindow } from './packWindow.ts'
import { noCounts, type SequenceCounts, type SequenceStore } from './sequenceStore.ts'
import { newStepDictionary, type StringIndex } from './stepDictionary.ts'

/**
 * Width of the index by newest event time: a user moves in it once a day at most, and `idle` looks at one day's users
 * too many.
 */
const bucketMs = 24 * 60 * 60_000
/** Windows kept unpacked after a commit, at some 3 KB each: active users come back. */
const cachedMax = 16_384
/**
 * A user of 50 steps is some 300 bytes: on pages of 4 KiB, 547 with keys, index and room between; on these, 511. Larger
 * ones save 3% more and write more.
 */
const pageBytes = 8192
/** Users written together while restoring: enough that sorting them pays, and the next ones are packed meanwhile. */
const loadedMax = 16_384
const absent = -1
const nothing = new Uint8Array(0)
/** First thing on each of LMDB's two meta pages, after the page's header of 24 bytes (`MDB_MAGIC` in mdb.c). */
const magic = 0xbeefc0de
const magicAt = 24

const layout = {
  options: { maxDbs: 5, noSubdir: true, pageSize: pageBytes },
  databases: {
    meta: { encoding: 'json' },
    windows: { encoding: 'binary' },
    items: { encoding: 'string', keyEncoding: 'uint32' },
    types: { encoding: 'string', keyEncoding: 'uint32' },
    idle: { encoding: 'binary' }
  }
} as const satisfies LmdbLayout

interface Entry {
  /** undefined: no such user. */
  window: UserWindow | undefined
  /** Where the index by time has the user on disk; `absent` if it hasn't. */
  bucket: number
}

interface Meta {
  readonly format: 1
  readonly partition: number
  readonly next: string
  readonly watermarkMs: number
  readonly counts: SequenceCounts
}

export class LmdbSequenceStore implements SequenceStore {
  readonly #path: string
  readonly #environment: RootDatabase<unknown, string>
  readonly #meta: Database<Meta, string>
  readonly #windows: Database<Buffer, string>
  readonly #items: Database<string, number>
  readonly #types: Database<string, number>
  /** [bucket, user id] → nothing. */
  readonly #idle: Database<Uint8Array, [number, string]>
  readonly #readOnly: boolean
  readonly #partition: number
  readonly #dictionary = newStepDictionary()
  /** How much of the dictionary is on disk. */
  #storedItems = 0
  #storedTypes = 0
  /** Looked up or changed since the last turn; the turn before. Dirty entries are always in the newer one. */
  #entries = new Map<UserId, Entry>()
  #olderEntries = new Map<UserId, Entry>()
  #dirty = new Map<UserId, Entry>()
  /** Packed by `load`, and not yet on their way to the disk. */
  #loaded = new Map<UserId, { bytes: Uint8Array | undefined; bucket: number }>()
  #loading: Promise<unknown> | undefined
  #committed: bigint
  #watermarkMs: number
  #counts: SequenceCounts

  private constructor(path: string, partition: number, readOnly: boolean) {
    this.#path = path
    this.#partition = partition
    this.#readOnly = readOnly
    const { options, databases } = layout
    this.#environment = open<unknown, string>({ ...options, path, readOnly })
    this.#meta = this.#environment.openDB<Meta, string>('meta', databases.meta)
    this.#windows = this.#environment.openDB<Buffer, string>('windows', databases.windows)
    this.#items = this.#environment.openDB<string, number>('items', databases.items)
    this.#types = this.#environment.openDB<string, number>('types', databases.types)
    this.#idle = this.#environment.openDB<Uint8Array, [number, string]>('idle', databases.idle)
    const meta = this.#readMeta()
    this.#committed = meta.next
    this.#watermarkMs = meta.watermarkMs
    this.#counts = meta.counts
    this.#loadDictionary()
  }

  /**
   * Opens, or makes, the store of one partition of `interactions`: one file in `directory`. One process writes; others
   * may read at the same time.
   *
   * @throws CorruptError if the file is there, but not such a store or another partition's
   * @throws ConfigError if it is to be read only and is not there
   */
  static async open(
    directory: string,
    partition: number,
    options: { readonly readOnly?: boolean } = {}
  ): Promise<LmdbSequenceStore> {
    const path = join(directory, `sequences-${partition}.lmdb`)
    const readOnly = options.readOnly ?? false
    if (readOnly && !existsSync(path)) throw new ConfigError([`${path}: no histories have been stored there yet`])
    if (!readOnly) mkdirSync(directory, { recursive: true })
    try {
      if (existsSync(path)) checkHead(path)
      return await openLmdb(directory, () => new LmdbSequenceStore(path, partition, readOnly))
    } catch (cause) {
      if (cause instanceof MtmiError) throw cause
      const fault = diskFault(cause, directory)
      if (fault !== undefined) throw fault
      throw new CorruptError(
        `${path} can't be opened as a store of histories: ${String(cause)}. Give back a copy, or remove it: it is rebuilt from user-sequences`,
        {
          cause
        }
      )
    }
  }

  /** Writes the file anew, without the bytes of deleted users. Nobody may have it open. */
  static rewrite(directory: string, partition: number): Promise<void> {
    return rewriteLmdb(join(directory, `sequences-${partition}.lmdb`), layout)
  }

  get(userId: UserId): UserWindow | undefined {
    return this.#entry(userId).window
  }

  put(userId: UserId, window: UserWindow): void {
    this.#change(userId, window)
  }

  delete(userId: UserId): void {
    this.#change(userId, undefined)
  }

  load(userId: UserId, window: UserWindow | undefined): Promise<void> | undefined {
    this.#entries.delete(userId)
    this.#olderEntries.delete(userId)
    const loaded =
      window === undefined
        ? { bytes: undefined, bucket: absent }
        : { bytes: packWindow(window, this.#dictionary), bucket: Math.floor(window.newestMs / bucketMs) }
    this.#loaded.set(userId, loaded)
    return this.#loaded.size < loadedMax ? undefined : this.#writeLoaded()
  }

  /** Resolves when what was loaded before is written, and this is on its way. LMDB does it on a thread of its own. */
  async #writeLoaded(): Promise<void> {
    const loaded = [...this.#loaded]
    this.#loaded = new Map()
    // In the order of their keys they meet the same pages.
    loaded.sort(([a], [b]) => (a < b ? -1 : 1))
    await this.#loadedBefore()
    const empty = this.userCount() === 0
    const { items, types } = this.#dictionary
    this.#loading = handledLater(
      this.#environment.batch(() => {
        for (const [userId, { bytes, bucket }] of loaded) {
          const from = empty ? absent : this.#storedBucket(userId)
          void (bytes === undefined ? this.#windows.remove(userId) : this.#windows.put(userId, bytes as Buffer))
          if (from === bucket) continue
          if (from !== absent) void this.#idle.remove([from, userId])
          if (bucket !== absent) void this.#idle.put([bucket, userId], nothing)
        }
        for (; this.#storedItems < items.size; this.#storedItems++)
          void this.#items.put(this.#storedItems, items.at(this.#storedItems)!)
        for (; this.#storedTypes < types.size; this.#storedTypes++)
          void this.#types.put(this.#storedTypes, types.at(this.#storedTypes)!)
      })
    )
  }

  /** @throws UnavailableError if what was loaded could not be written */
  async #loadedBefore(): Promise<void> {
    if (this.#loading === undefined) return
    try {
      await this.#loading
    } catch (error) {
      const cause = await lmdbFault(error, dirname(this.#path))
      throw (
        diskFault(cause, dirname(this.#path)) ??
        new UnavailableError(`${this.#path}: histories could not be written (${String(cause)})`, { cause })
      )
    }
    this.#loading = undefined
  }

  async commit(next: bigint, watermarkMs: number, counts: SequenceCounts = this.#counts): Promise<void> {
    if (this.#loaded.size > 0) await this.#writeLoaded()
    await this.#loadedBefore()
    if (this.#readOnly) throw new Error(`${this.#path} is open for reading only`)
    const dirty = this.#dirty
    this.#dirty = new Map()
    const before: [Entry, number][] = []
    const writes: { userId: UserId; bytes: Uint8Array | undefined; from: number; to: number }[] = []
    // Packed before the transaction, so that puts may go on while it is under way.
    for (const [userId, entry] of dirty) {
      const { window, bucket: from } = entry
      const to = window === undefined ? absent : Math.floor(window.newestMs / bucketMs)
      if (to === absent && from === absent) continue
      writes.push({ userId, bytes: window === undefined ? undefined : packWindow(window, this.#dictionary), from, to })
      before.push([entry, from])
      entry.bucket = to
    }
    const { items, types } = this.#dictionary
    const [itemsEnd, typesEnd] = [items.size, types.size]
    try {
      await writeLmdb(dirname(this.#path), () =>
        this.#environment.transaction(() => {
          for (const { userId, bytes, from, to } of writes) {
            if (bytes === undefined) this.#windows.removeSync(userId)
            else this.#windows.putSync(userId, bytes as Buffer)
            if (from === to) continue
            if (from !== absent) this.#idle.removeSync([from, userId])
            if (to !== absent) this.#idle.putSync([to, userId], nothing)
          }
          for (let i = this.#storedItems; i < itemsEnd; i++) this.#items.putSync(i, items.at(i)!)
          for (let i = this.#storedTypes; i < typesEnd; i++) this.#types.putSync(i, types.at(i)!)
          this.#meta.putSync('meta', { format: 1, partition: this.#partition, next: String(next), watermarkMs, counts })
        })
      )
      await this.#environment.flushed
    } catch (error) {
      for (const [entry, bucket] of before) entry.bucket = bucket
      for (const [userId, entry] of dirty) if (!this.#dirty.has(userId)) this.#dirty.set(userId, entry)
      const cause = await lmdbFault(error, dirname(this.#path))
      throw (
        diskFault(cause, dirname(this.#path)) ??
        new UnavailableError(`${this.#path}: ${writes.length} histories could not be written (${String(cause)})`, {
          cause
        })
      )
    }
    this.#storedItems = itemsEnd
    this.#storedTypes = typesEnd
    this.#committed = next
    this.#watermarkMs = watermarkMs
    this.#counts = counts
    if (this.#entries.size > cachedMax / 2 && this.#dirty.size === 0) {
      this.#olderEntries = this.#entries
      this.#entries = new Map()
    }
  }

  committed(): bigint {
    return this.#committed
  }

  watermarkMs(): number {
    return this.#watermarkMs
  }

  counts(): SequenceCounts {
    return this.#counts
  }

  *users(): Iterable<[UserId, UserWindow]> {
    // LMDB's binding goes on reading one state until a timer of its own says otherwise; a reader wants what is
    // committed now.
    if (this.#readOnly) this.#environment.resetReadTxn()
    for (const { key, value } of this.#windows.getRange()) yield [key, this.#unpack(key, value, value.length)]
  }

  idle(beforeMs: number, limit: number): UserId[] {
    const found: UserId[] = []
    const end = Math.floor(beforeMs / bucketMs)
    for (const [bucket, userId] of this.#idle.getKeys({ end: [end + 1] as unknown as [number, string] })) {
      if (found.length >= limit) break
      if (bucket < end || this.#storedNewestMs(userId) < beforeMs) found.push(userId)
    }
    return found
  }

  userCount(): number {
    return (this.#windows.getStats() as { entryCount: number }).entryCount
  }

  /** What was put since the last commit is lost. */
  async close(): Promise<void> {
    await this.#environment.close()
  }

  #entry(userId: UserId): Entry {
    let entry = this.#entries.get(userId)
    if (entry !== undefined) return entry
    entry = this.#olderEntries.get(userId)
    if (entry === undefined) {
      const bytes = this.#windows.getBinaryFast(userId)
      const window = bytes === undefined ? undefined : this.#unpack(userId, bytes, bytes.length)
      entry = { window, bucket: window === undefined ? absent : Math.floor(window.newestMs / bucketMs) }
    }
    this.#entries.set(userId, entry)
    return entry
  }

  /** Where the index by time has a user. */
  #storedBucket(userId: UserId): number {
    const bytes = this.#windows.getBinaryFast(userId)
    return bytes === undefined ? absent : Math.floor(unpackNewestMs(bytes, bytes.length) / bucketMs)
  }

  #change(userId: UserId, window: UserWindow | undefined): void {
    if (this.#readOnly) throw new Error(`${this.#path} is open for reading only`)
    const entry = this.#entry(userId)
    entry.window = window
    this.#dirty.set(userId, entry)
  }

  #unpack(userId: UserId, bytes: Uint8Array, length: number): UserWindow {
    try {
      return unpackWindow(bytes, this.#dictionary, length)
    } catch (cause) {
      if (!(cause instanceof CorruptError)) throw cause
      // A reader's dictionary may be older than the window: the writer has gone on.
      if (this.#readOnly && this.#loadDictionary()) return this.#unpack(userId, bytes, length)
      throw new CorruptError(
        `${this.#path}: the history of user ${JSON.stringify(userId)} can't be read: ${cause.message}. Give back a copy, or remove the file: it is rebuilt from user-sequences`,
        { cause }
      )
    }
  }

  #storedNewestMs(userId: UserId): number {
    const bytes = this.#windows.getBinaryFast(userId)
    if (bytes === undefined)
      throw new CorruptError(
        `${this.#path}: user ${JSON.stringify(userId)} is in the index by time, but has no history`
      )
    return unpackNewestMs(bytes, bytes.length)
  }

  #readMeta(): { next: bigint; watermarkMs: number; counts: SequenceCounts } {
    const meta = this.#meta.get('meta')
    if (meta === undefined) return { next: 0n, watermarkMs: 0, counts: noCounts }
    if (
      meta.format !== 1 ||
      meta.partition !== this.#partition ||
      !/^\d+$/.test(meta.next) ||
      !Number.isSafeInteger(meta.watermarkMs)
    ) {
      throw new CorruptError(
        `${this.#path} is not a store of partition ${this.#partition} in format 1, but says ${JSON.stringify(meta)}`
      )
    }
    return { next: BigInt(meta.next), watermarkMs: meta.watermarkMs, counts: meta.counts }
  }

  /** Reads what is new on disk. @returns whether there was anything */
  #loadDictionary(): boolean {
    const before = this.#storedItems + this.#storedTypes
    this.#storedItems = this.#load(this.#items, this.#dictionary.items)
    this.#storedTypes = this.#load(this.#types, this.#dictionary.types)
    return this.#storedItems + this.#storedTypes > before
  }

  #load(database: Database<string, number>, index: StringIndex): number {
    for (const { key, value } of database.getRange({ start: index.size })) {
      if (key !== index.size || index.add(value) !== key)
        throw new CorruptError(`${this.#path}: the dictionary has a gap or a repeat at ${key}`)
    }
    return index.size
  }
}

/** LMDB's binding doesn't survive opening a file that is none of LMDB's; an empty one is where a store begins. */
function checkHead(path: string): void {
  const head = Buffer.alloc(magicAt + 4)
  const file = openSync(path, 'r')
  try {
    const length = readSync(file, head, 0, head.length, 0)
    if (length > 0 && (length < head.length || head.readUInt32LE(magicAt) !== magic))
      throw new Error('not a file of LMDB')
  } finally {
    closeSync(file)
  }
}
