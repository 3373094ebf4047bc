// Dense weights of a model: values by name, in shapes that the model declares. Embeddings are not here: they live in
// tables.

import * as tf from '@tensorflow/tfjs-core'
import { ConfigError } from '../core/errors.ts'
import { own } from '../core/own.ts'
import type { Rng } from '../core/rng.ts'

/** Row-major values by name. */
export type Weights = Readonly<Record<string, Float32Array>>
/** Shapes by name. Initial values are drawn, and gradients summed, in the order of the names. */
export type WeightShapes<Name extends string = string> = Readonly<Record<Name, readonly number[]>>
export type WeightTensors<Name extends string = string> = Readonly<Record<Name, tf.Tensor>>

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1)
}

/** Values of one weight, from a function of their index. */
export function filled(shape: readonly number[], value: (i: number) => number): Float32Array {
  return Float32Array.from({ length: sizeOf(shape) }, (_, i) => value(i))
}

/**
 * Square matrices at the identity plus noise: from the first step on a user's vectors lie near the items of the
 * history, and training only has to turn them. From a stream, each example is seen about once. Noise of .02 turns a
 * unit vector by about .02·√D = .16 in 64 dimensions: enough that no two towers are alike.
 *
 * @returns value number i of matrices [D, D], one after the other
 */
export function nearIdentity(D: number, rng: Rng): (i: number) => number {
  return (i) => (Math.floor(i / D) % D === i % D ? 1 : 0) + 0.02 * rng.normal()
}

/** Owned by the caller, as tensors are. */
export function weightTensors(weights: Weights, shapes: WeightShapes): WeightTensors {
  return mapShapes(shapes, (name, shape) => tf.tensor(own(weights, name)!, shape as number[], 'float32'))
}

/** A value for each weight, in the order of the shapes. */
export function mapShapes<T>(
  shapes: WeightShapes,
  value: (name: string, shape: readonly number[], at: number) => T
): Record<string, T> {
  return Object.fromEntries(Object.entries(shapes).map(([name, shape], at) => [name, value(name, shape, at)]))
}

/**
 * Checks that the weights are exactly those of the shapes.
 *
 * @throws ConfigError naming each weight that is missing, has another size than its shape, or does not belong to this
 *   model
 */
export function checkWeights(found: Readonly<Partial<Record<string, Float32Array>>>, shapes: WeightShapes): Weights {
  const problems = Object.entries(shapes).flatMap(([name, shape]) => {
    const values = own(found, name)
    if (values?.length === sizeOf(shape)) return []
    return [
      `weight '${name}' must have ${sizeOf(shape)} values ([${shape.join(', ')}]), but has ${values?.length ?? 'none'}: it is of another model`
    ]
  })
  for (const name of Object.keys(found)) {
    if (own(shapes, name) === undefined)
      problems.push(`weight '${name}' is of another model: this one has ${Object.keys(shapes).join(', ')}`)
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return mapShapes(shapes, (name) => own(found, name)!)
}
