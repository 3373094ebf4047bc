import type { UserId } from '../event/interaction.ts'
import type { UserWindow } from './userSequence.ts'

/** The rolling windows of the users of ONE partition of `interactions`. Reads see earlier puts; durability comes with `commit`. */
export interface SequenceStore {
  /** undefined for a user never seen, deleted or expired. */
  get(userId: UserId): UserWindow | undefined
  put(userId: UserId, window: UserWindow): void
  delete(userId: UserId): void
  /** Makes all puts and deletes, `next` and the watermark durable together, or none of them. */
  commit(next: bigint, watermarkMs: number): Promise<void>
  /** The next offset to read; 0 for an empty store. */
  committed(): bigint
  /** Newest event time of the partition as of the last commit, milliseconds; 0 for an empty store. */
  watermarkMs(): number
  /** Users by id, as of the last commit. */
  users(): Iterable<[UserId, UserWindow]>
  /** Up to `limit` users whose newest event is older than `beforeMs`, as of the last commit; cheap when there are none. */
  idle(beforeMs: number, limit: number): UserId[]
  userCount(): number
  close(): Promise<void>
}
