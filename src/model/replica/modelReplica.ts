// The model as its updates tell it: what publishes and serves vectors far from the trainer, never between two commits.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import { setOwn } from '../../core/own.ts'
import { type CatalogueItem, featureKeys } from '../../records/catalogueItem.ts'
import type { ItemId } from '../../records/interaction.ts'
import type { ModelUpdate, VersionReason } from '../../records/modelUpdate.ts'
import type { Encoder, EncoderItem, EncoderStep } from '../encoder.ts'
import { type Model, modelFromJson } from '../model.ts'
import { checkWeights, type Weights } from '../weights.ts'
import { LayeredRows } from './layeredRows.ts'
import type { LiveModel } from './liveModel.ts'
import { closedChanges, isSameVersion, type ModelChanges, mergedChanges, noChanges, takeUnfit } from './modelChanges.ts'
import { ModelEncoder } from './modelEncoder.ts'
import { RowStore } from './rowStore.ts'

/** What a commit changed. */
export interface AppliedUpdate {
  readonly step: number
  readonly modelVersion: string
  /** Items whose row changed. Those moved by a feature's row or by dense weights alone are not named. */
  readonly changedItems: readonly ItemId[]
  /** Whether the dense weights changed: then every vector moved. */
  readonly weightsChanged: boolean
  readonly expired: readonly ItemId[]
  /** Interactions of the items in `changedItems`, as the trainer counted them. */
  readonly counts: ReadonlyMap<ItemId, number>
  /** Why the model version was begun, where somebody asked for it. */
  readonly reason?: VersionReason
}

/** Weights that are to become the live ones, with all rows that came with them and since. */
export interface CandidateModel {
  readonly encoder: Encoder
  readonly step: number
  readonly modelVersion: string
  readonly reason?: VersionReason
}

/** What a commit was used without, and the offset of the log behind its record. */
export interface UnfitRecord {
  readonly update: ModelUpdate
  readonly next: bigint
  readonly problem: string
}

export interface ModelReplicaOptions {
  /**
   * Tower weights, and another model version, take effect only when `accept` is called for what `propose` gave; until then rows
   * that were trained beside them wait too, because vectors of old towers over new rows are neither model's. Rows alone
   * take effect with their commit, as without a gate. The first model takes effect at once: there is nothing to compare
   * it with.
   */
  readonly gated?: boolean
}

export class ModelReplica implements Encoder {
  readonly #gated: boolean
  /** Features given by `learnCatalogue` or with an item to encode; unused beside a catalogue that others use, too. */
  readonly #own = new Map<ItemId, readonly string[]>()
  #featuresOf: ((itemId: ItemId) => readonly string[]) | undefined
  #items = new RowStore(1)
  #features = new RowStore(1)
  #live: ModelEncoder | undefined
  #liveText = ''
  /** Offsets behind the commits that took effect last: any, and one with dense weights. */
  #liveNext = 0n
  #weightsNext = 0n
  /** In effect before a restart; its rows, unless they were kept with it, are those of the log. */
  #resumed: LiveModel | undefined
  /** What of the model version before is still to be served while this one is filled. */
  #previous: ModelEncoder | undefined
  /** Not closed by a commit yet. */
  #pending = noChanges()
  #begun: { readonly modelVersion: string; readonly reason: VersionReason } | undefined
  /** By the numbers that it brought. */
  readonly #recordOf = new WeakMap<Float32Array, Pick<UnfitRecord, 'update' | 'next'>>()
  #unfit: UnfitRecord[] = []
  /** Closed, and not in effect. */
  #held: ModelChanges | undefined
  /** `#held` has weights that were not proposed yet. */
  #isNew = false
  /** Proposed: `#held` may not change. */
  #candidate: ModelEncoder | undefined
  /** Closed since the proposal. */
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

  /** Whether vectors can be made: a commit that brought weights has been applied. */
  get ready(): boolean {
    return this.#live !== undefined
  }

  /** Items that have a row. */
  get itemCount(): number {
    return this.#items.size
  }

  /**
   * Offset of the log behind the last commit that took effect, and behind the last of those that brought dense weights.
   */
  get inEffect(): { readonly next: bigint; readonly weights: bigint } {
    return { next: this.#liveNext, weights: this.#weightsNext }
  }

  /** The commits that wait begin another model version. */
  get beginsVersion(): boolean {
    const newest = this.#next ?? this.#held
    return newest !== undefined && !isSameVersion(newest, this.#ready())
  }

  /** Step of the newest commit, in effect or not. */
  get newestStep(): number {
    return this.#next?.step ?? this.#held?.step ?? this.step
  }

  /** Whether a proposal waits to be made or to be answered. */
  get undecided(): boolean {
    return this.#candidate !== undefined || this.#isNew
  }

  /** The model of the model version before, as it was when another was begun; undefined from `forgetPrevious` on. */
  get previous(): Encoder | undefined {
    return this.#previous
  }

  forgetPrevious(): void {
    this.#previous?.dispose()
    this.#previous = undefined
  }

  /**
   * Takes one record. All records up to a commit take effect with it, in one go; a later record of the same name
   * replaces an earlier one.
   *
   * @param next offset behind the record; needed where a model that was kept is to be gone on with
   * @returns what changed, for a commit that takes effect; undefined for any other record, for commits until one has
   *   brought all weights, and for what
   *   has to be proposed first
   * @throws BadEventError if the commit names a model that this program does not know, or weights of it are missing.
   *   The replica is then as before, and what was
   *   not committed is dropped
   */
  apply(update: ModelUpdate, next = 0n): AppliedUpdate | undefined {
    const resumed = this.#resumed
    if (resumed !== undefined && next <= resumed.next) {
      if (resumed.rows !== undefined || update.kind === 'weights') return undefined
      // What went with the weights, as far as the log still has it, is closed by the commit that took effect last, or
      // the first behind it.
      if (update.kind === 'commit' && next < resumed.next) return undefined
    }
    switch (update.kind) {
      case 'item-row':
        if (update.row !== null) this.#recordOf.set(update.row, { update, next })
        this.#pending.items.set(update.itemId, { row: update.row, count: update.count })
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
        // What compaction left of the model version before means nothing in this one.
        this.#pending = noChanges()
        this.#begun = { modelVersion: update.modelVersion, reason: update.reason }
        return undefined
      case 'commit':
        return this.#commit(update, next)
    }
  }

  /** Rows and weights that did not fit the model of their commit, since the last call. */
  takeUnfit(): readonly UnfitRecord[] {
    const unfit = this.#unfit
    if (unfit.length > 0) this.#unfit = []
    return unfit
  }

  /**
   * What is in effect, to be kept. @param whole with copies of the rows: where the log goes on without it, by weights
   * that were refused or another model version
   */
  liveModel(whole: boolean): LiveModel {
    const { modelVersion, step, weights } = this.#ready()
    const live = { modelVersion, step, model: this.#liveText, next: this.#liveNext, weights }
    if (!whole) return live
    return {
      ...live,
      rows: { items: this.#items.state(), features: this.#features.state(), counts: this.#items.counts() }
    }
  }

  /**
   * Goes on with a model that was kept: before any record, which then all have to come with their offsets, from the
   * log's beginning. Weights that came behind it have to be proposed.
   *
   * @returns what is in effect already: a model that was kept whole
   */
  resume(kept: LiveModel): AppliedUpdate | undefined {
    if (this.#live !== undefined) throw new Error('ModelReplica: a model is in effect already')
    const model = modelFromJson(kept.model)
    const weights = checkWeights(kept.weights, model.shapes)
    const { modelVersion, step, rows } = kept
    if (rows !== undefined) {
      this.#items = RowStore.from(rows.items, model.dimensions, rows.counts)
      this.#features = RowStore.from(rows.features, model.dimensions)
      this.#live = this.#encoder(model, modelVersion, step, weights)
      this.#liveText = kept.model
      this.#liveNext = this.#weightsNext = kept.next
    }
    this.#resumed = kept
    if (rows === undefined) return undefined
    const changedItems = [...this.#items.ids()]
    const counts = new Map(changedItems.map((itemId) => [itemId, this.#items.count(this.#items.find(itemId))]))
    return { step, modelVersion, changedItems, weightsChanged: true, expired: [], counts }
  }

  /**
   * Another model to be judged, frozen until `accept` or `refuse`; undefined: there is none, or it has been refused
   * already. Asked again, it is the same.
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

  /** What was proposed takes effect, and what came since as far as it need not be proposed itself. @returns in order */
  accept(): AppliedUpdate[] {
    const held = this.#held
    if (held === undefined || this.#candidate === undefined) throw new Error('ModelReplica: nothing was proposed')
    const next = this.#thaw()
    const applied = [this.#apply(held)]
    this.#held = undefined
    const also = next === undefined ? undefined : this.#hold(next)
    return also === undefined ? applied : [...applied, also]
  }

  /** What was proposed stays without effect, with all that comes after, until weights come that are accepted. */
  refuse(): void {
    const next = this.#thaw()
    if (next !== undefined) this.#hold(next)
  }

  /**
   * Uses a catalogue that others use, too: whoever changes it calls `featuresChanged`. Histories name items by id
   * alone, and the towers read an item's features with its row.
   */
  useCatalogue(featuresOf: (itemId: ItemId) => readonly string[]): void {
    this.#featuresOf = featuresOf
  }

  /** The item's features differ from what they were. */
  featuresChanged(itemId: ItemId): void {
    for (const encoder of [this.#live, this.#candidate, this.#previous]) encoder?.featuresChanged(itemId)
  }

  /** Interactions of the item as the trainer counted them; 0: it has no row. */
  countOf(itemId: ItemId): number {
    const row = this.#items.find(itemId)
    return row === 0 ? 0 : this.#items.count(row)
  }

  /** A catalogue of its own, where nobody else needs one. */
  learnCatalogue(items: Iterable<CatalogueItem>): void {
    for (const item of items) this.#noteFeatures(item.itemId, featureKeys(item))
  }

  /** Features given here are remembered, as by `learnCatalogue`. */
  itemVectors(items: readonly EncoderItem[]): { vectors: Float32Array; known: Uint8Array } {
    const live = this.#ready()
    for (const { itemId, features } of items) this.#noteFeatures(itemId, features)
    return live.itemVectors(items)
  }

  interests(histories: readonly (readonly EncoderStep[])[]): { interests: Float32Array; known: Uint8Array } {
    return this.#ready().interests(histories)
  }

  /** Gives the engine's memory back. */
  dispose(): void {
    for (const encoder of [this.#live, this.#candidate, this.#previous]) encoder?.dispose()
  }

  #ready(): ModelEncoder {
    if (this.#live === undefined) throw new Error('ModelReplica: no commit has brought weights yet; ask `ready` first')
    return this.#live
  }

  #commit(commit: Extract<ModelUpdate, { kind: 'commit' }>, next: bigint): AppliedUpdate | undefined {
    const pending = this.#pending
    this.#pending = noChanges()
    const reason = this.#begun?.modelVersion === commit.modelVersion ? this.#begun.reason : undefined
    const closed = closedChanges(pending, commit, reason, next)
    for (const { values, problem } of takeUnfit(closed)) this.#unfit.push({ ...this.#recordOf.get(values)!, problem })
    if (this.#live === undefined && this.#resumed?.modelVersion === closed.modelVersion)
      return this.#goOn(this.#resumed, closed)
    const known = [this.#next, this.#held, this.#live].some(
      (model) => model !== undefined && isSameVersion(closed, model)
    )
    // What comes before the first whole set of dense weights waits: the trainer sends them less often than rows, and of
    // an older set compaction leaves no more than what was not sent again before the log was cleaned.
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

  /**
   * Rows of the log under the weights that were in effect before a restart. Newer weights beside these rows have to be
   * proposed.
   */
  #goOn(resumed: LiveModel, closed: ModelChanges): AppliedUpdate {
    const { weights: newer, step } = closed
    // Vectors in the index may be by rows of any commit before the newer weights, and only an equal or higher step
    // replaces them.
    const stepInEffect = newer.size === 0 ? step : Math.max(resumed.step, step - 1)
    const applied = this.#apply({ ...closed, step: stepInEffect, weights: new Map(Object.entries(resumed.weights)) })
    this.#weightsNext = resumed.next
    if (newer.size > 0) this.#hold({ ...closed, ...noChanges(), weights: newer })
    return applied
  }

  /**
   * Weights of the changes' model version as they would be with them. @throws ConfigError if some are missing or do not fit
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
      // Rows of another model version mean nothing here.
      this.#items = new RowStore(model.dimensions)
      this.#features = new RowStore(model.dimensions)
      this.#live = this.#encoder(model, modelVersion, step, weights)
      if (this.#gated && this.#previous === undefined) this.#previous = before
      else before?.dispose()
    }
    // Options that are no part of the architecture may still change what a row is worth.
    const otherOptions = same && changes.modelText !== this.#liveText
    if (otherOptions) {
      before.dispose()
      this.#live = this.#encoder(model, modelVersion, step, weights)
    }
    this.#liveText = changes.modelText
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
    this.#ready().advanced(step, {
      ...(weightsChanged ? { weights } : {}),
      items: rows,
      features: newFeatures ? 'new' : changes.features.size > 0 ? 'known' : 'none'
    })
    return { step, modelVersion, changedItems, weightsChanged, expired, counts, ...reasonOf(changes, before) }
  }

  #encoder(model: Model, modelVersion: string, step: number, weights: Weights): ModelEncoder {
    return new ModelEncoder({
      ...{ model, modelVersion, step, weights },
      items: this.#items,
      features: this.#features,
      featuresOf: this.#lookUp
    })
  }

  readonly #lookUp = (itemId: ItemId) => this.#featuresOf?.(itemId) ?? this.#own.get(itemId)

  #noteFeatures(itemId: ItemId, features: readonly string[]): void {
    if (this.#featuresOf !== undefined) return
    const before = this.#own.get(itemId)
    if (before === features || (before === undefined && features.length === 0)) return
    if (before?.length === features.length && features.every((feature, i) => feature === before[i])) return
    this.#own.set(itemId, features)
    this.featuresChanged(itemId)
  }
}

/** Told with the first model of a model version alone. */
function reasonOf(changes: ModelChanges, before: ModelEncoder | undefined): { reason?: VersionReason } {
  if (changes.reason === undefined || (before !== undefined && isSameVersion(changes, before))) return {}
  return { reason: changes.reason }
}

function empty(dimensions: number): { items: RowStore; features: RowStore } {
  return { items: new RowStore(dimensions), features: new RowStore(dimensions) }
}
