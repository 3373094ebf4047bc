// A batch's histories as the user towers read them: tensors for what is real, positions in the rows that the histories touch.

import * as tf from '@tensorflow/tfjs-core'
import { ageGroup, type HistoryTensors } from './mtmi.ts'

export interface Histories {
  readonly size: number // B
  readonly length: number // L
  readonly steps: Int32Array // [B, L]  positions, oldest first, left-padded with 0
  readonly age: Float32Array // [B, L]  seconds before the newest step
}

/** Owned by the caller. @param historyMax R of the weights: of longer histories the newest R steps are read */
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
