// Dense weights of a model: values by name, in shapes that the model declares. Item and feature rows are not here: they
// live in tables.

import * as tf from '@tensorflow/tfjs-core'
import { ConfigError } from '../core/errors.ts'
import { own } from '../core/own.ts'

/** Row-major values by name. */
export type Weights = Readonly<Record<string, Float32Array>>
/**
 * Shapes by name. The order of the names is that in which first values are drawn, and in which gradients are summed.
 */
export type WeightShapes<Name extends string = string> = Readonly<Record<Name, readonly number[]>>
export type WeightTensors<Name extends string = string> = Readonly<Record<Name, tf.Tensor>>

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1)
}

/** Values of one weight, from a function of their index. */
export function filled(shape: readonly number[], value: (i: number) => number): Float32Array {
  return Float32Array.from({ length: sizeOf(shape) }, (_, i) => value(i))
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
 * The weights of these shapes, and no others.
 *
 * @throws ConfigError naming each weight that is missing, has another size than its shape, or is none of this model's
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
