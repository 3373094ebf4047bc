// What the stages after training know of a model: plain arrays in, plain arrays out.
//
// N items, B users, K interests, D dimensions. Every vector returned has length 1.

import type { ItemId } from '../records/interaction.ts'

export interface EncoderItem {
  readonly itemId: ItemId
  /** `field=value` (see featureKeys). */
  readonly features: readonly string[]
}

export interface EncoderStep {
  readonly itemId: ItemId
  readonly eventTimeMs: number
}

export interface Encoder {
  readonly dimensions: number
  readonly interestCount: number
  /** Model version whose vectors may be compared, and the step of its weights. */
  readonly modelVersion: string
  readonly step: number
  /**
   * @returns vectors [N, D], and known [N]: 0 where neither a row nor a feature of the item is known (its vector is
   *   then meaningless)
   */
  itemVectors(items: readonly EncoderItem[]): { vectors: Float32Array; known: Uint8Array }
  /**
   * @param histories oldest first; items without a row are left out
   * @returns interests [B, K, D], and known [B]: 0 where no step of the history is known
   */
  interests(histories: readonly (readonly EncoderStep[])[]): { interests: Float32Array; known: Uint8Array }
}
