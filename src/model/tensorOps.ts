// Tensor operations that tfjs lacks, or whose gradient it computes in a way that costs more or that WASM does not have.

import * as tf from '@tensorflow/tfjs-core'

/**
 * What tf.customGrad passes to a forward function, to keep tensors for the backward one. tfjs does not export the type.
 */
export type GradientSaver = (tensors: tf.Tensor[]) => void

/**
 * out[i] = rows[index[i]]. tfjs's own gradient of `gather` uses UnsortedSegmentSum, which WASM does not have.
 *
 * @param rows [U, D]
 * @param index [M] int32, 0 … U − 1
 * @returns [M, D]
 */
export function gatherRows(rows: tf.Tensor2D, index: tf.Tensor1D): tf.Tensor2D {
  const count = rows.shape[0]
  const gather = tf.customGrad((input, save) => {
    // Saved: an index created within the forward pass would be disposed before the backward pass.
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

/**
 * The last axis scaled to length 1; a zero vector stays zero. Its gradient is a projection:
 *
 *     ∂/∂x = (g − y ⟨y, g⟩) / ‖x‖
 */
export function unit<T extends tf.Tensor>(x: T): T {
  const scaled = tf.customGrad((input, save) => {
    const perLength = tf.rsqrt(tf.add(tf.sum(tf.square(input as tf.Tensor), -1, true), 1e-12)) //                   […, 1]
    const y = tf.mul(input as tf.Tensor, perLength)
    ;(save as GradientSaver)([y, perLength])
    return {
      value: y,
      gradFunc: (gradient: tf.Tensor, saved: tf.Tensor[]) => {
        const [y, perLength] = saved as [tf.Tensor, tf.Tensor]
        return tf.mul(tf.sub(gradient, tf.mul(y, tf.sum(tf.mul(y, gradient), -1, true))), perLength)
      }
    }
  })
  return scaled(x) as T
}

/** f(inputs) as a constant: no gradient flows through it, and nothing of it is kept for one. */
export function stopGradient<Inputs extends readonly tf.Tensor[], Output extends tf.Tensor>(
  inputs: Inputs,
  f: (...inputs: [...Inputs]) => Output
): Output {
  const stopped = tf.customGrad((...given) => {
    const tensors = given.slice(0, inputs.length) as [...Inputs]
    const shapes = tensors.map(({ shape }) => shape)
    return { value: f(...tensors), gradFunc: () => shapes.map((shape) => tf.zeros(shape)) }
  })
  return stopped(...inputs) as Output
}
