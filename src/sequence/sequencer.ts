// A fold over the interactions of one partition: rolling windows per user, and what is new in them.

import { Account, type Outcome } from '../core/account.ts'
import type { SequenceOptions } from '../core/config/config.ts'
import { dayMs } from '../core/config/settingTypes.ts'
import { BadEventError, CorruptError } from '../core/errors.ts'
import { TopCounts } from '../core/topCounts.ts'
import type { Interaction, UserId } from '../records/interaction.ts'
import { addFeedback, type FeedbackType, isFeedback } from '../records/seenItems.ts'
import { extrasOf, type FreshStep, type UserSequence, type UserWindow } from '../records/userSequence.ts'
import { hashEventId } from './eventIdHash.ts'
import { type Placed, type PlacementOptions, placeStep } from './placeStep.ts'
import type { SequenceCounts, SequenceStore } from './sequenceStore.ts'

export type SequencerOptions = PlacementOptions & Pick<SequenceOptions, 'idleMaxMs'>

type AcceptOutcome = Extract<Outcome<'sequence'>, 'placed' | 'feedback' | 'duplicate' | 'late' | 'ignored'>

/** What is to be appended to `user-sequences` before the next commit. */
interface Taken {
  /**
   * In the order of appending. More than one for a user only where one record would not hold the same examples, or too
   * little of their histories.
   */
  readonly sequences: readonly UserSequence[]
  /** Users who expired: a record without a value, so that compaction forgets them. None of them is in `sequences`. */
  readonly expired: readonly UserId[]
  /**
   * Users who were erased: a record without a value as well, to be appended before the sequences, for what is in these
   * came after.
   */
  readonly erased: readonly UserId[]
}

/**
 * Users swept per commit: some 10 ms of work; at one commit a second, a million users that expire together are gone
 * after 17 minutes.
 */
const sweepMax = 1000

/**
 * A record holds one window for all its fresh steps, so of a burst the first ones lose what the last ones pushed out.
 * Beyond this share of a full history the record is cut: one record for every ten steps of a burst, at 50 a window.
 */
const historyLossMax = 0.2

/** Types without a weight that are counted by name. */
export const ignoredTypesMax = 16

/** A user with steps that were not taken yet. */
interface Pending {
  window: UserWindow
  /** Ascending; `offsets` and these belong together. */
  positions: number[]
  offsets: bigint[]
  /** Steps that fell off the window since the oldest of these was placed: so many are missing from its history. */
  dropped: number
  acceptedAtMs: number
}

/**
 * One partition's sequencer. The caller's loop:
 *
 *     accept a batch → take → append what was taken, await the acknowledgement → now and then: commit
 *
 * Histories are a pure fold over the partition's records: how they are batched, when commits happen, where a crash
 * falls and when expired users are swept make no difference to them. Nor to which steps are emitted as fresh: each
 * exactly once between two commits. Nor to which of these are examples: those that had a step before them when they
 * were placed. (The window that a fresh step is emitted with does depend on the batch: later steps of the batch are in
 * it already, and may have pushed out its oldest ones.)
 *
 * Expiry is by event time: with W the newest event time of a counted type in the partition so far, a user whose newest
 * event is older than W − `idleMaxMs` is not there, whether or not the sweep has come by, and an event that old is
 * late.
 */
export class Sequencer {
  readonly #store: SequenceStore
  readonly #partition: number
  readonly #options: SequencerOptions
  readonly #types: ReadonlySet<string>
  readonly #droppedMax: number
  readonly #pending = new Map<UserId, Pending>()
  /** Cut before their time, because fresh steps were about to fall off. */
  #cut: { userId: UserId; pending: Pending }[] = []
  readonly #erased = new Set<UserId>()
  #watermarkMs: number
  /** The least offset that `accept` may see next. */
  #next: bigint
  #sweepDue = true
  readonly #account: Account<'sequence'>
  readonly #ignoredTypes: TopCounts
  #forgotten: number
  #expired: number
  /** The least offset that has not been read: what is refused and then rejected is read once. */
  #unread: bigint

  /**
   * @param store that partition's own; nothing else writes to it
   * @param eventTypes those that count, as keys (`events.types` of the configuration)
   */
  constructor(setup: {
    store: SequenceStore
    partition: number
    options: SequencerOptions
    eventTypes: Readonly<Record<string, number>>
  }) {
    this.#store = setup.store
    this.#partition = setup.partition
    this.#options = setup.options
    this.#droppedMax = Math.floor(setup.options.historyMax * historyLossMax)
    this.#types = new Set(Object.keys(setup.eventTypes))
    this.#watermarkMs = setup.store.watermarkMs()
    this.#next = setup.store.committed()
    this.#unread = this.#next
    const { account, ignoredTypes, forgotten, expired } = setup.store.counts()
    this.#account = new Account('sequence', account)
    this.#ignoredTypes = new TopCounts(ignoredTypesMax, ignoredTypes)
    this.#forgotten = forgotten
    this.#expired = expired
  }

  /** Newest event time so far, milliseconds; 0 before the first. */
  get watermarkMs(): number {
    return this.#watermarkMs
  }

  /**
   * @param offset of the record in the partition; ascending
   * @param acceptedAtMs when the log took it, milliseconds since the Unix epoch
   * @throws BadEventError for an event time that is none; nothing has changed
   * @throws CorruptError for an offset below what is committed: log and state don't belong together
   */
  accept(interaction: Interaction, offset: bigint, acceptedAtMs: number): AcceptOutcome {
    this.#read(offset)
    const { type } = interaction
    const outcome = isFeedback(type)
      ? this.#noteFeedback(interaction, type, offset, acceptedAtMs)
      : this.#types.has(type)
        ? this.#place(interaction, offset, acceptedAtMs)
        : 'ignored'
    this.#next = offset + 1n
    this.#account.add(outcome)
    if (outcome === 'ignored') this.#ignoredTypes.add(interaction.type)
    return outcome
  }

  #place(interaction: Interaction, offset: bigint, acceptedAtMs: number): AcceptOutcome {
    const { userId, itemId, type, eventTimeMs, source } = interaction
    const expiryMs = this.#advance(interaction)
    if (eventTimeMs < expiryMs) return 'late'

    const pending = this.#pending.get(userId)
    const window = this.#window(userId, expiryMs)
    const step = {
      itemId,
      type,
      eventTimeMs,
      source:
        source === undefined
          ? { partition: this.#partition, offset }
          : { partition: source.partition, offset: source.offset }
    }
    const placement = placeStep(window, { step, idHash: hashEventId(interaction.eventId) }, this.#options)
    if (placement.outcome !== 'placed') return placement.outcome

    this.#forgotten += placement.forgotten
    const { position, dropped } = placement
    if (pending === undefined) {
      this.#pending.set(userId, {
        window: placement.window,
        positions: [position],
        offsets: [offset],
        dropped: 0,
        acceptedAtMs
      })
    } else if (
      window === undefined ||
      changesExamples(pending, placement) ||
      pending.dropped + dropped > this.#droppedMax
    ) {
      this.#cut.push({ userId, pending: { ...pending } })
      pending.positions = [position]
      pending.offsets = [offset]
      pending.dropped = 0
      pending.window = placement.window
      pending.acceptedAtMs = acceptedAtMs
    } else {
      insertFresh(pending, position, dropped, offset)
      pending.dropped += dropped
      pending.window = placement.window
      if (acceptedAtMs > pending.acceptedAtMs) pending.acceptedAtMs = acceptedAtMs
    }
    return 'placed'
  }

  /** What is read again, or older than what is known of the item, changes nothing. */
  #noteFeedback(interaction: Interaction, type: FeedbackType, offset: bigint, acceptedAtMs: number): AcceptOutcome {
    const { userId, itemId, eventTimeMs, value = 0 } = interaction
    const expiryMs = this.#advance(interaction)
    if (eventTimeMs < expiryMs) return 'late'
    const window = this.#window(userId, expiryMs)
    const before = window?.feedback ?? []
    const untilMs = type === 'hide' && value > 0 ? { untilMs: Math.floor(eventTimeMs + value * dayMs) } : {}
    const feedback = addFeedback(before, { itemId, type, eventTimeMs, ...untilMs, offset })
    if (feedback === before) return 'duplicate'
    const newestMs = Math.max(window?.newestMs ?? 0, eventTimeMs)
    const noted = { steps: [], recent: [], ...window, newestMs, feedback }
    const pending = this.#pending.get(userId)
    if (pending !== undefined && window !== undefined) pending.window = noted
    else {
      if (pending !== undefined) this.#cut.push({ userId, pending })
      this.#pending.set(userId, { window: noted, positions: [], offsets: [], dropped: 0, acceptedAtMs })
    }
    return 'feedback'
  }

  /** @returns the time before which users are expired @throws BadEventError for an event time that is none */
  #advance({ eventTimeMs, eventId }: Interaction): number {
    if (!Number.isSafeInteger(eventTimeMs) || eventTimeMs < 0)
      throw new BadEventError(
        `event time ${eventTimeMs} of event ${JSON.stringify(eventId)}: must be whole milliseconds since 1970`
      )
    if (eventTimeMs > this.#watermarkMs) this.#watermarkMs = eventTimeMs
    return this.#watermarkMs - this.#options.idleMaxMs
  }

  /** undefined: the user is not there, or has expired. */
  #window(userId: UserId, expiryMs: number): UserWindow | undefined {
    const pending = this.#pending.get(userId)
    const found = pending === undefined ? this.#store.get(userId) : pending.window
    return found === undefined || found.newestMs < expiryMs ? undefined : found
  }

  /**
   * The users with fresh steps since the last call, and those who have expired. To be appended, and acknowledged,
   * before `commit`.
   */
  take(): Taken {
    const sequences = this.#cut.map(({ userId, pending }) => this.#sequence(userId, pending))
    this.#cut = []
    for (const [userId, pending] of this.#pending) {
      sequences.push(this.#sequence(userId, pending))
      this.#store.put(userId, pending.window)
    }
    const expired = this.#sweep()
    this.#pending.clear()
    const erased = [...this.#erased]
    this.#erased.clear()
    return { sequences, expired, erased }
  }

  /** Once per commit, for the store's list of idle users is as of the commit. */
  #sweep(): UserId[] {
    if (!this.#sweepDue) return []
    this.#sweepDue = false
    const expiryMs = this.#watermarkMs - this.#options.idleMaxMs
    const expired = this.#store.idle(expiryMs, sweepMax).filter((userId) => {
      const window = this.#store.get(userId)
      return window !== undefined && window.newestMs < expiryMs && !this.#pending.has(userId)
    })
    for (const userId of expired) this.#store.delete(userId)
    this.#expired += expired.length
    return expired
  }

  /**
   * Makes everything accepted so far durable.
   *
   * @param next the offset to read on from: after the last one accepted
   */
  async commit(next: bigint): Promise<void> {
    if (this.#pending.size + this.#erased.size > 0)
      throw new Error(
        `commit(${next}) with ${this.#pending.size + this.#erased.size} users that were not taken: they would never be emitted`
      )
    if (next < this.#next)
      throw new Error(`commit(${next}) after offset ${this.#next - 1n} was accepted: it would be counted twice`)
    this.#next = next
    this.#sweepDue = true
    await this.#store.commit(next, this.#watermarkMs, this.report())
  }

  /** A record that is no interaction, and was dead-lettered. @param offset as in `accept` */
  reject(offset: bigint): void {
    this.#read(offset)
    this.#next = offset + 1n
    this.#account.add('rejected')
  }

  /**
   * Forgets the user: what was placed and not taken yet, too. What comes afterwards begins a new history. @param offset
   * as in `accept`
   */
  erase(userId: UserId, offset: bigint): void {
    this.#read(offset)
    this.#next = offset + 1n
    this.#account.add('erasure')
    this.#pending.delete(userId)
    this.#cut = this.#cut.filter((cut) => cut.userId !== userId)
    this.#store.delete(userId)
    this.#erased.add(userId)
  }

  /** What became of the partition's records so far, those before this process included. */
  report(): SequenceCounts {
    return {
      account: this.#account.numbers(),
      ignoredTypes: this.#ignoredTypes.state(),
      forgotten: this.#forgotten,
      expired: this.#expired
    }
  }

  /** @throws CorruptError for an offset below what is committed */
  #read(offset: bigint): void {
    if (offset < this.#next) this.#refuse(offset)
    if (offset < this.#unread) return
    this.#unread = offset + 1n
    this.#account.read()
  }

  #sequence(userId: UserId, pending: Pending): UserSequence {
    const { window, positions, offsets, acceptedAtMs } = pending
    const fresh = new Array<FreshStep>(positions.length)
    for (let i = 0; i < fresh.length; i++) fresh[i] = { position: positions[i]!, offset: offsets[i]! }
    return {
      userId,
      steps: window.steps,
      recent: window.recent,
      newestMs: window.newestMs,
      ...extrasOf(window),
      fresh,
      partition: this.#partition,
      committed: this.#store.committed(),
      watermarkMs: this.#watermarkMs,
      acceptedAtMs
    }
  }

  #refuse(offset: bigint): never {
    const committed = this.#store.committed()
    if (offset >= committed)
      throw new Error(`offset ${offset} of partition ${this.#partition} after offset ${this.#next - 1n}`)
    throw new CorruptError(
      `partition ${this.#partition} was read at offset ${offset}, but the sequencer's state already holds everything below ${committed}: ` +
        `the log was replaced, or the state is another log's. Give back the log, or remove the state (mtmi reset)`
    )
  }
}

/**
 * Whether the record of what is pending and of the new step would hold other examples than a record of each: its first
 * fresh step would fall off, lose the last step of its history, or get a history that it did not have when it was
 * placed. (The other fresh steps have the first one before them.)
 */
function changesExamples({ positions }: Pending, { position, dropped }: Placed): boolean {
  if (positions.length === 0) return false // feedback alone
  return positions[0]! <= dropped && (dropped > 0 || position === 0)
}

/** Moves the fresh positions as the new step moved theirs, and adds its own. None of them has been dropped. */
function insertFresh(pending: Pending, position: number, dropped: number, offset: bigint): void {
  const { positions, offsets } = pending
  let at = positions.length
  for (let i = 0; i < positions.length; i++) {
    const moved = positions[i]! - dropped
    positions[i] = moved < position ? moved : moved + 1
    if (moved >= position && at > i) at = i
  }
  positions.splice(at, 0, position)
  offsets.splice(at, 0, offset)
}
