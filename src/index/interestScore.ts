// How an item's K cosines, one for each interest of a user, become the one score that lists are sorted by.
//
//     nearest   max_k cos_k
//     mixture   τ · ln( 1/K · Σ_k e^(cos_k/τ) )
//
// The second is what the softmax over all pairs of an interest and an item is trained for: the probability of an item
// is the sum over the interests, not the greatest of them. An item that two interests like a little less may come
// before one that a single interest likes a little more. With τ → 0 it is the first. It lies between the mean of the
// cosines and the greatest, at most τ · ln K below it, and is the same for K = 1.

import type { ModelOptions } from '../core/config/modelOptions.ts'

export interface InterestScore {
  readonly form: ModelOptions['score']
  /** τ of the mixture: the model's. */
  readonly temperature: number
}

export const nearestInterest: InterestScore = { form: 'nearest', temperature: 1 }

export function interestScoreOf({ score, temperature }: Pick<ModelOptions, 'score' | 'temperature'>): InterestScore {
  return { form: score, temperature }
}

/** e^((cos − 1)/τ): of which the mixture is made; at most 1, so that no sum overflows. */
export function mixtureShare(cosine: number, temperature: number): number {
  return Math.exp((cosine - 1) / temperature)
}

/** @param shares Σ_k mixtureShare @param count K */
export function mixtureScore(shares: number, count: number, temperature: number): number {
  return 1 + temperature * Math.log(shares / count)
}

/**
 * An item's score by its K cosines, as above; 0 without any. One that is not finite is not known, and taken to be far.
 *
 * @param cosines K of them from `from`
 */
export function scoreOf(
  cosines: ArrayLike<number>,
  from: number,
  count: number,
  { form, temperature }: InterestScore
): number {
  if (count === 0) return 0
  let [greatest, shares] = [Number.NEGATIVE_INFINITY, 0]
  for (let k = from; k < from + count; k++) {
    const cosine = cosines[k]!
    if (!Number.isFinite(cosine)) continue
    if (cosine > greatest) greatest = cosine
    if (form === 'mixture') shares += mixtureShare(cosine, temperature)
  }
  return form === 'nearest' || count === 1 ? greatest : mixtureScore(shares, count, temperature)
}

/** Rounding may exceed −1 … 1. NaN stays. */
export function toCosine(score: number): number {
  return Math.max(-1, Math.min(1, score))
}
