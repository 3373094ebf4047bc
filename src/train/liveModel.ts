// The model that a publisher has put into effect, as it outlives the process: a log tells the newest rows and weights, not which of them were accepted.

import { CorruptError } from '../base/errors.ts'
import { type NamedArray, type NamedArrays, namedArray, withoutPrefix, withPrefix } from '../batch/namedArrays.ts'
import type { Weights } from '../model/weights.ts'
import type { Checkpoint } from './checkpoint.ts'

export interface LiveModel {
  readonly space: string
  readonly step: number
  /** As the commit named it. */
  readonly model: string
  /** Offset of `model-updates` behind the commit that took effect last. */
  readonly next: bigint
  readonly weights: Weights
  /** Absent: the log's own rows go with these weights. */
  readonly rows?: LiveRows
}

export interface LiveRows {
  /** As `RowStore.state` gives them. */
  readonly items: NamedArrays
  readonly features: NamedArrays
  /** Interactions, by row of an item. */
  readonly counts: Float64Array
}

export function liveModelToCheckpoint({ space, step, model, next, weights, rows }: LiveModel): Checkpoint {
  const arrays: [string, NamedArray][] = [...withPrefix('weights/', new Map(Object.entries(weights)))]
  if (rows !== undefined) {
    arrays.push(...withPrefix('items/', rows.items), ...withPrefix('features/', rows.features), ['counts', rows.counts])
  }
  return { header: { space, step, model, next: String(next) }, arrays: new Map(arrays) }
}

/** @throws CorruptError if it is none */
export function liveModelFromCheckpoint({ header, arrays }: Checkpoint): LiveModel {
  const { space, step, model, next } = header
  if (typeof space !== 'string' || typeof step !== 'number' || typeof model !== 'string' || typeof next !== 'string')
    throw new CorruptError('the live model that was kept has another header than this program writes')
  const weights: Record<string, Float32Array> = {}
  const kept = withoutPrefix('weights/', arrays)
  for (const name of kept.keys()) weights[name] = namedArray(kept, name, Float32Array)
  const live = { space, step, model, next: BigInt(next), weights }
  if (!arrays.has('counts')) return live
  const rows = {
    items: withoutPrefix('items/', arrays),
    features: withoutPrefix('features/', arrays),
    counts: namedArray(arrays, 'counts', Float64Array)
  }
  return { ...live, rows }
}
