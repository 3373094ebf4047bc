// The model as its update records describe it: computes vectors for publishing and serving, always of a whole commit.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import { setOwn } from '../../core/own.ts'
import type { ItemId } from '../../records/interaction.ts'
import { type ModelUpdate, memoryDecay, type VersionReason } from '../../records/modelUpdate.ts'
import type { Encoder, EncoderItem, EncoderStep } from '../encoder.ts'
import { type Model, modelFromJson } from '../model.ts'
import { checkWeights, type Weights } from '../weights.ts'
import { LayeredRows } from './layeredRows.ts'
import type { LiveModel } from './liveModel.ts'
import { closedChanges, isSameVersion, type ModelChanges, mergedChanges, noChanges, takeUnfit } from './modelChanges.ts'
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

/** Weights that may become the live ones, with all embeddings that came with them and since. */
interface CandidateModel {
  readonly encoder: Encoder
  readonly step: number
  readonly modelVersion: string
  readonly reason?: VersionReason
}

/** A record that its commit was applied without, and the offset after it. */
export interface UnfitRecord {
  readonly update: ModelUpdate
  readonly next: bigint
  readonly problem: string
}

interface ModelReplicaOptions {
  /**
   * Tower weights, and another model version, take effect only when `accept` is called after `propose`. Until then the
   * embeddings trained beside them wait too: vectors of old towers over new embeddings belong to neither model.
   * Embeddings alone take effect with their commit. So does the first model: there is nothing to compare it with.
   */
  readonly gated?: boolean
}

export class ModelReplica implements Encoder {
  readonly #gated: boolean
  #featuresOf: (itemId: ItemId) => readonly string[] = () => []
  #items = new RowStore(1)
  #features = new RowStore(1)
  #neighbours = new NeighbourLists()
  #memoryWeight = 0
  #live: ModelEncoder | undefined
  #liveText = ''
  /** Offsets after the commits that took effect last: any, and one with dense weights. */
  #liveNext = 0n
  #weightsNext = 0n
  /** In effect before a restart; its embeddings, unless saved with it, are those of the log. */
  #resumed: LiveModel | undefined
  /** The model version before, served while this one is filled. */
  #previous: ModelEncoder | undefined
  /** Not closed by a commit yet. */
  #pending = noChanges()
  #begun: { readonly modelVersion: string; readonly reason: VersionReason } | undefined
  /** The record of an array. */
  readonly #recordOf = new WeakMap<Float32Array, Pick<UnfitRecord, 'update' | 'next'>>()
  readonly #unfit: UnfitRecord[] = []
  /** Committed, and not in effect. */
  #held: ModelChanges | undefined
  /** `#held` has weights that were not proposed yet. */
  #isNew = false
  /** Proposed: `#held` may not change. */
  #candidate: ModelEncoder | undefined
  /** Committed since the proposal. */
  #next: ModelChanges | undefined

  constructor({ gated = false }: ModelReplicaOptions = {}) {
    this.#gated = gated
  }

  /** 0 before the first commit that brought weights. */
  get dimensions(): number {
    return this.#live?.dimensions ?? 0
  }

  get interestCount(): number {
    return this.#live?.interestCount ?? 0
  }

  get modelVersion(): string {
    return this.#live?.modelVersion ?? ''
  }

  get step(): number {
    return this.#live?.step ?? 0
  }

  /** Whether vectors can be computed: a commit with weights has been applied. */
  get ready(): boolean {
    return this.#live !== undefined
  }

  /** Items that have a row. */
  get itemCount(): number {
    return this.#items.size
  }

  /** Offset after the last commit that took effect, and after the last of those with dense weights. */
  get inEffect(): { readonly next: bigint; readonly weights: bigint } {
    return { next: this.#liveNext, weights: this.#weightsNext }
  }

  /** The waiting commits begin another model version. */
  get beginsVersion(): boolean {
    const newest = this.#next ?? this.#held
    return newest !== undefined && !isSameVersion(newest, this.#ready())
  }

  /** Whether a proposal is due or waits for an answer. */
  get undecided(): boolean {
    return this.#candidate !== undefined || this.#isNew
  }

  /** The last model of the model version before; undefined after `forgetPrevious`. */
  get previous(): Encoder | undefined {
    return this.#previous
  }

  forgetPrevious(): void {
    this.#previous?.dispose()
    this.#previous = undefined
  }

  /**
   * Reads one record. All records up to a commit take effect with it at once; a later record of the same name replaces
   * an earlier one.
   *
   * @param next offset after the record; needed to continue with a saved model
   * @returns what changed, for a commit that takes effect; undefined for any other record, for commits until one has
   *   brought all weights, and for what must be proposed first
   * @throws BadEventError if the commit names an unknown model, or weights of it are missing. The replica is then
   *   unchanged, and what was not committed is dropped
   */
  apply(update: ModelUpdate, next = 0n): AppliedUpdate | undefined {
    const resumed = this.#resumed
    if (resumed !== undefined && next <= resumed.next) {
      if (resumed.rows !== undefined || update.kind === 'weights') return undefined
      // What went with the weights, as far as the log still has it, is committed by the commit that took effect last,
      // or the first after it.
      if (update.kind === 'commit' && next < resumed.next) return undefined
    }
    switch (update.kind) {
      case 'item-row':
        if (update.row !== null) this.#recordOf.set(update.row, { update, next })
        this.#pending.items.set(update.itemId, { row: update.row, count: update.count })
        return undefined
      case 'item-neighbours':
        this.#pending.neighbours.set(update.itemId, update)
        return undefined
      case 'feature-row':
        this.#recordOf.set(update.row, { update, next })
        this.#pending.features.set(update.feature, update.row)
        return undefined
      case 'weights':
        this.#recordOf.set(update.values, { update, next })
        this.#pending.weights.set(update.name, update.values)
        return undefined
      case 'model-version':
        // What compaction left of the model version before has no meaning in this one.
        this.#pending = noChanges()
        this.#begun = { modelVersion: update.modelVersion, reason: update.reason }
        return undefined
      case 'commit':
        return this.#commit(update, next)
    }
  }

  /** Embeddings and weights that did not fit the model of their commit, since the last call. */
  takeUnfit(): readonly UnfitRecord[] {
    return this.#unfit.splice(0)
  }

  /**
   * What is in effect, to be saved. @param whole with copies of the embeddings: where the log continues without this
   * model, after refused weights or with another model version
   */
  liveModel(whole: boolean): LiveModel {
    const { modelVersion, step, weights } = this.#ready()
    const [model, next, memoryWeight] = [this.#liveText, this.#liveNext, this.#memoryWeight]
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

  /**
   * Continues with a saved model: to be called before any record, which must then come with their offsets, from the
   * beginning of the log. Weights after it must be proposed.
   *
   * @returns what is in effect already: a model saved whole
   */
  resume(kept: LiveModel): AppliedUpdate | undefined {
    if (this.#live !== undefined) throw new Error('ModelReplica: a model is in effect already')
    const model = modelFromJson(kept.model)
    const weights = checkWeights(kept.weights, model.shapes)
    const { modelVersion, step, rows } = kept
    if (rows !== undefined) {
      this.#items = RowStore.from(rows.items, model.dimensions, rows.counts)
      this.#features = RowStore.from(rows.features, model.dimensions)
      this.#neighbours = NeighbourLists.from(rows.neighbours)
      this.#live = this.#encoder(model, modelVersion, step, weights)
      this.#liveText = kept.model
      this.#memoryWeight = kept.memoryWeight
      this.#liveNext = this.#weightsNext = kept.next
    }
    this.#resumed = kept
    if (rows === undefined) return undefined
    const changedItems = [...this.#items.ids()]
    const counts = new Map(changedItems.map((itemId) => [itemId, this.#items.count(this.#items.find(itemId))]))
    const changedNeighbours = [...this.#neighbours.ids()]
    return { step, modelVersion, changedItems, weightsChanged: true, expired: [], changedNeighbours, counts }
  }

  /**
   * The candidate model, frozen until `accept` or `refuse`; undefined: there is none, or it was refused. Repeated calls
   * return the same.
   */
  propose(): CandidateModel | undefined {
    const held = this.#held
    const live = this.#live
    if (held === undefined || live === undefined || !(this.#isNew || this.#candidate !== undefined)) return undefined
    this.#isNew = false
    if (this.#candidate === undefined) {
      const same = isSameVersion(held, live)
      const below = same ? { items: this.#items, features: this.#features } : empty(held.model.dimensions)
      this.#candidate = new ModelEncoder({
        ...{ model: held.model, modelVersion: held.modelVersion, step: held.step, featuresOf: this.#lookUp },
        weights: this.#weightsWith(held),
        items: new LayeredRows(below.items, held.items),
        features: new LayeredRows(
          below.features,
          [...held.features].map(([feature, row]) => [feature, { row, count: 0 }] as const)
        )
      })
    }
    return { encoder: this.#candidate, step: held.step, modelVersion: held.modelVersion, ...reasonOf(held, live) }
  }

  /** Puts the candidate into effect, and what was committed since unless it must be proposed. @returns in order */
  accept(): AppliedUpdate[] {
    const held = this.#held
    if (held === undefined || this.#candidate === undefined) throw new Error('ModelReplica: nothing was proposed')
    const next = this.#thaw()
    const applied = [this.#apply(held)]
    this.#held = undefined
    const also = next === undefined ? undefined : this.#hold(next)
    return also === undefined ? applied : [...applied, also]
  }

  /** The candidate gets no effect, nor does what follows, until weights are accepted. */
  refuse(): void {
    const next = this.#thaw()
    if (next !== undefined) this.#hold(next)
  }

  /** Where features of items are looked up, as histories name items by id alone. See `featuresChanged`. */
  useCatalogue(featuresOf: (itemId: ItemId) => readonly string[]): void {
    this.#featuresOf = featuresOf
    for (const encoder of [this.#live, this.#candidate, this.#previous])
      encoder?.advanced(encoder.step, { items: [], features: 'new' })
  }

  /** The item's features have changed. */
  featuresChanged(itemId: ItemId): void {
    for (const encoder of [this.#live, this.#candidate, this.#previous]) encoder?.featuresChanged(itemId)
  }

  /** Interactions of the item as the trainer counted them; 0: it has no row. */
  countOf(itemId: ItemId): number {
    const row = this.#items.find(itemId)
    return row === 0 ? 0 : this.#items.count(row)
  }

  /**
   * The item's list in the memory, in effect: items of a history that make it likely, S > 0 of each, greatest first.
   * undefined: it has none.
   */
  neighboursOf(itemId: ItemId): Neighbours | undefined {
    return this.#neighbours.of(itemId)
  }

  /** How lists are scored with the memory: the newest item of a history counts `weight`, each older one less. */
  get memory(): { readonly weight: number; readonly decay: number } {
    return { weight: this.#memoryWeight, decay: memoryDecay }
  }

  itemVectors(items: readonly EncoderItem[]): { vectors: Float32Array; known: Uint8Array } {
    return this.#ready().itemVectors(items)
  }

  interests(histories: readonly (readonly EncoderStep[])[]): { interests: Float32Array; known: Uint8Array } {
    return this.#ready().interests(histories)
  }

  /** Frees the engine's memory. */
  dispose(): void {
    for (const encoder of [this.#live, this.#candidate, this.#previous]) encoder?.dispose()
  }

  #ready(): ModelEncoder {
    if (this.#live === undefined)
      throw new Error('ModelReplica: no commit has brought weights yet; check `ready` first')
    return this.#live
  }

  #commit(commit: Extract<ModelUpdate, { kind: 'commit' }>, next: bigint): AppliedUpdate | undefined {
    const pending = this.#pending
    this.#pending = noChanges()
    const reason = this.#begun?.modelVersion === commit.modelVersion ? this.#begun.reason : undefined
    const closed = closedChanges(pending, commit, reason, next)
    for (const { values, problem } of takeUnfit(closed)) this.#unfit.push({ ...this.#recordOf.get(values)!, problem })
    if (this.#live === undefined && this.#resumed?.modelVersion === closed.modelVersion)
      return this.#continueWith(this.#resumed, closed)
    const known = [this.#next, this.#held, this.#live].some(
      (model) => model !== undefined && isSameVersion(closed, model)
    )
    // Everything before the first whole set of dense weights waits: the trainer sends them less often than embeddings,
    // and of an older set compaction leaves only what was not sent again before the log was cleaned.
    if (!known && !Object.keys(closed.model.shapes).every((name) => closed.weights.has(name))) {
      this.#pending = pending
      return undefined
    }
    try {
      this.#weightsWith(closed)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      throw new BadEventError(error.message, { cause: error })
    }
    // From here on nothing fails.
    if (!this.#gated || this.#live === undefined) return this.#apply(closed)
    if (this.#candidate === undefined) return this.#hold(closed)
    this.#next = mergedChanges(this.#next, closed)
    return undefined
  }

  /** Embeddings of the log with the weights in effect before a restart. Newer weights must be proposed. */
  #continueWith(resumed: LiveModel, closed: ModelChanges): AppliedUpdate {
    const { weights: newer, step } = closed
    // Vectors in the index may come from any commit before the newer weights; only an equal or higher step replaces
    // them.
    const stepInEffect = newer.size === 0 ? step : Math.max(resumed.step, step - 1)
    const applied = this.#apply({ ...closed, step: stepInEffect, weights: new Map(Object.entries(resumed.weights)) })
    this.#weightsNext = resumed.next
    if (newer.size > 0) this.#hold({ ...closed, ...noChanges(), weights: newer })
    return applied
  }

  /**
   * Weights of the changes' model version as they would be with them. @throws ConfigError if some are missing or do not
   * fit
   */
  #weightsWith(changes: ModelChanges): Weights {
    const weights: Record<string, Float32Array> = {}
    if (this.#live !== undefined && isSameVersion(changes, this.#live)) Object.assign(weights, this.#live.weights)
    for (const earlier of [this.#held, this.#next, changes]) {
      if (earlier === undefined || !isSameVersion(changes, earlier)) continue
      for (const [name, values] of earlier.weights) setOwn(weights, name, values)
    }
    return checkWeights(weights, changes.model.shapes)
  }

  #hold(closed: ModelChanges): AppliedUpdate | undefined {
    const held = mergedChanges(this.#held, closed)
    if (closed.weights.size > 0) this.#isNew = true
    if (held.weights.size === 0 && isSameVersion(held, this.#ready())) {
      this.#held = undefined
      return this.#apply(held)
    }
    this.#held = held
    return undefined
  }

  #thaw(): ModelChanges | undefined {
    this.#candidate?.dispose()
    this.#candidate = undefined
    const next = this.#next
    this.#next = undefined
    return next
  }

  #apply(changes: ModelChanges): AppliedUpdate {
    const { step, modelVersion, model } = changes
    const weights = this.#weightsWith(changes)
    const before = this.#live
    const same = before !== undefined && isSameVersion(changes, before)
    if (!same) {
      // Embeddings of another model version have no meaning here.
      this.#items = new RowStore(model.dimensions)
      this.#features = new RowStore(model.dimensions)
      this.#neighbours = new NeighbourLists()
      this.#live = this.#encoder(model, modelVersion, step, weights)
      if (this.#gated && this.#previous === undefined) this.#previous = before
      else before?.dispose()
    }
    // Options outside the architecture may still change how embeddings are used.
    const otherOptions = same && changes.modelText !== this.#liveText
    if (otherOptions) {
      before.dispose()
      this.#live = this.#encoder(model, modelVersion, step, weights)
    }
    this.#liveText = changes.modelText
    this.#memoryWeight = changes.memoryWeight
    this.#liveNext = changes.next
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
    this.#ready().advanced(step, {
      ...(weightsChanged ? { weights } : {}),
      items: rows,
      features: newFeatures ? 'new' : changes.features.size > 0 ? 'known' : 'none'
    })
    const moved = { changedItems, changedNeighbours, expired, counts }
    return { step, modelVersion, ...moved, weightsChanged, ...reasonOf(changes, before) }
  }

  #encoder(model: Model, modelVersion: string, step: number, weights: Weights): ModelEncoder {
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
function reasonOf(changes: ModelChanges, before: ModelEncoder | undefined): { reason?: VersionReason } {
  if (changes.reason === undefined || (before !== undefined && isSameVersion(changes, before))) return {}
  return { reason: changes.reason }
}

function empty(dimensions: number): { items: RowStore; features: RowStore } {
  return { items: new RowStore(dimensions), features: new RowStore(dimensions) }
}
