// ComiRec-SA: K heads of self-attention over one history. Heads share their hidden units; nothing comes after the
// pooling.
//
// B users, L history positions, K interests, D dimensions, U item rows, R positions, A = 4D hidden units.
// Source: Cen et al., KDD 2020 (arXiv 2005.09347).

import * as tf from '@tensorflow/tfjs-core'
import type { HistoryTensors } from '../../model/historyTensors.ts'
import { gatherRows, unit } from '../../model/tensorOps.ts'
import type { ModelShape, UserVectors } from '../../model/userModel.ts'
import { filled, type WeightShapes, type WeightTensors } from '../../model/weights.ts'
import type { ComparedModel } from './comparisonLoss.ts'

type SaWeight = 'attention.position' | 'attention.inner' | 'attention.outer'

export function comirecSa({ interestCount: K, dimensions: D, historyMax: R }: ModelShape): ComparedModel {
  const A = 4 * D
  const shapes: WeightShapes<SaWeight> = {
    'attention.position': [R, D], // row R − 1 is the newest step
    'attention.inner': [D, A],
    'attention.outer': [A, K]
  }
  return {
    architecture: {},
    readout: 'hard',
    shapes,
    initialWeights: (rng) => ({
      // As long as a new item row, so that neither drowns the other.
      'attention.position': filled(shapes['attention.position'], () => (0.1 * rng.normal()) / Math.sqrt(D)),
      'attention.inner': filled(shapes['attention.inner'], () => rng.normal() / Math.sqrt(D)),
      'attention.outer': filled(shapes['attention.outer'], () => rng.normal() / Math.sqrt(A))
    }),
    interests: (weights, rows, history) => interests(weights as WeightTensors<SaWeight>, rows, history)
  }
}

/**
 *     A   = softmax over l of W2ᵀ tanh( W1ᵀ (e_l + p_l) ), 0 at padding       p_l counted from the newest step
 *     u_k = unit( Σ_l A(k, l) e_l )
 *
 * e W1 is made once per item row. An empty history has no interests: zero vectors.
 */
function interests(weights: WeightTensors<SaWeight>, rows: tf.Tensor2D, history: HistoryTensors): UserVectors {
  const { size: B, length: L } = history
  const [R, D] = weights['attention.position'].shape as [number, number]
  const [A, K] = weights['attention.outer'].shape as [number, number]
  const inner = weights['attention.inner'] as tf.Tensor2D
  const ofRows = tf.matMul(rows, inner) as tf.Tensor2D //                                                         [U, A]
  const position = tf.slice(weights['attention.position'] as tf.Tensor2D, [R - L, 0], [L, D]) //                  [L, D]
  const ofSteps = tf.reshape(gatherRows(ofRows, history.steps), [B, L, A]) //                                     [B, L, A]
  const hidden = tf.tanh(tf.add(ofSteps, tf.matMul(position, inner))) //                                          [B, L, A]
  const raw = tf.matMul(tf.reshape(hidden, [B * L, A]), weights['attention.outer'] as tf.Tensor2D) //             [B·L, K]
  const logits = tf.add(tf.reshape(raw, [B, L, K]), history.blocked) //                                           [B, L, K]
  const real = tf.transpose(tf.cast(tf.greaterEqual(history.blocked, 0), 'float32'), [0, 2, 1]) //                [B, 1, L]
  const routing = tf.mul(tf.softmax(tf.transpose(logits, [0, 2, 1])), real) as tf.Tensor3D //                     [B, K, L]
  const pooled = tf.matMul(routing, tf.reshape(gatherRows(rows, history.steps), [B, L, D])) //                    [B, K, D]
  return { interests: unit(tf.transpose(pooled, [1, 0, 2])) as tf.Tensor3D } //                                    [K, B, D]
}
