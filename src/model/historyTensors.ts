// A batch's histories as user models read them: tensors for what is real, positions in the rows that the histories touch.

import * as tf from '@tensorflow/tfjs-core'

export interface HistoryTensors {
  readonly size: number // B
  readonly length: number // L
  readonly steps: tf.Tensor1D // [B·L]      int32, positions in `rows`, oldest first, left-padded
  readonly age: tf.Tensor1D // [B·L]      int32, age group (see ageGroup)
  readonly blocked: tf.Tensor3D // [B, L, 1]  0 at a real step, −1e9 at padding and at steps dropped out
}

export interface Histories {
  readonly size: number // B
  readonly length: number // L
  readonly steps: Int32Array // [B, L]  positions, oldest first, left-padded with 0
  readonly age: Float32Array // [B, L]  seconds before the newest step
}

/** log2 of seconds: 31 doublings are 68 years. */
export const ageGroups = 32

/** Doublings of the age. @param ageSeconds anything below 0, or no number, counts as 0 @returns 0 … ageGroups − 1 */
export function ageGroup(ageSeconds: number): number {
  if (!(ageSeconds > 0)) return 0
  return Math.min(ageGroups - 1, Math.floor(Math.log2(1 + ageSeconds)))
}

/** Owned by the caller. @param historyMax R of the model: of longer histories the newest R steps are read */
export function historyTensors(histories: Histories, historyMax: number): HistoryTensors {
  const { size: B, length } = histories
  const L = Math.min(length, historyMax)
  const steps = new Int32Array(B * L)
  const age = new Int32Array(B * L)
  const blocked = new Float32Array(B * L)
  for (let b = 0; b < B; b++) {
    for (let l = 0; l < L; l++) {
      const from = b * length + (length - L) + l
      const to = b * L + l
      const step = histories.steps[from]!
      steps[to] = step
      if (step === 0) blocked[to] = -1e9
      else age[to] = ageGroup(histories.age[from]!)
    }
  }
  return {
    size: B,
    length: L,
    steps: tf.tensor1d(steps, 'int32'),
    age: tf.tensor1d(age, 'int32'),
    blocked: tf.tensor3d(blocked, [B, L, 1])
  }
}
