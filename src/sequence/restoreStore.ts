// Brings a partition's store up to date with `user-sequences`, the topic that carries its changes: when the local copy
// is lost, and when another process has owned the partition since.

import { isDeepStrictEqual } from 'node:util'
import type { UserId } from '../records/interaction.ts'
import { extrasOf, type UserSequence, type UserWindow } from '../records/userSequence.ts'
import type { SequenceStore } from './sequenceStore.ts'

/** A record of `user-sequences` without a value. */
export interface ExpiredUser {
  readonly userId: UserId
  readonly expired: true
  /** Offset of the erasure in the partition of `interactions`; undefined: the user was idle for too long. */
  readonly erasedAt?: bigint | undefined
}

/** Bounds the memory; enough that writing them in the order of their keys pays. */
const changesPerCommit = 16_384

export type SequenceChange = UserSequence | ExpiredUser

export interface RestoreReport {
  /** Users whose window the store has. */
  readonly users: number
  /** The offset of `interactions` to read on from. */
  readonly next: bigint
  /** Records that were applied. */
  readonly changes: number
  /** Users of whom the topic's newest record holds less than the store: they have to be emitted again. */
  readonly outdated: ReadonlySet<UserId>
}

/**
 * The latest record of each user wins; the next offset is the greatest `committed`, the watermark the greatest
 * `watermarkMs`, of the store and of the records. Sequencing on from there gives the same windows as if nothing had
 * been lost:
 *
 * - With C the greatest `committed`, every change from below C was emitted before C was committed: each window holds at
 *   least what is below C, and perhaps more.
 * - What is read again from C on and is in a window already is a duplicate there, or late by now: it changes nothing,
 *   and is not emitted a second time.
 *
 * An owner that resumed from an earlier offset repeats an erasure and then emits the user's later steps again. If it ends
 * in between, the topic has less of the user than the store of the next owner: such users are `outdated`.
 *
 * Records that a later one of their user follows may be left out, as compaction does. Three exceptions are visible:
 * copies of one event with different event times; copies with different sources where a user has more than `recentMax`
 * ids within the grace; and an event time that leaps by more than `idleMaxMs` between C and the end of the topic, for
 * what is read again is compared with the watermark after the leap.
 *
 * A restore that was interrupted is done again from the beginning: the store's next offset stays 0 until it is complete.
 *
 * @param changes in the order of the topic, from its beginning if the store is empty, otherwise from any point before
 *   which the store has every change. Those of other partitions are skipped
 */
export async function restoreStore(
  store: SequenceStore,
  partition: number,
  changes: AsyncIterable<SequenceChange> | Iterable<SequenceChange>
): Promise<RestoreReport> {
  const held = store.committed()
  if (held === 0n && store.userCount() > 0) {
    // Left by an attempt that was interrupted.
    for (const [userId] of [...store.users()]) store.delete(userId)
    await store.commit(0n, 0)
  }
  let next = held
  const heldMs = store.watermarkMs()
  let watermarkMs = heldMs
  let applied = 0
  const outdated = new Set<UserId>()
  const note = (userId: UserId, isOutdated: boolean) => {
    if (isOutdated) outdated.add(userId)
    else outdated.delete(userId)
  }
  for await (const change of changes) {
    if ('expired' in change) {
      const isRepeat = change.erasedAt !== undefined && change.erasedAt < held
      if (!isRepeat) store.delete(change.userId)
      note(change.userId, isRepeat && store.get(change.userId) !== undefined)
    } else if (change.partition === partition) {
      if (change.committed > next) next = change.committed
      if (change.watermarkMs > watermarkMs) watermarkMs = change.watermarkMs
      const { steps, recent, newestMs } = change
      if (!isRepeat(change, held)) store.put(change.userId, { steps, recent, newestMs, ...extrasOf(change) })
      note(change.userId, isRepeat(change, held) && !isSame(store.get(change.userId), change))
    } else continue
    if (++applied % changesPerCommit === 0) await store.commit(held, heldMs)
  }
  await store.commit(next, watermarkMs)
  return { users: store.userCount(), next, changes: applied, outdated }
}

/**
 * Whether the store has all that is new in the record: an owner that resumed from an earlier offset emitted it again.
 * Where the user was erased in between, such a record may have a part of the window only.
 */
function isRepeat({ fresh, feedback = [], committed }: UserSequence, held: bigint): boolean {
  if (feedback.some(({ offset }) => offset >= held) || fresh.some(({ offset }) => offset >= held)) return false
  // Without a new step it may be a user who was emitted once more.
  return fresh.length > 0 || (feedback.length > 0 && committed < held)
}

function isSame(window: UserWindow | undefined, { steps, newestMs, seen, feedback }: UserSequence): boolean {
  return (
    window?.newestMs === newestMs &&
    window.steps.length === steps.length &&
    window.seen?.length === seen?.length &&
    isDeepStrictEqual(window.feedback, feedback) &&
    steps.every(({ itemId, type, eventTimeMs }, i) => {
      const own = window.steps[i]!
      return own.itemId === itemId && own.type === type && own.eventTimeMs === eventTimeMs
    })
  )
}
