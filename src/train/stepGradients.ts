// One forward and backward pass: a mini-batch's loss, and its gradients as typed arrays.
//
// B examples, L history positions, H rows that the histories touch, C unique candidates, U unique rows of the batch, K interests, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import type { BatchCandidates, MiniBatch } from '../batch/miniBatch.ts'
import { unrolled, type WindowBatch } from '../batch/windowBatch.ts'
import { gatherRows } from '../model/gatherRows.ts'
import { type HistoryTensors, historyTensors, windowTensors } from '../model/historyTensors.ts'
import type { Model } from '../model/model.ts'
import { type ObjectiveOptions, objective } from '../model/objective.ts'
import { mapShapes, type Weights, weightTensors } from '../model/weights.ts'

export interface StepGradients {
  readonly loss: number
  /** Of each example, by the weights before the step; of no meaning where its weight is 0. [B] */
  readonly losses: Float32Array
  readonly dense: Weights
  /** With respect to the inputs of the batch's items. [U, D] */
  readonly inputs: Float32Array
}

export interface StepOptions {
  readonly model: Model
  readonly loss: ObjectiveOptions
  /** Whether to correct for how surely an item is a candidate. */
  readonly logQ: boolean
  readonly distillation?: Distillation
}

/**
 * Holds the interests u of replayed examples near those that a slow copy of the towers makes of the same rows, t: adds, for each of weight w,
 *
 *     λ · w · mean over k of ( 1 − ⟨u_k, t_k⟩ )  =  λ · w · mean over k of ½‖u_k − t_k‖²
 *
 * No item's similarity to an interest then differs by more than ‖u_k − t_k‖ from what it was to the copy: so all of them are distilled, at the cost of the copy's
 * forward pass and without a list of items.
 */
export interface Distillation {
  /** Of the slow copy; constants to the gradient. */
  readonly teacher: Weights
  /** λ */
  readonly weight: number
  /** Examples from this one on are held; in a batch of windows it must begin one. */
  readonly from: number
}

/**
 * Gradients of the weighted mean of the examples' losses.
 *
 * @param inputs of the batch's items (see ItemInputs). [U, D]
 * @param dropout multiplies what the user towers read, not the candidates. [U, D], or undefined
 */
export function stepGradients(
  given: MiniBatch | WindowBatch,
  inputs: Float32Array,
  dropout: Float32Array | undefined,
  weights: Weights,
  options: StepOptions
): StepGradients {
  const { model } = options
  // A regulariser of the routing is of each history's own.
  const together = model.user.readsWindows === true && options.loss.routingRegularisation === 0
  const batch = 'windows' in given && !together ? unrolled(given, model.historyMax) : given
  const d = model.rowWidth
  const history = compact(batch.items.length, ['windows' in batch ? batch.steps : batch.history], true)
  const candidates = compact(batch.items.length, [batch.target, batch.negatives], false)
  const mask = dropout === undefined ? undefined : pick(dropout, history.positions, d)
  const picked = pick(inputs, history.positions, d)
  const historyInputs = mask === undefined ? picked : picked.map((x, i) => x * mask[i]!)
  // Targets without a row (position 0) have weight 0: any candidate stands in.
  const positive = batch.target.map((position) => Math.max(0, candidates.slots[position]!))
  const totalWeight = batch.weight.reduce((sum, w) => sum + w, 0)

  let loss = Number.NaN
  let losses: Float32Array = new Float32Array(batch.size)
  let gradients: Float32Array[] = []
  tf.tidy(() => {
    const histories = tensorsOf(batch, history.slots, model.historyMax)
    const places = 'windows' in batch ? placesByInterest(batch, model.interestCount) : undefined //           [K·B]
    const blocked = batch.groups === undefined ? undefined : ofOwnGroup(batch, batch.groups, candidates.slots, candidates.positions.length) // [B, C]
    const positives = tf.tensor1d(positive, 'int32') //                                                       [B]
    const weight = tf.tensor1d(batch.weight.map((w) => w / totalWeight)) //                                   [B]
    const logQ = tf.tensor1d(options.logQ ? inclusionLogQ(batch, candidates.positions) : new Float32Array(candidates.positions.length)) // [C]
    const leaves = [
      tf.tensor2d(historyInputs, [history.positions.length, d]), //                                           [H, D]
      tf.tensor2d(pick(inputs, candidates.positions, d), [candidates.positions.length, d]), //                [C, D]
      ...Object.values(weightTensors(weights, model.shapes))
    ]
    const { distillation } = options
    const lesson = distillation === undefined ? undefined : lessonOf(batch, inputs, distillation, totalWeight, model) // [K, B, D]
    const { value, grads } = tf.valueAndGrads((...tensors: tf.Tensor[]) => {
      const dense = mapShapes(model.shapes, (_name, _shape, at) => tensors[2 + at]!)
      const made = model.user.interests(dense, tensors[0] as tf.Tensor2D, histories) //                       [K, B, D], of places [K, W·P, D]
      const user = places === undefined ? made : { interests: ofPlaces(made.interests, places) }
      const vectors = model.itemVectors(dense, tensors[1] as tf.Tensor2D) //                                  [C, D]
      const own = { vectors, positive: positives, logQ, ...(blocked === undefined ? {} : { blocked }) }
      const judged = objective(user, histories, own, weight, options.loss, model.user.readout, (examples) => {
        losses = examples.dataSync() as Float32Array
      })
      return lesson === undefined ? judged : (tf.sub(judged, tf.sum(tf.mul(user.interests, lesson))) as tf.Scalar)
    })(leaves)
    loss = value.dataSync()[0]!
    if (distillation !== undefined)
      for (let b = distillation.from; b < batch.size; b++) loss += (distillation.weight * batch.weight[b]!) / totalWeight
    gradients = grads.map((gradient) => gradient.dataSync() as Float32Array)
  })

  const ofInputs = new Float32Array(batch.items.length * d)
  const ofHistory = gradients[0]!
  if (mask !== undefined) for (let i = 0; i < mask.length; i++) ofHistory[i]! *= mask[i]!
  if (areFirst(history.positions)) ofInputs.set(ofHistory)
  else addRows(ofInputs, ofHistory, history.positions, d)
  addRows(ofInputs, gradients[1]!, candidates.positions, d)
  return { loss, losses, dense: mapShapes(model.shapes, (_name, _shape, at) => gradients[2 + at]!), inputs: ofInputs }
}

/** λ · w / K · t_k of the examples that are held, 0 of the others. [K, B, D] */
function lessonOf(
  batch: MiniBatch | WindowBatch,
  inputs: Float32Array,
  { teacher, weight, from }: Distillation,
  totalWeight: number,
  { user, shapes, interestCount: K, rowWidth: d, historyMax }: Model
): tf.Tensor3D {
  const held = heldPart(batch, from)
  const rows = compact(batch.items.length, ['windows' in held ? held.steps : held.history], true)
  const histories = tensorsOf(held, rows.slots, historyMax)
  const read = tf.tensor2d(pick(inputs, rows.positions, d), [rows.positions.length, d])
  const made = user.interests(weightTensors(teacher, shapes), read, histories).interests
  const interests = 'windows' in held ? ofPlaces(made, placesByInterest(held, K)) : made //                     [K, B − from, D]
  const scale = tf.tensor3d(
    batch.weight.slice(from).map((w) => (weight * w) / (totalWeight * K)),
    [1, held.size, 1]
  )
  return tf.pad(tf.mul(interests, scale), [[0, 0], [from, 0], [0, 0]]) as tf.Tensor3D // biome-ignore format: one table
}

type HistoriesOf = Pick<MiniBatch, 'size' | 'length' | 'history' | 'age'>
type WindowsOf = Pick<WindowBatch, 'size' | 'windows' | 'length' | 'places' | 'steps' | 'timesMs' | 'ends' | 'placeOf'>

/** Histories of the examples from `from` on. */
function heldPart(batch: MiniBatch | WindowBatch, from: number): HistoriesOf | WindowsOf {
  const { size, length } = batch
  if (!('windows' in batch))
    return { size: size - from, length, history: batch.history.subarray(from * length), age: batch.age.subarray(from * length) }
  const { places } = batch
  const first = from === size ? batch.windows : Math.floor(batch.placeOf[from]! / places)
  return {
    size: size - from,
    windows: batch.windows - first,
    length,
    places,
    steps: batch.steps.subarray(first * length),
    timesMs: batch.timesMs.subarray(first * length),
    ends: batch.ends.subarray(first * places),
    placeOf: batch.placeOf.subarray(from).map((place) => place - first * places)
  }
}

/** @param slots of the batch's positions among the rows that the histories touch */
function tensorsOf(batch: HistoriesOf | WindowsOf, slots: Int32Array, historyMax: number): HistoryTensors {
  if ('windows' in batch) return windowTensors({ ...batch, steps: batch.steps.map((position) => slots[position]!) }, historyMax)
  const steps = batch.history.map((position) => slots[position]!)
  return historyTensors({ size: batch.size, length: batch.length, steps, age: batch.age }, historyMax)
}

/** Where the B targets' interests are among those of all places, for each k. [K·B] */
function placesByInterest({ size: B, windows, places, placeOf }: WindowsOf, K: number): tf.Tensor1D {
  const index = new Int32Array(K * B)
  for (let k = 0; k < K; k++) for (let b = 0; b < B; b++) index[k * B + b] = k * windows * places + placeOf[b]!
  return tf.tensor1d(index, 'int32')
}

/** @param interests [K, W·P, D] @param index [K·B] @returns [K, B, D] */
function ofPlaces(interests: tf.Tensor3D, index: tf.Tensor1D): tf.Tensor3D {
  const [K, places, D] = interests.shape
  const users = gatherRows(tf.reshape(interests, [K * places, D]), index) //                                    [K·B, D]
  return tf.reshape(users, [K, index.size / K, D])
}

/** −1e9 where a candidate is another target of the example's own group. @param slots of the batch's positions among the C candidates @returns [B, C] */
function ofOwnGroup({ size: B, target }: BatchCandidates, groups: Int32Array, slots: Int32Array, C: number): tf.Tensor2D {
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
  return tf.tensor2d(blocked, [B, C])
}

/**
 * ln P(the item is among the unique candidates) = ln(1 − e^(−n Q)), for n draws of probability Q each.
 *
 * The batch's logQ is that of one draw; a candidate that was drawn several times is here one column. The Poisson form is exact within Q/2.
 */
function inclusionLogQ(batch: BatchCandidates, positions: Int32Array): Float32Array {
  const draws = batch.size + batch.negatives.length
  return Float32Array.from(positions, (position) => Math.log(-Math.expm1(-draws * Math.exp(batch.logQ[position]!))))
}

/** The positions that occur, ascending, and the slot of each; 0 (padding) only if asked for, then in slot 0. */
function compact(size: number, lists: readonly Int32Array[], withPadding: boolean): { positions: Int32Array; slots: Int32Array } {
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

function addRows(sums: Float32Array, rows: Float32Array, positions: Int32Array, d: number): void {
  for (let i = 0; i < positions.length; i++) {
    const to = positions[i]! * d
    for (let j = 0; j < d; j++) sums[to + j]! += rows[i * d + j]!
  }
}
