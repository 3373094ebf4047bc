// The model in effect: the embeddings, lists and weights of the commits that were applied, and its encoder.

import type { ItemId } from '../../records/interaction.ts'
import type { VersionReason } from '../../records/modelUpdate.ts'
import { type Model, modelFromJson } from '../model.ts'
import { checkWeights, type Weights } from '../weights.ts'
import { LayeredRows } from './layeredRows.ts'
import type { LiveModel } from './liveModel.ts'
import { isSameVersion, type ModelChanges } from './modelChanges.ts'
import { ModelEncoder } from './modelEncoder.ts'
import { NeighbourLists, type Neighbours } from './neighbourLists.ts'
import { RowStore } from './rowStore.ts'

/** What a commit changed. */
export interface AppliedUpdate {
  readonly step: number
  readonly modelVersion: string
  /** Items whose embedding changed. Those moved only by a feature or by dense weights are not listed. */
  readonly changedItems: readonly ItemId[]
  /** Whether the dense weights changed: then every vector moved. */
  readonly weightsChanged: boolean
  readonly expired: readonly ItemId[]
  /** Items whose list in the memory changed (`neighboursOf`), whether or not their embedding did. */
  readonly changedNeighbours: readonly ItemId[]
  /** Interactions of the items in `changedItems`, as the trainer counted them. */
  readonly counts: ReadonlyMap<ItemId, number>
  /** Why the model version was begun, where it was requested. */
  readonly reason?: VersionReason
}

export class ModelInEffect {
  readonly #keepsPrevious: boolean
  #featuresOf: (itemId: ItemId) => readonly string[] = () => []
  #items = new RowStore(1)
  #features = new RowStore(1)
  #neighbours = new NeighbourLists()
  #memoryWeight = 0
  #encoder: ModelEncoder | undefined
  /** The model as its commit named it. */
  #text = ''
  /** As `offsets` has them. */
  #next = 0n
  #weightsNext = 0n
  /** The model version before, served while this one is filled. */
  #previous: ModelEncoder | undefined

  constructor(keepsPrevious: boolean) {
    this.#keepsPrevious = keepsPrevious
  }

  /** undefined before the first commit that brought weights. */
  get encoder(): ModelEncoder | undefined {
    return this.#encoder
  }

  /** @throws Error before the first commit that brought weights */
  ready(): ModelEncoder {
    if (this.#encoder === undefined)
      throw new Error('ModelReplica: no commit has brought weights yet; check `ready` first')
    return this.#encoder
  }

  get previous(): ModelEncoder | undefined {
    return this.#previous
  }

  forgetPrevious(): void {
    this.#previous?.dispose()
    this.#previous = undefined
  }

  /** Items that have a row. */
  get itemCount(): number {
    return this.#items.size
  }

  /** Interactions of the item as the trainer counted them; 0: it has no row. */
  countOf(itemId: ItemId): number {
    const row = this.#items.find(itemId)
    return row === 0 ? 0 : this.#items.count(row)
  }

  neighboursOf(itemId: ItemId): Neighbours | undefined {
    return this.#neighbours.of(itemId)
  }

  get memoryWeight(): number {
    return this.#memoryWeight
  }

  /** Offset after the last commit that took effect, and after the last of those with dense weights. */
  get offsets(): { readonly next: bigint; readonly weights: bigint } {
    return { next: this.#next, weights: this.#weightsNext }
  }

  /** The dense weights in effect are those of an earlier commit than the last. @param next offset after that commit */
  weightsAreOf(next: bigint): void {
    this.#weightsNext = next
  }

  useCatalogue(featuresOf: (itemId: ItemId) => readonly string[]): void {
    this.#featuresOf = featuresOf
    for (const encoder of [this.#encoder, this.#previous])
      encoder?.advanced(encoder.step, { items: [], features: 'new' })
  }

  featuresChanged(itemId: ItemId): void {
    for (const encoder of [this.#encoder, this.#previous]) encoder?.featuresChanged(itemId)
  }

  /** Frees the engine's memory. */
  dispose(): void {
    for (const encoder of [this.#encoder, this.#previous]) encoder?.dispose()
  }

  /** @param whole with copies of the embeddings */
  saved(whole: boolean): LiveModel {
    const { modelVersion, step, weights } = this.ready()
    const [model, next, memoryWeight] = [this.#text, this.#next, this.#memoryWeight]
    const live = { modelVersion, step, model, next, weights, memoryWeight }
    if (!whole) return live
    return {
      ...live,
      rows: {
        items: this.#items.state(),
        features: this.#features.state(),
        counts: this.#items.counts(),
        neighbours: this.#neighbours.state()
      }
    }
  }

  /** @returns what is in effect already: a model saved with its embeddings */
  restore(kept: LiveModel): AppliedUpdate | undefined {
    if (this.#encoder !== undefined) throw new Error('ModelReplica: a model is in effect already')
    const model = modelFromJson(kept.model)
    const weights = checkWeights(kept.weights, model.shapes)
    const { modelVersion, step, rows } = kept
    if (rows === undefined) return undefined
    this.#items = RowStore.from(rows.items, model.dimensions, rows.counts)
    this.#features = RowStore.from(rows.features, model.dimensions)
    this.#neighbours = NeighbourLists.from(rows.neighbours)
    this.#encoder = this.#makeEncoder(model, modelVersion, step, weights)
    this.#text = kept.model
    this.#memoryWeight = kept.memoryWeight
    this.#next = this.#weightsNext = kept.next
    const changedItems = [...this.#items.ids()]
    const counts = new Map(changedItems.map((itemId) => [itemId, this.#items.count(this.#items.find(itemId))]))
    const changedNeighbours = [...this.#neighbours.ids()]
    return { step, modelVersion, changedItems, weightsChanged: true, expired: [], changedNeighbours, counts }
  }

  /** An encoder of the model as it would be with the changes, which stay apart. @param weights complete */
  encoderOver({ model, modelVersion, step, items, features }: ModelChanges, weights: Weights): ModelEncoder {
    const same = this.#encoder !== undefined && isSameVersion({ model, modelVersion }, this.#encoder)
    const below = same ? { items: this.#items, features: this.#features } : empty(model.dimensions)
    return new ModelEncoder({
      ...{ model, modelVersion, step, weights, featuresOf: this.#lookUp },
      items: new LayeredRows(below.items, items),
      features: new LayeredRows(
        below.features,
        [...features].map(([feature, row]) => [feature, { row, count: 0 }] as const)
      )
    })
  }

  /**
   * Puts the changes into effect. @param weights of the changes' model version, complete @returns what changed
   */
  apply(changes: ModelChanges, weights: Weights): AppliedUpdate {
    const { step, modelVersion, model } = changes
    const before = this.#encoder
    const same = before !== undefined && isSameVersion(changes, before)
    if (!same) {
      // Embeddings of another model version have no meaning here.
      this.#items = new RowStore(model.dimensions)
      this.#features = new RowStore(model.dimensions)
      this.#neighbours = new NeighbourLists()
      this.#encoder = this.#makeEncoder(model, modelVersion, step, weights)
      if (this.#keepsPrevious && this.#previous === undefined) this.#previous = before
      else before?.dispose()
    }
    // Options outside the architecture may still change how embeddings are used.
    const otherOptions = same && changes.modelText !== this.#text
    if (otherOptions) {
      before.dispose()
      this.#encoder = this.#makeEncoder(model, modelVersion, step, weights)
    }
    this.#text = changes.modelText
    this.#memoryWeight = changes.memoryWeight
    this.#next = changes.next
    const broughtWeights = !same || changes.weights.size > 0
    if (broughtWeights) this.#weightsNext = changes.next
    const weightsChanged = broughtWeights || otherOptions
    const newFeatures = [...changes.features.keys()].some((feature) => this.#features.find(feature) === 0)
    for (const [feature, row] of changes.features) this.#features.set(feature, row)
    const rows: number[] = []
    const changedItems: ItemId[] = []
    const expired: ItemId[] = []
    const counts = new Map<ItemId, number>()
    for (const [itemId, { row, count }] of changes.items) {
      if (row === null) {
        rows.push(this.#items.delete(itemId))
        expired.push(itemId)
        continue
      }
      rows.push(this.#items.set(itemId, row, count))
      changedItems.push(itemId)
      counts.set(itemId, count)
    }
    for (const [itemId, list] of changes.neighbours) this.#neighbours.set(itemId, list)
    const changedNeighbours = [...changes.neighbours.keys()]
    this.ready().advanced(step, {
      ...(weightsChanged ? { weights } : {}),
      items: rows,
      features: newFeatures ? 'new' : changes.features.size > 0 ? 'known' : 'none'
    })
    const moved = { changedItems, changedNeighbours, expired, counts }
    return { step, modelVersion, ...moved, weightsChanged, ...reasonOf(changes, before) }
  }

  #makeEncoder(model: Model, modelVersion: string, step: number, weights: Weights): ModelEncoder {
    return new ModelEncoder({
      ...{ model, modelVersion, step, weights },
      items: this.#items,
      features: this.#features,
      featuresOf: this.#lookUp
    })
  }

  readonly #lookUp = (itemId: ItemId) => this.#featuresOf(itemId)
}

/** Only with the first model of a model version. */
export function reasonOf(changes: ModelChanges, before: ModelEncoder | undefined): { reason?: VersionReason } {
  if (changes.reason === undefined || (before !== undefined && isSameVersion(changes, before))) return {}
  return { reason: changes.reason }
}

function empty(dimensions: number): { items: RowStore; features: RowStore } {
  return { items: new RowStore(dimensions), features: new RowStore(dimensions) }
}
