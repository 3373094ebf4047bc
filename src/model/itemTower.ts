// The item side, the same for every model: what an item's row becomes.
//
// N items, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import type { Rng } from '../base/rng.ts'
import { nearIdentity } from './firstValues.ts'
import { unit } from './unit.ts'
import { filled, type WeightShapes, type Weights, type WeightTensors } from './weights.ts'

type ItemWeight = 'item.weight' | 'item.bias'

export function itemShapes(D: number): WeightShapes<ItemWeight> {
  return { 'item.weight': [D, D], 'item.bias': [D] }
}

export function initialItemWeights(D: number, rng: Rng): Weights {
  const shapes = itemShapes(D)
  return { 'item.weight': filled(shapes['item.weight'], nearIdentity(D, rng)), 'item.bias': filled(shapes['item.bias'], () => 0) }
}

/**
 * v = unit(e W + b).
 *
 * @param rows [N, D]
 * @returns [N, D]
 */
export function itemTower(weights: WeightTensors, rows: tf.Tensor2D): tf.Tensor2D {
  const { 'item.weight': weight, 'item.bias': bias } = weights as WeightTensors<ItemWeight>
  return unit(tf.add(tf.matMul(rows, weight as tf.Tensor2D), bias)) //                                             [N, D]
}
