// The model that a publisher has put into effect, as saved on disk: the log has the newest embeddings and weights, not
// which of them were accepted.

import { CorruptError } from '../../core/errors.ts'
import { type NamedArrays, namedArray } from '../../core/namedArrays.ts'
import { setOwn } from '../../core/own.ts'
import type { Weights } from '../weights.ts'
import { arraysOf, type Checkpoint, type CheckpointPart } from './checkpoint.ts'

export interface LiveModel {
  readonly modelVersion: string
  readonly step: number
  /** As the commit named it. */
  readonly model: string
  /** Offset of `model-updates` behind the commit that took effect last. */
  readonly next: bigint
  readonly weights: Weights
  readonly memoryWeight: number
  /** Absent: the log's own rows go with these weights. */
  readonly rows?: LiveRows
}

interface LiveRows {
  /** As `RowStore.state` gives them. */
  readonly items: NamedArrays
  readonly features: NamedArrays
  /** Interactions, by row of an item. */
  readonly counts: Float64Array
  /** As `NeighbourLists.state` gives them. */
  readonly neighbours: NamedArrays
}

export function liveModelToCheckpoint(live: LiveModel): Checkpoint {
  const { modelVersion, step, model, next, weights, memoryWeight, rows } = live
  const parts: CheckpointPart[] = [{ name: 'weights', arrays: new Map(Object.entries(weights)) }]
  if (rows !== undefined) {
    const counts = new Map([['counts', rows.counts]])
    parts.push(
      { name: 'item-rows', arrays: rows.items },
      { name: 'feature-rows', arrays: rows.features },
      { name: 'counts', arrays: counts },
      { name: 'neighbours', arrays: rows.neighbours }
    )
  }
  return { header: { modelVersion, step, model, next: String(next), memoryWeight }, parts }
}

/** @throws CorruptError if it is none */
export function liveModelFromCheckpoint(checkpoint: Checkpoint): LiveModel {
  const { modelVersion, step, model, next, memoryWeight } = checkpoint.header
  if (
    typeof modelVersion !== 'string' ||
    typeof step !== 'number' ||
    typeof model !== 'string' ||
    typeof next !== 'string' ||
    typeof memoryWeight !== 'number'
  )
    throw new CorruptError('the live model that was kept has another header than this program writes')
  const weights: Record<string, Float32Array> = {}
  const kept = arraysOf(checkpoint, 'weights')
  for (const name of kept.keys()) setOwn(weights, name, namedArray(kept, name, Float32Array))
  const live = { modelVersion, step, model, next: BigInt(next), weights, memoryWeight }
  const counts = arraysOf(checkpoint, 'counts')
  if (counts.size === 0) return live
  const rows = {
    items: arraysOf(checkpoint, 'item-rows'),
    features: arraysOf(checkpoint, 'feature-rows'),
    counts: namedArray(counts, 'counts', Float64Array),
    neighbours: arraysOf(checkpoint, 'neighbours')
  }
  return { ...live, rows }
}
