// Rows by index, with the gradient that belongs to it: a sum by index.
//
// tfjs's own gradient of `gather` uses UnsortedSegmentSum, which WASM does not have. There the sum is done in typed
// arrays.

import * as tf from '@tensorflow/tfjs-core'

/**
 * What tf.customGrad hands to a forward function, to keep tensors for the backward one. tfjs does not export the type.
 */
export type GradientSaver = (tensors: tf.Tensor[]) => void

/**
 * out[i] = rows[index[i]].
 *
 * @param rows [U, D]
 * @param index [M] int32, 0 … U − 1
 * @returns [M, D]
 */
export function gatherRows(rows: tf.Tensor2D, index: tf.Tensor1D): tf.Tensor2D {
  const count = rows.shape[0]
  const gather = tf.customGrad((input, save) => {
    // Saved, or an index made within the forward pass would be gone by the time of the backward pass.
    ;(save as GradientSaver)([index])
    return {
      value: tf.gather(input as tf.Tensor, index),
      gradFunc: (gradient: tf.Tensor, saved: tf.Tensor[]) =>
        sumByIndex(gradient as tf.Tensor2D, saved[0] as tf.Tensor1D, count)
    }
  })
  return gather(rows) as tf.Tensor2D
}

/**
 * out[u] = Σ over i with index[i] = u of values[i].
 *
 * @param values [M, D]
 * @param index [M] int32, 0 … count − 1
 * @returns [count, D]
 */
export function sumByIndex(values: tf.Tensor2D, index: tf.Tensor1D, count: number): tf.Tensor2D {
  if (tf.getKernel('UnsortedSegmentSum', tf.getBackend()) !== undefined)
    return tf.unsortedSegmentSum(values, index, count) as tf.Tensor2D
  const width = values.shape[1]
  const from = values.dataSync()
  const at = index.dataSync()
  const sums = new Float32Array(count * width)
  for (let i = 0; i < at.length; i++) {
    const to = at[i]! * width
    for (let d = 0; d < width; d++) sums[to + d]! += from[i * width + d]!
  }
  return tf.tensor2d(sums, [count, width])
}
