// The model as its updates tell it: what publishes and serves vectors far from the trainer, never between two commits.
//
// N items, B users, L history positions, U unique rows, K interests, D dimensions.

import * as tf from '@tensorflow/tfjs-core'
import { CorruptError } from '../base/errors.ts'
import { UniqueRows } from '../batch/uniqueRows.ts'
import { type CatalogueItem, featureKeys } from '../event/catalogueItem.ts'
import type { ItemId } from '../event/interaction.ts'
import type { Encoder, EncoderItem, EncoderStep } from '../model/encoder.ts'
import { historyTensors } from '../model/historyTensors.ts'
import { differences, type Model, modelFromJson } from '../model/model.ts'
import { checkWeights, type Weights, type WeightTensors, weightTensors } from '../model/weights.ts'
import type { ModelUpdate } from './modelUpdate.ts'
import { RowStore } from './rowStore.ts'

/** What a commit changed. */
export interface AppliedUpdate {
  readonly step: number
  readonly space: string
  /** Items whose row changed. Those moved by a feature's row or by dense weights alone are not named. */
  readonly changedItems: readonly ItemId[]
  /** Whether the dense weights changed: then every vector moved. */
  readonly weightsChanged: boolean
  readonly expired: readonly ItemId[]
  /** Interactions of the items in `changedItems`, as the trainer counted them. */
  readonly counts: ReadonlyMap<ItemId, number>
}

interface Pending {
  readonly items: Map<ItemId, { row: Float32Array | null; count: number }>
  readonly features: Map<string, Float32Array>
  readonly weights: Map<string, Float32Array>
}

/** Items and users computed at once: bounds the memory of a call, and is enough work to keep the engine busy. */
const itemChunk = 8192
const userChunk = 256

export class ModelReplica implements Encoder {
  #pending: Pending = emptyPending()
  #items = new RowStore(1)
  #features = new RowStore(1)
  readonly #catalogue = new Map<ItemId, readonly string[]>()
  /** Rows of an item's features, by item row, looked up when first needed. */
  #featureRows: (Int32Array | undefined)[] = []
  /** What the model computes of a row alone, by item row, and whether it holds. [rows, S] [rows] */
  #scores = new Float32Array(0)
  #scored = new Uint8Array(0)
  #model: Model | undefined
  #weights: Weights = {}
  /** The engine's copy of the weights; made when first used after a change. */
  #tensors: WeightTensors | undefined
  #space = ''
  #step = 0
  readonly #unique = new UniqueRows()

  /** 0 before the first commit that brought weights. */
  get dimensions(): number {
    return this.#model?.dimensions ?? 0
  }

  get interestCount(): number {
    return this.#model?.interestCount ?? 0
  }

  get space(): string {
    return this.#space
  }

  get step(): number {
    return this.#step
  }

  /** Whether vectors can be made: a commit that brought weights has been applied. */
  get ready(): boolean {
    return this.#model !== undefined
  }

  /** Items that have a row. */
  get itemCount(): number {
    return this.#items.size
  }

  /**
   * Takes one record. All records up to a commit take effect with it, in one go; a later record of the same name replaces an earlier one.
   *
   * @returns what changed, for a commit; undefined for any other record, and for commits until one has brought all weights
   * @throws ConfigError if the commit names a model that this program does not know, or weights are missing or do not fit it; CorruptError if a row has another dimension. The replica
   *   is then as before, and what was not committed is dropped
   */
  apply(update: ModelUpdate): AppliedUpdate | undefined {
    switch (update.kind) {
      case 'item-row':
        this.#pending.items.set(update.itemId, { row: update.row, count: update.count })
        return undefined
      case 'feature-row':
        this.#pending.features.set(update.feature, update.row)
        return undefined
      case 'weights':
        this.#pending.weights.set(update.name, update.values)
        return undefined
      case 'commit':
        return this.#commit(update)
    }
  }

  /** Takes note of what items are: histories name items by id alone, and the towers read an item's features with its row. */
  learnCatalogue(items: Iterable<CatalogueItem>): void {
    for (const item of items) this.#noteFeatures(item.itemId, featureKeys(item))
  }

  /** Features given here are remembered, as by `learnCatalogue`. */
  itemVectors(items: readonly EncoderItem[]): { vectors: Float32Array; known: Uint8Array } {
    const { model, tensors } = this.#loaded()
    const { dimensions: d, rowWidth } = model
    const vectors = new Float32Array(items.length * d) // [N, D]
    const known = new Uint8Array(items.length) // [N]
    for (let from = 0; from < items.length; from += itemChunk) {
      const to = Math.min(items.length, from + itemChunk)
      const inputs = new Float32Array((to - from) * rowWidth)
      for (let i = from; i < to; i++) {
        const { itemId, features } = items[i]!
        const row = this.#items.find(itemId)
        this.#noteFeatures(itemId, features)
        const rows = row === 0 ? this.#lookUp(features) : this.#featuresOf(row)
        if (row !== 0 || rows.length > 0) known[i] = 1
        this.#addInput(row, rows, inputs, (i - from) * rowWidth)
      }
      tf.tidy(() => vectors.set(model.itemVectors(tensors, tf.tensor2d(inputs, [to - from, rowWidth])).dataSync(), from * d))
    }
    return { vectors, known }
  }

  interests(histories: readonly (readonly EncoderStep[])[]): { interests: Float32Array; known: Uint8Array } {
    const { dimensions: d, interestCount: K } = this.#loaded().model
    const interests = new Float32Array(histories.length * K * d) // [B, K, D]
    const known = new Uint8Array(histories.length) // [B]
    for (let from = 0; from < histories.length; from += userChunk) {
      const chunk = histories.slice(from, from + userChunk)
      this.#interestsOf(chunk, interests.subarray(from * K * d), known.subarray(from))
    }
    return { interests, known }
  }

  /** Gives the engine's memory back. */
  dispose(): void {
    if (this.#tensors !== undefined) tf.dispose(Object.values(this.#tensors))
    this.#tensors = undefined
  }

  #interestsOf(histories: readonly (readonly EncoderStep[])[], interests: Float32Array, known: Uint8Array): void {
    const { model, tensors } = this.#loaded()
    const { historyMax, rowWidth } = model
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
    const inputs = new Float32Array(unique.length * rowWidth)
    for (let u = 1; u < unique.length; u++) this.#addInput(unique[u]!, this.#featuresOf(unique[u]!), inputs, u * rowWidth)
    const scores = this.#scoresOf(unique, inputs)
    tf.tidy(() => {
      const histories = historyTensors({ size: B, length: L, steps, age }, historyMax)
      const touched = tf.tensor2d(inputs, [unique.length, rowWidth]) //                                           [U, rowWidth]
      const known = scores === undefined ? undefined : tf.tensor2d(scores, [unique.length, model.user.rowScoreCount]) // [U, S]
      const users = model.user.interests(tensors, touched, histories, known).interests //                         [K, B, D]
      interests.set(tf.transpose(users, [1, 0, 2]).dataSync()) //                                                 [B, K, D]
    })
  }

  /**
   * What the model computes of rows alone: remembered until the row, a feature or the weights change. With attention it is most of the work, and popular
   * items come again and again.
   *
   * @param rows [U] @param inputs [U, rowWidth] @returns [U, S], or undefined where the model has nothing of the kind
   */
  #scoresOf(rows: Int32Array, inputs: Float32Array): Float32Array | undefined {
    const { model, tensors } = this.#loaded()
    const { rowWidth } = model
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
      const fresh = new Float32Array(missing.length * rowWidth)
      for (const [i, u] of missing.entries()) for (let j = 0; j < rowWidth; j++) fresh[i * rowWidth + j] = inputs[u * rowWidth + j]!
      tf.tidy(() => {
        const scores = model.user.rowScores!(tensors, tf.tensor2d(fresh, [missing.length, rowWidth])).dataSync() // [missing, S]
        for (const [i, u] of missing.entries()) {
          const row = rows[u]!
          for (let k = 0; k < S; k++) this.#scores[row * S + k] = scores[i * S + k]!
          this.#scored[row] = 1
        }
      })
    }
    // Padding, u = 0, is blocked: its score counts for nothing.
    const scores = new Float32Array(rows.length * S)
    for (let u = 1; u < rows.length; u++) for (let k = 0; k < S; k++) scores[u * S + k] = this.#scores[rows[u]! * S + k]!
    return scores
  }

  #commit(commit: Extract<ModelUpdate, { kind: 'commit' }>): AppliedUpdate | undefined {
    const pending = this.#pending
    this.#pending = emptyPending()
    const model = modelFromJson(commit.model)
    const sameLineage =
      this.#model !== undefined && commit.space === this.#space && differences(model.architecture, this.#model.architecture).length === 0
    const weights: Record<string, Float32Array> = sameLineage ? { ...this.#weights } : {}
    for (const [name, values] of pending.weights) weights[name] = values
    // The trainer sends dense weights less often than rows: what comes before the first of them waits.
    if (!sameLineage && pending.weights.size === 0) {
      this.#pending = pending
      return undefined
    }
    const checked = checkWeights(weights, model.shapes)
    for (const [id, { row }] of pending.items) if (row !== null) checkRow(id, row, model.rowWidth)
    for (const [id, row] of pending.features) checkRow(id, row, model.rowWidth)
    // From here on nothing fails.
    if (!sameLineage) {
      // Rows of another lineage mean nothing here.
      this.#items = new RowStore(model.rowWidth)
      this.#features = new RowStore(model.rowWidth)
      this.#featureRows = []
      this.#scores = new Float32Array(0)
      this.#scored = new Uint8Array(0)
    }
    const weightsChanged = !sameLineage || pending.weights.size > 0
    if (weightsChanged) {
      this.dispose()
      this.#weights = checked
    }
    this.#model = model
    this.#space = commit.space
    this.#step = commit.step
    const newFeatures = [...pending.features.keys()].some((feature) => this.#features.find(feature) === 0)
    for (const [feature, row] of pending.features) this.#features.set(feature, row)
    if (newFeatures) this.#featureRows = []
    if (weightsChanged || pending.features.size > 0) this.#scored.fill(0)
    const changedItems: ItemId[] = []
    const expired: ItemId[] = []
    const counts = new Map<ItemId, number>()
    for (const [itemId, { row, count }] of pending.items) {
      if (row === null) {
        this.#featureRows[this.#items.delete(itemId)] = undefined
        expired.push(itemId)
        continue
      }
      const at = this.#items.set(itemId, row)
      if (at < this.#scored.length) this.#scored[at] = 0
      changedItems.push(itemId)
      counts.set(itemId, count)
    }
    return { step: commit.step, space: commit.space, changedItems, weightsChanged, expired, counts }
  }

  #loaded(): { model: Model; tensors: WeightTensors } {
    const model = this.#model
    if (model === undefined) throw new Error('ModelReplica: no commit has brought weights yet; ask `ready` first')
    // Kept, even where a caller's tf.tidy is open.
    this.#tensors ??= keepAll(weightTensors(this.#weights, model.shapes))
    return { model, tensors: this.#tensors }
  }

  #noteFeatures(itemId: ItemId, features: readonly string[]): void {
    const before = this.#catalogue.get(itemId)
    if (before === features || (before === undefined && features.length === 0)) return
    if (before?.length === features.length && features.every((feature, i) => feature === before[i])) return
    this.#catalogue.set(itemId, features)
    const row = this.#items.find(itemId)
    if (row === 0) return
    this.#featureRows[row] = undefined
    this.#scored[row] = 0
  }

  #featuresOf(row: number): Int32Array {
    let rows = this.#featureRows[row]
    if (rows === undefined) {
      rows = this.#lookUp(this.#catalogue.get(this.#items.idOf(row)) ?? [])
      this.#featureRows[row] = rows
    }
    return rows
  }

  /** Features that have no row are left out, as in training. */
  #lookUp(features: readonly string[]): Int32Array {
    if (features.length === 0) return noRows
    return Int32Array.from(features.map((feature) => this.#features.find(feature)).filter((row) => row !== 0))
  }

  /** out[at … at + rowWidth) += row + mean of feature rows. */
  #addInput(row: number, features: Int32Array, out: Float32Array, at: number): void {
    if (row !== 0) this.#items.add(row, 1, out, at)
    for (const feature of features) this.#features.add(feature, 1 / features.length, out, at)
  }
}

const noRows = new Int32Array(0)

function emptyPending(): Pending {
  return { items: new Map(), features: new Map(), weights: new Map() }
}

function keepAll(tensors: WeightTensors): WeightTensors {
  for (const tensor of Object.values(tensors)) tf.keep(tensor)
  return tensors
}

function checkRow(id: string, row: Float32Array, width: number): void {
  if (row.length !== width) throw new CorruptError(`row of '${id}' has ${row.length} numbers; the model's have ${width}`)
}
