// A whole model: one of the user models beside the item tower. What is trained, kept, sent and served, whichever it is.

import * as tf from '@tensorflow/tfjs-core'
import { interestCountOf, type ModelOptions, modelProblems, modelSchema } from '../core/config/modelOptions.ts'
import { ConfigError, CorruptError } from '../core/errors.ts'
import { own } from '../core/own.ts'
import type { Rng } from '../core/rng.ts'
import { itemTower } from './itemTower.ts'
import type { TowerGraphOptions } from './towerGraph.ts'
import type { UserModel } from './userModel.ts'
import { userModelOf } from './userModels.ts'
import type { WeightShapes, Weights, WeightTensors } from './weights.ts'

/**
 * What decides which vectors the same weights give: two models whose weights may be exchanged agree in all of it. Flat,
 * and JSON-able.
 */
export type Architecture = Readonly<Record<string, string | number>>

export interface Model {
  readonly architecture: Architecture
  readonly user: UserModel
  readonly interestCount: number // K
  readonly dimensions: number // D
  readonly historyMax: number // R
  /** Numbers of a row of the table. */
  readonly rowWidth: number
  /** Of all dense weights, the user model's first. */
  readonly shapes: WeightShapes
  initialWeights(rng: Rng): Weights
  /**
   * How much of the mean of an item's feature rows is added to its row: 1 for an item without one. @param count
   * interactions of the item
   */
  featureShare(count: number): number
  /** @param rows [N, rowWidth] @returns of length 1, [N, D] */
  itemVectors(weights: WeightTensors, rows: tf.Tensor2D): tf.Tensor2D
  /** Of its training step as one graph; absent where there is none. */
  readonly graph?: Pick<TowerGraphOptions, 'towers' | 'towerCount' | 'dimensions' | 'historyMax' | 'itemTower'>
}

/**
 * @param historyMax newest steps of a history that the model reads @throws ConfigError for options that exclude each
 *   other
 */
export function createModel(options: ModelOptions, historyMax: number): Model {
  const problems = modelProblems(options)
  if (problems.length > 0) throw new ConfigError(problems)
  const D = options.dimensions
  const interestCount = interestCountOf(options)
  const user = userModelOf(options.name)({ interestCount, dimensions: D, historyMax }, options)
  const item = itemTower(options.itemTower, D)
  const { name, itemTables, featuresHalveAt } = options
  const apart = itemTables === 'per-tower'
  return {
    architecture: {
      name,
      interestCount,
      dimensions: D,
      historyMax,
      itemTower: options.itemTower,
      itemTables,
      ...user.architecture
    },
    user: apart ? withOwnRows(user, D) : user,
    interestCount,
    dimensions: D,
    historyMax,
    rowWidth: apart ? (1 + user.towers) * D : D,
    shapes: { ...user.shapes, ...item.shapes },
    initialWeights: (rng) => ({ ...user.initialWeights(rng), ...item.initialWeights(rng) }),
    featureShare: (count) => (featuresHalveAt === 0 ? 1 : featuresHalveAt / (featuresHalveAt + count)),
    ...(user.graph === undefined || apart
      ? {}
      : {
          graph: {
            towers: user.graph,
            towerCount: user.towers,
            dimensions: D,
            historyMax,
            itemTower: options.itemTower
          }
        }),
    itemVectors: (weights, rows) => item.vectors(weights, apart ? tf.slice(rows, [0, 0], [rows.shape[0], D]) : rows)
  }
}

/** A row is then the item tower's D numbers, and after them D for each user tower. */
function withOwnRows(user: UserModel, D: number): UserModel {
  const own = (rows: tf.Tensor2D) => tf.slice(rows, [0, D], [rows.shape[0], user.towers * D])
  const { rowScores } = user
  return {
    ...user,
    interests: (weights, rows, history, scores) => user.interests(weights, own(rows), history, scores),
    ...(rowScores === undefined ? {} : { rowScores: (weights, rows) => rowScores(weights, own(rows)) })
  }
}

/**
 * In what two architectures differ, as sentences for whoever can change the configuration; empty if in nothing.
 */
export function differences(wanted: Architecture, found: Architecture): string[] {
  return Object.keys({ ...wanted, ...found })
    .filter((key) => own(wanted, key) !== own(found, key))
    .map(
      (key) =>
        `${key} is ${own(wanted, key) ?? 'not there'}, but the checkpoint has ${own(found, key) ?? 'none'}: restore the setting, or start a new model with 'mtmi reset'`
    )
}

/**
 * Names the vectors that may be compared: `mtmi-4x64`, and what is not as usual of the architecture after it, as in
 * `mtmi-4x64-itemtower-none`.
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
