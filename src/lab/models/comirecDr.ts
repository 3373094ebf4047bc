// ComiRec-DR: dynamic routing as in CapsNet. Every position votes for every interest through a map of its own; routing
// starts even.
//
// B users, L history positions, K interests, D dimensions, R positions.
// Source: Cen et al., KDD 2020 (arXiv 2005.09347), whose code has the maps by position; they hold R·K·D² numbers.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions } from '../../core/config/modelOptions.ts'
import type { HistoryTensors } from '../../model/historyTensors.ts'
import { gatherRows, unit } from '../../model/tensorOps.ts'
import type { ModelShape, UserVectors } from '../../model/userModel.ts'
import { filled, type WeightShapes, type WeightTensors } from '../../model/weights.ts'
import { combine, routeVotes } from './capsules.ts'
import type { ComparedModel } from './comparisonLoss.ts'

type DrWeight = 'routing.maps'

export function comirecDr(
  { interestCount: K, dimensions: D, historyMax: R }: ModelShape,
  options: ModelOptions
): ComparedModel {
  const shapes: WeightShapes<DrWeight> = {
    'routing.maps': [R, D, K * D] // row R − 1 is of the newest step
  }
  const { routingIterations } = options
  return {
    architecture: { routingIterations },
    readout: 'hard',
    shapes,
    // The identity for each interest, as for the other models, and noise half as long: it is all that tells the
    // interests apart.
    initialWeights: (rng) => ({
      'routing.maps': filled(shapes['routing.maps'], (i) => {
        const [from, to] = [Math.floor(i / (K * D)) % D, i % D]
        return (from === to ? 1 : 0) + (0.5 / Math.sqrt(D)) * rng.normal()
      })
    }),
    interests: (weights, rows, history) =>
      interests(weights as WeightTensors<DrWeight>, rows, history, K, routingIterations)
  }
}

/**
 *     ê(k, l) = e_l W(k, l)                    l counted from the newest step
 *     u_k     = unit( Σ_l c(k, l) ê(k, l) )    c: see routeVotes, from logits 0
 *
 * An empty history has no interests: zero vectors.
 */
function interests(
  weights: WeightTensors<DrWeight>,
  rows: tf.Tensor2D,
  history: HistoryTensors,
  K: number,
  iterations: number
): UserVectors {
  const { size: B, length: L } = history
  const [R, D] = weights['routing.maps'].shape as [number, number]
  const maps = tf.slice(weights['routing.maps'], [R - L, 0, 0], [L, D, K * D]) //                                 [L, D, K·D]
  const steps = tf.transpose(tf.reshape(gatherRows(rows, history.steps), [B, L, D]), [1, 0, 2]) //                [L, B, D]
  const each = tf.reshape(tf.matMul(steps, maps), [L, B, K, D]) //                                                [L, B, K, D]
  const votes = tf.transpose(each, [1, 2, 0, 3]) as tf.Tensor4D //                                                [B, K, L, D]
  const routing = routeVotes(votes, tf.zeros([1, K, L]), history.blocked, iterations) //          [B, K, L]
  return { interests: unit(tf.transpose(combine(routing, votes), [1, 0, 2])) } //                        [K, B, D]
}
