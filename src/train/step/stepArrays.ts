// What a training step computes with: a mini-batch in plain arrays; and how its gradients return to the batch's rows.
//
// B examples, L history positions, H rows that the histories touch, C unique candidates, U unique rows of the batch, D
// dimensions.

import type { Rng } from '../../core/rng.ts'
import { type HistoryArrays, historyArrays, windowArrays } from '../../model/historyTensors.ts'
import type { Weights } from '../../model/weights.ts'
import type { BatchCandidates, MiniBatch, WindowBatch } from '../batch/miniBatch.ts'

export interface StepArrays {
  /** Rows of the batch behind those of the histories; 0 where these are not its first ones. */
  readonly spare: number
  readonly histories: HistoryArrays
  readonly rows: TouchedRows // H
  readonly candidates: TouchedRows // C
  /** Column of each example's target; any where it has none, as its weight is 0. [B] */
  readonly positive: Int32Array
  /** Summing to 1. [B] */
  readonly weight: Float32Array
  /** ln P(the item is a candidate), or zeros. [C] */
  readonly logQ: Float32Array
  /** Place of each example's interests, where histories share windows. [B] */
  readonly placeOf?: Int32Array
  /** −1e9 where a candidate is no negative of an example, else 0. [B, C] */
  readonly blocked?: Float32Array
}

/** Rows that one side of the model reads. */
interface TouchedRows {
  /** Among the batch's U rows, ascending. */
  readonly positions: Int32Array
  /** Their inputs, after dropout. [positions.length, D] */
  readonly values: Float32Array
  readonly dropout?: Float32Array
}

/** What a step computed. */
export interface StepGradients {
  readonly loss: number
  /** By the weights before the step; undefined values where an example's weight is 0. [B] */
  readonly losses: Float32Array
  readonly dense: Weights
  /** With respect to `rows.values`; zeros may follow, in place of the batch's other rows. [H, D] or [U, D] */
  readonly gradRows: Float32Array
  readonly gradCandidates: Float32Array // [C, D]
}

interface StepOptions {
  readonly historyMax: number
  /** Whether to correct for the probability that an item is a candidate. */
  readonly logQ: boolean
}

/**
 * @param inputs of the batch's items (see ItemInputs). [U, D]
 * @param dropout multiplies what the user towers read, not the candidates. [U, D], or undefined
 */
export function stepArrays(
  batch: MiniBatch | WindowBatch,
  inputs: Float32Array,
  dropout: Float32Array | undefined,
  { historyMax, logQ }: StepOptions
): StepArrays {
  const d = inputs.length / batch.items.length
  const read = compact(batch.items.length, ['windows' in batch ? batch.steps : batch.history], true)
  const offered = compact(batch.items.length, [batch.target, batch.negatives], false)
  const mask = dropout === undefined ? undefined : pick(dropout, read.positions, d)
  const values = pick(inputs, read.positions, d)
  const totalWeight = batch.weight.reduce((sum, w) => sum + w, 0)
  const C = offered.positions.length
  return {
    histories: historiesOf(batch, read.slots, historyMax),
    rows:
      mask === undefined
        ? { positions: read.positions, values }
        : { positions: read.positions, values: values.map((x, i) => x * mask[i]!), dropout: mask },
    spare: areFirst(read.positions) ? batch.items.length - read.positions.length : 0,
    candidates: { positions: offered.positions, values: pick(inputs, offered.positions, d) },
    positive: batch.target.map((position) => Math.max(0, offered.slots[position]!)),
    weight: batch.weight.map((w) => w / totalWeight),
    logQ: logQ ? inclusionLogQ(batch, offered.positions) : new Float32Array(C),
    ...('windows' in batch ? { placeOf: batch.placeOf } : {}),
    ...(batch.groups === undefined ? {} : { blocked: ofOwnGroup(batch, batch.groups, offered.slots, C) })
  }
}

/** The gradient with respect to the inputs of the batch's U items. May overwrite `gradients`. @returns [U, D] */
export function gradientOfInputs(
  { rows, candidates }: StepArrays,
  { gradRows, gradCandidates }: StepGradients,
  U: number
): Float32Array {
  const d = gradCandidates.length / candidates.positions.length
  const { dropout } = rows
  if (dropout !== undefined) for (let i = 0; i < dropout.length; i++) gradRows[i]! *= dropout[i]!
  const isWhole = gradRows.length === U * d
  const sums = isWhole ? gradRows : new Float32Array(U * d)
  if (!isWhole) addRows(rows.positions, gradRows, sums, d)
  addRows(candidates.positions, gradCandidates, sums, d)
  return sums
}

/** 1/(1 − rate) with probability 1 − rate, else 0; the rate rounded to 1/65,536. Two numbers a draw. */
export function dropoutMask(length: number, rate: number, rng: Rng): Float32Array {
  const mask = new Float32Array(length)
  const threshold = Math.round(rate * 65_536)
  const kept = 1 / (1 - rate)
  for (let i = 0; i < length; i += 2) {
    const bits = rng.uint32()
    if ((bits & 0xffff) >= threshold) mask[i] = kept
    if (i + 1 < length && bits >>> 16 >= threshold) mask[i + 1] = kept
  }
  return mask
}

/** @param slots of the batch's positions among the rows that the histories touch */
function historiesOf(batch: MiniBatch | WindowBatch, slots: Int32Array, historyMax: number): HistoryArrays {
  if ('windows' in batch)
    return windowArrays({ ...batch, steps: batch.steps.map((position) => slots[position]!) }, historyMax)
  return historyArrays({ ...batch, steps: batch.history.map((position) => slots[position]!) }, historyMax)
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
 * The batch's logQ is that of one draw; a candidate that was drawn several times is one column here. The Poisson form
 * is exact within Q/2.
 */
function inclusionLogQ(batch: BatchCandidates, positions: Int32Array): Float32Array {
  const draws = batch.size + batch.negatives.length
  return Float32Array.from(positions, (position) => Math.log(-Math.expm1(-draws * Math.exp(batch.logQ[position]!))))
}

/** The positions that occur, ascending, and the slot of each; 0 (padding) only on request, then in slot 0. */
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

/** @returns a copy, or a view where the positions are the first ones */
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

function addRows(positions: Int32Array, values: Float32Array, sums: Float32Array, d: number): void {
  for (let i = 0, from = 0; i < positions.length; i++)
    for (let to = positions[i]! * d, end = from + d; from < end; ) sums[to++]! += values[from++]!
}
