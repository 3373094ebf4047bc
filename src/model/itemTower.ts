// The item side, the same for every user model: what an item's row becomes.
//
// N items, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions } from '../core/config/modelOptions.ts'
import type { Rng } from '../core/rng.ts'
import { nearIdentity } from './firstValues.ts'
import { unit } from './unit.ts'
import { filled, type WeightShapes, type Weights, type WeightTensors } from './weights.ts'

export interface ItemTower {
  /** Of its weights: their names begin with `item.` */
  readonly shapes: WeightShapes
  initialWeights(rng: Rng): Weights
  /** @param rows [N, D] @returns of length 1, [N, D] */
  vectors(weights: WeightTensors, rows: tf.Tensor2D): tf.Tensor2D
}

type ItemWeight = 'item.weight' | 'item.bias'

export function itemTower(kind: ModelOptions['itemTower'], D: number): ItemTower {
  return kind === 'linear' ? linear(D) : plainRows
}

/** v = unit(e W + b). */
function linear(D: number): ItemTower {
  const shapes: WeightShapes<ItemWeight> = { 'item.weight': [D, D], 'item.bias': [D] }
  return {
    shapes,
    initialWeights: (rng) => ({
      'item.weight': filled(shapes['item.weight'], nearIdentity(D, rng)),
      'item.bias': filled(shapes['item.bias'], () => 0)
    }),
    vectors: (weights, rows) => {
      const { 'item.weight': weight, 'item.bias': bias } = weights as WeightTensors<ItemWeight>
      return unit(tf.add(tf.matMul(rows, weight as tf.Tensor2D), bias)) //                                         [N, D]
    }
  }
}

/** v = unit(e). */
const plainRows: ItemTower = { shapes: {}, initialWeights: () => ({}), vectors: (_weights, rows) => unit(rows) }
