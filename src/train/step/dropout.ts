// Which of the numbers that the user towers read are left out of a step.

import type { Rng } from '../../core/rng.ts'

/** 1/(1 − rate) with probability 1 − rate, else 0; the rate rounded to 1/65,536. Two numbers a draw. */
export function dropoutMask(length: number, rate: number, rng: Rng): Float32Array {
  const mask = new Float32Array(length)
  const threshold = Math.round(rate * 65_536)
  const kept = 1 / (1 - rate)
  for (let i = 0; i < length; i += 2) {
    const bits = rng.uint32()
    if ((bits & 0xffff) >= threshold) mask[i] = kept
    if (i + 1 < length && bits >>> 16 >= threshold) mask[i + 1] = kept
  }
  return mask
}
