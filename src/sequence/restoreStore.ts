// Rebuilds a partition's store from the topic that carried its changes, when the local copy is lost.

import { handledLater } from '../core/promises.ts'
import type { UserId } from '../records/interaction.ts'
import type { UserSequence, UserWindow } from '../records/userSequence.ts'
import type { SequenceStore } from './sequenceStore.ts'

/** A record of `user-sequences` without a value. */
export interface ExpiredUser {
  readonly userId: UserId
  readonly expired: true
  /** Offset of the erasure in the partition of `interactions`; undefined: the user was idle for too long. */
  readonly erasedAt?: bigint | undefined
}

/** Of a record of `user-sequences` that a later one of the same user follows, what still counts. */
export interface Superseded {
  readonly partition: number
  readonly committed: bigint
  readonly watermarkMs: number
  readonly superseded: true
}

export type SequenceChange = UserSequence | ExpiredUser | Superseded

export interface RestoreReport {
  /** Users whose window was put into the store. */
  readonly users: number
  /** The offset of `interactions` to read on from. */
  readonly next: bigint
  /** Records that were looked at. */
  readonly changes: number
}

/**
 * The latest record of each user wins; the next offset is the greatest `committed`, the watermark the greatest
 * `watermarkMs`. Sequencing on from there gives the same histories as if nothing had been lost:
 *
 * - With C the greatest `committed`, every change from below C had been emitted before C was committed: each window
 *   holds at least what is below C, and perhaps more,
 *   since what follows C may have been emitted as well.
 * - What is read again from C on and is in a window already is a duplicate there, or late by now; so it changes
 *   nothing, and is not emitted a second time.
 *
 * Three things would show: copies of one event with different event times; copies with different sources where a user
 * has more than `recentMax` ids within the grace, for the first copy's may be forgotten by then; and an event time that
 * leaps by more than `idleMaxMs` between C and the end of the topic, for what is read again is judged against the
 * watermark after the leap.
 *
 * A restore that was cut short is simply done again: `next` stays 0 until everything is in.
 *
 * @param records of that partition of `interactions`, in the order of the topic; other partitions' are skipped
 * @throws Error if the store has been committed to before
 */
export async function restoreStore(
  store: SequenceStore,
  partition: number,
  records: AsyncIterable<SequenceChange> | Iterable<SequenceChange>
): Promise<RestoreReport> {
  if (store.committed() !== 0n)
    throw new Error(`partition ${partition} has state up to offset ${store.committed()}: restoring would overwrite it`)
  // What an attempt that was cut short has left.
  if (store.userCount() > 0) {
    for (const [userId] of [...store.users()]) store.delete(userId)
    await store.commit(0n, 0)
  }
  return apply(store, partition, records)
}

/**
 * Brings a store that was left behind up to what others have emitted since: the same as `restoreStore`, for the changes
 * from some point on alone. It goes on from where the store or the topic is further.
 *
 * @param records from any point on before which the store holds every change; changes that it holds already do no harm,
 *   as long as the later ones follow
 */
export async function catchUpStore(
  store: SequenceStore,
  partition: number,
  records: AsyncIterable<SequenceChange> | Iterable<SequenceChange>
): Promise<RestoreReport> {
  return apply(store, partition, records)
}

async function apply(
  store: SequenceStore,
  partition: number,
  records: AsyncIterable<SequenceChange> | Iterable<SequenceChange>
): Promise<RestoreReport> {
  const held = store.committed()
  let next = held
  let watermarkMs = store.watermarkMs()
  let changes = 0
  for await (const record of records) {
    let pressure: Promise<void> | undefined
    if ('expired' in record) {
      if (record.erasedAt === undefined || record.erasedAt >= held)
        pressure = handledLater(store.load(record.userId, undefined))
    } else if (record.partition === partition) {
      if (record.committed > next) next = record.committed
      if (record.watermarkMs > watermarkMs) watermarkMs = record.watermarkMs
      if (!('superseded' in record || isRepeat(record, held)))
        pressure = handledLater(store.load(record.userId, windowOf(record)))
    } else continue
    changes++
    if (pressure !== undefined) await pressure
  }
  await store.commit(next, watermarkMs)
  return { users: store.userCount(), next, changes }
}

/**
 * Whether the store has all that the record tells of: it was emitted again by somebody who read on from further back.
 * Where a user was erased in between, such a record may have a part of the window only, as the repeated erasure has
 * none.
 */
function isRepeat({ fresh }: UserSequence, held: bigint): boolean {
  return fresh.length > 0 && fresh.every(({ offset }) => offset < held)
}

/** A codec may read 64 bits as unsigned; here they are signed, as they were made. */
function windowOf({ steps, recent, newestMs }: UserSequence): UserWindow {
  return {
    steps,
    recent: recent.map(({ idHash, eventTimeMs }) => ({ idHash: BigInt.asIntN(64, idHash), eventTimeMs })),
    newestMs
  }
}
