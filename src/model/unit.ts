import * as tf from '@tensorflow/tfjs-core'
import type { GradientSaver } from './gatherRows.ts'

/**
 * The last axis scaled to length 1; a zero vector stays zero. With its own gradient, which is a projection:
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
