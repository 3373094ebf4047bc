// The rolling windows of one partition's users in LMDB: packed, and committed together with the offset that they were
// made from. `sequence` keeps the windows that it extends this way, `publish` those that it encodes.

import { existsSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { type Database, open, type RootDatabase } from 'lmdb'
import { diskFault } from '../core/diskFault.ts'
import { ConfigError, CorruptError, MtmiError, UnavailableError } from '../core/errors.ts'
import { checkLmdbFile } from '../core/lmdbFile.ts'
import { endLmdb, openLmdb, writeLmdb } from '../core/lmdbTurns.ts'
import { type LmdbLayout, rewriteLmdb } from '../core/rewriteLmdb.ts'
import type { UserId } from './interaction.ts'
import { newStepDictionary, packWindow, type StringIndex, unpackNewestMs, unpackWindow } from './packWindow.ts'
import type { UserWindow } from './userSequence.ts'

/**
 * Width of the index by newest event time: a user moves in it once a day at most, and `idle` reads one day's users
 * too many.
 */
const bucketMs = 24 * 60 * 60_000
/** A user of 50 steps takes 8% less on these pages than on LMDB's usual ones of 4 KiB; larger ones write more. */
const pageBytes = 8192
const absent = -1
const nothing = new Uint8Array(0)
const remedy = 'restore a copy, or remove the file: it is rebuilt from `user-sequences`'

const layout = {
  options: { maxDbs: 5, noSubdir: true, pageSize: pageBytes },
  databases: {
    meta: { encoding: 'json' },
    windows: { encoding: 'binary' },
    items: { encoding: 'string', keyEncoding: 'uint32' },
    types: { encoding: 'string', keyEncoding: 'uint32' },
    days: { encoding: 'binary' }
  }
} as const satisfies LmdbLayout

interface Entry {
  /** undefined: no such user. */
  window: UserWindow | undefined
  /** Where the index by time has the user on disk; `absent` if it does not. */
  bucket: number
}

interface Meta<S> {
  readonly format: 2
  readonly partition: number
  readonly next: string
  readonly state: S
}

/** Place of a user in the order of newest events: day since 1970, then ID. */
export type WindowPlace = readonly [day: number, userId: UserId]

/** A kind of store, and where one of it is. */
export interface WindowFile {
  readonly directory: string
  /** Of the file's name: `sequences` of `sequences-0.lmdb`. */
  readonly name: string
  readonly partition: number
  readonly readOnly?: boolean
  /** Windows kept unpacked after a commit, at some 3 KB each: where users who were read are soon read again. */
  readonly cachedMax?: number
}

export function windowPath({ directory, name, partition }: WindowFile): string {
  return path.join(directory, `${name}-${partition}.lmdb`)
}

/**
 * Opens, or creates, the store of one partition. One process writes; others may read at the same time.
 *
 * @param make calls the constructor
 * @throws CorruptError if the file exists, but is not such a store or is another partition's
 * @throws ConfigError if it is to be read only and does not exist
 */
export async function openWindows<T>(file: WindowFile, make: () => T): Promise<T> {
  const { directory, readOnly = false } = file
  const name = windowPath(file)
  if (readOnly && !existsSync(name)) throw new ConfigError([`${name}: no windows have been stored there yet`])
  if (!readOnly) mkdirSync(directory, { recursive: true })
  try {
    checkLmdbFile(name, remedy)
    return await openLmdb(directory, make)
  } catch (cause) {
    if (cause instanceof MtmiError) throw cause
    throw (
      diskFault(cause, directory) ??
      new CorruptError(`${name} cannot be opened as a store of windows: ${String(cause)}: ${remedy}`, { cause })
    )
  }
}

/** Rewrites the file without the bytes of deleted users. No process may have it open. */
export function rewriteWindows(file: WindowFile): Promise<void> {
  return rewriteLmdb(windowPath(file), layout)
}

/** No process may have it open. */
export function removeWindows(file: WindowFile): void {
  for (const suffix of ['', '-lock']) rmSync(`${windowPath(file)}${suffix}`, { force: true })
}

/** @template S what is committed with the windows beside the offset; must survive JSON */
export class LmdbWindowStore<S> {
  readonly #path: string
  readonly #directory: string
  readonly #environment: RootDatabase<unknown, string>
  readonly #meta: Database<Meta<S>, string>
  readonly #windows: Database<Buffer, string>
  readonly #items: Database<string, number>
  readonly #types: Database<string, number>
  /** A user's place → nothing. */
  readonly #days: Database<Uint8Array, [number, string]>
  readonly #readOnly: boolean
  readonly #partition: number
  readonly #cachedMax: number
  readonly #dictionary = newStepDictionary()
  /** How much of the dictionary is on disk. */
  #storedItems = 0
  #storedTypes = 0
  /** Looked up or changed since the caches were last swapped; the generation before. Dirty entries are in the newer. */
  #entries = new Map<UserId, Entry>()
  #olderEntries = new Map<UserId, Entry>()
  #dirty = new Map<UserId, Entry>()
  #listener: ((changed: boolean) => void) | undefined
  #committed: bigint
  #state: S | undefined

  /** Through `openWindows` only. */
  constructor(file: WindowFile) {
    this.#path = windowPath(file)
    this.#directory = file.directory
    this.#partition = file.partition
    this.#readOnly = file.readOnly ?? false
    this.#cachedMax = file.cachedMax ?? 0
    const { options, databases } = layout
    this.#environment = open<unknown, string>({ ...options, path: this.#path, readOnly: this.#readOnly })
    this.#meta = this.#environment.openDB<Meta<S>, string>('meta', databases.meta)
    this.#windows = this.#environment.openDB<Buffer, string>('windows', databases.windows)
    this.#items = this.#environment.openDB<string, number>('items', databases.items)
    this.#types = this.#environment.openDB<string, number>('types', databases.types)
    this.#days = this.#environment.openDB<Uint8Array, [number, string]>('days', databases.days)
    const meta = this.#readMeta()
    this.#committed = meta?.next ?? 0n
    this.#state = meta?.state
    this.#loadDictionary()
  }

  /** undefined for a user never seen, deleted or expired. */
  get(userId: UserId): UserWindow | undefined {
    let entry = this.#cached(userId)
    if (entry === undefined) {
      const bytes = this.#windows.getBinaryFast(userId)
      const window = bytes === undefined ? undefined : this.#unpack(userId, bytes, bytes.length)
      entry = { window, bucket: bucketOf(window) }
      if (this.#cachedMax > 0) this.#entries.set(userId, entry)
    }
    return entry.window
  }

  has(userId: UserId): boolean {
    const entry = this.#cached(userId)
    return entry === undefined ? this.#windows.doesExist(userId) : entry.window !== undefined
  }

  put(userId: UserId, window: UserWindow): void {
    this.#change(userId, window)
  }

  delete(userId: UserId): void {
    this.#change(userId, undefined)
  }

  /** Users put or deleted since the last commit. */
  get dirty(): number {
    return this.#dirty.size
  }

  /** Makes all puts and deletes, the offset and the state durable together, or none of them. */
  async save(next: bigint, state: S): Promise<void> {
    if (this.#readOnly) throw new Error(`${this.#path} is open for reading only`)
    const dirty = this.#dirty
    this.#dirty = new Map()
    const writes: { userId: UserId; bytes: Uint8Array | undefined; from: number; to: number }[] = []
    // Packed before the transaction, so that puts may continue while it is under way.
    for (const [userId, entry] of dirty) {
      const { window, bucket: from } = entry
      const to = bucketOf(window)
      if (to === absent && from === absent) continue
      writes.push({ userId, bytes: window === undefined ? undefined : packWindow(window, this.#dictionary), from, to })
      entry.bucket = to
    }
    // In the order of their keys they meet the same pages.
    writes.sort((a, b) => (a.userId < b.userId ? -1 : 1))
    const { items, types } = this.#dictionary
    const [itemsEnd, typesEnd] = [items.size, types.size]
    try {
      await writeLmdb(this.#directory, () =>
        this.#environment.transaction(() => {
          for (const { userId, bytes, from, to } of writes) {
            if (bytes === undefined) this.#windows.removeSync(userId)
            else this.#windows.putSync(userId, bytes as Buffer)
            if (from === to) continue
            if (from !== absent) this.#days.removeSync([from, userId])
            if (to !== absent) this.#days.putSync([to, userId], nothing)
          }
          for (let i = this.#storedItems; i < itemsEnd; i++) this.#items.putSync(i, items.at(i)!)
          for (let i = this.#storedTypes; i < typesEnd; i++) this.#types.putSync(i, types.at(i)!)
          this.#meta.putSync('meta', { format: 2, partition: this.#partition, next: String(next), state })
        })
      )
      await this.#environment.flushed
    } catch (cause) {
      // Still to be written: a later commit must not have an offset beyond it.
      for (const { userId, from } of writes) dirty.get(userId)!.bucket = from
      for (const [userId, entry] of dirty) if (!this.#dirty.has(userId)) this.#dirty.set(userId, entry)
      if (cause instanceof MtmiError) throw cause
      throw new UnavailableError(`${this.#path}: ${writes.length} windows cannot be written (${String(cause)})`, {
        cause
      })
    }
    this.#storedItems = itemsEnd
    this.#storedTypes = typesEnd
    this.#committed = next
    this.#state = state
    if (this.#entries.size > this.#cachedMax / 2) {
      this.#olderEntries = this.#cachedMax === 0 ? new Map() : this.#entries
      this.#entries = new Map(this.#dirty)
    }
    this.#listener?.(writes.some(({ bytes }) => bytes !== undefined))
  }

  onCommit(listener: (changed: boolean) => void): void {
    this.#listener = listener
  }

  committed(): bigint {
    return this.#committed
  }

  /** As of the last commit; undefined for an empty store. */
  state(): S | undefined {
    return this.#state
  }

  *users(): Iterable<[UserId, UserWindow]> {
    // lmdb-js keeps one read transaction until its own timer ends it; a reader wants what is committed now.
    if (this.#readOnly) this.#environment.resetReadTxn()
    for (const { key, value } of this.#windows.getRange()) yield [key, this.#unpack(key, value, value.length)]
  }

  idle(beforeMs: number, limit: number): UserId[] {
    const found: UserId[] = []
    const end = Math.floor(beforeMs / bucketMs)
    for (const [bucket, userId] of this.#days.getKeys({ end: [end + 1] as unknown as [number, string] })) {
      if (found.length >= limit) break
      if (bucket < end || (this.#storedNewestMs(userId) ?? beforeMs) < beforeMs) found.push(userId)
    }
    return found
  }

  /**
   * Up to `limit` users as of the last commit, by the day of their newest event, newest first.
   * @param after the place of the last user before them; null: from the newest on
   */
  newest(after: WindowPlace | null, limit: number): WindowPlace[] {
    const start = after === null ? {} : { start: [...after] as [number, string], exclusiveStart: true }
    return [...this.#days.getKeys({ reverse: true, limit, ...start })]
  }

  userCount(): number {
    return (this.#windows.getStats() as { entryCount: number }).entryCount
  }

  /** What was put since the last commit is lost. */
  async close(): Promise<void> {
    await endLmdb(this.#directory, this.#environment.close())
  }

  #cached(userId: UserId): Entry | undefined {
    const entry = this.#entries.get(userId)
    if (entry !== undefined) return entry
    const older = this.#olderEntries.get(userId)
    if (older !== undefined) this.#entries.set(userId, older)
    return older
  }

  #change(userId: UserId, window: UserWindow | undefined): void {
    if (this.#readOnly) throw new Error(`${this.#path} is open for reading only`)
    let entry = this.#cached(userId)
    if (entry === undefined) {
      const newestMs = this.#storedNewestMs(userId)
      entry = { window, bucket: newestMs === undefined ? absent : Math.floor(newestMs / bucketMs) }
      this.#entries.set(userId, entry)
    }
    entry.window = window
    this.#dirty.set(userId, entry)
  }

  #unpack(userId: UserId, bytes: Uint8Array, length: number): UserWindow {
    try {
      return unpackWindow(bytes, this.#dictionary, length)
    } catch (cause) {
      if (!(cause instanceof CorruptError)) throw cause
      // A reader's dictionary may be older than the window.
      if (this.#readOnly && this.#loadDictionary()) return this.#unpack(userId, bytes, length)
      throw new CorruptError(
        `${this.#path}: the window of user ${JSON.stringify(userId)} cannot be read: ${cause.message}: ${remedy}`,
        { cause }
      )
    }
  }

  /** undefined: no such user. */
  #storedNewestMs(userId: UserId): number | undefined {
    const bytes = this.#windows.getBinaryFast(userId)
    return bytes === undefined ? undefined : unpackNewestMs(bytes, bytes.length)
  }

  #readMeta(): { next: bigint; state: S } | undefined {
    const meta = this.#meta.get('meta')
    if (meta === undefined) return undefined
    if (meta.format !== 2 || meta.partition !== this.#partition || !/^\d+$/.test(meta.next)) {
      throw new CorruptError(
        `${this.#path} is not a store of partition ${this.#partition} in format 2: ${JSON.stringify(meta)}: ${remedy}`
      )
    }
    return { next: BigInt(meta.next), state: meta.state }
  }

  /** Reads what other processes added. @returns whether there was anything */
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

function bucketOf(window: UserWindow | undefined): number {
  return window === undefined ? absent : Math.floor(window.newestMs / bucketMs)
}
