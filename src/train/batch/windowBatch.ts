// A mini-batch whose histories overlap: the targets of one user's window share its steps, so that a step is gathered
// once, not once for each target.
//
// B targets, W windows, S steps of the longest, P places in each (targets of the window that has most), R newest steps
// of a history, U unique rows, N negatives.

import type { BatchCandidates, MiniBatch } from './miniBatch.ts'

export interface WindowBatch extends BatchCandidates {
  readonly windows: number // W
  readonly length: number // S
  readonly places: number // P
  readonly steps: Int32Array // [W, S]  positions in `items`, oldest first, RIGHT-padded with 0
  readonly timesMs: Float64Array // [W, S]  of the steps; 0 where padded
  /**
   * Where a place's history ends: it is the steps [max(0, end − R), end) of its window. 0: no history, or nobody's
   * place. [W, P]
   */
  readonly ends: Int32Array
  /** Place of each target, w·P + p, ascending. [B] */
  readonly placeOf: Int32Array
  readonly groups: Int32Array // [B]  the user
}

/**
 * The same targets with a history each: what a model computes that reads no windows. The interests, loss and gradients
 * are the same numbers but for the order of sums.
 *
 * @param historyMax R
 */
export function unrolled(batch: WindowBatch, historyMax: number): MiniBatch {
  const { size, windows: _windows, places, steps, timesMs, ends, placeOf, length: S, ...candidates } = batch
  let length = 1
  for (const end of ends) length = Math.max(length, Math.min(end, historyMax))
  const history = new Int32Array(size * length) // [B, L]
  const age = new Float32Array(size * length) // [B, L]
  for (let b = 0; b < size; b++) {
    const place = placeOf[b]!
    const window = Math.floor(place / places) * S
    const end = ends[place]!
    const newestMs = timesMs[window + end - 1]!
    for (
      let step = Math.max(0, end - historyMax), to = (b + 1) * length - Math.min(end, historyMax);
      step < end;
      step++, to++
    ) {
      history[to] = steps[window + step]!
      age[to] = ageSeconds(newestMs, timesMs[window + step]!)
    }
  }
  return { ...candidates, size, length, history, age }
}

/** Rounded as a MiniBatch holds it. @returns ≥ 0 */
export function ageSeconds(newestMs: number, timeMs: number): number {
  const seconds = Math.fround((newestMs - timeMs) / 1000)
  return seconds > 0 ? seconds : 0
}
