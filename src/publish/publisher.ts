// Decides what goes into the index, and when: item vectors that moved, K vectors of each user whose history changed,
// all of them when the weights did, and a new index version only when it is complete.
//
// D dimensions, K interests, N items, B users of a batch. The index is the only thing outside that is touched, one call
// after the other.

import type { AccountNumbers } from '../core/account.ts'
import type { Clock } from '../core/clock.ts'
import type { PublishOptions } from '../core/config/config.ts'
import { handledLater } from '../core/promises.ts'
import type { ItemPopularity } from '../index/popularity.ts'
import {
  areUnits,
  type ItemPoint,
  isId,
  popularityPart,
  type UserPoint,
  type VectorIndex
} from '../index/vectorIndex.ts'
import type { Encoder, EncoderItem, EncoderStep } from '../model/encoder.ts'
import { featureKeys } from '../records/catalogueItem.ts'
import type { ItemId, UserId } from '../records/interaction.ts'
import { PublisherItems, type TakenItem } from './publisherItems.ts'
import {
  type CatalogueLookup,
  defaultPublisherLimits,
  type ItemReport,
  type ModelChange,
  type Promotion,
  type PublisherLimits,
  type UserChange,
  type UserReport
} from './publisherReport.ts'
import { PublisherUsers, type TakenUser } from './publisherUsers.ts'
import { PublisherVersion } from './publisherVersion.ts'

export type { ItemReport, UserReport } from './publisherReport.ts'

const refusedIdsMax = 10

type PublisherOptions = Pick<PublishOptions, 'userWaitMs' | 'sweepIntervalMs'>

export class Publisher {
  readonly #encoder: Encoder
  readonly #index: VectorIndex
  readonly #limits: PublisherLimits
  readonly #clock: Clock
  readonly #catalogue: CatalogueLookup
  readonly #isCandidate: (itemId: ItemId) => boolean
  readonly #serving: () => Encoder | undefined
  readonly #popularityOf: (itemId: ItemId) => ItemPopularity
  readonly #indexVersion: PublisherVersion
  readonly #items: PublisherItems
  readonly #users: PublisherUsers
  /** To be taken out of the index. */
  readonly #expired = new Set<ItemId>()
  /** The model knows them, and they may not be in lists: taken out of the index once. */
  readonly #hidden = new Set<ItemId>()
  readonly #forgotten = new Set<UserId>()
  /** Changes that were taken and are neither written nor put back: they wait as those do that were not taken. */
  #writing = { items: 0, users: 0 }

  /** Somebody asked for the index version that is filled: it may hold less than the live one. */
  #asked = false
  #turn: Promise<unknown> = Promise.resolve()

  /** @param encoder its weights and index version may advance whenever this is not inside one of its methods */
  constructor(parts: {
    encoder: Encoder
    index: VectorIndex
    options: PublisherOptions
    clock: Clock
    catalogue: CatalogueLookup
    /**
     * Whether an item may be in lists. One that may not gets no vector, whatever the model knows of it. Default: all
     * may.
     */
    isCandidate?: (itemId: ItemId) => boolean
    limits?: Partial<PublisherLimits>
    /** What the live index version was made with while another is being filled: who clicks then gets new vectors in both. */
    serving?: () => Encoder | undefined
    /** How popular an item is now. Default: none is. */
    popularityOf?: (itemId: ItemId) => ItemPopularity
  }) {
    this.#encoder = parts.encoder
    this.#index = parts.index
    this.#clock = parts.clock
    this.#catalogue = parts.catalogue
    this.#isCandidate = parts.isCandidate ?? (() => true)
    this.#serving = parts.serving ?? (() => undefined)
    this.#popularityOf = parts.popularityOf ?? (() => ({ popularity: 0 }))
    const limits = { ...defaultPublisherLimits, ...parts.limits }
    this.#limits = limits
    this.#indexVersion = new PublisherVersion(parts.index, limits)
    this.#items = new PublisherItems(parts.encoder.dimensions)
    this.#users = new PublisherUsers({
      usersMax: limits.usersMax,
      unknownMax: limits.unknownUsersMax,
      userWaitMs: parts.options.userWaitMs,
      sweepIntervalMs: parts.options.sweepIntervalMs
    })
  }

  /**
   * The user's history changed: the newest window counts, the oldest acceptance of what waits is what freshness is
   * measured from.
   */
  noteSequence({ userId, steps, acceptedAtMs, source }: UserChange): void {
    if (steps.length === 0) {
      this.forget(userId)
      return
    }
    this.#forgotten.delete(userId)
    this.#users.note(userId, steps, acceptedAtMs, this.#clock.nowMs(), source)
  }

  /** A window that was published before a restart: taken along by sweeps, without counting as a change. */
  recall({ userId, steps }: Pick<UserChange, 'userId' | 'steps'>): void {
    if (steps.length > 0) this.#users.recall(userId, steps)
  }

  /** The user is gone: out of memory now, out of the index with the next `publishUsers`. */
  forget(userId: UserId): void {
    this.#users.forget(userId)
    this.#forgotten.add(userId)
  }

  noteModel({ changedItems, expired, weightsChanged, counts, reason }: ModelChange): void {
    const nowMs = this.#clock.nowMs()
    if (reason !== undefined) this.#asked = true
    for (const itemId of expired) {
      this.#hidden.delete(itemId)
      if (this.#catalogue.get(itemId) === undefined) this.#leave(itemId)
      else {
        this.#items.noteCount(itemId, 0)
        this.#items.note(itemId, true)
      }
    }
    const changed = new Set(changedItems)
    for (const itemId of changed) {
      if (!this.#isCandidate(itemId)) {
        this.#hide(itemId)
        continue
      }
      this.#expired.delete(itemId)
      this.#items.note(itemId, false)
    }
    for (const [itemId, count] of counts)
      if (!this.#expired.has(itemId) && this.#isCandidate(itemId)) this.#items.noteCount(itemId, count)
    if (changed.size > 0) this.#users.itemsKnown(changed, nowMs)
    if (!weightsChanged) return
    this.#items.sweep()
    this.#users.weightsChanged(nowMs)
  }

  /**
   * Their titles or features are new, or different: they are written in any case, clicked or not. @param count of
   * interactions, of an item that was removed before
   */
  noteCatalogue(items: Iterable<{ readonly itemId: ItemId; readonly count?: number }>): void {
    for (const { itemId, count } of items) {
      this.#hidden.delete(itemId)
      this.#expired.delete(itemId)
      if (count !== undefined) this.#items.noteCount(itemId, count)
      this.#items.note(itemId, true)
    }
  }

  /** They are candidates no more: out of every index version with the next `publishItems`. */
  removeItems(itemIds: Iterable<ItemId>): void {
    // An id that no index can hold is in none; to ask for its removal would fail.
    for (const itemId of itemIds) if (isId(itemId)) this.#leave(itemId)
  }

  /**
   * `isCandidate` answers otherwise than before, of any item. @param countOf interactions of an item as the trainer
   * counted them
   */
  candidatesChanged(countOf: (itemId: ItemId) => number): void {
    for (const itemId of [...this.#items.ids()]) if (!this.#isCandidate(itemId)) this.#hide(itemId)
    const shown = [...this.#hidden].filter((itemId) => this.#isCandidate(itemId))
    this.noteCatalogue(shown.map((itemId) => ({ itemId, count: countOf(itemId) })))
  }

  /** They were acted on: those whose popularity moved by more than a tenth since it was written are written again. */
  notePopularity(itemIds: Iterable<ItemId>): void {
    for (const itemId of itemIds) this.#items.notePopularity(itemId, this.#popularityOf(itemId))
  }

  /** All items that have, or may get, a vector; those that come while it is read may be left out. */
  *knownItems(): Iterable<EncoderItem> {
    for (const itemId of this.#items.ids()) yield this.#encoderItem(itemId)
  }

  /** Milliseconds until a changed user may be published; undefined: none waits. */
  dueInMs(): number | undefined {
    return this.#users.dueInMs(this.#clock.nowMs())
  }

  /** Whether a change of the user has not been encoded yet. */
  isWaiting(userId: UserId): boolean {
    return this.#users.isWaiting(userId)
  }

  /**
   * The oldest change of each partition that is not in the index yet: whatever comes before it need not be published
   * again.
   */
  unanswered(): ReadonlyMap<number, bigint> {
    return this.#users.unanswered()
  }

  /**
   * What waits. Those who are not yet in an index version that is being filled are due at once, and it goes live only with them.
   */
  waiting(): { items: number; users: number; unknownUsers: number } {
    const { items, users } = this.#writing
    const unfilled = this.#indexVersion.name === undefined || this.#indexVersion.isLive ? 0 : this.#users.behind
    return {
      items: this.#items.pending + this.#expired.size + items,
      users: this.#users.waiting + this.#forgotten.size + users + unfilled,
      unknownUsers: this.#users.unknown
    }
  }

  /** The index did not take the switch to a version that is complete. */
  get promotionWaits(): boolean {
    return this.#indexVersion.promotionWaits
  }

  /** What became of every change of a user that was noted. */
  account(): AccountNumbers<'publish'> {
    return this.#users.account()
  }

  /** Whether there are users in the index by other weights than the newest. */
  get sweeping(): boolean {
    return this.#users.sweeping
  }

  /** When the log took the oldest change that waits, for readiness; undefined: none waits. Looks at all of them. */
  oldestAcceptedAtMs(): number | undefined {
    return this.#users.oldestAcceptedAtMs()
  }

  /**
   * Looks at up to `max` items, and writes those whose vector moved more than ε, whose count or popularity moved more
   * than a tenth, or whose catalogue entry changed.
   * @throws UnavailableError if the index does not take them; they then go on waiting
   */
  publishItems(max: number = this.#limits.batchSize): Promise<ItemReport> {
    return this.#exclusively(async () => {
      await this.#followVersion()
      const removed = await this.#indexVersion.remove('item', this.#expired)
      while (this.#indexVersion.name !== this.#encoder.modelVersion) await this.#followVersion()
      const taken = this.#items.take(max)
      this.#writing.items = taken.length
      const { modelVersion: indexVersion, step } = this.#encoder
      const refusedIds: string[] = []
      const points: ItemPoint[] = []
      const pointsOf: TakenItem[] = []
      /** The model knows neither them nor their features, and this index version may still hold what it was by others. */
      const withoutVector: TakenItem[] = []
      let unknown = 0
      let unchanged = 0
      let refused = 0
      const { vectors, known } = this.#encodeItems(taken) // [N, D]
      const { dimensions } = this.#encoder
      const squaredEpsilon = this.#limits.epsilon ** 2
      for (const [i, item] of taken.entries()) {
        const vector = vectors.subarray(i * dimensions, (i + 1) * dimensions) // [D]
        if (known[i] === 0) {
          unknown++
          if (!this.#items.isAbsent(item.slot)) withoutVector.push(item)
          continue
        }
        if (!areUnits(vector)) {
          refused++
          if (refusedIds.length < refusedIdsMax) refusedIds.push(item.itemId)
          continue
        }
        const squaredMove = this.#items.squaredMove(item.slot, vector)
        if (!item.forced && !this.#numbersMoved(item) && squaredMove <= squaredEpsilon) {
          unchanged++
          this.#items.leave(squaredMove)
        } else {
          points.push(this.#itemPoint(item, vector))
          pointsOf.push(item)
        }
      }
      const undo = () => this.#items.putBack(taken)
      if (withoutVector.length > 0) {
        const ids = withoutVector.map(({ itemId }) => itemId).filter(isId)
        await this.#askOr(undo, () => this.#index.remove(indexVersion, 'item', ids))
        for (const item of withoutVector) if (this.#items.holds(item)) this.#items.removed(item.slot)
      }
      const written = await this.#write(indexVersion, step, points, undo)
      for (const [i, item] of pointsOf.entries()) {
        if (!this.#items.holds(item)) continue
        // Which of them were stale is not told: of all of them it is then unknown what the index holds.
        if (written === points.length)
          this.#items.wrote(item.slot, points[i]!.vector, points[i]!.payload.count, popularityWritten(points[i]!))
        else this.#items.unwrote(item.slot)
      }
      const promotion = await this.#promoteWhenComplete()
      return {
        ...{
          indexVersion,
          step,
          written,
          unchanged,
          unknown,
          stale: points.length - written,
          refused,
          refusedIds,
          removed
        },
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
   * @throws UnavailableError if the index does not take them; they then go on waiting
   */
  publishUsers(max: number = this.#limits.batchSize, { flush = false }: { flush?: boolean } = {}): Promise<UserReport> {
    return this.#exclusively(async () => {
      await this.#followVersion()
      const removed = await this.#indexVersion.remove('user', this.#forgotten)
      while (this.#indexVersion.name !== this.#encoder.modelVersion) await this.#followVersion()
      const { modelVersion: indexVersion, step, dimensions, interestCount } = this.#encoder
      const { generation } = this.#users
      const startMs = this.#clock.nowMs()
      const taken = this.#users.take(max, startMs, { flush, hurry: flush || !this.#indexVersion.isLive })
      this.#writing.users = taken.filter(
        ({ acceptedAtMs }) => acceptedAtMs !== undefined || !this.#indexVersion.isLive
      ).length
      const windows = taken.map(({ userId }) => this.#users.windows.steps(userId))
      const refusedIds: string[] = []
      const points: UserPoint[] = []
      const pointsOf: TakenUser[] = []
      let unknown = 0
      let refused = 0
      const { interests, known } = this.#encodeUsers(taken, windows) // [B, K, D]
      const encodedMs = this.#clock.nowMs()
      for (const [b, user] of taken.entries()) {
        const vectors = interests.subarray(b * interestCount * dimensions, (b + 1) * interestCount * dimensions) // [K, D]
        if (known[b] === 0) {
          unknown++
          this.#users.wasUnknown(user)
        } else if (!areUnits(vectors, dimensions)) {
          refused++
          if (refusedIds.length < refusedIdsMax) refusedIds.push(user.userId)
          // Not tried again before the weights or the history change: the same numbers would come out.
          this.#users.wasEncoded(user, generation, 'refused')
        } else {
          points.push({ role: 'user', id: user.userId, vectors, payload: userPayload(windows[b]!, startMs) })
          pointsOf.push(user)
        }
      }
      const undo = () => this.#users.putBack(pointsOf, startMs)
      const written = await this.#write(indexVersion, step, points, undo)
      if (!this.#indexVersion.isLive) await this.#writeToServed(taken, windows, startMs, undo)
      const endMs = this.#clock.nowMs()
      const agesMs: number[] = []
      const answeredIds: UserId[] = []
      const partsMs = {
        read: [] as number[],
        wait: [] as number[],
        encode: encodedMs - startMs,
        write: endMs - encodedMs
      }
      for (const user of pointsOf) {
        if (written < points.length) this.#users.wasStale(user)
        else {
          this.#users.wasEncoded(user, generation, 'written')
          if (user.acceptedAtMs === undefined) continue
          agesMs.push(Math.max(0, endMs - user.acceptedAtMs))
          partsMs.read.push(Math.max(0, user.notedAtMs - user.acceptedAtMs))
          partsMs.wait.push(Math.max(0, startMs - user.notedAtMs))
          answeredIds.push(user.userId)
        }
      }
      const promotion = await this.#promoteWhenComplete()
      return {
        ...{
          indexVersion,
          step,
          written,
          unknown,
          stale: points.length - written,
          refused,
          refusedIds,
          removed,
          agesMs,
          partsMs,
          answeredIds
        },
        swept: pointsOf.filter(({ acceptedAtMs }) => acceptedAtMs === undefined).length,
        waiting: this.#users.waiting,
        waitingUnknown: this.#users.unknown,
        dropped: this.#users.takeDropped(),
        ...(promotion === undefined ? {} : { promotion })
      }
    })
  }

  #hide(itemId: ItemId): void {
    if (this.#hidden.has(itemId)) return
    this.#hidden.add(itemId)
    this.removeItems([itemId])
  }

  #leave(itemId: ItemId): void {
    this.#items.remove(itemId)
    this.#expired.add(itemId)
  }

  #numbersMoved({ slot, itemId }: TakenItem): boolean {
    return this.#items.countMoved(slot) || this.#items.popularityMoved(slot, this.#popularityOf(itemId))
  }

  #encodeItems(taken: readonly TakenItem[]): { vectors: Float32Array; known: Uint8Array } {
    if (taken.length === 0) return { vectors: new Float32Array(0), known: new Uint8Array(0) }
    try {
      return this.#encoder.itemVectors(taken.map(({ itemId }) => this.#encoderItem(itemId)))
    } catch (error) {
      this.#items.putBack(taken)
      throw error
    }
  }

  #encoderItem(itemId: ItemId): EncoderItem {
    const item = this.#catalogue.get(itemId)
    return { itemId, features: item === undefined ? [] : featureKeys(item) }
  }

  #encodeUsers(
    taken: readonly TakenUser[],
    windows: readonly EncoderStep[][]
  ): { interests: Float32Array; known: Uint8Array } {
    if (taken.length === 0) return { interests: new Float32Array(0), known: new Uint8Array(0) }
    try {
      return this.#encoder.interests(windows)
    } catch (error) {
      this.#users.putBack(taken, this.#clock.nowMs())
      throw error
    }
  }

  #itemPoint({ slot, itemId }: TakenItem, vector: Float32Array): ItemPoint {
    const item = this.#catalogue.get(itemId)
    const { popularity, popularityIn } = this.#popularityOf(itemId)
    const payload = {
      ...(item?.title === undefined ? {} : { title: item.title }),
      ...(item === undefined ? {} : { features: item.features }),
      count: this.#items.count(slot),
      ...popularityPart(popularity, popularityIn),
      updatedAtMs: this.#clock.nowMs()
    }
    return { role: 'item', id: itemId, vector, payload }
  }

  async #write(
    indexVersion: string,
    step: number,
    points: readonly (ItemPoint | UserPoint)[],
    undo: () => void
  ): Promise<number> {
    return points.length === 0 ? 0 : this.#askOr(undo, () => this.#index.upsert(indexVersion, step, points))
  }

  async #askOr<T>(undo: () => void, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      undo()
      throw error
    }
  }

  /** Those who changed, into the index version that is still answered from. What fails here is overtaken by the switch. */
  async #writeToServed(
    taken: readonly TakenUser[],
    windows: readonly EncoderStep[][],
    updatedAtMs: number,
    undo: () => void
  ): Promise<void> {
    const encoder = this.#serving()
    if (
      encoder === undefined ||
      (await this.#askOr(undo, () => this.#index.live()))?.indexVersion !== encoder.modelVersion
    )
      return
    const changed = taken.flatMap(({ userId, acceptedAtMs }, b) =>
      acceptedAtMs === undefined ? [] : [{ userId, window: windows[b]! }]
    )
    if (changed.length === 0) return
    const { modelVersion: indexVersion, step, dimensions, interestCount } = encoder
    const { interests, known } = encoder.interests(changed.map(({ window }) => window)) // [B, K, D]
    const points: UserPoint[] = []
    for (const [b, { userId, window }] of changed.entries()) {
      const vectors = interests.subarray(b * interestCount * dimensions, (b + 1) * interestCount * dimensions) // [K, D]
      if (known[b] === 1 && areUnits(vectors, dimensions))
        points.push({ role: 'user', id: userId, vectors, payload: userPayload(window, updatedAtMs) })
    }
    await this.#write(indexVersion, step, points, undo)
  }

  /**
   * The encoder may have gone on to another index version while something was awaited: a batch is encoded and its index version is read
   * without awaiting between.
   */
  async #followVersion(): Promise<void> {
    while (this.#indexVersion.name !== this.#encoder.modelVersion) {
      const { modelVersion: indexVersion, dimensions, interestCount } = this.#encoder
      await this.#indexVersion.open(indexVersion, { dimensions, interestCount })
      this.#items.beginVersion(dimensions)
      this.#users.beginVersion()
    }
  }

  #promoteWhenComplete(): Promise<Promotion | undefined> {
    const pending = this.#items.pending + this.#users.unfilled
    const filled = { items: this.#items.written, users: this.#users.encoded }
    // An earlier model does not know what came after it: then it is enough that everything has been looked at.
    const lookedAt = this.#asked && pending === 0 ? { items: this.#items.size, users: this.#users.lookedAt } : filled
    return this.#indexVersion.promoteWhenComplete({ ...filled, lookedAt, pending })
  }

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

function popularityWritten({ payload: { popularity = 0, popularityIn } }: ItemPoint): ItemPopularity {
  return popularityIn === undefined ? { popularity } : { popularity, popularityIn }
}

/** @param steps oldest first */
function userPayload(steps: readonly EncoderStep[], updatedAtMs: number): UserPoint['payload'] {
  const recent = new Set<ItemId>()
  for (let i = steps.length - 1; i >= 0; i--) recent.add(steps[i]!.itemId)
  return { recent: [...recent], historyLength: steps.length, newestMs: steps.at(-1)?.eventTimeMs ?? 0, updatedAtMs }
}
