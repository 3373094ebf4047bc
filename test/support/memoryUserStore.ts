// A UserStore in memory. What is on its disk outlives it, as a file outlives a process.

import { PublishedUsers, type UserDisk, type UserStore, type UserStoreState } from '../../src/publish/publishedUsers.ts'
import type { UserId } from '../../src/records/interaction.ts'
import type { WindowPlace } from '../../src/records/lmdbWindowStore.ts'
import { newStepDictionary, packWindow, unpackWindow } from '../../src/records/packWindow.ts'
import type { UserWindow } from '../../src/records/userSequence.ts'

const dayMs = 24 * 60 * 60_000

/** What the last commit left: windows packed, so that nothing of a process's memory survives in them. */
class Files {
  readonly windows = new Map<UserId, { readonly bytes: Uint8Array; readonly place: WindowPlace }>()
  readonly dictionary = newStepDictionary()
  next = 0n
  state = ''
}

export class MemoryUserStore implements UserStore {
  readonly #files: Files
  readonly #changed = new Map<UserId, UserWindow | undefined>()

  constructor(files = new Files()) {
    this.#files = files
  }

  get(userId: UserId): UserWindow | undefined {
    if (this.#changed.has(userId)) return this.#changed.get(userId)
    const stored = this.#files.windows.get(userId)
    return stored === undefined ? undefined : unpackWindow(stored.bytes, this.#files.dictionary)
  }

  has(userId: UserId): boolean {
    return this.get(userId) !== undefined
  }

  put(userId: UserId, window: UserWindow): void {
    this.#changed.set(userId, window)
  }

  delete(userId: UserId): void {
    this.#changed.set(userId, undefined)
  }

  get dirty(): number {
    return this.#changed.size
  }

  async save(next: bigint, state: UserStoreState): Promise<void> {
    const { windows, dictionary } = this.#files
    for (const [userId, window] of this.#changed) {
      if (window === undefined) windows.delete(userId)
      else {
        const place = [Math.floor(window.newestMs / dayMs), userId] as const
        windows.set(userId, { bytes: packWindow(window, dictionary), place })
      }
    }
    this.#changed.clear()
    this.#files.next = next
    this.#files.state = JSON.stringify(state)
  }

  committed(): bigint {
    return this.#files.next
  }

  state(): UserStoreState | undefined {
    const { state } = this.#files
    return state === '' ? undefined : (JSON.parse(state) as UserStoreState)
  }

  newest(after: WindowPlace | null, limit: number): WindowPlace[] {
    const places = [...this.#files.windows.values()].map(({ place }) => place).sort((a, b) => compare(b, a))
    return places.filter((place) => after === null || compare(place, after) < 0).slice(0, limit)
  }

  userCount(): number {
    return this.#files.windows.size
  }

  async close(): Promise<void> {}
}

function compare([day, userId]: WindowPlace, [otherDay, other]: WindowPlace): number {
  return day - otherDay || Buffer.compare(Buffer.from(userId), Buffer.from(other))
}

export class MemoryUserDisk implements UserDisk {
  readonly #partitions = new Map<number, Files>()

  async open(partition: number): Promise<UserStore> {
    return this.at(partition)
  }

  at(partition: number): MemoryUserStore {
    const files = this.#partitions.get(partition) ?? new Files()
    this.#partitions.set(partition, files)
    return new MemoryUserStore(files)
  }

  remove(partition: number): void {
    this.#partitions.delete(partition)
  }
}

/** Open, and empty unless a disk is given. */
export function memoryUsers(disk = new MemoryUserDisk()): PublishedUsers {
  return new PublishedUsers([disk.at(0)])
}
