// Which users are to be encoded again after new tower weights: all of them, those who acted last first.
//
// Only a place in their order is remembered, so memory does not grow with users, and a restart continues at that place.
// Weights that change on the way make the sweep go around: it ends where it was when they changed, so that no user
// waits for longer than a whole sweep.

import type { UserId } from '../records/interaction.ts'
import type { WindowPlace } from '../records/lmdbWindowStore.ts'

/** What a sweep reads of a store. */
interface OrderedUsers {
  newest(after: WindowPlace | null, limit: number): WindowPlace[]
}

/** What is left of a partition: from behind `at` to the oldest user; if it wraps, then from the newest to `until`. */
interface Course {
  /** Of the last user that was encoded; null: before the newest. */
  readonly at: WindowPlace | null
  /** The last user of the second lap. */
  readonly until: WindowPlace | null
  readonly wraps: boolean
}

/** Of a partition, in JSON. */
export interface SweepState {
  readonly indexVersion: string
  /** Not all users of the partition have been encoded for the index version. */
  readonly isUrgent: boolean
  /** null: no user of the partition has vectors of older weights. */
  readonly course: Course | null
}

/** Users that are passed over, at most: some milliseconds. */
const passedMax = 5000
const passedAtOnce = 64
const wholeLap: Course = { at: null, until: null, wraps: false }

export class UserSweep {
  readonly #stores: ReadonlyMap<number, OrderedUsers>
  #courses = new Map<number, Course>()
  /** Partitions of which not all users have been encoded for the index version. */
  readonly #urgent = new Set<number>()
  #indexVersion = ''
  /** While users are being encoded: what is left after them, and partitions whose oldest user is among them. */
  #taken:
    | { readonly left: Map<number, Course>; readonly ended: ReadonlySet<number>; readonly users: number }
    | undefined
  /** The weights changed while users were being encoded. */
  #beginsAgain = false
  #needsCommit = false
  /** Users encoded since the last begin, by this process. */
  #encoded = 0
  #written = 0

  constructor(stores: ReadonlyMap<number, OrderedUsers>) {
    this.#stores = stores
  }

  /** Continues where an earlier process was. @param states by partition; undefined: of an empty store */
  restore(states: ReadonlyMap<number, SweepState | undefined>): void {
    const versions = new Set([...states.values()].map((state) => state?.indexVersion))
    const [version] = versions
    this.#indexVersion = versions.size === 1 ? (version ?? '') : ''
    for (const [partition, state] of states) {
      if (state === undefined) continue
      if (state.course !== null) this.#courses.set(partition, state.course)
      if (state.isUrgent) this.#urgent.add(partition)
    }
  }

  state(partition: number): SweepState {
    const course = this.#courses.get(partition) ?? null
    return { indexVersion: this.#indexVersion, isUrgent: this.#urgent.has(partition), course }
  }

  get isRunning(): boolean {
    return this.#courses.size > 0
  }

  /** All users are due at once: not all of them have been encoded for the index version. */
  get isUrgent(): boolean {
    return this.#urgent.size > 0
  }

  /** Users who have not been encoded for the index version, at most. @param count all users */
  left(count: number): number {
    return this.isUrgent && count > 0 ? Math.max(1, count - this.#encoded) : 0
  }

  /**
   * Users written since the last begin, by this process, and not removed since: at least so many are in the index
   * version. Where the sweep goes around, a user may act and be met a second time, so only the part from the newest user
   * on counts: in it a user who acts moves to the part that is done.
   */
  get written(): number {
    return this.#written
  }

  wrote(): void {
    this.#written++
  }

  removed(): void {
    this.#written = Math.max(0, this.#written - 1)
  }

  /** Every user is to be encoded once from here on. */
  begin(): void {
    if (this.#taken !== undefined) {
      this.#beginsAgain = true
      return
    }
    this.#encoded = 0
    this.#written = 0
    for (const partition of this.#stores.keys()) {
      const at = this.#courses.get(partition)?.at ?? null
      this.#courses.set(partition, at === null ? wholeLap : { at, until: at, wraps: true })
    }
    this.#needsCommit = true
  }

  /** As `begin`, but at once, and from the newest user on. */
  restart(): void {
    this.#taken = undefined
    this.#encoded = 0
    this.#written = 0
    for (const partition of this.#stores.keys()) {
      this.#courses.set(partition, wholeLap)
      this.#urgent.add(partition)
    }
    this.#needsCommit = true
  }

  /** @param isNew the index did not have it @returns whether users have to be encoded for it from the newest on */
  beginVersion(indexVersion: string, isNew: boolean): boolean {
    if (!isNew && indexVersion === this.#indexVersion) return false
    this.#indexVersion = indexVersion
    this.restart()
    return true
  }

  /**
   * Whether the stores have to be committed before users are taken, once for each begin: a user who was put since the
   * last commit, and encoded by older weights, would be left out.
   */
  takeNeedsCommit(): boolean {
    const needs = this.#needsCommit
    this.#needsCommit = false
    return needs
  }

  /**
   * Up to `max` users to encode now; afterwards `settle` is called. @param isEncoded users that are encoded anyway: they
   * are passed over @returns whether they count as written, too
   */
  take(max: number, isEncoded: (userId: UserId) => boolean): { userId: UserId; counts: boolean }[] {
    const left = new Map(this.#courses)
    const ended = new Set<number>()
    const users: { userId: UserId; counts: boolean }[] = []
    let passed = 0
    while (left.size > 0 && passed < passedMax) {
      const [partition, { at, until, wraps }] = newestOf(left)
      const limit = max - users.length + passedAtOnce
      // One more shows whether it is the end.
      const places = this.#stores.get(partition)!.newest(at, limit + 1)
      const lap = wraps || until === null ? places : places.filter((place) => !isOlder(place, until))
      let last = at
      for (const place of lap.slice(0, limit)) {
        if (isEncoded(place[1])) passed++
        else if (users.length < max) users.push({ userId: place[1], counts: !wraps })
        else break
        last = place
      }
      const isPast = last === (lap.at(-1) ?? at)
      if (!isPast || lap.length > limit) left.set(partition, { at: last, until, wraps })
      else if (wraps) left.set(partition, { at: null, until, wraps: false })
      else left.delete(partition)
      if (!isPast) break
      if (places.length <= limit) ended.add(partition)
    }
    this.#taken = { left, ended, users: users.length + passed }
    return users
  }

  /** @param isDone the users are in the index; otherwise they are taken again */
  settle(isDone: boolean): void {
    if (this.#taken !== undefined && isDone) {
      const { left, ended, users } = this.#taken
      this.#courses = left
      for (const partition of ended) this.#urgent.delete(partition)
      this.#encoded += users
    }
    this.#taken = undefined
    if (this.#beginsAgain) this.begin()
    this.#beginsAgain = false
  }
}

/** The partition whose next user acted last, to the day. */
function newestOf(courses: ReadonlyMap<number, Course>): [number, Course] {
  const day = ({ at }: Course) => at?.[0] ?? Number.POSITIVE_INFINITY
  return [...courses].reduce((newest, next) => (day(next[1]) > day(newest[1]) ? next : newest))
}

function isOlder([day, userId]: WindowPlace, [otherDay, other]: WindowPlace): boolean {
  return day < otherDay || (day === otherDay && Buffer.compare(Buffer.from(userId), Buffer.from(other)) < 0)
}
