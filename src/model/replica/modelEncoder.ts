// Towers over rows: the vectors of one state of the model.
//
// N items, B users, L history positions, U unique rows, K interests, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import type { ItemId } from '../../records/interaction.ts'
import type { EncodedUsers, Encoder, EncoderItem, EncoderStep } from '../encoder.ts'
import { type HistoryTensors, historyTensors } from '../historyTensors.ts'
import type { Model } from '../model.ts'
import { gatherRows } from '../tensorOps.ts'
import { UniqueRows } from '../uniqueRows.ts'
import { type Weights, type WeightTensors, weightTensors } from '../weights.ts'
import type { Rows } from './rowStore.ts'

/** Items and users computed at once: bounds the memory of a call, and is enough work to keep the engine busy. */
const itemChunk = 8192
const userChunk = 256
/** Newest steps that are evidence of interests: all of 50 cost twice as much of an encoding as 20. */
const evidenceSteps = 20

interface ModelEncoderParts {
  readonly model: Model
  readonly modelVersion: string
  readonly step: number
  readonly weights: Weights
  readonly items: Rows
  readonly features: Rows
  /**
   * `field=value` of an item, whatever the rows; undefined or empty: none. A change of the answer is followed by
   * `featuresChanged`.
   */
  readonly featuresOf: (itemId: ItemId) => readonly string[] | undefined
}

export class ModelEncoder implements Encoder {
  readonly model: Model
  readonly modelVersion: string
  readonly #items: Rows
  readonly #features: Rows
  readonly #keysOf: ModelEncoderParts['featuresOf']
  #step: number
  #weights: Weights
  /** The engine's copy of the weights; made when first used after a change. */
  #tensors: WeightTensors | undefined
  /** Rows of an item's features, by item row, looked up when first needed. */
  #featureRows: (Int32Array | undefined)[] = []
  /** What the model computes of a row alone, by item row, and whether it holds. [rows, S] [rows] */
  #scores = new Float32Array(0)
  #scored = new Uint8Array(0)
  readonly #unique = new UniqueRows()

  constructor({ model, modelVersion, step, weights, items, features, featuresOf }: ModelEncoderParts) {
    this.model = model
    this.modelVersion = modelVersion
    this.#step = step
    this.#weights = weights
    this.#items = items
    this.#features = features
    this.#keysOf = featuresOf
  }

  get dimensions(): number {
    return this.model.dimensions
  }

  get interestCount(): number {
    return this.model.interestCount
  }

  get step(): number {
    return this.#step
  }

  get weights(): Weights {
    return this.#weights
  }

  /** The rows that it was made with have changed: what was remembered of them is forgotten. */
  advanced(
    step: number,
    changed: {
      readonly weights?: Weights
      readonly items: Iterable<number>
      readonly features: 'none' | 'known' | 'new'
    }
  ): void {
    this.#step = step
    if (changed.weights !== undefined) {
      this.dispose()
      this.#weights = changed.weights
    }
    if (changed.features === 'new') this.#featureRows = []
    if (changed.weights !== undefined || changed.features !== 'none') this.#scored.fill(0)
    for (const row of changed.items) this.#forgetRow(row)
  }

  /** The item's features are others than they were. */
  featuresChanged(itemId: ItemId): void {
    const row = this.#items.find(itemId)
    if (row !== 0) this.#forgetRow(row)
  }

  itemVectors(items: readonly EncoderItem[]): { vectors: Float32Array; known: Uint8Array } {
    const { model, tensors } = this.#loaded()
    const { dimensions: d } = model
    const vectors = new Float32Array(items.length * d) // [N, D]
    const known = new Uint8Array(items.length) // [N]
    for (let from = 0; from < items.length; from += itemChunk) {
      const to = Math.min(items.length, from + itemChunk)
      const inputs = new Float32Array((to - from) * d)
      for (let i = from; i < to; i++) {
        const { itemId, features } = items[i]!
        const row = this.#items.find(itemId)
        const rows = row === 0 ? this.#lookUp(features) : this.#featuresOf(row)
        if (row !== 0 || rows.length > 0) known[i] = 1
        this.#addInput(row, rows, inputs, (i - from) * d)
      }
      tf.tidy(() => vectors.set(model.itemVectors(tensors, tf.tensor2d(inputs, [to - from, d])).dataSync(), from * d))
    }
    return { vectors, known }
  }

  interests(histories: readonly (readonly EncoderStep[])[]): EncodedUsers {
    const { dimensions: d, interestCount: K } = this.#loaded().model
    const interests = new Float32Array(histories.length * K * d) // [B, K, D]
    const known = new Uint8Array(histories.length) // [B]
    const strengths = new Float32Array(histories.length * K) // [B, K]
    for (let from = 0; from < histories.length; from += userChunk) {
      const chunk = histories.slice(from, from + userChunk)
      this.#encode(chunk, {
        interests: interests.subarray(from * K * d),
        known: known.subarray(from),
        strengths: strengths.subarray(from * K)
      })
    }
    return { interests, known, strengths }
  }

  /** Gives the engine's memory back. */
  dispose(): void {
    if (this.#tensors !== undefined) tf.dispose(Object.values(this.#tensors))
    this.#tensors = undefined
  }

  #encode(histories: readonly (readonly EncoderStep[])[], { interests, known, strengths }: EncodedUsers): void {
    const { model, tensors } = this.#loaded()
    const { historyMax, dimensions: d } = model
    const B = histories.length
    const rows = new Int32Array(B * historyMax) // [B, historyMax], right-aligned
    const timesMs = new Float64Array(B * historyMax)
    let L = 1
    for (const [b, history] of histories.entries()) {
      const start = b * historyMax
      let at = start + historyMax
      for (let i = history.length - 1; i >= 0 && at > start; i--) {
        const row = this.#items.find(history[i]!.itemId)
        if (row === 0) continue
        rows[--at] = row
        timesMs[at] = history[i]!.eventTimeMs
      }
      const length = start + historyMax - at
      if (length > 0) known[b] = 1
      L = Math.max(L, length)
    }
    this.#unique.reset(B * L + 1)
    const steps = new Int32Array(B * L) // [B, L]
    const age = new Float32Array(B * L) // [B, L]
    for (let b = 0; b < B; b++) {
      const end = (b + 1) * historyMax
      for (let from = end - L, to = b * L; from < end; from++, to++) {
        if (rows[from] === 0) continue
        steps[to] = this.#unique.position(rows[from]!)
        age[to] = Math.max(0, (timesMs[end - 1]! - timesMs[from]!) / 1000)
      }
    }
    const unique = this.#unique.take() // [U]
    const inputs = new Float32Array(unique.length * d)
    for (let u = 1; u < unique.length; u++) this.#addInput(unique[u]!, this.#featuresOf(unique[u]!), inputs, u * d)
    const scores = this.#scoresOf(unique, inputs)
    tf.tidy(() => {
      const histories = historyTensors({ size: B, length: L, steps, age }, historyMax)
      const touched = tf.tensor2d(inputs, [unique.length, d]) //                                           [U, d]
      const known = scores === undefined ? undefined : tf.tensor2d(scores, [unique.length, model.user.rowScoreCount]) // [U, S]
      const users = model.user.interests(tensors, touched, histories, known).interests //                         [K, B, D]
      const byUser = tf.transpose(users, [1, 0, 2]) as tf.Tensor3D //                                             [B, K, D]
      interests.set(byUser.dataSync())
      if (model.interestCount === 1) strengths.fill(1, 0, B)
      else
        strengths.set(strengthsOf(byUser, model.itemVectors(tensors, touched), histories, model.temperature).dataSync())
    })
  }

  /**
   * What the model computes of rows alone: remembered until the row, a feature or the weights change. With attention it
   * is most of the work, and popular items come again and again.
   *
   * @param rows [U] @param inputs [U, d] @returns [U, S], or undefined where the model has nothing of the kind
   */
  #scoresOf(rows: Int32Array, inputs: Float32Array): Float32Array | undefined {
    const { model, tensors } = this.#loaded()
    const { dimensions: d } = model
    const { rowScoreCount: S } = model.user
    if (model.user.rowScores === undefined) return undefined
    if (this.#scored.length < this.#items.rows) {
      const rowsMax = Math.ceil(1.5 * this.#items.rows)
      const scores = new Float32Array(rowsMax * S)
      scores.set(this.#scores)
      this.#scores = scores
      const scored = new Uint8Array(rowsMax)
      scored.set(this.#scored)
      this.#scored = scored
    }
    const missing: number[] = []
    for (let u = 1; u < rows.length; u++) if (this.#scored[rows[u]!] === 0) missing.push(u)
    if (missing.length > 0) {
      const fresh = new Float32Array(missing.length * d)
      for (const [i, u] of missing.entries()) for (let j = 0; j < d; j++) fresh[i * d + j] = inputs[u * d + j]!
      tf.tidy(() => {
        const scores = model.user.rowScores!(tensors, tf.tensor2d(fresh, [missing.length, d])).dataSync() // [missing, S]
        for (const [i, u] of missing.entries()) {
          const row = rows[u]!
          for (let k = 0; k < S; k++) this.#scores[row * S + k] = scores[i * S + k]!
          this.#scored[row] = 1
        }
      })
    }
    // Padding, u = 0, is blocked: its score counts for nothing.
    const scores = new Float32Array(rows.length * S)
    for (let u = 1; u < rows.length; u++)
      for (let k = 0; k < S; k++) scores[u * S + k] = this.#scores[rows[u]! * S + k]!
    return scores
  }

  #loaded(): { model: Model; tensors: WeightTensors } {
    // Kept, even where a caller's tf.tidy is open.
    this.#tensors ??= keepAll(weightTensors(this.#weights, this.model.shapes))
    return { model: this.model, tensors: this.#tensors }
  }

  #forgetRow(row: number): void {
    this.#featureRows[row] = undefined
    if (row < this.#scored.length) this.#scored[row] = 0
  }

  #featuresOf(row: number): Int32Array {
    let rows = this.#featureRows[row]
    if (rows === undefined) {
      rows = this.#lookUp(this.#keysOf(this.#items.idOf(row)) ?? [])
      this.#featureRows[row] = rows
    }
    return rows
  }

  /** Features that have no row are left out, as in training. */
  #lookUp(features: readonly string[]): Int32Array {
    if (features.length === 0) return noRows
    return Int32Array.from(features.map((feature) => this.#features.find(feature)).filter((row) => row !== 0))
  }

  /** out[at … at + d) += row + its share of the mean of its feature rows. @param row 0: none */
  #addInput(row: number, features: Int32Array, out: Float32Array, at: number): void {
    if (row !== 0) this.#items.add(row, 1, out, at)
    if (features.length === 0) return
    const share = this.model.featureShare(row === 0 ? 0 : this.#items.count(row)) / features.length
    for (const feature of features) this.#features.add(feature, share, out, at)
  }
}

/** @param users [B, K, D] @param vectors of the rows in the histories [U, D] @returns as EncodedUsers: [B, K] */
function strengthsOf(
  users: tf.Tensor3D,
  vectors: tf.Tensor2D,
  { size: B, length: L, steps, blocked }: HistoryTensors,
  temperature: number
): tf.Tensor {
  const N = Math.min(L, evidenceSteps)
  const newest = tf.slice(tf.reshape(steps, [B, L]), [0, L - N], [B, N]).flatten() //                             [B·N]
  const read = tf.reshape(gatherRows(vectors, newest), [B, N, vectors.shape[1]]) //                               [B, N, D]
  const shares = tf.softmax(tf.matMul(read, tf.div(users, temperature), false, true)) //                          [B, N, K]
  // Even over the real steps, 0 at padding.
  const weights = tf.softmax(tf.slice(blocked, [0, L - N, 0], [B, N, 1]).reshape([B, 1, N])) //                   [B, 1, N]
  return tf.matMul(weights, shares) //                                                                            [B, 1, K]
}

const noRows = new Int32Array(0)

function keepAll(tensors: WeightTensors): WeightTensors {
  for (const tensor of Object.values(tensors)) tf.keep(tensor)
  return tensors
}
