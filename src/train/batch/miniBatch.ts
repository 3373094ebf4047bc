// The data of one training step, ready for arithmetic: integers and floats, no ids.
//
// B examples, L history positions, U unique rows touched, N sampled negatives, F features of an item.

import type { OffsetRanges } from '../../core/offsets.ts'

/** Side features of items, in compressed rows: the features of item u are `rows[start[u] … start[u + 1])`. */
export interface ItemFeatures {
  readonly start: Int32Array // [U + 1]
  readonly rows: Int32Array // [sum of F]  rows of the feature table
}

/** What is to be predicted, and among what. */
export interface BatchCandidates {
  readonly size: number // B
  readonly items: Int32Array // [U]  rows of the item table, unique; items[0] = 0, the padding row
  readonly features: ItemFeatures // of the U items, where the catalogue has them
  readonly target: Int32Array // [B]  positions in `items`; 0 where the target has no row yet (a miss, and not trained on)
  readonly weight: Float32Array // [B]  by event type; 0 for an example that is not trained on
  readonly negatives: Int32Array // [N]  positions in `items`, shared by the batch
  readonly logQ: Float32Array // [U]  ln P(the item is drawn as a candidate); 0 where it is none
  /**
   * Targets of the same group are not each other's negatives: a user's next step is no wrong answer for this one, and
   * in a batch of few users it would be drawn far more often than `logQ` says. Absent: every target is a candidate for
   * all. [B]
   */
  readonly groups?: Int32Array
  readonly ranges: OffsetRanges // the `user-sequences` records it was cut from
}

export interface MiniBatch extends BatchCandidates {
  readonly length: number // L: the longest history of this batch
  readonly history: Int32Array // [B, L]  positions in `items`, oldest first, LEFT-padded with 0: the newest step is at L − 1
  readonly age: Float32Array // [B, L]  seconds between the step and the NEWEST step of its history (docs/decisions/0009); 0 where padded
}

/**
 * A mini-batch whose histories overlap: the targets of one user's window share its steps, so that a step is gathered
 * once, not once for each target. The stream has none; offline evaluation trains on them.
 *
 * W windows, S steps of the longest, P places in each (targets of the window with the most), R newest steps of a
 * history.
 */
export interface WindowBatch extends BatchCandidates {
  readonly windows: number // W
  readonly length: number // S
  readonly places: number // P
  readonly steps: Int32Array // [W, S]  positions in `items`, oldest first, RIGHT-padded with 0
  readonly timesMs: Float64Array // [W, S]  of the steps; 0 where padded
  /** A place's history is the steps [max(0, end − R), end) of its window; 0: no history, or an unused place. [W, P] */
  readonly ends: Int32Array
  readonly placeOf: Int32Array // [B]  place of each target, w·P + p, ascending
  readonly groups: Int32Array // [B]  the user
}
