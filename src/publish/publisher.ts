// Decides what goes into the index, and when: item vectors that moved, K vectors of each user whose history changed,
// all of them when the weights did, and a new index version only when it is complete.
//
// D dimensions, K interests, N items, B users of a batch. Index and store are touched one call after the other.

import type { AccountNumbers } from '../core/account.ts'
import { handledLater } from '../core/promises.ts'
import { areUnits, isId } from '../index/indexChecks.ts'
import type { ItemPoint, UserPoint } from '../index/vectorIndex.ts'
import { type EncoderItem, effectiveInterests as effectiveInterestCount } from '../model/encoder.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import type { UserWindow } from '../records/userSequence.ts'
import { PublisherCandidates } from './publisherCandidates.ts'
import { PublisherItems, type TakenItem } from './publisherItems.ts'
import { PublisherMemory } from './publisherMemory.ts'
import {
  interestsOf,
  isEmpty,
  itemPoint,
  itemsOf,
  marksOf,
  noWindow,
  userPoint,
  userPoints,
  windowOf
} from './publisherPoints.ts'
import {
  type ChangeSource,
  defaultPublisherLimits,
  encoderItem,
  type ItemReport,
  type ModelChange,
  type Promotion,
  type PublisherLimits,
  type PublisherParts,
  type UserChange,
  type UserReport
} from './publisherReport.ts'
import { PublisherUsers, type TakenUser } from './publisherUsers.ts'
import { PublisherVersion, type RemovedIds } from './publisherVersion.ts'

export class Publisher {
  readonly #parts: Omit<Required<PublisherParts>, 'limits' | 'memory'>
  readonly #memory: PublisherMemory
  readonly #limits: PublisherLimits
  readonly #version: PublisherVersion
  readonly #items: PublisherItems
  readonly #users: PublisherUsers
  readonly #candidates: PublisherCandidates
  /** To be removed from the index → the record that says so. */
  readonly #forgotten = new Map<UserId, ChangeSource | undefined>()
  /** Taken, and neither written nor put back: they still count as waiting. */
  #writing = { items: 0, users: 0 }
  /** The version that is filled was requested by an operator: it may hold less than the live one. */
  #isRequested = false
  #turn: Promise<unknown> = Promise.resolve()

  constructor(parts: PublisherParts) {
    this.#parts = {
      ...{ isCandidate: () => true, serving: () => undefined, popularityOf: () => ({ popularity: 0 }) },
      ...parts
    }
    this.#limits = { ...defaultPublisherLimits, ...parts.limits }
    this.#version = new PublisherVersion(parts.index, this.#limits)
    this.#items = new PublisherItems(parts.encoder.dimensions)
    this.#candidates = new PublisherCandidates(this.#items, this.#parts)
    this.#memory = new PublisherMemory(parts.memory, this.#items, parts.index)
    this.#users = new PublisherUsers(parts.users, { ...this.#limits, ...parts.options })
  }

  /**
   * The user's history changed. The newest window is encoded; freshness is measured from the oldest change. A removal still
   * takes place before: where the model knows none of the new items, the vectors of the erased history would stay.
   * @param isRestored one of many windows that are read before the first is written: a sweep of all users follows
   */
  noteSequence(change: UserChange, isRestored = false): void {
    const { userId, acceptedAtMs, source } = change
    if (isEmpty(change)) this.forget(userId, source)
    else if (isRestored) this.#users.restore(userId, windowOf(change))
    else this.#users.note(userId, windowOf(change), acceptedAtMs, this.#parts.clock.nowMs(), source)
  }

  /** No more changes should be noted: as many as may wait in memory do. */
  get isFull(): boolean {
    return this.#users.waiting >= this.#limits.waitingUsersMax
  }

  /** Removes the user: from the store now, from the index with the next `publishUsers`. */
  forget(userId: UserId, source?: ChangeSource): void {
    this.#users.forget(userId)
    this.#forgotten.set(userId, source)
  }

  noteModel({ changedItems, expired, changedNeighbours = [], weightsChanged, counts, reason }: ModelChange): void {
    const nowMs = this.#parts.clock.nowMs()
    if (reason !== undefined) this.#isRequested = true
    const changed = new Set(changedItems)
    this.#candidates.noteModel(changed, expired, counts)
    for (const itemId of changedNeighbours) {
      this.#items.noteList(itemId)
      changed.add(itemId)
    }
    if (changed.size > 0) this.#users.itemsKnown(changed, nowMs)
    if (!weightsChanged) return
    this.#items.sweep()
    this.#users.weightsChanged(nowMs)
  }

  /** As `PublisherCandidates.noteCatalogue`. */
  noteCatalogue(items: Iterable<{ readonly itemId: ItemId; readonly count?: number }>): void {
    this.#candidates.noteCatalogue(items)
  }

  removeItems(itemIds: Iterable<ItemId>): void {
    this.#candidates.remove(itemIds)
  }

  /** `isCandidate` may have changed for any item. @param countOf interactions as the trainer counted them */
  candidatesChanged(countOf: (itemId: ItemId) => number): void {
    this.#candidates.changed(countOf)
  }

  /** Items with new interactions: those whose popularity moved by more than a tenth are written again. */
  notePopularity(itemIds: Iterable<ItemId>): void {
    for (const itemId of itemIds) this.#items.notePopularity(itemId, this.#parts.popularityOf(itemId))
  }

  /** Items that have, or may get, a vector; those added while it is read may be left out. */
  *knownItems(): Iterable<EncoderItem> {
    for (const itemId of this.#items.ids()) yield encoderItem(itemId, this.#parts.catalogue)
  }

  /** Milliseconds; undefined: no changed user waits. */
  dueInMs(): number | undefined {
    return this.#users.dueInMs(this.#parts.clock.nowMs())
  }

  isWaiting(userId: UserId): boolean {
    return this.#users.isWaiting(userId)
  }

  /** The oldest change or removal of each partition that is not in the index yet: a restart resumes there. */
  unanswered(): ReadonlyMap<number, bigint> {
    return this.#users.unanswered(this.#forgotten.values())
  }

  /** What waits to be written, users who are not yet in a version that is being filled included. */
  waiting(): { items: number; users: number; unknownUsers: number } {
    const { items, users } = this.#writing
    const unfilled = this.#version.name === undefined || this.#version.isLive ? 0 : this.#users.left
    return {
      items: this.#items.pending + this.#candidates.removed.size + items,
      // Those who wait are among those who are left.
      users: Math.max(this.#users.waiting, unfilled) + this.#forgotten.size + users,
      unknownUsers: this.#users.unknown
    }
  }

  get promotionWaits(): boolean {
    return this.#version.promotionWaits
  }

  account(): AccountNumbers<'publish'> {
    return this.#users.account()
  }

  get sweeping(): boolean {
    return this.#users.sweeping
  }

  /**
   * Looks at up to `max` items, and writes those whose vector moved more than ε, whose count or popularity moved more
   * than a tenth, or whose catalogue entry changed.
   * @throws UnavailableError if the index does not accept them; they then continue to wait
   */
  publishItems(max: number = this.#limits.batchSize): Promise<ItemReport> {
    return this.#exclusively(async () => {
      const removed = await this.#prepare('item', this.#candidates.removed)
      const { modelVersion: indexVersion, step, dimensions } = this.#parts.encoder
      const taken = this.#items.take(max)
      const startMs = this.#parts.clock.nowMs()
      this.#writing.items = taken.length
      /** Whose list changed, and is written with the point. */
      const listed: ItemId[] = []
      const outcome = { written: 0, unchanged: 0, unknown: 0, stale: 0, refused: 0, lists: 0 }
      try {
        const points: ItemPoint[] = []
        const pointsOf: TakenItem[] = []
        /** Unknown to the model, by id and by features, but this version may still hold them from before. */
        const withoutVector: TakenItem[] = []
        const { vectors, known } = this.#parts.encoder.itemVectors(
          taken.map(({ itemId }) => encoderItem(itemId, this.#parts.catalogue))
        ) // [N, D]
        for (const [i, item] of taken.entries()) {
          const vector = vectors.subarray(i * dimensions, (i + 1) * dimensions) // [D]
          if (known[i] === 0) {
            outcome.unknown++
            if (!this.#items.isAbsent(item.slot)) withoutVector.push(item)
          } else if (!areUnits(vector)) outcome.refused++
          else if (this.#hasMoved(item, vector)) {
            if (this.#items.takeList(item.slot)) listed.push(item.itemId)
            points.push(this.#pointOf(item, vector, startMs))
            pointsOf.push(item)
          } else outcome.unchanged++
        }
        if (withoutVector.length > 0) {
          const ids = withoutVector.map(({ itemId }) => itemId).filter(isId)
          await this.#parts.index.remove(indexVersion, 'item', ids)
          for (const item of withoutVector) if (this.#items.holds(item)) this.#items.removed(item.slot)
        }
        outcome.written = await this.#write(indexVersion, step, points)
        outcome.stale = points.length - outcome.written
        for (const [i, item] of pointsOf.entries()) {
          if (!this.#items.holds(item)) continue
          // The index does not report which points were stale: of all of them it is unknown what it holds.
          if (outcome.stale === 0) this.#items.wrote(item.slot, points[i]!)
          else this.#items.unwrote(item.slot)
        }
      } catch (error) {
        this.#items.putBack(taken)
        for (const itemId of listed) this.#items.noteList(itemId)
        throw error
      }
      outcome.lists = await this.#memory.writeLists(indexVersion, step, max)
      const promotion = await this.#promoteWhenComplete()
      return {
        ...{ indexVersion, step, ...outcome, removed },
        pending: this.#items.pending,
        scoreErrorMax: this.#items.leftMax,
        ...(promotion === undefined ? {} : { promotion })
      }
    })
  }

  /**
   * Encodes up to `max` users in one batch and writes their K vectors: first those whose history changed, then those
   * due in a sweep.
   * @param flush changed users do not wait `userWaitMs` for more changes, nor the others for their turn in the sweep
   * @throws UnavailableError if the index does not accept them; they then continue to wait
   */
  publishUsers(max: number = this.#limits.batchSize, { flush = false }: { flush?: boolean } = {}): Promise<UserReport> {
    return this.#exclusively(async () => {
      const removed = await this.#prepare('user', this.#forgotten)
      const { users } = this.#parts
      while (users.sweep.takeNeedsCommit())
        await users.commit(() => this.unanswered()).then(() => this.#followVersion())
      const { modelVersion: indexVersion, step } = this.#parts.encoder
      const startMs = this.#parts.clock.nowMs()
      const isFilling = !this.#version.isLive
      const taken = this.#users.take(max, startMs, { flush, sweepAll: flush || isFilling })
      this.#writing.users = taken.filter(({ isSwept }) => !isSwept).length
      const windows = taken.map(({ userId }) => users.get(userId) ?? noWindow)
      const batch = { written: 0, unknown: 0, stale: 0, refused: 0, swept: 0 }
      const agesMs: number[] = []
      const answeredIds: UserId[] = []
      const effectiveInterests: number[] = []
      const partsMs = { read: [] as number[], wait: [] as number[], encode: 0, write: 0 }
      let open: readonly TakenUser[] = taken
      try {
        const points: UserPoint[] = []
        const pointsOf: TakenUser[] = []
        /** Unknown to the model: they wait, and have a point without vectors meanwhile. */
        const remembered = new Map<TakenUser, UserPoint>()
        for (const [b, interests] of interestsOf(
          this.#parts.encoder,
          windows.map(({ steps }) => steps)
        ).entries()) {
          const user = taken[b]!
          const window = windows[b]!
          if (interests === undefined) {
            batch.unknown++
            const point = this.#memory.pointOf(user.userId, window.steps, startMs, marksOf(window))
            if (point === undefined) this.#users.wasUnknown(user, itemsOf(window))
            else remembered.set(user, point)
          } else if (!areUnits(interests.vectors, this.#parts.encoder.dimensions)) {
            batch.refused++
            // Not tried again before the weights or the history change: the same numbers would come out.
            this.#users.wasEncoded(user, 'refused')
          } else {
            points.push(userPoint(user.userId, interests, window.steps, startMs, this.#memory.weight, marksOf(window)))
            pointsOf.push(user)
            effectiveInterests.push(effectiveInterestCount(interests.strengths))
          }
        }
        open = [...pointsOf, ...remembered.keys()]
        const encodedMs = this.#parts.clock.nowMs()
        batch.written = await this.#write(indexVersion, step, points)
        batch.stale = points.length - batch.written
        await this.#write(indexVersion, step, [...remembered.values()])
        for (const [user, { id }] of remembered) this.#users.wasUnknown(user, itemsOf(users.get(id)))
        open = pointsOf
        if (isFilling) await this.#writeToServed(taken, windows, startMs)
        const endMs = this.#parts.clock.nowMs()
        partsMs.encode = encodedMs - startMs
        partsMs.write = endMs - encodedMs
        for (const user of pointsOf) {
          if (user.isSwept) batch.swept++
          if (batch.stale > 0) {
            this.#users.wasStale(user)
            continue
          }
          this.#users.wasEncoded(user, 'written')
          if (user.acceptedAtMs === undefined) continue
          agesMs.push(Math.max(0, endMs - user.acceptedAtMs))
          partsMs.read.push(Math.max(0, user.notedAtMs - user.acceptedAtMs))
          partsMs.wait.push(Math.max(0, startMs - user.notedAtMs))
          answeredIds.push(user.userId)
        }
        this.#users.settle()
      } catch (error) {
        this.#users.putBack(open, startMs)
        throw error
      }
      const promotion = await this.#promoteWhenComplete()
      return {
        ...{ indexVersion, step, ...batch, removed, agesMs, partsMs, answeredIds, effectiveInterests },
        waiting: this.#users.waiting,
        dropped: this.#users.takeDropped(),
        ...(promotion === undefined ? {} : { promotion })
      }
    })
  }

  #hasMoved({ slot, itemId, forced }: TakenItem, vector: Float32Array): boolean {
    const move = this.#items.moveOf(slot, vector)
    if (forced || move > this.#limits.epsilon || this.#items.countMoved(slot)) return true
    if (this.#items.popularityMoved(slot, this.#parts.popularityOf(itemId))) return true
    this.#items.leave(move)
    return false
  }

  #pointOf({ slot, itemId }: TakenItem, vector: Float32Array, updatedAtMs: number): ItemPoint {
    const numbers = { count: this.#items.count(slot), ...this.#parts.popularityOf(itemId), updatedAtMs }
    return itemPoint(itemId, vector, this.#parts.catalogue.get(itemId), numbers, this.#memory.listOf(itemId))
  }

  async #write(version: string, step: number, points: readonly (ItemPoint | UserPoint)[]): Promise<number> {
    return points.length === 0 ? 0 : this.#parts.index.upsert(version, step, points)
  }

  /** Users who changed, into the version that is still served. An older write is replaced by the switch. */
  async #writeToServed(
    taken: readonly TakenUser[],
    windows: readonly UserWindow[],
    updatedAtMs: number
  ): Promise<void> {
    const encoder = this.#parts.serving()
    if (encoder === undefined || (await this.#parts.index.live())?.indexVersion !== encoder.modelVersion) return
    const changed = taken.flatMap(({ userId, acceptedAtMs }, b) =>
      acceptedAtMs === undefined ? [] : [{ userId, window: windows[b]! }]
    )
    const { modelVersion, step } = encoder
    const points = userPoints(encoder, changed, updatedAtMs, this.#memory.weight)
    await this.#write(modelVersion, step, points)
  }

  /**
   * Opens the encoder's version and removes what is gone. The encoder may advance to another version whenever something
   * is awaited: afterwards nothing is awaited until a batch is encoded.
   */
  async #prepare(role: 'item' | 'user', gone: RemovedIds): Promise<number> {
    await this.#followVersion()
    const removed = await this.#version.remove(role, gone)
    await this.#followVersion()
    return removed
  }

  async #followVersion(): Promise<void> {
    while (this.#version.name !== this.#parts.encoder.modelVersion) {
      const { modelVersion, dimensions, interestCount } = this.#parts.encoder
      const isNew = !(await this.#version.isInIndex(modelVersion))
      // Durable first: after a crash a version that the index has would pass for one that has the users.
      if (this.#users.beginVersion(modelVersion, isNew)) await this.#parts.users.commit(() => this.unanswered())
      await this.#version.open(modelVersion, { dimensions, interestCount })
      this.#items.beginVersion(dimensions)
    }
  }

  #promoteWhenComplete(): Promise<Promotion | undefined> {
    const pending = this.#items.pending + this.#users.unfilled
    const { written: items, size } = this.#items
    // An earlier model does not know what came after it: then it is enough that everything has been looked at.
    const itemsLookedAt = this.#isRequested && pending === 0 ? size : items
    return this.#version.promoteWhenComplete({ items, users: this.#users.filled, itemsLookedAt, pending })
  }

  /** When the calls that were made have ended. */
  readonly idle = (): Promise<void> => this.#exclusively(async () => {})

  /** One call after the other, in the order in which they were made; a failed one does not stop the next. */
  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = handledLater(
      this.#turn.then(work).finally(() => {
        this.#writing = { items: 0, users: 0 }
      })
    )
    this.#turn = result.catch(() => {}) // the caller of this turn gets the error
    return result
  }
}
