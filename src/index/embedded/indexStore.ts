// The embedded index on disk: LMDB, one transaction a write, any number of threads and processes.
//
// Databases of the directory's one environment:
//   state    one record: the index versions and their counts, which one is live, and the number of the last change
//   points   [generation, role, id] → step, vectors and payload; a removed point leaves a tombstone for a while
//   changes  change number → which points changed; a searcher reads on from the last change it has applied
//
// A write that searchers must apply takes the next change number in its own transaction. User vectors are read from
// here by each search and are not held in memory: of users only removals are noted, for the sake of the tombstones.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { type Database, open, type RootDatabase } from 'lmdb'
import { diskFault } from '../../core/diskFault.ts'
import { ConfigError, CorruptError, MtmiError } from '../../core/errors.ts'
import { makeFolder } from '../../core/files.ts'
import { endLmdb, openLmdb, writeLmdb } from '../../core/lmdbTurns.ts'
import { own, setOwn } from '../../core/own.ts'
import { type LmdbLayout, rewriteLmdb } from '../../core/rewriteLmdb.ts'
import { checkId, checkLists, checkPoints, checkShape, incompleteVersion } from '../indexChecks.ts'
import type {
  ItemMemory,
  ItemPayload,
  PointCounts,
  Role,
  UserPayload,
  VectorPoint,
  VersionShape
} from '../vectorIndex.ts'
import { checkLmdbFile } from './lmdbFileCheck.ts'
import { decodePoint, encodePoint, encodeTombstone, isTombstone, pointStep, sealPoint, withList } from './pointCodec.ts'
import { idOf, keyOf } from './pointKey.ts'

export interface VersionState extends VersionShape {
  /** Names the points: a version that is dropped and created again has another one. */
  readonly generation: number
  /** Newest step of its items. */
  step: number
  items: number
  users: number
}

/** Of the records and of the state. */
const format = 2

export interface StoreState {
  readonly format: typeof format
  /** Number of the last change. */
  change: number
  /** Changes up to this one are gone: a searcher that has not applied them loads everything again. */
  forgotten: number
  /** Points named by the changes that are kept. */
  changedPoints: number
  live: string | undefined
  nextGeneration: number
  versions: Record<string, VersionState>
}

type Change = readonly [generation: number, role: Role, ids: readonly string[]]

const emptyState: StoreState = {
  ...{ format, change: 0, forgotten: 0, changedPoints: 0, live: undefined, nextGeneration: 1 },
  versions: {}
}
const fileName = 'index.mdb'
const layout = {
  options: { maxDbs: 3, overlappingSync: true },
  databases: {
    state: { encoding: 'json' },
    points: { encoding: 'binary', keyEncoding: 'binary' },
    changes: { encoding: 'json' }
  }
} as const satisfies LmdbLayout
/**
 * Changed points that are kept. A searcher further behind loads everything again, which takes about as long as applying
 * this many; and a tombstone, which refuses older writes, lives as long as its change.
 */
const changedPointsDefault = 200_000
/** Points deleted in one transaction when a version is dropped: a few milliseconds, so that others can write between. */
const dropBatch = 2_000

/** After every key that begins with this one: no byte of UTF-8 is 0xff. */
const beyond = (start: Buffer): Buffer => Buffer.concat([start, Buffer.alloc(1, 0xff)])

export class IndexStore {
  readonly #directory: string
  readonly #root: RootDatabase<unknown, string>
  readonly #state: Database<StoreState, string>
  readonly #points: Database<Buffer, Uint8Array>
  readonly #changes: Database<Change, number>
  readonly #changedPointsMax: number

  /** @throws CorruptError if what is there is not an index, or a damaged one */
  static open(directory: string, changedPointsMax = changedPointsDefault): Promise<IndexStore> {
    return openLmdb(directory, () => {
      try {
        return new IndexStore(directory, changedPointsMax)
      } catch (error) {
        if (error instanceof MtmiError) throw error
        const message = error instanceof Error ? error.message : String(error)
        const remedy = 'Restore it from a copy, or remove it and publish again'
        throw (
          diskFault(error, directory) ??
          new CorruptError(`the index in ${directory} cannot be read: ${message}. ${remedy}`, { cause: error })
        )
      }
    })
  }

  private constructor(directory: string, changedPointsMax: number) {
    this.#changedPointsMax = changedPointsMax
    this.#directory = directory
    const file = path.join(directory, fileName)
    makeFolder(directory)
    if (existsSync(file)) checkLmdbFile(file)
    this.#root = open<unknown, string>({ ...layout.options, path: file })
    this.#state = this.#root.openDB<StoreState, string>('state', layout.databases.state)
    this.#points = this.#root.openDB<Buffer, Uint8Array>('points', layout.databases.points)
    this.#changes = this.#root.openDB<Change, number>('changes', layout.databases.changes)
    const { format: stored } = this.state()
    if (stored !== format) {
      const remedy = 'remove the folder, and the publisher makes the index again from the log'
      throw new CorruptError(`${file}: index format ${String(stored)}, not ${format}: ${remedy}`)
    }
  }

  /** Rewrites the file without the bytes of removed points. It must not be open anywhere. */
  static rewrite(directory: string): Promise<void> {
    return rewriteLmdb(path.join(directory, fileName), layout)
  }

  /** Later reads of this turn see everything that was committed before, by any thread or process, in one snapshot. */
  refresh(): void {
    this.#root.resetReadTxn()
  }

  state(): StoreState {
    return this.#state.get('state') ?? structuredClone(emptyState)
  }

  item(version: VersionState, id: string) {
    const bytes = this.#points.get(keyOf(version.generation, 'item', id))
    return bytes && itemOf(version, id, bytes)
  }

  user(version: VersionState, id: string) {
    const bytes = this.#points.get(keyOf(version.generation, 'user', id))
    return bytes && userOf(version, id, bytes)
  }

  *items(version: VersionState) {
    const start = keyOf(version.generation, 'item', '')
    for (const { key, value } of this.#points.getRange({ start, end: keyOf(version.generation, 'user', '') })) {
      const id = idOf(key)
      const item = itemOf(version, id, value)
      if (item !== undefined) yield [id, item] as const
    }
  }

  /** Up to `limit` users whose ids begin with `prefix`, by the bytes of their ids. */
  usersFrom(version: VersionState, prefix: string, limit: number): { userId: string; payload: UserPayload }[] {
    const start = keyOf(version.generation, 'user', prefix)
    return this.#usersBetween(version, start, beyond(start), limit)
  }

  /** In the order of the ids. */
  usersAfter(version: VersionState, after: string | undefined, limit: number): string[] {
    const first = keyOf(version.generation, 'user', '')
    const start = after === undefined ? first : keyOf(version.generation, 'user', `${after}\0`)
    return this.#usersBetween(version, start, beyond(first), limit).map(({ userId }) => userId)
  }

  #usersBetween(version: VersionState, start: Buffer, end: Buffer, limit: number) {
    const found: { userId: string; payload: UserPayload }[] = []
    for (const { key, value } of this.#points.getRange({ start, end })) {
      const userId = idOf(key)
      const user = userOf(version, userId, value)
      if (user !== undefined) found.push({ userId, payload: user.payload })
      if (found.length >= limit) break
    }
    return found
  }

  /** Items of the version that changed after change number `after`, perhaps more than once. */
  *changedItems(version: VersionState, after: number): Generator<string> {
    for (const { value } of this.#changes.getRange({ start: after + 1 })) {
      const [generation, role, ids] = value
      if (generation === version.generation && role === 'item') yield* ids
    }
  }

  async createVersion(name: string, shape: VersionShape): Promise<void> {
    checkShape(name, shape)
    await this.#write((state) => {
      const before = own(state.versions, name)
      if (before !== undefined) return checkSameShape(name, before, shape)
      const { dimensions, interestCount } = shape
      const generation = state.nextGeneration++
      setOwn(state.versions, name, { generation, dimensions, interestCount, step: 0, items: 0, users: 0 })
      state.change++
    })
  }

  async upsert(name: string, step: number, points: readonly VectorPoint[]): Promise<number> {
    this.refresh()
    const expected = versionOf(this.state(), name)
    checkPoints(name, expected, step, points)
    const encoded = points.map((point) => ({ point, bytes: encodePoint(step, point) }))
    return this.#write((state) => {
      const version = versionOf(state, name)
      if (version.generation !== expected.generation) checkSameShape(name, version, expected)
      const changed: string[] = []
      let written = 0
      for (const { point, bytes } of encoded) {
        const key = keyOf(version.generation, point.role, point.id)
        const before = this.#points.get(key)
        if (before !== undefined && pointStep(before) > step) continue
        this.#points.putSync(key, sealPoint(bytes, before, state.change + 1))
        written++
        if (before === undefined || isTombstone(before)) version[`${point.role}s`]++
        if (point.role === 'item') changed.push(point.id)
      }
      if (changed.length > 0) {
        version.step = Math.max(version.step, step)
        this.#note(state, [version.generation, 'item', changed])
      }
      return written
    })
  }

  async updateMemory(name: string, step: number, lists: readonly ItemMemory[]): Promise<number> {
    checkLists(name, step, lists)
    return this.#write((state) => {
      const version = versionOf(state, name)
      const changed: string[] = []
      for (const { id, memory } of lists) {
        const key = keyOf(version.generation, 'item', id)
        const before = this.#points.get(key)
        if (before === undefined || isTombstone(before) || pointStep(before) > step) continue
        this.#points.putSync(key, sealPoint(withList(step, before, memory), before, state.change + 1))
        changed.push(id)
      }
      if (changed.length > 0) {
        version.step = Math.max(version.step, step)
        this.#note(state, [version.generation, 'item', changed])
      }
      return changed.length
    })
  }

  async remove(name: string, role: Role, ids: readonly string[]): Promise<void> {
    for (const id of ids) checkId(role, id)
    await this.#write((state) => {
      const version = versionOf(state, name)
      const removed: string[] = []
      for (const id of ids) {
        const key = keyOf(version.generation, role, id)
        const before = this.#points.get(key)
        if (before === undefined || isTombstone(before)) continue
        this.#points.putSync(key, encodeTombstone(pointStep(before)))
        removed.push(id)
      }
      version[`${role}s`] -= removed.length
      if (removed.length > 0) this.#note(state, [version.generation, role, removed])
    })
  }

  async erase(userIds: readonly string[]): Promise<void> {
    for (const id of userIds) checkId('user', id)
    await this.#write((state) => {
      const erased = new Set(userIds)
      let hadTombstones = false
      for (const version of Object.values(state.versions)) {
        for (const id of erased) {
          const key = keyOf(version.generation, 'user', id)
          const before = this.#points.get(key)
          if (before === undefined) continue
          if (isTombstone(before)) hadTombstones = true
          else version.users--
          this.#points.removeSync(key)
        }
      }
      if (!hadTombstones) return
      // Searchers read users from here: to take their ids out of the changes is enough.
      for (const { key, value } of [...this.#changes.getRange()]) {
        const [generation, role, ids] = value
        if (role === 'user' && ids.some((id) => erased.has(id)))
          this.#changes.putSync(key, [generation, role, ids.filter((id) => !erased.has(id))])
      }
    })
  }

  async promote(name: string, expected: PointCounts): Promise<void> {
    await this.#write((state) => {
      const { items, users } = own(state.versions, name) ?? { items: -1, users: -1 }
      if (items < expected.items || users < expected.users)
        throw incompleteVersion(name, { items: Math.max(0, items), users: Math.max(0, users) }, expected)
      if (state.live === name) return
      state.live = name
      state.change++
    })
  }

  async dropVersion(name: string): Promise<void> {
    await this.#write((state) => {
      if (state.live === name)
        throw new ConfigError([`index version ${name} is live and cannot be dropped: promote another first`])
      if (own(state.versions, name) === undefined) return
      delete state.versions[name]
      state.change++
    })
    await this.sweep()
  }

  /** Deletes points of versions that are gone: also what a drop that was killed left. */
  async sweep(): Promise<void> {
    for (let generation = 1; ; generation++) {
      this.refresh()
      const state = this.state()
      if (generation >= state.nextGeneration) return
      if (Object.values(state.versions).some((version) => version.generation === generation)) continue
      const range = { start: keyOf(generation, 'item', ''), end: keyOf(generation + 1, 'item', ''), limit: dropBatch }
      while (this.#points.getKeysCount({ ...range, limit: 1 }) > 0) {
        await writeLmdb(this.#directory, () =>
          this.#root.childTransaction(() => {
            for (const key of [...this.#points.getKeys(range)]) this.#points.removeSync(key)
          })
        )
        this.refresh()
      }
    }
  }

  async close(): Promise<void> {
    await endLmdb(this.#directory, this.#root.close())
  }

  /**
   * One transaction over the state: all of `change`, or nothing if it throws (a child transaction: lmdb-js joins plain
   * ones that are begun at once). Resolves when it is on disk.
   */
  async #write<T>(change: (state: StoreState) => T): Promise<T> {
    const { result } = await writeLmdb(this.#directory, () =>
      this.#root.childTransaction(() => {
        const state = this.state()
        const before = JSON.stringify(state)
        const result = change(state)
        if (JSON.stringify(state) !== before) this.#state.putSync('state', state)
        return { result }
      })
    )
    await endLmdb(this.#directory, this.#root.flushed)
    return result
  }

  #note(state: StoreState, change: Change): void {
    this.#changes.putSync(++state.change, change)
    state.changedPoints += change[2].length
    if (state.changedPoints <= this.#changedPointsMax) return
    for (const { key, value } of [...this.#changes.getRange({ limit: 64 })]) {
      if (state.changedPoints <= this.#changedPointsMax || key === state.change) return
      const [generation, role, ids] = value
      for (const id of ids) {
        const point = keyOf(generation, role, id)
        const bytes = this.#points.get(point)
        if (bytes !== undefined && isTombstone(bytes)) this.#points.removeSync(point)
      }
      this.#changes.removeSync(key)
      state.changedPoints -= ids.length
      state.forgotten = key
    }
  }
}

function versionOf(state: StoreState, name: string): VersionState {
  const version = own(state.versions, name)
  if (version !== undefined) return version
  const known = Object.keys(state.versions).join(', ') || 'none'
  throw new ConfigError([`there is no index version ${name} (there is: ${known}): create it first`])
}

function checkSameShape(name: string, before: VersionShape, shape: VersionShape): void {
  if (before.dimensions === shape.dimensions && before.interestCount === shape.interestCount) return
  const text = (of: VersionShape) => `${of.interestCount} interests of ${of.dimensions} dimensions`
  throw new ConfigError([
    `index version ${name} exists with ${text(before)}, not ${text(shape)}: another model needs another version`
  ])
}

function itemOf(version: VersionState, id: string, bytes: Buffer) {
  const item = decodePoint<ItemPayload>('item', id, bytes, version.dimensions)
  return item && { step: item.step, vector: item.vectors, payload: item.payload, list: item.list }
}

function userOf(version: VersionState, id: string, bytes: Buffer) {
  return decodePoint<UserPayload>('user', id, bytes, version.interestCount * version.dimensions)
}
