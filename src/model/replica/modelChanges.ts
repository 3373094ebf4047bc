// What some commits change, gathered: the newest of each row and weight.

import type { ItemId } from '../../records/interaction.ts'
import type { LineageReason, ModelUpdate } from '../../records/modelUpdate.ts'
import { differences, type Model, modelFromJson } from '../model.ts'

export interface OpenChanges {
  readonly items: Map<ItemId, { readonly row: Float32Array | null; readonly count: number }>
  readonly features: Map<string, Float32Array>
  readonly weights: Map<string, Float32Array>
}

interface LineageOf {
  readonly space: string
  readonly model: Model
}

/** Closed by a commit. */
export interface ModelChanges extends OpenChanges {
  readonly step: number
  readonly space: string
  readonly model: Model
  readonly reason: LineageReason | undefined
  /** The model as the commit named it. */
  readonly modelText: string
  /** Offset of the log behind the commit. */
  readonly next: bigint
}

export function noChanges(): OpenChanges {
  return { items: new Map(), features: new Map(), weights: new Map() }
}

/** @throws as `modelFromJson` does */
export function closedChanges(
  changes: OpenChanges,
  { step, space, model }: Extract<ModelUpdate, { kind: 'commit' }>,
  reason: LineageReason | undefined,
  next: bigint
): ModelChanges {
  return { ...changes, step, space, model: modelFromJson(model), reason, modelText: model, next }
}

/** Both, the later ones on top. Of another lineage, the later ones alone. */
export function mergedChanges(earlier: ModelChanges | undefined, later: ModelChanges): ModelChanges {
  if (earlier === undefined || !isLineage(earlier, later)) return later
  for (const kind of ['items', 'features', 'weights'] as const) {
    const into = earlier[kind] as Map<string, unknown>
    for (const [id, value] of later[kind]) into.set(id, value)
  }
  return { ...later, items: earlier.items, features: earlier.features, weights: earlier.weights }
}

/** Whether rows and weights of the one mean something to the other. */
export function isLineage(a: LineageOf, b: LineageOf): boolean {
  return a.space === b.space && differences(a.model.architecture, b.model.architecture).length === 0
}
