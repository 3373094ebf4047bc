// MIND: behaviour-to-interest dynamic routing. All steps vote through one shared map; what tells the interests apart is
// where each starts.
//
// B users, L history positions, K interests, D dimensions, U item rows, R positions.
// Source: Li et al., CIKM 2019 (arXiv 1904.08030). Every user has K interests here, where the paper gives short
// histories fewer; no layers after the capsules.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions } from '../../core/config/modelOptions.ts'
import type { HistoryTensors } from '../../model/historyTensors.ts'
import { gatherRows, stopGradient, unit } from '../../model/tensorOps.ts'
import type { ModelShape, UserVectors } from '../../model/userModel.ts'
import { filled, nearIdentity, type WeightShapes, type WeightTensors } from '../../model/weights.ts'
import { combine, routeVotes } from './capsules.ts'
import type { ComparedModel } from './comparisonLoss.ts'

type MindWeight = 'routing.map' | 'routing.logits'

export function mind(
  { interestCount: K, dimensions: D, historyMax: R }: ModelShape,
  options: ModelOptions
): ComparedModel {
  const shapes: WeightShapes<MindWeight> = {
    'routing.map': [D, D],
    'routing.logits': [R, K] // row R − 1 is the newest step
  }
  const { routingIterations } = options
  return {
    architecture: { routingIterations },
    readout: 'label-aware',
    shapes,
    initialWeights: (rng) => ({
      'routing.map': filled(shapes['routing.map'], nearIdentity(D, rng)),
      // Drawn once and never trained: the paper draws them again for each user, and then a published vector would not be
      // made again.
      'routing.logits': filled(shapes['routing.logits'], () => rng.normal())
    }),
    interests: (weights, rows, history) =>
      interests(weights as WeightTensors<MindWeight>, rows, history, routingIterations)
  }
}

/**
 *     ê_l = e_l S                          the same for all interests
 *     u_k = unit( Σ_l c(k, l) ê_l )        c: see routeVotes, from the fixed logits
 *
 * An empty history has no interests: zero vectors.
 */
function interests(
  weights: WeightTensors<MindWeight>,
  rows: tf.Tensor2D,
  history: HistoryTensors,
  iterations: number
): UserVectors {
  const { size: B, length: L } = history
  const [R, K] = weights['routing.logits'].shape as [number, number]
  const D = rows.shape[1]
  const mapped = tf.matMul(rows, weights['routing.map'] as tf.Tensor2D) as tf.Tensor2D //                          [U, D]
  const votes = tf.reshape(gatherRows(mapped, history.steps), [B, 1, L, D]) as tf.Tensor4D //                     [B, 1, L, D]
  const logits = stopGradient([weights['routing.logits']], (all) =>
    tf.expandDims(tf.transpose(tf.slice(all, [R - L, 0], [L, K])), 0)
  ) as tf.Tensor3D //                                                                                             [1, K, L]
  const routing = routeVotes(votes, logits, history.blocked, iterations) //                       [B, K, L]
  return { interests: unit(tf.transpose(combine(routing, votes), [1, 0, 2])) } //                        [K, B, D]
}
