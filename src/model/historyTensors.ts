// A batch's histories as user models read them: positions among the rows that the histories touch, and what is known of
// each step. As arrays, and as tensors.
//
// B histories, L steps each. Histories that overlap may share their steps: then W windows of L steps with P histories
// each, and B = W·P. Otherwise W = B, P = 1. R newest steps of a history are read.

import * as tf from '@tensorflow/tfjs-core'

export interface HistoryTensors {
  readonly size: number // B
  readonly length: number // L
  readonly perWindow?: number // P; absent: 1
  readonly steps: tf.Tensor1D // [W·L]      int32, positions in `rows`, oldest first; left-padded where P = 1
  readonly age: tf.Tensor1D // [B·L]      int32, age group (see ageGroup)
  readonly seconds: Float32Array // [B·L]      before the newest step of the history
  readonly blocked: tf.Tensor3D // [B, L, 1]  0 at a real step; −1e9 at padding and at steps of the window outside the history
  /** Place of the step in its history: R − 1 is the newest. Absent: all histories end with their window. [B·L] int32 */
  readonly position?: tf.Tensor1D
}

/** What HistoryTensors is made from. */
export interface HistoryArrays {
  readonly size: number // B
  readonly length: number // L
  readonly perWindow: number // P
  readonly steps: Int32Array // [W·L]
  readonly age: Int32Array // [B·L]
  readonly seconds: Float32Array // [B·L]
  readonly blocked: Float32Array // [B·L]
  readonly position?: Int32Array // [B·L]
}

interface Histories {
  readonly size: number // B
  readonly length: number // L
  readonly steps: Int32Array // [B, L]  positions, oldest first, left-padded with 0
  readonly age: Float32Array // [B, L]  seconds before the newest step
}

interface HistoryWindows {
  readonly windows: number // W
  readonly length: number // L
  readonly places: number // P
  readonly steps: Int32Array // [W, L]  positions, oldest first, right-padded with 0
  readonly timesMs: Float64Array // [W, L]
  /** A place's history is the steps [max(0, end − R), end) of its window; 0: none. [W, P] */
  readonly ends: Int32Array
}

/** log2 of seconds: 31 doublings are 68 years. */
export const ageGroups = 32

/** Doublings of the age. @param ageSeconds below 0 or not a number: counts as 0 @returns 0 … ageGroups − 1 */
export function ageGroup(ageSeconds: number): number {
  if (!(ageSeconds > 0)) return 0
  return 31 - Math.clz32(Math.min(2 ** 31, 1 + ageSeconds)) // log2, rounded down
}

/** @param historyMax R */
export function historyArrays(histories: Histories, historyMax: number): HistoryArrays {
  const { size: B, length } = histories
  const L = Math.min(length, historyMax)
  const steps = new Int32Array(B * L)
  const age = new Int32Array(B * L)
  const seconds = new Float32Array(B * L)
  const blocked = new Float32Array(B * L)
  for (let b = 0; b < B; b++) {
    for (let l = 0; l < L; l++) {
      const from = b * length + (length - L) + l
      const to = b * L + l
      steps[to] = histories.steps[from]!
      if (steps[to] === 0) {
        blocked[to] = -1e9
        continue
      }
      seconds[to] = histories.age[from]!
      age[to] = ageGroup(seconds[to]!)
    }
  }
  return { size: B, length: L, perWindow: 1, steps, age, seconds, blocked }
}

/** @param historyMax R */
export function windowArrays(batch: HistoryWindows, historyMax: number): HistoryArrays {
  const { windows: W, length: L, places: P, timesMs, ends } = batch
  const age = new Int32Array(W * P * L)
  const seconds = new Float32Array(W * P * L)
  const position = new Int32Array(W * P * L)
  const blocked = new Float32Array(W * P * L).fill(-1e9)
  for (let place = 0; place < W * P; place++) {
    const end = ends[place]!
    const window = Math.floor(place / P) * L
    const newestMs = timesMs[window + end - 1]!
    for (let step = Math.max(0, end - historyMax); step < end; step++) {
      const to = place * L + step
      blocked[to] = 0
      seconds[to] = (newestMs - timesMs[window + step]!) / 1000
      age[to] = ageGroup(seconds[to]!)
      position[to] = historyMax - end + step
    }
  }
  return { size: W * P, length: L, perWindow: P, steps: batch.steps, age, seconds, blocked, position }
}

/** Owned by the caller. */
export function tensorsOf(arrays: HistoryArrays): HistoryTensors {
  const { size, length, perWindow, seconds, position } = arrays
  return {
    size,
    length,
    seconds,
    steps: tf.tensor1d(arrays.steps, 'int32'),
    age: tf.tensor1d(arrays.age, 'int32'),
    blocked: tf.tensor3d(arrays.blocked, [size, length, 1]),
    ...(position === undefined ? {} : { perWindow, position: tf.tensor1d(position, 'int32') })
  }
}

/** Owned by the caller. @param historyMax R */
export function historyTensors(histories: Histories, historyMax: number): HistoryTensors {
  return tensorsOf(historyArrays(histories, historyMax))
}
