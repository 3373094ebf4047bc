// What happened: one user acted on one item.

export type UserId = string
export type ItemId = string

/** Where a record was first seen, before anybody re-keyed it. */
export interface Source {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

export interface Interaction {
  /** Unique per event at its producer. Where the producer has none: `topic/partition/offset` of the source. */
  readonly eventId: string
  readonly userId: UserId
  readonly itemId: ItemId
  /** `click`, `view`, `purchase`, …: which ones count, and how much, is configuration. */
  readonly type: string
  /** Event time, milliseconds since the Unix epoch, a safe integer ≥ 0. */
  readonly eventTimeMs: number
  /** A rating, a price, seconds watched. */
  readonly value?: number
  readonly context?: Readonly<Record<string, string>>
  /** Absent where the log record itself is the source. */
  readonly source?: Source
  /** `listId` of the answer from which the user chose the item. */
  readonly listId?: string
}
