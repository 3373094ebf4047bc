// Which users are to be encoded next: those whose history changed, then those whose vectors were made by older tower
// weights.

import { Account, type AccountNumbers } from '../core/account.ts'
import type { EncoderStep } from '../model/encoder.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { UserMarks } from './publisherPoints.ts'
import type { ChangeSource } from './publisherReport.ts'
import { PublisherWindows } from './publisherWindows.ts'

interface UserQueueOptions {
  /** Users whose windows are kept. Beyond it the one with the oldest change keeps its vectors until it acts again. */
  readonly usersMax: number
  /** Users kept waiting because the model knows none of their items. */
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
}

interface Waiting {
  acceptedAtMs: number
  readonly notedAtMs: number
  source: ChangeSource | undefined
}

export class PublisherUsers {
  readonly windows: PublisherWindows
  /** Of every user with a window. */
  readonly #marks = new Map<UserId, UserMarks>()
  readonly #options: UserQueueOptions
  /** Changed since they were last encoded, first noted first. */
  readonly #waiting = new Map<UserId, Waiting>()
  /** Taken to be encoded and without an outcome yet → their oldest change. */
  readonly #taken = new Map<UserId, ChangeSource>()
  /** None of their items is known to the model → oldest change; undefined: no change waits, only other weights. */
  readonly #unknown = new Map<UserId, number | undefined>()
  /** Changes that were taken and have no outcome yet. */
  #underWay = 0
  readonly #account = new Account('publish')
  #dropped = 0
  /** To be encoded again: known from before a restart, or from another index version. */
  #behind = new Set<UserId>()
  /** Changed before the index version was begun, and not encoded since. */
  #awaited = new Set<UserId>()
  /** Encoded, oldest first → generation of the weights. */
  #encoded = new Map<UserId, number>()
  #generation = 0
  /** Users that the sweep may encode now. */
  #credit = 0
  #creditAtMs = 0

  constructor(options: UserQueueOptions) {
    this.#options = options
    this.windows = new PublisherWindows(options.usersMax)
  }

  /** Users that are in the index by current windows, by whichever weights. */
  get encoded(): number {
    return this.#encoded.size
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** Users encoded or found unknown since the index version was begun, if none is behind. Linear in those who wait. */
  get lookedAt(): number {
    let first = 0
    for (const userId of this.#waiting.keys()) if (!this.#encoded.has(userId)) first++
    return this.windows.size - first
  }

  isWaiting(userId: UserId): boolean {
    return this.#waiting.has(userId) || this.#unknown.has(userId)
  }

  get unknown(): number {
    return this.#unknown.size
  }

  /** Users with vectors of another index version, or from before a restart. */
  get behind(): number {
    return this.#behind.size
  }

  /**
   * Users known when the index version was begun that have not been looked at since, and those whose items the model has
   * trained meanwhile: it does not go live without them. A later change does not delay it, or a busy stream would delay
   * it for ever.
   */
  get unfilled(): number {
    return this.#behind.size + this.#awaited.size
  }

  /** What is written of the user beside the window; undefined: nothing. */
  marksOf(userId: UserId): UserMarks | undefined {
    return this.#marks.get(userId)
  }

  /** Counts the changes of the tower weights. */
  get generation(): number {
    return this.#generation
  }

  /** The outcome of every change. A change that waits is in one place: with the changed, the unknown, or under way. */
  account(): AccountNumbers<'publish'> {
    let waiting = this.#waiting.size + this.#underWay
    for (const acceptedAtMs of this.#unknown.values()) if (acceptedAtMs !== undefined) waiting++
    return this.#account.numbers(waiting)
  }

  /** Users that were dropped for want of room since the last call. */
  takeDropped(): number {
    const dropped = this.#dropped
    this.#dropped = 0
    return dropped
  }

  /**
   * The oldest change of each partition that is not in the index yet, users without a known item left out: a restart
   * recalls them. Linear in those who wait. @param others that are not in the index yet either
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

  note(
    userId: UserId,
    steps: readonly EncoderStep[],
    acceptedAtMs: number,
    nowMs: number,
    source?: ChangeSource,
    marks: UserMarks = {}
  ): void {
    this.#account.read()
    this.#keep(userId, steps, marks)
    const unknownSince = this.#unknown.get(userId)
    this.#unknown.delete(userId)
    if (unknownSince !== undefined) this.#account.add('merged')
    this.#wait(userId, Math.min(acceptedAtMs, unknownSince ?? acceptedAtMs), nowMs, source)
  }

  recall(userId: UserId, steps: readonly EncoderStep[], marks: UserMarks = {}): void {
    this.#account.read()
    this.#account.add('publishedBefore')
    this.#keep(userId, steps, marks)
    if (!this.isWaiting(userId)) this.#setBehind(userId)
  }

  forget(userId: UserId): void {
    this.#account.read()
    this.#account.add('removed')
    this.windows.delete(userId)
    this.#marks.delete(userId)
    this.#leave(userId, 'forgotten')
  }

  /** New tower weights: every user is encoded again within the sweep's interval. */
  weightsChanged(nowMs: number): void {
    this.#accrue(nowMs)
    this.#generation++
  }

  /** Another index version: no user is in it yet. */
  beginVersion(): void {
    for (const userId of this.#encoded.keys()) this.#behind.add(userId)
    // Of them the index has what they do not want, without vectors.
    for (const userId of this.#unknown.keys())
      if (this.#marks.get(userId)?.unwanted !== undefined) this.#behind.add(userId)
    this.#awaited = new Set(this.#waiting.keys())
    this.#encoded = new Map()
  }

  /** The model knows these items now: users who waited for one of them are due. */
  itemsKnown(itemIds: ReadonlySet<ItemId>, nowMs: number): void {
    for (const [userId, acceptedAtMs] of this.#unknown) {
      if (!this.windows.holdsAny(userId, itemIds)) continue
      this.#unknown.delete(userId)
      // Due at once, and awaited: an index version that is being filled does not go live without them.
      if (acceptedAtMs === undefined) this.#setBehind(userId)
      else {
        this.#awaited.add(userId)
        this.#wait(userId, acceptedAtMs, nowMs - this.#options.userWaitMs)
      }
    }
  }

  /** Milliseconds until `take` has a changed user to give; undefined: none waits. */
  dueInMs(nowMs: number): number | undefined {
    const first = this.#waiting.values().next().value
    return first === undefined ? undefined : Math.max(0, first.notedAtMs + this.#options.userWaitMs - nowMs)
  }

  /**
   * Up to `max` users to encode now: changed ones, then those of a sweep that is due, which gets at least a quarter.
   * @param flush changed users do not wait for more changes
   * @param sweepAll the whole sweep is due
   */
  take(max: number, nowMs: number, { flush, sweepAll }: { flush: boolean; sweepAll: boolean }): TakenUser[] {
    this.#accrue(nowMs)
    const due = sweepAll ? this.windows.size : Math.floor(this.#credit + 1e-6)
    const changedMax = max - (this.sweeping ? Math.floor(Math.min(max / 4, due)) : 0)
    const taken: TakenUser[] = []
    for (const [userId, { acceptedAtMs, notedAtMs, source }] of this.#waiting) {
      if (taken.length >= changedMax) break
      if (!flush && notedAtMs + this.#options.userWaitMs > nowMs) break
      this.#waiting.delete(userId)
      this.#underWay++
      if (source !== undefined) this.#taken.set(userId, source)
      taken.push({ userId, acceptedAtMs, notedAtMs, source })
    }
    const sweepMax = Math.min(max - taken.length, due)
    let swept = 0
    for (const source of [this.#behind.keys(), this.#older()]) {
      for (const userId of source) {
        if (swept >= sweepMax) break
        swept++ // a user who waits is encoded with the changed ones
        if (!this.#waiting.has(userId)) taken.push({ userId, acceptedAtMs: undefined, notedAtMs: nowMs })
      }
    }
    this.#credit = Math.max(0, this.#credit - swept)
    return unique(taken)
  }

  /** The users could not be written. */
  putBack(taken: readonly TakenUser[], nowMs: number): void {
    for (const { userId, acceptedAtMs, source } of taken) {
      this.#taken.delete(userId)
      if (acceptedAtMs === undefined) {
        this.#credit++
        continue
      }
      this.#underWay--
      if (this.windows.has(userId)) this.#wait(userId, acceptedAtMs, nowMs - this.#options.userWaitMs, source)
      else this.#account.add('forgotten')
    }
  }

  /**
   * @param generation of the weights, as it was when the user was encoded @param outcome of the change that was taken,
   *   if one was
   */
  wasEncoded({ userId, acceptedAtMs }: TakenUser, generation: number, outcome: 'written' | 'refused'): void {
    this.#taken.delete(userId)
    this.#end(acceptedAtMs, outcome)
    if (!this.windows.has(userId)) return
    this.#awaited.delete(userId)
    this.#behind.delete(userId)
    this.#encoded.delete(userId)
    this.#encoded.set(userId, generation)
  }

  /** The index has a newer step: encoded again, at the pace of the sweep. */
  wasStale({ userId, acceptedAtMs }: TakenUser): void {
    this.#taken.delete(userId)
    this.#end(acceptedAtMs, 'stale')
    if (this.windows.has(userId)) this.#setBehind(userId)
  }

  /** The model knows none of the user's items. */
  wasUnknown({ userId, acceptedAtMs }: TakenUser): void {
    this.#taken.delete(userId)
    if (!this.windows.has(userId)) {
      this.#end(acceptedAtMs, 'forgotten')
      return
    }
    this.#awaited.delete(userId)
    this.#behind.delete(userId)
    this.#encoded.delete(userId)
    if (this.#waiting.has(userId)) {
      this.#end(acceptedAtMs, 'merged')
      return
    }
    if (this.#unknown.size >= this.#options.unknownUsersMax) {
      const [first] = this.#unknown
      if (first?.[1] !== undefined) this.#account.add('dropped')
      if (first !== undefined) this.#unknown.delete(first[0])
      this.#dropped++
    }
    if (acceptedAtMs !== undefined) this.#underWay--
    // A change that waited already still does.
    this.#unknown.set(userId, acceptedAtMs ?? this.#unknown.get(userId))
  }

  #end(acceptedAtMs: number | undefined, outcome: 'written' | 'refused' | 'stale' | 'merged' | 'forgotten'): void {
    if (acceptedAtMs === undefined) return
    this.#underWay--
    this.#account.add(outcome)
  }

  #keep(userId: UserId, steps: readonly EncoderStep[], marks: UserMarks): void {
    const evicted = this.windows.set(userId, steps)
    this.#marks.set(userId, marks)
    if (evicted === undefined) return
    this.#marks.delete(evicted)
    this.#leave(evicted, 'dropped')
    this.#dropped++
  }

  /** @param outcome of the change that waits, if one does */
  #leave(userId: UserId, outcome: 'forgotten' | 'dropped'): void {
    if (this.#waiting.delete(userId) || this.#unknown.get(userId) !== undefined) this.#account.add(outcome)
    this.#taken.delete(userId)
    this.#unknown.delete(userId)
    this.#awaited.delete(userId)
    this.#behind.delete(userId)
    this.#encoded.delete(userId)
  }

  #wait(userId: UserId, acceptedAtMs: number, notedAtMs: number, source?: ChangeSource): void {
    const waiting = this.#waiting.get(userId)
    if (waiting === undefined) {
      this.#waiting.set(userId, { acceptedAtMs, notedAtMs, source })
      return
    }
    this.#account.add('merged')
    waiting.acceptedAtMs = Math.min(waiting.acceptedAtMs, acceptedAtMs)
    // A user's changes are in one partition.
    if (source !== undefined && !(waiting.source !== undefined && waiting.source.offset < source.offset))
      waiting.source = source
  }

  #setBehind(userId: UserId): void {
    this.#encoded.delete(userId)
    this.#awaited.delete(userId)
    // To the end: a user that always fails must not delay the others.
    this.#behind.delete(userId)
    this.#behind.add(userId)
  }

  *#older(): Iterable<UserId> {
    for (const [userId, generation] of this.#encoded) {
      if (generation >= this.#generation) return
      yield userId
    }
  }

  /** Whether some users were encoded by older weights. */
  get sweeping(): boolean {
    const first = this.#encoded.values().next().value
    return this.#behind.size > 0 || (first !== undefined && first < this.#generation)
  }

  #accrue(nowMs: number): void {
    const total = this.#behind.size + this.#encoded.size
    const elapsedMs = Math.max(0, nowMs - this.#creditAtMs)
    this.#creditAtMs = nowMs
    const earned = this.#options.sweepIntervalMs === 0 ? total : (total * elapsedMs) / this.#options.sweepIntervalMs
    this.#credit = this.sweeping ? Math.min(total, this.#credit + earned) : 0
  }
}

/** The sweep may meet a user that was just taken as changed. */
function unique(taken: TakenUser[]): TakenUser[] {
  const seen = new Set<UserId>()
  return taken.filter(({ userId }) => !seen.has(userId) && seen.add(userId))
}
