// Points for tests of an index.

import type { Rng } from '../../src/core/rng.ts'
import type { ItemPoint, UserPoint } from '../../src/index/vectorIndex.ts'

export function itemPoint(id: string, vector: readonly number[], more: Partial<ItemPoint['payload']> = {}): ItemPoint {
  return { role: 'item', id, vector: Float32Array.from(vector), payload: { count: 1, updatedAtMs: 1000, ...more } }
}

export function userPoint(
  id: string,
  vectors: readonly (readonly number[])[],
  recent: readonly string[] = []
): UserPoint {
  return {
    role: 'user',
    id,
    vectors: Float32Array.from(vectors.flat()),
    payload: { recent, historyLength: recent.length, newestMs: 500, updatedAtMs: 1000 }
  }
}

/** A unit vector by random numbers. */
export function randomUnit(rng: Rng, dimensions: number): Float32Array {
  const vector = Float32Array.from({ length: dimensions }, () => rng.normal())
  const length = Math.hypot(...vector)
  return vector.map((value) => value / length)
}
