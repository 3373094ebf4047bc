// What an example's target is found among, and the softmax over it.
//
// B examples, K towers, C candidates (unique, shared by the batch), D dimensions.

import * as tf from '@tensorflow/tfjs-core'

export interface Candidates {
  /**
   * Each candidate once, so that no column but its own holds an example's target: accidental hits cannot happen. [C, D]
   */
  readonly vectors: tf.Tensor2D
  /** Column of each example's target. [B] int32 */
  readonly positive: tf.Tensor1D
  /** ln P(the item is a candidate), or zeros. [C] */
  readonly logQ: tf.Tensor1D
  /** −1e9 where a candidate is not to be a negative of an example. [B, C] */
  readonly blocked?: tf.Tensor2D
}

/**
 * p(j, i) of softmaxLosses.
 *
 * @param user [B·K, D], by example
 * @param vectors the candidates', where they are another tensor than theirs. [C, D]
 * @returns shares [B·K, C]; those of each example's target, [B·K]
 */
export function softmaxShares(
  user: tf.Tensor2D,
  { positive, logQ, blocked }: Candidates,
  vectors: tf.Tensor2D,
  temperature: number
): { share: tf.Tensor2D; ofPositive: tf.Tensor1D } {
  const B = positive.shape[0]
  const K = user.shape[0] / B
  const C = vectors.shape[0]
  const scaled = tf.concat([tf.div(user, temperature), tf.fill([B * K, 1], -1)], 1) //                            [B·K, D + 1]
  const corrected = tf.concat([vectors, tf.expandDims(logQ, 1)], 1) //                                            [C, D + 1]
  let logits = tf.matMul(scaled, corrected, false, true) as tf.Tensor //                                          [B·K, C]
  if (blocked !== undefined) logits = tf.add(tf.reshape(logits, [B, K, C]), tf.expandDims(blocked, 1)) //         [B, K, C]
  const share = tf.reshape(tf.softmax(tf.reshape(logits, [B, K * C])), [B * K, C]) as tf.Tensor2D //              [B·K, C]
  const columns = positive.dataSync()
  const own = new Int32Array(B * K)
  for (let i = 0; i < own.length; i++) own[i] = i * C + columns[Math.floor(i / K)]!
  return { share, ofPositive: tf.gather(tf.reshape(share, [B * K * C]), tf.tensor1d(own, 'int32')) as tf.Tensor1D }
}
