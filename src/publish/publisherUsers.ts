// Which users are to be encoded next: those whose history changed, then those whose vectors were made by older tower
// weights.

import { Account, type AccountNumbers } from '../core/account.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { UserWindow } from '../records/userSequence.ts'
import type { PublishedUsers } from './publishedUsers.ts'
import type { ChangeSource } from './publisherReport.ts'

interface UserQueueOptions {
  /** Users kept waiting because the model knows none of their items. Beyond it they wait for the next sweep. */
  readonly unknownUsersMax: number
  /** Changes of one user within this are written once. */
  readonly userWaitMs: number
  /** Time in which all users are encoded again after the tower weights changed. */
  readonly sweepIntervalMs: number
}

export interface TakenUser {
  readonly userId: UserId
  /** When the log took the oldest change, milliseconds; undefined: no change, only other weights. */
  readonly acceptedAtMs: number | undefined
  /** When the first change was noted, milliseconds; without a change not meaningful. */
  readonly notedAtMs: number
  /** Of the oldest change. */
  readonly source?: ChangeSource | undefined
  /** Taken by the sweep, not because something of the user changed. */
  readonly isSwept: boolean
  /** As `UserSweep.written` counts. */
  readonly counts: boolean
}

interface Waiting {
  /** undefined: no change, but the model knows an item of the user now. */
  acceptedAtMs: number | undefined
  readonly notedAtMs: number
  source: ChangeSource | undefined
}

interface Unknown {
  /** Of the oldest change; undefined: no change waits, only other weights. */
  readonly acceptedAtMs: number | undefined
  readonly itemIds: ReadonlySet<ItemId>
}

export class PublisherUsers {
  readonly #users: PublishedUsers
  readonly #options: UserQueueOptions
  /** Changed since they were last encoded, first noted first. */
  readonly #waiting = new Map<UserId, Waiting>()
  /** Taken to be encoded and without an outcome yet → their oldest change. */
  readonly #taken = new Map<UserId, ChangeSource>()
  /** None of their items is known to the model. */
  readonly #unknown = new Map<UserId, Unknown>()
  /** Users with a change that has no outcome yet: waiting, unknown or under way. */
  #changed = 0
  readonly #account = new Account('publish')
  #dropped = 0
  /** Changed when the index version was begun, or when the sweep for it came by, and not encoded since. */
  #awaited = new Set<UserId>()
  /** Users that the sweep may encode now. */
  #credit = 0
  #creditAtMs = 0

  constructor(users: PublishedUsers, options: UserQueueOptions) {
    this.#users = users
    this.#options = options
  }

  get waiting(): number {
    return this.#waiting.size
  }

  isWaiting(userId: UserId): boolean {
    return this.#waiting.has(userId) || this.#unknown.has(userId)
  }

  get unknown(): number {
    return this.#unknown.size
  }

  /** Whether some users were encoded by older weights. */
  get sweeping(): boolean {
    return this.#users.sweep.isRunning
  }

  /** Users with vectors of another index version only, at most. */
  get left(): number {
    return this.#users.sweep.left(this.#users.count)
  }

  /**
   * Users known when the index version was begun that have not been looked at since, and those whose items the model has
   * trained meanwhile: it does not go live without them. A later change does not delay it, or a busy stream would delay
   * it for ever.
   */
  get unfilled(): number {
    return this.left + this.#awaited.size
  }

  /** Users in the index version, at least. */
  get filled(): number {
    return this.#users.sweep.written
  }

  /** The outcome of every change. A change that waits is in one place: with the changed, the unknown, or under way. */
  account(): AccountNumbers<'publish'> {
    return this.#account.numbers(this.#changed)
  }

  /** Users that were dropped for want of room since the last call. */
  takeDropped(): number {
    const dropped = this.#dropped
    this.#dropped = 0
    return dropped
  }

  /**
   * The oldest change of each partition that is not in the index yet, users without a known item left out: a sweep looks
   * at them after a restart. Linear in those who wait. @param others that are not in the index yet either
   */
  unanswered(others: Iterable<ChangeSource | undefined> = []): ReadonlyMap<number, bigint> {
    const oldest = new Map<number, bigint>()
    const note = (source: ChangeSource | undefined) => {
      if (source === undefined) return
      const { partition, offset } = source
      const before = oldest.get(partition)
      if (before === undefined || offset < before) oldest.set(partition, offset)
    }
    for (const { source } of this.#waiting.values()) note(source)
    for (const source of this.#taken.values()) note(source)
    for (const source of others) note(source)
    return oldest
  }

  note(userId: UserId, window: UserWindow, acceptedAtMs: number, nowMs: number, source?: ChangeSource): void {
    this.#account.read()
    this.#users.put(userId, window)
    const unknown = this.#unknown.get(userId)
    this.#unknown.delete(userId)
    if (unknown?.acceptedAtMs === undefined) this.#changed++
    else this.#account.add('merged')
    this.#wait(userId, Math.min(acceptedAtMs, unknown?.acceptedAtMs ?? acceptedAtMs), nowMs, source)
  }

  /** The window is one of many that are read before the first is written: a sweep of all users follows. */
  restore(userId: UserId, window: UserWindow): void {
    this.#account.read()
    this.#account.add('restored')
    this.#users.put(userId, window)
    this.#users.sweep.restart()
  }

  forget(userId: UserId): void {
    this.#account.read()
    this.#account.add('removed')
    this.#users.delete(userId)
    const waits = (this.#waiting.get(userId) ?? this.#unknown.get(userId))?.acceptedAtMs !== undefined
    if (waits) this.#end('forgotten')
    this.#users.sweep.removed()
    this.#waiting.delete(userId)
    this.#taken.delete(userId)
    this.#unknown.delete(userId)
    this.#awaited.delete(userId)
  }

  /** New tower weights: every user is encoded again within the sweep's interval. */
  weightsChanged(nowMs: number): void {
    this.#accrue(nowMs)
    this.#users.sweep.begin()
  }

  /** Another index version. @param isNew the index did not have it @returns whether no user counts as written to it */
  beginVersion(indexVersion: string, isNew: boolean): boolean {
    this.#awaited = new Set(this.#waiting.keys())
    return this.#users.sweep.beginVersion(indexVersion, isNew)
  }

  /** The model knows these items now: users who waited for one of them are due. */
  itemsKnown(itemIds: ReadonlySet<ItemId>, nowMs: number): void {
    for (const [userId, unknown] of this.#unknown) {
      if (![...unknown.itemIds].some((itemId) => itemIds.has(itemId))) continue
      this.#unknown.delete(userId)
      // Due at once, and awaited: an index version that is being filled does not go live without them.
      this.#awaited.add(userId)
      this.#wait(userId, unknown.acceptedAtMs, nowMs - this.#options.userWaitMs)
    }
  }

  /** Milliseconds until `take` has a changed user to give; undefined: none waits. */
  dueInMs(nowMs: number): number | undefined {
    const first = this.#waiting.values().next().value
    return first === undefined ? undefined : Math.max(0, first.notedAtMs + this.#options.userWaitMs - nowMs)
  }

  /**
   * Up to `max` users to encode now: changed ones, then those of a sweep that is due, which gets at least a quarter. When
   * they have an outcome, `settle` is called.
   * @param flush changed users do not wait for more changes
   * @param sweepAll the whole sweep is due
   */
  take(max: number, nowMs: number, { flush, sweepAll }: { flush: boolean; sweepAll: boolean }): TakenUser[] {
    this.#accrue(nowMs)
    const { sweep } = this.#users
    const due = sweepAll || sweep.isUrgent ? max : Math.floor(this.#credit + 1e-6)
    const changedMax = max - (sweep.isRunning ? Math.floor(Math.min(max / 4, due)) : 0)
    const taken = new Map<UserId, TakenUser>()
    for (const [userId, waiting] of this.#waiting) {
      if (taken.size >= changedMax) break
      if (!flush && waiting.notedAtMs + this.#options.userWaitMs > nowMs) break
      this.#waiting.delete(userId)
      if (waiting.source !== undefined) this.#taken.set(userId, waiting.source)
      taken.set(userId, { userId, ...waiting, isSwept: false, counts: false })
    }
    const isEncoded = (userId: UserId) => {
      if (this.#waiting.has(userId)) this.#awaited.add(userId)
      return taken.has(userId) || this.#waiting.has(userId)
    }
    const swept = due === 0 ? [] : sweep.take(Math.min(max - taken.size, due), isEncoded)
    this.#credit = Math.max(0, this.#credit - swept.length)
    for (const { userId, counts } of swept)
      taken.set(userId, { userId, acceptedAtMs: undefined, notedAtMs: nowMs, isSwept: true, counts })
    return [...taken.values()]
  }

  /** The users that were taken are in the index, or have another outcome. */
  settle(): void {
    this.#users.sweep.settle(true)
  }

  /** The users could not be written. */
  putBack(taken: readonly TakenUser[], nowMs: number): void {
    this.#users.sweep.settle(false)
    for (const { userId, acceptedAtMs, source, isSwept } of taken) {
      this.#taken.delete(userId)
      if (isSwept) {
        this.#credit++
        continue
      }
      if (!this.#users.has(userId)) this.#endOf(acceptedAtMs, 'forgotten')
      else this.#wait(userId, acceptedAtMs, nowMs - this.#options.userWaitMs, source)
    }
  }

  /** @param outcome of the change that was taken, if one was */
  wasEncoded({ userId, acceptedAtMs, counts }: TakenUser, outcome: 'written' | 'refused'): void {
    this.#taken.delete(userId)
    this.#endOf(acceptedAtMs, outcome)
    this.#awaited.delete(userId)
    if (counts && outcome === 'written' && this.#users.has(userId)) this.#users.sweep.wrote()
  }

  /** The index has a newer step: encoded again, at the pace of the sweep. */
  wasStale({ userId, acceptedAtMs }: TakenUser): void {
    this.#taken.delete(userId)
    this.#endOf(acceptedAtMs, 'stale')
    this.#awaited.delete(userId)
    this.#users.sweep.begin()
  }

  /** The model knows none of the user's items. */
  wasUnknown({ userId, acceptedAtMs }: TakenUser, itemIds: Iterable<ItemId>): void {
    this.#taken.delete(userId)
    if (!this.#users.has(userId)) {
      this.#endOf(acceptedAtMs, 'forgotten')
      return
    }
    this.#awaited.delete(userId)
    if (this.#waiting.has(userId)) {
      this.#endOf(acceptedAtMs, 'merged')
      return
    }
    if (this.#unknown.size >= this.#options.unknownUsersMax && !this.#unknown.has(userId)) {
      const [first] = this.#unknown
      if (first?.[1].acceptedAtMs !== undefined) this.#end('dropped')
      if (first !== undefined) this.#unknown.delete(first[0])
      this.#dropped++
    }
    // A change that waited already still does.
    const since = acceptedAtMs ?? this.#unknown.get(userId)?.acceptedAtMs
    this.#unknown.set(userId, { acceptedAtMs: since, itemIds: new Set(itemIds) })
  }

  #end(outcome: 'written' | 'refused' | 'stale' | 'merged' | 'forgotten' | 'dropped'): void {
    this.#changed--
    this.#account.add(outcome)
  }

  #endOf(acceptedAtMs: number | undefined, outcome: 'written' | 'refused' | 'stale' | 'merged' | 'forgotten'): void {
    if (acceptedAtMs !== undefined) this.#end(outcome)
  }

  /** With a change that is counted in `#changed`. */
  #wait(userId: UserId, acceptedAtMs: number | undefined, notedAtMs: number, source?: ChangeSource): void {
    const waiting = this.#waiting.get(userId)
    if (waiting === undefined) {
      this.#waiting.set(userId, { acceptedAtMs, notedAtMs, source })
      return
    }
    if (waiting.acceptedAtMs !== undefined) this.#endOf(acceptedAtMs, 'merged')
    waiting.acceptedAtMs = oldest(waiting.acceptedAtMs, acceptedAtMs)
    // A user's changes are in one partition.
    if (source !== undefined && !(waiting.source !== undefined && waiting.source.offset < source.offset))
      waiting.source = source
  }

  #accrue(nowMs: number): void {
    const total = this.#users.count
    const elapsedMs = Math.max(0, nowMs - this.#creditAtMs)
    this.#creditAtMs = nowMs
    const earned = this.#options.sweepIntervalMs === 0 ? total : (total * elapsedMs) / this.#options.sweepIntervalMs
    this.#credit = this.sweeping ? Math.min(total, this.#credit + earned) : 0
  }
}

function oldest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.min(a, b)
}
