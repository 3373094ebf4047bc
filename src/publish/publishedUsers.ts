// The windows of all users, in a store of each partition of `user-sequences`, and how far the topic has been read and
// published.

import type { Offsets } from '../core/offsets.ts'
import { Turns } from '../core/promises.ts'
import type { LogRecord, TopicDescription } from '../log/eventLog.ts'
import { partitionOf } from '../log/partitioner.ts'
import type { UserId } from '../records/interaction.ts'
import { LmdbWindowStore, openWindows, removeWindows, type WindowPlace } from '../records/lmdbWindowStore.ts'
import type { UserWindow } from '../records/userSequence.ts'
import { type SweepState, UserSweep } from './userSweep.ts'

/** Committed with the windows and the next offset to read. */
export interface UserStoreState {
  /** Id of the topic that they are of. */
  readonly topicId: string
  readonly sweep: SweepState
}

/** The windows of one partition's users. Reads see earlier puts; durability comes with `save`. */
export interface UserStore {
  get(userId: UserId): UserWindow | undefined
  has(userId: UserId): boolean
  put(userId: UserId, window: UserWindow): void
  delete(userId: UserId): void
  /** Users put or deleted since the last commit. */
  readonly dirty: number
  /** Makes all puts and deletes, the offset and the state durable together, or none of them. */
  save(next: bigint, state: UserStoreState): Promise<void>
  /** The next offset to read; 0 for an empty store. */
  committed(): bigint
  state(): UserStoreState | undefined
  /** As of the last commit: up to `limit` users, by the day of their newest event, newest first. */
  newest(after: WindowPlace | null, limit: number): WindowPlace[]
  userCount(): number
  close(): Promise<void>
}

/** A process's own disk. */
export interface UserDisk {
  open(partition: number): Promise<UserStore>
  /** Deletes the partition's store. */
  remove(partition: number): void
}

const fileOf = (directory: string, partition: number) => ({ directory, name: 'users', partition })

/** @param directory this process's alone */
export function userDisk(directory: string): UserDisk {
  return {
    open: (partition) => {
      const file = fileOf(directory, partition)
      return openWindows(file, () => new LmdbWindowStore<UserStoreState>(file))
    },
    remove: (partition) => removeWindows(fileOf(directory, partition))
  }
}

export const usersFolder = 'published-users'

export class PublishedUsers {
  readonly sweep: UserSweep
  readonly #stores: Map<number, UserStore>
  /** Next offset to read, by partition. */
  readonly #next = new Map<number, bigint>()
  readonly #turns = new Turns()
  #topicId = ''

  /** @param stores by partition; without them, `open` comes first */
  constructor(stores: readonly UserStore[] = []) {
    this.#stores = new Map(stores.entries())
    this.sweep = new UserSweep(this.#stores)
    this.#restoreSweep()
  }

  /** Opens the stores. One of another topic, or ahead of the topic's end, is begun again. @param ends of the topic */
  async open(disk: UserDisk, { id, partitions }: TopicDescription, ends: Offsets): Promise<void> {
    this.#topicId = id
    for (let partition = 0; partition < partitions; partition++) {
      let store = await disk.open(partition)
      this.#stores.set(partition, store)
      const topicId = store.state()?.topicId ?? id
      if (topicId !== id || store.committed() > (ends.get(partition) ?? 0n)) {
        await store.close()
        disk.remove(partition)
        store = await disk.open(partition)
        this.#stores.set(partition, store)
      }
      this.#next.set(partition, store.committed())
    }
    this.#restoreSweep()
  }

  /** Next offset to read, by partition. */
  get next(): Offsets {
    return new Map(this.#next)
  }

  noteRead({ partition, offset }: Pick<LogRecord, 'partition' | 'offset'>): void {
    this.#next.set(partition, offset + 1n)
  }

  /** @param reset an offset that tools have set: changes from there on are published again, none is skipped */
  resume(partition: number, reset?: bigint): bigint {
    const next = this.#next.get(partition) ?? 0n
    const from = reset !== undefined && reset < next ? reset : next
    this.#next.set(partition, from)
    return from
  }

  /** Records that are still to be read up to `ends`, at most. */
  behind(ends: Offsets): bigint {
    let sum = 0n
    for (const [partition, end] of ends) {
      const next = this.#next.get(partition) ?? 0n
      if (next < end) sum += end - next
    }
    return sum
  }

  /** As of the last commit. */
  get count(): number {
    let count = 0
    for (const store of this.#stores.values()) count += store.userCount()
    return count
  }

  /** Users put or deleted since the last commit. */
  get dirty(): number {
    let dirty = 0
    for (const store of this.#stores.values()) dirty += store.dirty
    return dirty
  }

  get(userId: UserId): UserWindow | undefined {
    return this.#storeOf(userId).get(userId)
  }

  has(userId: UserId): boolean {
    return this.#storeOf(userId).has(userId)
  }

  put(userId: UserId, window: UserWindow): void {
    this.#storeOf(userId).put(userId, window)
  }

  delete(userId: UserId): void {
    this.#storeOf(userId).delete(userId)
  }

  /** Some of the users who acted last, with the one who acted last at the end. @param limit of a partition */
  newest(limit: number): [UserId, UserWindow][] {
    const found: [UserId, UserWindow][] = []
    for (const store of this.#stores.values())
      for (const [, userId] of store.newest(null, limit)) found.push([userId, store.get(userId)!])
    return found.sort(([, a], [, b]) => a.newestMs - b.newestMs)
  }

  /** Continues with the sweep that the stores have. */
  #restoreSweep(): void {
    this.sweep.restore(new Map([...this.#stores].map(([partition, store]) => [partition, store.state()?.sweep])))
  }

  /**
   * Makes what was read durable. @param unanswered the oldest change of each partition that is not in the index yet: it
   * is read again after a crash. Called when the commits before have ended
   */
  commit(unanswered: () => ReadonlyMap<number, bigint>): Promise<void> {
    return this.#turns.run(async () => {
      // All at once: what is read from here on is committed with the next.
      const oldest = unanswered()
      const saves = [...this.#stores].map(([partition, store]) => {
        const read = this.#next.get(partition) ?? 0n
        const change = oldest.get(partition) ?? read
        const next = change < read ? change : read
        return { store, next, state: { topicId: this.#topicId, sweep: this.sweep.state(partition) } }
      })
      for (const { store, next, state } of saves)
        if (store.dirty > 0 || next !== store.committed() || !isSame(state, store.state()))
          await store.save(next, state)
    })
  }

  /** What was put since the last commit is lost. */
  close(): Promise<void> {
    return this.#turns.run(async () => {
      const stores = [...this.#stores.values()]
      this.#stores.clear()
      for (const store of stores) await store.close()
    })
  }

  #storeOf(userId: UserId): UserStore {
    return this.#stores.get(partitionOf(Buffer.from(userId), this.#stores.size))!
  }
}

function isSame(a: UserStoreState, b: UserStoreState | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
