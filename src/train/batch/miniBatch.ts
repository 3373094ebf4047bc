// One training step's data, ready for arithmetic: integers and floats, no ids.
//
// B examples, L history positions, U unique rows touched, N sampled negatives, F features an item.

import type { OffsetRanges } from '../../core/offsets.ts'

/** Side features of items, in compressed rows: the features of item u are `rows[start[u] … start[u + 1])`. */
export interface ItemFeatures {
  readonly start: Int32Array // [U + 1]
  readonly rows: Int32Array // [sum of F]  rows of the feature table
}

/** What is to be predicted, among what. */
export interface BatchCandidates {
  readonly size: number // B
  readonly items: Int32Array // [U]     rows of the item table, unique; items[0] = 0, the padding row
  readonly features: ItemFeatures // of the U items, where the catalogue has them
  readonly target: Int32Array // [B]     positions in `items`; 0 where the target has no row yet (it then counts as a miss and is not learned)
  readonly weight: Float32Array // [B]     by event type; 0 for an example that is not learned
  readonly negatives: Int32Array // [N]     positions in `items`, shared by the batch; accidental hits are masked by the loss
  readonly logQ: Float32Array // [U]     ln P(the item is drawn as a candidate); 0 where it is none
  /**
   * Targets of the same group are not each other's negatives: what a user takes next is no wrong answer for what he
   * takes now, and in a batch of few users it would be drawn far oftener than `logQ` says. Absent: every target is a
   * candidate for all. [B]
   */
  readonly groups?: Int32Array
  readonly ranges: OffsetRanges // which `user-sequences` records it was cut from
}

export interface MiniBatch extends BatchCandidates {
  readonly length: number // L: the longest history of this batch
  readonly history: Int32Array // [B, L]  positions in `items`, oldest first, LEFT-padded with 0: the newest step is at L − 1
  readonly age: Float32Array // [B, L]  seconds between the step and the NEWEST step of its history (docs/decisions/0009); 0 where padded
}
