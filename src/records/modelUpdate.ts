// How a model travels: what the trainer changed, as records of the compacted `model-updates` topic. A reader applies
// nothing before the commit that closes it, so it never serves half a step.

import { idBytesMax, idProblem, timeProblem } from './admission.ts'
import type { ItemId } from './interaction.ts'

/**
 * Who asked for a model version, and what for: the same model once more, an earlier one, or the trainer's after publishing
 * was held.
 */
export const versionReasons = ['rebuild', 'rollback', 'resume'] as const
export type VersionReason = (typeof versionReasons)[number]

export type ModelUpdate =
  /** An item's row of the table, as the towers read it. [D]. Absent vector: the row was expired. */
  | { readonly kind: 'item-row'; readonly itemId: ItemId; readonly row: Float32Array | null; readonly count: number }
  /**
   * The item's list in the memory (co-occurrence counts of items): items h of a history that make it likely, and
   * S[h, itemId] > 0 of each, greatest first. Replaces the list before. Empty: it has none any more. Takes effect with
   * the commit, and belongs to the model version as embeddings do: a new version begins without lists, and all follow.
   */
  | {
      readonly kind: 'item-neighbours'
      readonly itemId: ItemId
      readonly neighbours: readonly ItemId[]
      /** As many as `neighbours`. */
      readonly weights: Float32Array
    }
  /** A feature's row (`field=value`). [D] */
  | { readonly kind: 'feature-row'; readonly feature: string; readonly row: Float32Array }
  /** A dense weight by name, whole; only at gated steps. */
  | {
      readonly kind: 'weights'
      readonly name: string
      readonly shape: readonly number[]
      readonly values: Float32Array
    }
  /**
   * Begins a model version: what lies before it in the partition, and compaction has left there, belongs to another. All rows
   * and weights follow, then a commit in `model version`. Never sent for the first model version of a log.
   */
  | {
      readonly kind: 'model-version'
      readonly modelVersion: string
      readonly reason: VersionReason
      readonly begunAtMs: number
    }
  /** Closes everything before it in the partition. */
  | {
      readonly kind: 'commit'
      readonly step: number
      /** Vectors of one model version may be compared; another architecture, or a rollback, is another model version. */
      readonly modelVersion: string
      /** The model's options as JSON: what a reader must build to use the weights. */
      readonly model: string
      /** Whether dense weights came with it. */
      readonly weightsChanged: boolean
      readonly committedAtMs: number
      /** What the newest item of a history counts when lists are scored with the memory: τ · λ. 0: without it. */
      readonly memoryWeight: number
    }

/** What each older item of a history counts of the one after it, when lists are scored with the memory. */
export const memoryDecay = 0.8

/** The record's key: what compaction keeps the newest of. */
export function updateKey(update: ModelUpdate): string {
  if (update.kind === 'item-row') return `item/${update.itemId}`
  if (update.kind === 'item-neighbours') return `neighbours/${update.itemId}`
  if (update.kind === 'feature-row') return `feature/${update.feature}`
  if (update.kind === 'weights') return `weights/${update.name}`
  if (update.kind === 'model-version') return 'model-version'
  return 'commit'
}

/** Numbers of a row: eight times what can be configured. */
const rowLengthMax = 4096
/** Neighbours of an item: four times what the trainer sends. */
const neighboursMax = 512
/** A batch a millisecond for 35 years. */
const stepMax = 2 ** 40
/** Scores without the memory are at most 1. */
const memoryWeightMax = 1000
const modelLengthMax = 65_536
/** `field=value` */
const featureBytesMax = 2 * idBytesMax + 1

/**
 * What makes the record one that `train` cannot have written; undefined: nothing. Whether rows and weights fit the
 * model is known with the commit.
 */
export function updateProblem(update: ModelUpdate): string | undefined {
  switch (update.kind) {
    case 'item-row': {
      const { itemId, row, count } = update
      if (!Number.isSafeInteger(count) || count < 0)
        return `count of item ${JSON.stringify(itemId)} is ${count}: expected a whole number ≥ 0`
      return idProblem('itemId', itemId) ?? (row === null ? undefined : rowProblem(row))
    }
    case 'item-neighbours':
      return idProblem('itemId', update.itemId) ?? neighboursProblem(update)
    case 'feature-row':
      return idProblem('feature', update.feature, featureBytesMax) ?? rowProblem(update.row)
    case 'weights':
      // Numbers that are not finite are for the gate to refuse, with all that came beside them.
      return idProblem('name of a weight', update.name)
    case 'model-version':
      return idProblem('modelVersion', update.modelVersion) ?? timeProblem('begunAtMs', update.begunAtMs)
    case 'commit': {
      const { step, modelVersion, model, committedAtMs, memoryWeight } = update
      if (!Number.isSafeInteger(step) || step < 0 || step > stepMax)
        return `step is ${step}: expected a whole number from 0 to 2⁴⁰`
      if (!(memoryWeight >= 0 && memoryWeight <= memoryWeightMax))
        return `memoryWeight is ${memoryWeight}: expected a number from 0 to ${memoryWeightMax}`
      if (model.length > modelLengthMax)
        return `model has ${model.length} characters: at most ${modelLengthMax} are allowed`
      return idProblem('modelVersion', modelVersion) ?? timeProblem('committedAtMs', committedAtMs)
    }
  }
}

function neighboursProblem(update: Extract<ModelUpdate, { kind: 'item-neighbours' }>): string | undefined {
  const { itemId, neighbours, weights } = update
  const list = `the neighbours of item ${JSON.stringify(itemId)}`
  if (neighbours.length > neighboursMax) return `${list} are ${neighbours.length}: at most ${neighboursMax} are allowed`
  if (neighbours.length !== weights.length) return `${list} are ${neighbours.length}, with ${weights.length} weights`
  if (new Set(neighbours).size !== neighbours.length) return `${list} name an item twice`
  for (const [i, neighbour] of neighbours.entries()) {
    const weight = weights[i]!
    if (neighbour === itemId) return `${list} include itself`
    if (!(weight > 0 && weight < Number.POSITIVE_INFINITY)) return `weight ${i} of ${list} is ${weight}: expected > 0`
    if (i > 0 && weight > weights[i - 1]!) return `${list} are not in descending order of weight`
    const problem = idProblem('neighbour', neighbour)
    if (problem !== undefined) return problem
  }
  return undefined
}

function rowProblem(row: Float32Array): string | undefined {
  if (row.length === 0 || row.length > rowLengthMax)
    return `a row has ${row.length} numbers: expected 1 to ${rowLengthMax}`
  for (let i = 0; i < row.length; i++) if (!Number.isFinite(row[i])) return `number ${i} of a row is ${row[i]}`
  return undefined
}
