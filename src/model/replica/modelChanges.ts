// The changes of one or several commits: the newest of each embedding and weight.

import { BadEventError, MtmiError } from '../../core/errors.ts'
import { own } from '../../core/own.ts'
import type { ItemId } from '../../records/interaction.ts'
import type { ModelUpdate, VersionReason } from '../../records/modelUpdate.ts'
import { differences, type Model, modelFromJson } from '../model.ts'
import { sizeOf } from '../weights.ts'
import type { Neighbours } from './neighbourLists.ts'

interface OpenChanges {
  readonly items: Map<ItemId, { readonly row: Float32Array | null; readonly count: number }>
  readonly neighbours: Map<ItemId, Neighbours>
  readonly features: Map<string, Float32Array>
  readonly weights: Map<string, Float32Array>
}

interface VersionOf {
  readonly modelVersion: string
  readonly model: Model
}

/** Closed by a commit. */
export interface ModelChanges extends OpenChanges {
  readonly step: number
  readonly modelVersion: string
  readonly model: Model
  readonly reason: VersionReason | undefined
  /** The model as the commit named it. */
  readonly modelText: string
  /** Offset of the log behind the commit. */
  readonly next: bigint
  readonly memoryWeight: number
}

export function noChanges(): OpenChanges {
  return { items: new Map(), neighbours: new Map(), features: new Map(), weights: new Map() }
}

/** @throws BadEventError if this program cannot make the commit's model */
export function closedChanges(
  changes: OpenChanges,
  { step, modelVersion, model, memoryWeight }: Extract<ModelUpdate, { kind: 'commit' }>,
  reason: VersionReason | undefined,
  next: bigint
): ModelChanges {
  return { ...changes, step, modelVersion, model: knownModel(model), reason, modelText: model, next, memoryWeight }
}

function knownModel(text: string): Model {
  try {
    return modelFromJson(text)
  } catch (error) {
    if (!(error instanceof MtmiError)) throw error
    throw new BadEventError(error.message, { cause: error })
  }
}

/** An embedding or weight that does not fit the model of its commit. */
interface Unfit {
  readonly values: Float32Array
  readonly problem: string
}

/** Takes out what does not fit the model: the rest of the commit is used without it. */
export function takeUnfit({ items, features, weights, model }: ModelChanges): Unfit[] {
  const unfit: Unfit[] = []
  const { dimensions, shapes } = model
  const rowProblem = (row: Float32Array) => `a row of ${row.length} numbers; the model's have ${dimensions}`
  for (const [itemId, { row }] of items) {
    if (row === null || row.length === dimensions) continue
    items.delete(itemId)
    unfit.push({ values: row, problem: rowProblem(row) })
  }
  for (const [feature, row] of features) {
    if (row.length === dimensions) continue
    features.delete(feature)
    unfit.push({ values: row, problem: rowProblem(row) })
  }
  for (const [name, values] of weights) {
    const shape = own(shapes, name)
    if (shape !== undefined && sizeOf(shape) === values.length) continue
    weights.delete(name)
    const problem =
      shape === undefined
        ? `the model has no weight ${JSON.stringify(name)}`
        : `${values.length} values; the model has ${sizeOf(shape)}`
    unfit.push({ values, problem })
  }
  return unfit
}

/** Both, the later ones on top. Of another model version, the later ones alone. */
export function mergedChanges(earlier: ModelChanges | undefined, later: ModelChanges): ModelChanges {
  if (earlier === undefined || !isSameVersion(earlier, later)) return later
  const { items, neighbours, features, weights } = earlier
  for (const kind of ['items', 'neighbours', 'features', 'weights'] as const) {
    const into = earlier[kind] as Map<string, unknown>
    for (const [id, value] of later[kind]) into.set(id, value)
  }
  return { ...later, items, neighbours, features, weights }
}

/** Whether rows and weights of the one mean something to the other. */
export function isSameVersion(a: VersionOf, b: VersionOf): boolean {
  return a.modelVersion === b.modelVersion && differences(a.model.architecture, b.model.architecture).length === 0
}
