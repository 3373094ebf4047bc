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
   */
  interests(histories: readonly (readonly EncoderStep[])[]): EncodedUsers
}

export interface EncodedUsers {
  /** [B, K, D] */
  readonly interests: Float32Array
  /** 0 where no step of the history is known. [B] */
  readonly known: Uint8Array
  /**
   * Evidence of each interest: the share of the newest 20 known steps of the history that it explains. Sums to 1 over
   * the interests of a known user (decisions/0062). [B, K]
   *
   *     strength_k = mean over the steps h of  e^(u_k·v_h/τ) / Σ_j e^(u_j·v_h/τ)
   */
  readonly strengths: Float32Array
}

/** Effective number of interests, e^entropy of their strengths: 1 (one explains the whole history) … K (all the same). */
export function effectiveInterests(strengths: ArrayLike<number>): number {
  let entropy = 0
  for (let k = 0; k < strengths.length; k++) if (strengths[k]! > 0) entropy -= strengths[k]! * Math.log(strengths[k]!)
  return Math.exp(entropy)
}
