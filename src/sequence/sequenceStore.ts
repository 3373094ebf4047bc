// The state of `sequence`: the windows of one partition's users, and the offset that they were made from.

import { Account, type AccountNumbers } from '../core/account.ts'
import { noTopCounts, type TopCountsState } from '../core/topCounts.ts'
import type { OffsetSource } from '../log/userRecords.ts'
import type { UserId } from '../records/interaction.ts'
import type { UserWindow } from '../records/userSequence.ts'

/** Outcomes of the records of a partition, from its first one on. */
export interface SequenceCounts {
  readonly account: AccountNumbers<'sequence'>
  /** Of the ignored ones. */
  readonly ignoredTypes: TopCountsState
  /** Event ids dropped within the grace because a user had more than `recentMax`. */
  readonly forgotten: number
  /** Users that expired. */
  readonly expired: number
}

export const noCounts: SequenceCounts = {
  account: new Account('sequence').numbers(),
  ignoredTypes: noTopCounts,
  forgotten: 0,
  expired: 0
}

/**
 * The rolling windows of the users of ONE partition of `interactions`. Reads see earlier puts; durability comes with
 * `commit`.
 */
export interface SequenceStore {
  /** undefined for a user never seen, deleted or expired. */
  get(userId: UserId): UserWindow | undefined
  put(userId: UserId, window: UserWindow): void
  delete(userId: UserId): void
  /**
   * Makes all puts and deletes, `next`, the watermark and the counts durable together, or none of them. Without counts
   * the earlier ones stay.
   */
  commit(next: bigint, watermarkMs: number, counts?: SequenceCounts): Promise<void>
  /** Calls the listener, one for a store, after each commit. @param listener `changed`: windows were put since the last */
  onCommit(listener: (changed: boolean) => void): void
  /** Where its offsets are from, if they are not those of the topic: set by the code that opens it. */
  source?: OffsetSource
  /** The next offset to read, `source.base` included; 0 for an empty store. */
  committed(): bigint
  /** Newest event time of the partition as of the last commit, milliseconds; 0 for an empty store. */
  watermarkMs(): number
  /** As of the last commit. */
  counts(): SequenceCounts
  /** Users by id, as of the last commit. */
  users(): Iterable<[UserId, UserWindow]>
  /**
   * Up to `limit` users whose newest event is older than `beforeMs`, as of the last commit; cheap when there are none.
   */
  idle(beforeMs: number, limit: number): UserId[]
  userCount(): number
  close(): Promise<void>
}
