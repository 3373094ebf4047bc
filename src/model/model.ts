// A whole model: a user model beside the item tower. What is trained, saved, sent and served.
//
// N items, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import { interestCountOf, type ModelOptions, modelSchema } from '../core/config/modelOptions.ts'
import { ConfigError, CorruptError } from '../core/errors.ts'
import { own } from '../core/own.ts'
import type { Rng } from '../core/rng.ts'
import { mtmi } from './mtmi.ts'
import { unit } from './tensorOps.ts'
import type { ModelShape, UserModel } from './userModel.ts'
import { filled, nearIdentity, type WeightShapes, type Weights, type WeightTensors } from './weights.ts'

/**
 * Decides which vectors the same weights give: two models whose weights may be exchanged agree in all of it. JSON-able.
 */
export type Architecture = Readonly<Record<string, string | number>>

export interface Model extends ModelShape {
  readonly architecture: Architecture
  /** τ of the softmax over cosines. */
  readonly temperature: number
  readonly user: UserModel
  /** Of all dense weights, the user model's first. */
  readonly shapes: WeightShapes
  initialWeights(rng: Rng): Weights
  /**
   * How much of the mean of an item's feature embeddings is added to its own: 1 for an item without one. @param count
   * interactions of the item
   */
  featureShare(count: number): number
  /** v = unit(e W + b). @param rows [N, D] @returns of length 1, [N, D] */
  itemVectors(weights: WeightTensors, rows: tf.Tensor2D): tf.Tensor2D
}

type MakeUserModel = (shape: ModelShape, options: ModelOptions) => UserModel

/** Values in production of the options that only studies vary: other values need the models of the lab. */
const production = {
  name: 'mtmi',
  loss: 'softmax',
  readout: 'model',
  idwStopGradient: true,
  communication: 'none',
  context: 'none'
} as const satisfies Partial<ModelOptions>

let labModel: MakeUserModel | undefined

/** Whether only src/lab/models has the model of these options. */
export function needsLab(options: ModelOptions): boolean {
  return Object.entries(production).some(([name, value]) => own(options as Record<string, unknown>, name) !== value)
}

/** Adds the models of the lab to this thread. */
export function addLabModels(make: MakeUserModel): void {
  labModel = make
}

/**
 * @param historyMax newest steps of a history that the model reads
 * @throws ConfigError for options that need the lab where it was not loaded
 */
export function createModel(options: ModelOptions, historyMax: number): Model {
  const { name, dimensions: D, featuresHalveAt, temperature } = options
  const shape = { interestCount: interestCountOf(options), dimensions: D, historyMax }
  const make = needsLab(options) ? labModel : mtmi
  if (make === undefined)
    throw new ConfigError([`model.name ${name} with these options is a model for comparison, which only the lab has`])
  const user = make(shape, options)
  const itemShapes = { 'item.weight': [D, D], 'item.bias': [D] }
  return {
    ...shape,
    architecture: { name, ...shape, ...user.architecture },
    temperature,
    user,
    shapes: { ...user.shapes, ...itemShapes },
    initialWeights: (rng) => ({
      ...user.initialWeights(rng),
      'item.weight': filled(itemShapes['item.weight'], nearIdentity(D, rng)),
      'item.bias': filled(itemShapes['item.bias'], () => 0)
    }),
    featureShare: (count) => (featuresHalveAt === 0 ? 1 : featuresHalveAt / (featuresHalveAt + count)),
    itemVectors: (weights, rows) =>
      unit(tf.add(tf.matMul(rows, weights['item.weight'] as tf.Tensor2D), weights['item.bias']!))
  }
}

/** In what two architectures differ, as sentences for a ConfigError. */
export function differences(wanted: Architecture, found: Architecture): string[] {
  return Object.keys({ ...wanted, ...found })
    .filter((key) => own(wanted, key) !== own(found, key))
    .map(
      (key) =>
        `${key} is ${own(wanted, key) ?? 'not set'}, but the checkpoint has ${own(found, key) ?? 'none'}: restore the setting, or start a new model with 'mtmi reset'`
    )
}

/**
 * Names the vectors that may be compared: `mtmi-4x64`, followed by what differs from the default architecture, as in
 * `mtmi-4x64-context-time`.
 */
export function modelVersionOf(options: ModelOptions): string {
  const { name, interestCount, dimensions, historyMax, ...rest } = createModel(options, 1).architecture
  const usual = createModel({ ...modelSchema.parse({ name }), interestCount: options.interestCount }, 1).architecture
  const special = Object.entries(rest).filter(([key, value]) => value !== own(usual, key))
  return [
    `${name}-${interestCount}x${dimensions}`,
    ...special.map(([key, value]) => `${key.toLowerCase()}-${value}`)
  ].join('-')
}

/** Made once: zod compiles each schema, which takes longer than all else that a commit needs. */
const travellingOptions = modelSchema.loose()

/** How a model travels: its options and the length of history, as JSON. */
export function modelToJson(options: ModelOptions, historyMax: number): string {
  return JSON.stringify({ ...options, historyMax })
}

/**
 * The model that a commit names.
 *
 * @throws CorruptError if it is not JSON or lacks its shape; ConfigError if this program has no such model
 */
export function modelFromJson(text: string): Model {
  let parsed: Record<string, unknown>
  try {
    parsed = JSON.parse(text) as Record<string, unknown>
  } catch (cause) {
    throw new CorruptError(`the commit's model is not JSON: ${text.slice(0, 100)}`, { cause })
  }
  const { historyMax, ...rest } = parsed
  for (const value of [parsed.interestCount, parsed.dimensions, historyMax]) {
    if (!(Number.isInteger(value) && (value as number) > 0))
      throw new CorruptError(
        `the commit's model must have interestCount, dimensions and historyMax above 0: ${text.slice(0, 200)}`
      )
  }
  const options = travellingOptions.safeParse(rest)
  if (options.success) return createModel(options.data, historyMax as number)
  throw new ConfigError(
    options.error.issues.map(
      ({ path, message }) =>
        `the trainer's model has ${path.join('.')} ${JSON.stringify(own(rest, String(path[0])))}, which this program does not know (${message}): run the same release everywhere`
    )
  )
}
