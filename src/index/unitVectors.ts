// Whether vectors may be published.

/**
 * How far a vector's length may be from 1: float32 rounding over 512 dimensions stays below 1e-5, a broken tower does
 * not.
 */
const lengthTolerance = 1e-3

/** @param vectors [count, D], count ≥ 1 */
export function areUnits(vectors: Float32Array, dimensions: number): boolean {
  for (let from = 0; from < vectors.length; from += dimensions) {
    if (!isUnit(vectors.subarray(from, from + dimensions))) return false
  }
  return vectors.length > 0
}

/** A comparison with NaN is false: what is not finite is not a unit. */
export function isUnit(vector: Float32Array): boolean {
  let squared = 0
  for (let d = 0; d < vector.length; d++) squared += vector[d]! * vector[d]!
  return Math.abs(Math.sqrt(squared) - 1) <= lengthTolerance
}
