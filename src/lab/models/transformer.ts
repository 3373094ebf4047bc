// Causal transformers as towers: K independent ones, each of which reads the whole history; what stands at the newest
// step is the interest.
//
// B users, L history positions, K towers, D dimensions, H heads, U item rows, R positions, G age groups.
// Source: SASRec (Kang & McAuley, ICDM 2018), with the normalisation before each part (its gains and offsets are in the
// maps that follow) and an age term in the attention, as MTMI has.

import * as tf from '@tensorflow/tfjs-core'
import type { ModelOptions } from '../../core/config/modelOptions.ts'
import { own } from '../../core/own.ts'
import type { Rng } from '../../core/rng.ts'
import { ageGroups, type HistoryTensors } from '../../model/historyTensors.ts'
import { gatherRows, unit } from '../../model/tensorOps.ts'
import type { ModelShape, UserVectors } from '../../model/userModel.ts'
import { filled, nearIdentity, type WeightShapes, type Weights, type WeightTensors } from '../../model/weights.ts'
import type { ComparedModel } from './comparisonLoss.ts'

const maps = ['query', 'key', 'value', 'output', 'inner', 'outer'] as const
const biases = ['innerBias', 'outerBias'] as const

/** Of the variance in the normalisation, as usual. */
const varianceFloor = 1e-5

export function transformer(shape: ModelShape, options: ModelOptions): ComparedModel {
  const { heads, layers } = options
  const shapes = transformerShapes(shape, heads, layers)
  return {
    architecture: { heads, layers },
    readout: 'idw',
    shapes,
    initialWeights: (rng) => initialWeights(shapes, shape.dimensions, rng),
    interests: (weights, rows, history) => interests(weights, rows, history, shape, heads, layers)
  }
}

function transformerShapes(
  { interestCount: K, dimensions: D, historyMax: R }: ModelShape,
  heads: number,
  layers: number
): WeightShapes {
  const ofLayers = Array.from({ length: layers }, (_, n) => [
    ...maps.map((name): [string, readonly number[]] => [`layer${n}.${name}`, [K, D, D]]),
    ...biases.map((name): [string, readonly number[]] => [`layer${n}.${name}`, [K, 1, D]])
  ]).flat()
  return {
    'tower.position': [K, R, D], // row R − 1 is the newest step
    'tower.age': [ageGroups, layers * K * heads],
    ...Object.fromEntries(ofLayers),
    'user.weight': [K, D, D],
    'user.bias': [K, 1, D]
  }
}

/**
 * What a layer adds starts small beside what it reads: a tower begins as the newest item, and learns what the others
 * change about it.
 */
function initialWeights(shapes: WeightShapes, D: number, rng: Rng): Weights {
  const firstValue = (name: string): ((i: number) => number) => {
    if (name === 'user.weight') return nearIdentity(D, rng)
    if (name === 'tower.age' || name === 'user.bias' || /Bias$/.test(name)) return () => 0
    const scale = name === 'tower.position' || /\.(output|outer)$/.test(name) ? 0.1 : 1
    return () => (scale * rng.normal()) / Math.sqrt(D)
  }
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, filled(shape, firstValue(name))]))
}

/**
 *     x_l = unit(e_l) + p_l                                             p_l counted from the newest step
 *     x   ← x + O · attention(norm(x)), over the steps up to l          each layer
 *     x   ← x + W2 relu( W1 norm(x) )
 *     u   = unit( x_L P + c )
 *
 * The last layer is made for the newest step alone. An empty history is read as a step without an item.
 */
function interests(
  weights: WeightTensors,
  rows: tf.Tensor2D,
  history: HistoryTensors,
  { interestCount: K, dimensions: D, historyMax: R }: ModelShape,
  H: number,
  layers: number
): UserVectors {
  const { size: B, length: L } = history
  const real = tf.reshape(tf.cast(tf.greaterEqual(history.blocked, 0), 'float32'), [1, B, L, 1]) //               [1, B, L, 1]
  const position = tf.reshape(tf.slice(weights['tower.position']!, [0, R - L, 0], [K, L, D]), [K, 1, L, D]) //     [K, 1, L, D]
  const steps = tf.reshape(gatherRows(unit(rows), history.steps), [1, B, L, D]) //                                [1, B, L, D]
  let x = tf.add(tf.mul(steps, real), position) //                                                                [K, B, L, D]
  for (let n = 0; n < layers; n++) {
    const of = (name: (typeof maps)[number] | (typeof biases)[number]) => own(weights, `layer${n}.${name}`)!
    const last = n === layers - 1
    const Q = last ? 1 : L
    const read = norm(x) //                                                                                       [K, B, L, D]
    const asked = last ? tf.slice(read, [0, 0, L - 1, 0], [K, B, 1, D]) : read //                                 [K, B, Q, D]
    const heads = (of: tf.Tensor, from: tf.Tensor, length: number) =>
      tf.transpose(tf.reshape(map(from, of), [K * B, length, H, D / H]), [0, 2, 1, 3]) //                         [K·B, H, length, D/H]
    const scores = tf.matMul(heads(of('query'), asked, Q), heads(of('key'), read, L), false, true) //             [K·B, H, Q, L]
    const logits = tf.add(
      tf.add(tf.div(scores, Math.sqrt(D / H)), keyTerms(weights, history, K, H, n)),
      last ? 0 : causal(L)
    ) // [K·B, H, Q, L]
    const kept = tf.reshape(tf.tile(real, [K, 1, 1, 1]), [K * B, 1, 1, L]) //                                     [K·B, 1, 1, L]
    // Times `kept`, or a query with nothing to read would read padding.
    const pooled = tf.matMul(tf.mul(tf.softmax(logits), kept), heads(of('value'), read, L)) //                    [K·B, H, Q, D/H]
    const joined = tf.reshape(tf.transpose(pooled, [0, 2, 1, 3]), [K, B, Q, D]) //                                [K, B, Q, D]
    if (last) x = tf.slice(x, [0, 0, L - 1, 0], [K, B, 1, D])
    x = tf.add(x, map(joined, of('output')))
    const hidden = tf.relu(map(norm(x), of('inner'), of('innerBias'))) //                                         [K, B, Q, D]
    x = tf.add(x, map(hidden, of('outer'), of('outerBias')))
  }
  const newest = tf.reshape(x, [K, B, D]) //                                                                      [K, B, D]
  return { interests: unit(tf.add(tf.matMul(newest, weights['user.weight']!), weights['user.bias']!)) as tf.Tensor3D } // [K, B, D]
}

/** What counts of a step as a key, for every query: its age; −1e9 at padding. @returns [K·B, H, 1, L] */
function keyTerms(
  weights: WeightTensors,
  { size: B, length: L, age, blocked }: HistoryTensors,
  K: number,
  H: number,
  layer: number
): tf.Tensor {
  const ofLayer = tf.slice(weights['tower.age']! as tf.Tensor2D, [0, layer * K * H], [ageGroups, K * H]) //        [G, K·H]
  const ofAge = tf.add(tf.reshape(gatherRows(ofLayer, age), [B, L, K * H]), blocked) //                            [B, L, K·H]
  return tf.reshape(tf.transpose(tf.reshape(ofAge, [B, L, K, H]), [2, 0, 3, 1]), [K * B, H, 1, L])
}

/** −1e9 where the key is newer than the query. @returns [L, L] */
function causal(L: number): tf.Tensor2D {
  return tf.tensor2d(
    Float32Array.from({ length: L * L }, (_, i) => (i % L > Math.floor(i / L) ? -1e9 : 0)),
    [L, L]
  )
}

/** Mean 0 and variance 1 over the last axis. */
function norm(x: tf.Tensor): tf.Tensor {
  const centred = tf.sub(x, tf.mean(x, -1, true))
  return tf.mul(centred, tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), varianceFloor)))
}

/** Each tower's own map. @param x [K, B, Q, D] @param weight [K, D, D] @param bias [K, 1, D] @returns [K, B, Q, D] */
function map(x: tf.Tensor, weight: tf.Tensor, bias?: tf.Tensor): tf.Tensor {
  const [K, B, Q, D] = x.shape as [number, number, number, number]
  const mapped = tf.matMul(tf.reshape(x, [K, B * Q, D]), weight) //                                               [K, B·Q, D]
  return tf.reshape(bias === undefined ? mapped : tf.add(mapped, bias), [K, B, Q, D])
}
