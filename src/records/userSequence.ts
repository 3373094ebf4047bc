// A user's rolling record, and the record that carries it.

import type { ItemId, UserId } from './interaction.ts'

export interface SequenceStep {
  readonly itemId: ItemId
  readonly type: string
  /** Milliseconds since the Unix epoch. */
  readonly eventTimeMs: number
  /**
   * Where the event was first seen: orders equal event times. Only while the step is within the grace of the user's newest step;
   * older steps are in their final order, and forgetting it keeps a step at about nine bytes.
   */
  readonly source?: { readonly partition: number; readonly offset: bigint }
}

/** The events that a repeat may still arrive of: those within the grace, whether or not they are still in the window. */
export interface RecentEvent {
  /** 64 bits of a hash of the event id, as a signed integer. */
  readonly idHash: bigint
  readonly eventTimeMs: number
}

/** All that is kept of a user. */
export interface UserWindow {
  /** Oldest first by (event time, source partition, source offset); at most `historyMax`. */
  readonly steps: readonly SequenceStep[]
  readonly recent: readonly RecentEvent[]
  /** The user's newest event time, milliseconds. */
  readonly newestMs: number
}

export interface FreshStep {
  /** Index in `steps`. */
  readonly position: number
  /** Of the interaction in its partition of the `interactions` topic: names the example for ever. */
  readonly offset: bigint
}

/**
 * One record of the `user-sequences` topic: at once the changelog of the state, the stream of training examples and the trigger to refresh a user.
 * Each fresh step is an example: its history is the steps before it.
 */
export interface UserSequence extends UserWindow {
  readonly userId: UserId
  /** Ascending by position. */
  readonly fresh: readonly FreshStep[]
  /** Partition of `interactions` that the user lives in. */
  readonly partition: number
  /** Every interaction of that partition below this offset had been emitted AND committed before: a fresh step below it is a repeat. */
  readonly committed: bigint
  /** Newest event time seen in the partition when this was emitted, milliseconds. */
  readonly watermarkMs: number
  /** When the log took the newest of the fresh interactions, milliseconds: freshness is measured from here. */
  readonly acceptedAtMs: number
}
