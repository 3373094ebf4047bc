// The embedded index on disk: LMDB, one transaction a write, any number of threads and processes.
//
// Layout of the directory's one environment:
//   state    one record: the index versions and their counts, which one is live, and the number of the last change
//   points   [generation, role, id] → step, vectors and payload; a removed point keeps a stump with its step for a while
//   changes  change number → which points changed; a searcher reads on from the last change it knows
//
// Every write that a searcher must hear of takes the next change number in its own transaction. User vectors are read
// from here by each search and are not held in memory, so only their removals are noted (for the stumps' sake).

import { existsSync } from 'node:fs'
import path from 'node:path'
import { type Database, open, type RootDatabase } from 'lmdb'
import { diskFault } from '../../core/diskFault.ts'
import { CorruptError, MtmiError } from '../../core/errors.ts'
import { makeFolder } from '../../core/files.ts'
import { lmdbFault, openLmdb, writeLmdb } from '../../core/lmdbTurns.ts'
import { own, setOwn } from '../../core/own.ts'
import { type LmdbLayout, rewriteLmdb } from '../../core/rewriteLmdb.ts'
import {
  checkId,
  checkPoints,
  checkShape,
  incompleteVersion,
  type VectorPoint,
  type VersionShape
} from '../vectorIndex.ts'
import { checkEnvironmentFile } from './embeddedIndexFile.ts'
import {
  decodePoint,
  encodePoint,
  encodeStump,
  isStump,
  pointStep,
  type StoredItem,
  type StoredUser
} from './embeddedIndexPoint.ts'
import { liveVersion, sameShape, unknownVersion } from './exactIndex.ts'

export interface VersionState extends VersionShape {
  /** Names the index version's points: an index version that is dropped and made again is another one. */
  readonly generation: number
  /** Newest step of its items. */
  step: number
  items: number
  users: number
}

export interface StoreState {
  readonly format: 1
  /** Number of the last change. */
  change: number
  /** Changes up to this one are forgotten: a searcher that has not seen them loads everything again. */
  forgotten: number
  /** Points named by the changes that are kept. */
  changedPoints: number
  live: string | undefined
  nextGeneration: number
  versions: Record<string, VersionState>
}

type Role = 'item' | 'user'
type Change = readonly [generation: number, role: Role, ids: readonly string[]]

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
 * Changed points that are remembered. A searcher further behind loads everything again, which takes about as long as
 * applying this many; and a removed point's stump, which refuses older writes, lives as long as its change.
 */
const changedPointsDefault = 200_000
/**
 * Points deleted in one transaction when an index version is dropped: a few milliseconds, so that others may write in between.
 */
const dropBatch = 2_000

export class EmbeddedIndexStore {
  readonly #directory: string
  readonly #root: RootDatabase<unknown, string>
  readonly #state: Database<StoreState, string>
  readonly #points: Database<Buffer, Uint8Array>
  readonly #changes: Database<Change, number>

  readonly #changedPointsMax: number

  /** @throws CorruptError if what is there is not an index, or a damaged one */
  static open(directory: string, options: { changedPointsMax?: number } = {}): Promise<EmbeddedIndexStore> {
    return openLmdb(directory, () => new EmbeddedIndexStore(directory, options))
  }

  private constructor(directory: string, options: { changedPointsMax?: number }) {
    this.#changedPointsMax = options.changedPointsMax ?? changedPointsDefault
    this.#directory = directory
    const file = path.join(directory, fileName)
    makeFolder(directory)
    if (existsSync(file)) checkEnvironmentFile(file)
    this.#root = guarded(directory, () => open<unknown, string>({ ...layout.options, path: file }))
    this.#state = guarded(directory, () => this.#root.openDB<StoreState, string>('state', layout.databases.state))
    this.#points = guarded(directory, () => this.#root.openDB<Buffer, Uint8Array>('points', layout.databases.points))
    this.#changes = guarded(directory, () => this.#root.openDB<Change, number>('changes', layout.databases.changes))
    const { format } = guarded(directory, () => this.state())
    if (format !== 1) {
      throw new CorruptError(
        `${file}: an index of format ${String(format)}, and this program knows format 1: use the program that wrote it`
      )
    }
  }

  /** Writes the file anew, without the bytes of what was removed. Nobody may have it open. */
  static rewrite(directory: string): Promise<void> {
    return rewriteLmdb(path.join(directory, fileName), layout)
  }

  /**
   * From here on, reads of this turn see everything committed before it, by any thread or process, and all the same.
   */
  refresh(): void {
    this.#root.resetReadTxn()
  }

  state(): StoreState {
    return (
      this.#state.get('state') ?? {
        format: 1,
        change: 0,
        forgotten: 0,
        changedPoints: 0,
        live: undefined,
        nextGeneration: 1,
        versions: {}
      }
    )
  }

  item(indexVersion: VersionState, id: string): StoredItem | undefined {
    const bytes = this.#points.get(keyOf(indexVersion.generation, 'item', id))
    return bytes === undefined ? undefined : (decodePoint('item', id, bytes, indexVersion) as StoredItem | undefined)
  }

  user(indexVersion: VersionState, id: string): StoredUser | undefined {
    const bytes = this.#points.get(keyOf(indexVersion.generation, 'user', id))
    return bytes === undefined ? undefined : (decodePoint('user', id, bytes, indexVersion) as StoredUser | undefined)
  }

  *items(indexVersion: VersionState): Generator<[string, StoredItem]> {
    const start = keyOf(indexVersion.generation, 'item', '')
    for (const { key, value } of this.#points.getRange({ start, end: keyOf(indexVersion.generation, 'user', '') })) {
      const id = Buffer.from(key.buffer, key.byteOffset + prefixBytes, key.byteLength - prefixBytes).toString()
      const item = decodePoint('item', id, value, indexVersion) as StoredItem | undefined
      if (item !== undefined) yield [id, item]
    }
  }

  /** Up to `limit` users whose ids begin with `prefix`, by the bytes of their ids. */
  usersFrom(indexVersion: VersionState, prefix: string, limit: number): [string, StoredUser][] {
    const found: [string, StoredUser][] = []
    const start = keyOf(indexVersion.generation, 'user', prefix)
    const end = Buffer.concat([start, Buffer.alloc(1, 0xff)]) // beyond every id: no byte of UTF-8 is 0xff
    for (const { key, value } of this.#points.getRange({ start, end })) {
      const id = Buffer.from(key.buffer, key.byteOffset + prefixBytes, key.byteLength - prefixBytes).toString()
      const user = decodePoint('user', id, value, indexVersion) as StoredUser | undefined
      if (user !== undefined) found.push([id, user])
      if (found.length >= limit) break
    }
    return found
  }

  /** Items of the index version that changed after change number `after`, perhaps more than once. */
  *changedItems(indexVersion: VersionState, after: number): Generator<string> {
    for (const { value } of this.#changes.getRange({ start: after + 1 })) {
      const [generation, role, ids] = value
      if (generation === indexVersion.generation && role === 'item') yield* ids
    }
  }

  async createVersion(name: string, shape: VersionShape): Promise<void> {
    checkShape(name, shape)
    await this.#write((state) => {
      const before = own(state.versions, name)
      if (before !== undefined) {
        sameShape(name, before, shape)
        return
      }
      const generation = state.nextGeneration++
      setOwn(state.versions, name, {
        generation,
        dimensions: shape.dimensions,
        interestCount: shape.interestCount,
        step: 0,
        items: 0,
        users: 0
      })
      state.change++
    })
  }

  async upsert(name: string, step: number, points: readonly VectorPoint[]): Promise<number> {
    this.refresh()
    const expected = indexVersionOf(this.state(), name)
    checkPoints(name, expected, step, points)
    const encoded = points.map((point) => ({ point, bytes: encodePoint(step, point) }))
    return this.#write((state) => {
      const indexVersion = indexVersionOf(state, name)
      if (indexVersion.generation !== expected.generation) sameShape(name, indexVersion, expected)
      const changed: string[] = []
      let written = 0
      for (const { point, bytes } of encoded) {
        const key = keyOf(indexVersion.generation, point.role, point.id)
        const before = this.#points.get(key)
        if (before !== undefined && pointStep(before) > step) continue
        this.#points.putSync(key, bytes)
        written++
        if (before === undefined || isStump(before)) indexVersion[`${point.role}s`]++
        if (point.role === 'item') changed.push(point.id)
      }
      if (changed.length > 0) {
        if (step > indexVersion.step) indexVersion.step = step
        this.#note(state, [indexVersion.generation, 'item', changed])
      }
      return written
    })
  }

  async remove(name: string, role: Role, ids: readonly string[]): Promise<void> {
    for (const id of ids) checkId(role, id)
    await this.#write((state) => {
      const indexVersion = indexVersionOf(state, name)
      const removed: string[] = []
      for (const id of ids) {
        const key = keyOf(indexVersion.generation, role, id)
        const before = this.#points.get(key)
        if (before === undefined || isStump(before)) continue
        this.#points.putSync(key, encodeStump(pointStep(before)))
        removed.push(id)
      }
      indexVersion[`${role}s`] -= removed.length
      if (removed.length > 0) this.#note(state, [indexVersion.generation, role, removed])
    })
  }

  async erase(userIds: readonly string[]): Promise<void> {
    for (const id of userIds) checkId('user', id)
    await this.#write((state) => {
      const wanted = new Set(userIds)
      let remembered = false
      for (const indexVersion of Object.values(state.versions)) {
        for (const id of wanted) {
          const key = keyOf(indexVersion.generation, 'user', id)
          const before = this.#points.get(key)
          if (before === undefined) continue
          if (isStump(before)) remembered = true
          else indexVersion.users--
          this.#points.removeSync(key)
        }
      }
      if (!remembered) return
      // Searchers look users up here: a change that no longer names them tells nobody anything else.
      for (const { key, value } of [...this.#changes.getRange()]) {
        const [generation, role, ids] = value
        if (role === 'user' && ids.some((id) => wanted.has(id)))
          this.#changes.putSync(key, [generation, role, ids.filter((id) => !wanted.has(id))])
      }
    })
  }

  async promote(name: string, expected: { items: number; users: number }): Promise<void> {
    await this.#write((state) => {
      const indexVersion = own(state.versions, name)
      const held = { items: indexVersion?.items ?? 0, users: indexVersion?.users ?? 0 }
      if (indexVersion === undefined || held.items < expected.items || held.users < expected.users)
        throw incompleteVersion(name, held, expected)
      if (state.live === name) return
      state.live = name
      state.change++
    })
  }

  async dropVersion(name: string): Promise<void> {
    await this.#write((state) => {
      if (state.live === name) throw liveVersion(name)
      if (own(state.versions, name) === undefined) return
      delete state.versions[name]
      state.change++
    })
    await this.sweep()
  }

  /** Deletes points of index versions that are no more: what a drop left undone when it was killed. */
  async sweep(): Promise<void> {
    for (let generation = 1; ; generation++) {
      this.refresh()
      const state = this.state()
      if (generation >= state.nextGeneration) return
      if (Object.values(state.versions).some((indexVersion) => indexVersion.generation === generation)) continue
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
    await this.#root.close()
  }

  /**
   * One transaction over the state: all of `change`, or nothing if it throws (a child transaction: lmdb-js joins plain
   * ones that are under way at once). Resolves when it is on disk.
   */
  async #write<T>(change: (state: StoreState) => T): Promise<T> {
    const outcome = await writeLmdb(this.#directory, () =>
      this.#root.childTransaction(() => {
        const before = this.#state.get('state')
        const state = before ?? this.state()
        const text = JSON.stringify(before)
        const result = change(state)
        if (JSON.stringify(state) !== text) this.#state.putSync('state', state)
        return { result }
      })
    )
    try {
      await this.#root.flushed
    } catch (error) {
      throw await lmdbFault(error, this.#directory)
    }
    return outcome.result
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
        if (bytes !== undefined && isStump(bytes)) this.#points.removeSync(point)
      }
      this.#changes.removeSync(key)
      state.changedPoints -= ids.length
      state.forgotten = key
    }
  }
}

function indexVersionOf(state: StoreState, name: string): VersionState {
  const indexVersion = own(state.versions, name)
  if (indexVersion === undefined) throw unknownVersion(name, Object.keys(state.versions))
  return indexVersion
}

const prefixBytes = 5
const roleByte = { item: 0x69, user: 0x75 } as const

/** Generation (big-endian, so that an index version's points lie together), role, id. */
function keyOf(generation: number, role: Role, id: string): Buffer {
  const key = Buffer.allocUnsafe(prefixBytes + Buffer.byteLength(id))
  key.writeUInt32BE(generation, 0)
  key[4] = roleByte[role]
  key.write(id, prefixBytes)
  return key
}

function guarded<T>(directory: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (error instanceof MtmiError) throw error
    const fault = diskFault(error, directory)
    if (fault !== undefined) throw fault
    const message = error instanceof Error ? error.message : String(error)
    throw new CorruptError(
      `the index in ${directory} cannot be read: ${message}. Restore it from a copy, or remove it and publish again`,
      {
        cause: error
      }
    )
  }
}
