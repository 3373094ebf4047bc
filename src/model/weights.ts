// The dense weights of the towers: names, shapes, first values. Item and feature rows are not here: they live in tables.
//
// K towers, D dimensions, A = D hidden units of the attention, R history positions, G age groups.

import * as tf from '@tensorflow/tfjs-core'
import { ConfigError } from '../base/errors.ts'
import type { Rng } from '../base/rng.ts'

export interface ModelShape {
  readonly interestCount: number // K
  readonly dimensions: number // D
  /** R: longest history that has a position term of its own per step. */
  readonly historyMax: number
}

export const weightNames = [
  'attention.weight',
  'attention.bias',
  'attention.query',
  'attention.position',
  'attention.age',
  'user.weight',
  'user.bias',
  'item.weight',
  'item.bias'
] as const

export type WeightName = (typeof weightNames)[number]

/** Values by name, row-major in the shapes of `weightShapes`. */
export type Weights = Readonly<Record<WeightName, Float32Array>>
export type WeightTensors = Readonly<Record<WeightName, tf.Tensor>>

/** log2 of seconds: 31 doublings are 68 years. */
export const ageGroups = 32

export function weightShapes({
  interestCount: K,
  dimensions: D,
  historyMax: R
}: ModelShape): Readonly<Record<WeightName, readonly number[]>> {
  return {
    'attention.weight': [D, K * D], // the K towers side by side: one matmul
    'attention.bias': [K * D],
    'attention.query': [K, D],
    'attention.position': [R, K], // row R − 1 is the newest step
    'attention.age': [ageGroups, K],
    'user.weight': [K, D, D],
    'user.bias': [K, 1, D],
    'item.weight': [D, D],
    'item.bias': [D]
  }
}

/**
 * First values. Projections start at the identity plus noise, so that from the first step on a user's vectors lie near the items he took, and
 * learning only has to turn them: from a stream, each example is seen about once. Towers start with different memories, from the newest steps alone
 * to the whole window, so that there is something to tell them apart before the attention has learned anything.
 */
export function initialWeights(shape: ModelShape, rng: Rng): Weights {
  const { interestCount: K, dimensions: D, historyMax: R } = shape
  const shapes = weightShapes(shape)
  const filled = (name: WeightName, value: (i: number) => number) =>
    Float32Array.from({ length: shapes[name].reduce((a, b) => a * b, 1) }, (_, i) => value(i))
  // Noise of .02 turns a unit vector by about .02·√D = .16 in 64 dimensions: enough that no two towers are alike.
  const nearIdentity = (i: number) => (Math.floor(i / D) % D === i % D ? 1 : 0) + 0.02 * rng.normal()
  return {
    'attention.weight': filled('attention.weight', () => rng.normal() / Math.sqrt(D)),
    'attention.bias': filled('attention.bias', () => 0),
    'attention.query': filled('attention.query', () => (0.1 * rng.normal()) / Math.sqrt(D)),
    // Weight e^(−decay·steps back) with half-lives of about 1.4, 5.5, 22, … steps; the last tower weighs all alike.
    'attention.position': filled('attention.position', (i) => {
      const k = i % K
      const stepsBack = R - 1 - Math.floor(i / K)
      return k === K - 1 ? 0 : -0.5 * 0.25 ** k * stepsBack
    }),
    'attention.age': filled('attention.age', () => 0),
    'user.weight': filled('user.weight', nearIdentity),
    'user.bias': filled('user.bias', () => 0),
    'item.weight': filled('item.weight', nearIdentity),
    'item.bias': filled('item.bias', () => 0)
  }
}

/** Owned by the caller, as tensors are. */
export function weightTensors(weights: Weights, shape: ModelShape): WeightTensors {
  const shapes = weightShapes(shape)
  return byName((name) => tf.tensor(weights[name], shapes[name] as number[], 'float32'))
}

export function byName<T>(value: (name: WeightName) => T): Record<WeightName, T> {
  return Object.fromEntries(weightNames.map((name) => [name, value(name)])) as Record<WeightName, T>
}

/** @throws ConfigError naming each weight that is missing or has another size than this shape needs */
export function checkWeights(found: Readonly<Partial<Record<string, Float32Array>>>, shape: ModelShape): Weights {
  const shapes = weightShapes(shape)
  const problems = weightNames.flatMap((name) => {
    const length = shapes[name].reduce((a, b) => a * b, 1)
    const values = found[name]
    if (values?.length === length) return []
    return [
      `weight '${name}' must have ${length} values ([${shapes[name].join(', ')}]), but has ${values?.length ?? 'none'}: it is of another model`
    ]
  })
  if (problems.length > 0) throw new ConfigError(problems)
  return byName((name) => found[name] as Float32Array)
}
