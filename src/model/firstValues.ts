// First values that several models share.

import type { Rng } from '../core/rng.ts'

/**
 * Square matrices at the identity plus noise, so that from the first step on a user's vectors lie near the items he
 * took, and learning only has to turn them: from a stream, each example is seen about once. Noise of .02 turns a unit
 * vector by about .02·√D = .16 in 64 dimensions: enough that no two towers are alike.
 *
 * @returns value number i of matrices [D, D], one after the other
 */
export function nearIdentity(D: number, rng: Rng): (i: number) => number {
  return (i) => (Math.floor(i / D) % D === i % D ? 1 : 0) + 0.02 * rng.normal()
}
