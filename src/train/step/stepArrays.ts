// What a training step computes with: a mini-batch in plain arrays, for whoever does the arithmetic.
//
// B examples, L history positions, H rows that the histories touch, C unique candidates, U unique rows of the batch, K
// interests, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import { gatherRows } from '../../model/gatherRows.ts'
import { type HistoryArrays, historyArrays, windowArrays } from '../../model/historyTensors.ts'
import type { Model } from '../../model/model.ts'
import type { ObjectiveOptions } from '../../model/objective.ts'
import type { BatchCandidates, MiniBatch } from '../batch/miniBatch.ts'
import { unrolled, type WindowBatch } from '../batch/windowBatch.ts'

export interface StepOptions {
  readonly model: Model
  readonly loss: ObjectiveOptions
  /** Whether to correct for how surely an item is a candidate. */
  readonly logQ: boolean
}

export interface StepArrays {
  /** Rows of the batch that stand behind those of the histories; 0 where these are not its first ones. */
  readonly spare: number
  readonly histories: HistoryArrays
  readonly rows: TouchedRows // H
  readonly candidates: TouchedRows // C
  /** Column of each example's target; where it has none any other, as its weight is 0. [B] */
  readonly positive: Int32Array
  /** Summing to 1. [B] */
  readonly weight: Float32Array
  /** ln P(the item is a candidate), or zeros. [C] */
  readonly logQ: Float32Array
  /** Where the examples' interests are, where histories share windows. [B] */
  readonly placeOf?: Int32Array
  /** −1e9 where a candidate is no negative of an example, else 0. [B, C] */
  readonly blocked?: Float32Array
}

/** Rows that one side of the model reads. */
export interface TouchedRows {
  /** Of the batch's U rows, ascending. */
  readonly positions: Int32Array
  /** What is read of them, dropped out. [positions.length, D] */
  readonly values: Float32Array
  readonly dropout?: Float32Array
}

/**
 * @param inputs of the batch's items (see ItemInputs). [U, D]
 * @param dropout multiplies what the user towers read, not the candidates. [U, D], or undefined
 */
export function stepArrays(
  given: MiniBatch | WindowBatch,
  inputs: Float32Array,
  dropout: Float32Array | undefined,
  { model, loss, logQ }: StepOptions
): StepArrays {
  // A regulariser of the routing is of each history's own.
  const together = model.user.readsWindows === true && loss.routingRegularisation === 0
  const batch = 'windows' in given && !together ? unrolled(given, model.historyMax) : given
  const d = model.rowWidth
  const read = compact(batch.items.length, ['windows' in batch ? batch.steps : batch.history], true)
  const offered = compact(batch.items.length, [batch.target, batch.negatives], false)
  const mask = dropout === undefined ? undefined : pick(dropout, read.positions, d)
  const values = pick(inputs, read.positions, d)
  const totalWeight = batch.weight.reduce((sum, w) => sum + w, 0)
  return {
    histories: arraysOf(batch, read.slots, model.historyMax),
    rows:
      mask === undefined
        ? { positions: read.positions, values }
        : { positions: read.positions, values: values.map((x, i) => x * mask[i]!), dropout: mask },
    spare: areFirst(read.positions) ? batch.items.length - read.positions.length : 0,
    candidates: { positions: offered.positions, values: pick(inputs, offered.positions, d) },
    positive: batch.target.map((position) => Math.max(0, offered.slots[position]!)),
    weight: batch.weight.map((w) => w / totalWeight),
    logQ: logQ ? inclusionLogQ(batch, offered.positions) : new Float32Array(offered.positions.length),
    ...('windows' in batch ? { placeOf: batch.placeOf } : {}),
    ...(batch.groups === undefined
      ? {}
      : { blocked: ofOwnGroup(batch, batch.groups, offered.slots, offered.positions.length) })
  }
}

/** Adds the gradients of what was read to those of the batch's rows. @param gradients overwritten @param sums [U, D] */
export function addGradients(
  { positions, dropout }: TouchedRows,
  gradients: Float32Array,
  sums: Float32Array,
  d: number
): void {
  dropOut(gradients, dropout)
  for (let i = 0, from = 0; i < positions.length; i++)
    for (let to = positions[i]! * d, end = from + d; from < end; ) sums[to++]! += gradients[from++]!
}

export function dropOut(values: Float32Array, dropout: Float32Array | undefined): void {
  if (dropout !== undefined) for (let i = 0; i < dropout.length; i++) values[i]! *= dropout[i]!
}

type HistoriesOf = Pick<MiniBatch, 'size' | 'length' | 'history' | 'age'>
type WindowsOf = Pick<WindowBatch, 'size' | 'windows' | 'length' | 'places' | 'steps' | 'timesMs' | 'ends' | 'placeOf'>

/** @param slots of the batch's positions among the rows that the histories touch */
function arraysOf(batch: HistoriesOf | WindowsOf, slots: Int32Array, historyMax: number): HistoryArrays {
  if ('windows' in batch)
    return windowArrays({ ...batch, steps: batch.steps.map((position) => slots[position]!) }, historyMax)
  const steps = batch.history.map((position) => slots[position]!)
  return historyArrays({ size: batch.size, length: batch.length, steps, age: batch.age }, historyMax)
}

/** Where the B targets' interests are among those of all places, for each k. [K·B] */
export function placesByInterest(placeOf: Int32Array, places: number, K: number): tf.Tensor1D {
  const B = placeOf.length
  const index = new Int32Array(K * B)
  for (let k = 0; k < K; k++) for (let b = 0; b < B; b++) index[k * B + b] = k * places + placeOf[b]!
  return tf.tensor1d(index, 'int32')
}

/** @param interests [K, W·P, D] @param index [K·B] @returns [K, B, D] */
export function ofPlaces(interests: tf.Tensor3D, index: tf.Tensor1D): tf.Tensor3D {
  const [K, places, D] = interests.shape
  const users = gatherRows(tf.reshape(interests, [K * places, D]), index) //                                    [K·B, D]
  return tf.reshape(users, [K, index.size / K, D])
}

/**
 * −1e9 where a candidate is another target of the example's own group. @param slots of the batch's positions among the
 * C candidates @returns [B, C]
 */
function ofOwnGroup(
  { size: B, target }: BatchCandidates,
  groups: Int32Array,
  slots: Int32Array,
  C: number
): Float32Array {
  const members = new Map<number, number[]>()
  for (let b = 0; b < B; b++) {
    const slot = slots[target[b]!]!
    const group = members.get(groups[b]!)
    if (group === undefined) members.set(groups[b]!, [slot])
    else group.push(slot)
  }
  const blocked = new Float32Array(B * C)
  for (let b = 0; b < B; b++) {
    const own = slots[target[b]!]!
    for (const slot of members.get(groups[b]!)!) if (slot >= 0 && slot !== own) blocked[b * C + slot] = -1e9
  }
  return blocked
}

/**
 * ln P(the item is among the unique candidates) = ln(1 − e^(−n Q)), for n draws of probability Q each.
 *
 * The batch's logQ is that of one draw; a candidate that was drawn several times is here one column. The Poisson form
 * is exact within Q/2.
 */
function inclusionLogQ(batch: BatchCandidates, positions: Int32Array): Float32Array {
  const draws = batch.size + batch.negatives.length
  return Float32Array.from(positions, (position) => Math.log(-Math.expm1(-draws * Math.exp(batch.logQ[position]!))))
}

/** The positions that occur, ascending, and the slot of each; 0 (padding) only if asked for, then in slot 0. */
function compact(
  size: number,
  lists: readonly Int32Array[],
  withPadding: boolean
): { positions: Int32Array; slots: Int32Array } {
  const slots = new Int32Array(size).fill(-1) // [U]
  for (const list of lists) for (let i = 0; i < list.length; i++) slots[list[i]!] = 1
  slots[0] = withPadding ? 1 : -1
  const positions = new Int32Array(size)
  let count = 0
  for (let position = 0; position < size; position++) {
    if (slots[position]! < 0) continue
    slots[position] = count
    positions[count++] = position
  }
  return { positions: positions.slice(0, count), slots }
}

/** @returns a copy, or where the positions are the first ones a view */
function pick(rows: Float32Array, positions: Int32Array, d: number): Float32Array {
  if (areFirst(positions)) return rows.subarray(0, positions.length * d)
  const out = new Float32Array(positions.length * d)
  for (let i = 0; i < positions.length; i++) {
    const from = positions[i]! * d
    for (let j = 0; j < d; j++) out[i * d + j] = rows[from + j]!
  }
  return out
}

/** Whether unique ascending positions are 0, 1, 2, … */
function areFirst(positions: Int32Array): boolean {
  return positions.length === 0 || positions.at(-1) === positions.length - 1
}
