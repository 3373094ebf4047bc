// The model as its update records describe it: computes vectors for publishing and serving, always of a whole commit.

import { BadEventError, ConfigError } from '../../core/errors.ts'
import { setOwn } from '../../core/own.ts'
import type { ItemId } from '../../records/interaction.ts'
import { type ModelUpdate, memoryDecay, type VersionReason } from '../../records/modelUpdate.ts'
import type { EncodedUsers, Encoder, EncoderItem, EncoderStep } from '../encoder.ts'
import { checkWeights, type Weights } from '../weights.ts'
import type { LiveModel } from './liveModel.ts'
import { closedChanges, isSameVersion, type ModelChanges, mergedChanges, noChanges, takeUnfit } from './modelChanges.ts'
import type { ModelEncoder } from './modelEncoder.ts'
import { type AppliedUpdate, ModelInEffect, reasonOf } from './modelInEffect.ts'
import type { Neighbours } from './neighbourLists.ts'

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
  readonly #inEffect: ModelInEffect
  /** In effect before a restart; its embeddings, unless saved with it, are those of the log. */
  #resumed: LiveModel | undefined
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
    this.#inEffect = new ModelInEffect(gated)
  }

  /** 0 before the first commit that brought weights. */
  get dimensions(): number {
    return this.#inEffect.encoder?.dimensions ?? 0
  }

  get interestCount(): number {
    return this.#inEffect.encoder?.interestCount ?? 0
  }

  get modelVersion(): string {
    return this.#inEffect.encoder?.modelVersion ?? ''
  }

  get step(): number {
    return this.#inEffect.encoder?.step ?? 0
  }

  /** Whether vectors can be computed: a commit with weights has been applied. */
  get ready(): boolean {
    return this.#inEffect.encoder !== undefined
  }

  /** Items that have a row. */
  get itemCount(): number {
    return this.#inEffect.itemCount
  }

  /** Offset after the last commit that took effect, and after the last of those with dense weights. */
  get inEffect(): { readonly next: bigint; readonly weights: bigint } {
    return this.#inEffect.offsets
  }

  /** The waiting commits begin another model version. */
  get beginsVersion(): boolean {
    const newest = this.#next ?? this.#held
    return newest !== undefined && !isSameVersion(newest, this.#inEffect.ready())
  }

  /** Whether a proposal is due or waits for an answer. */
  get undecided(): boolean {
    return this.#candidate !== undefined || this.#isNew
  }

  /** The last model of the model version before; undefined after `forgetPrevious`. */
  get previous(): Encoder | undefined {
    return this.#inEffect.previous
  }

  forgetPrevious(): void {
    this.#inEffect.forgetPrevious()
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
    return this.#inEffect.saved(whole)
  }

  /**
   * Continues with a saved model: to be called before any record, which must then come with their offsets, from the
   * beginning of the log. Weights after it must be proposed.
   *
   * @returns what is in effect already: a model saved whole
   */
  resume(kept: LiveModel): AppliedUpdate | undefined {
    const applied = this.#inEffect.restore(kept)
    this.#resumed = kept
    return applied
  }

  /**
   * The candidate model, frozen until `accept` or `refuse`; undefined: there is none, or it was refused. Repeated calls
   * return the same.
   */
  propose(): CandidateModel | undefined {
    const held = this.#held
    const live = this.#inEffect.encoder
    if (held === undefined || live === undefined || !(this.#isNew || this.#candidate !== undefined)) return undefined
    this.#isNew = false
    this.#candidate ??= this.#inEffect.encoderOver(held, this.#weightsWith(held))
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
    this.#inEffect.useCatalogue(featuresOf)
    this.#candidate?.advanced(this.#candidate.step, { items: [], features: 'new' })
  }

  /** The item's features have changed. */
  featuresChanged(itemId: ItemId): void {
    this.#inEffect.featuresChanged(itemId)
    this.#candidate?.featuresChanged(itemId)
  }

  /** Interactions of the item as the trainer counted them; 0: it has no row. */
  countOf(itemId: ItemId): number {
    return this.#inEffect.countOf(itemId)
  }

  /**
   * The item's list in the memory, in effect: items of a history that make it likely, S > 0 of each, greatest first.
   * undefined: it has none.
   */
  neighboursOf(itemId: ItemId): Neighbours | undefined {
    return this.#inEffect.neighboursOf(itemId)
  }

  /** How lists are scored with the memory: the newest item of a history counts `weight`, each older one less. */
  get memory(): { readonly weight: number; readonly decay: number } {
    return { weight: this.#inEffect.memoryWeight, decay: memoryDecay }
  }

  itemVectors(items: readonly EncoderItem[]): { vectors: Float32Array; known: Uint8Array } {
    return this.#inEffect.ready().itemVectors(items)
  }

  interests(histories: readonly (readonly EncoderStep[])[]): EncodedUsers {
    return this.#inEffect.ready().interests(histories)
  }

  /** Frees the engine's memory. */
  dispose(): void {
    this.#inEffect.dispose()
    this.#candidate?.dispose()
  }

  #commit(commit: Extract<ModelUpdate, { kind: 'commit' }>, next: bigint): AppliedUpdate | undefined {
    const pending = this.#pending
    this.#pending = noChanges()
    const reason = this.#begun?.modelVersion === commit.modelVersion ? this.#begun.reason : undefined
    const closed = closedChanges(pending, commit, reason, next)
    for (const { values, problem } of takeUnfit(closed)) this.#unfit.push({ ...this.#recordOf.get(values)!, problem })
    const live = this.#inEffect.encoder
    if (live === undefined && this.#resumed?.modelVersion === closed.modelVersion)
      return this.#continueWith(this.#resumed, closed)
    const known = [this.#next, this.#held, live].some((model) => model !== undefined && isSameVersion(closed, model))
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
    if (!this.#gated || live === undefined) return this.#apply(closed)
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
    this.#inEffect.weightsAreOf(resumed.next)
    if (newer.size > 0) this.#hold({ ...closed, ...noChanges(), weights: newer })
    return applied
  }

  /**
   * Weights of the changes' model version as they would be with them. @throws ConfigError if some are missing or do not
   * fit
   */
  #weightsWith(changes: ModelChanges): Weights {
    const weights: Record<string, Float32Array> = {}
    const live = this.#inEffect.encoder
    if (live !== undefined && isSameVersion(changes, live)) Object.assign(weights, live.weights)
    for (const earlier of [this.#held, this.#next, changes]) {
      if (earlier === undefined || !isSameVersion(changes, earlier)) continue
      for (const [name, values] of earlier.weights) setOwn(weights, name, values)
    }
    return checkWeights(weights, changes.model.shapes)
  }

  #hold(closed: ModelChanges): AppliedUpdate | undefined {
    const held = mergedChanges(this.#held, closed)
    if (closed.weights.size > 0) this.#isNew = true
    if (held.weights.size === 0 && isSameVersion(held, this.#inEffect.ready())) {
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
    return this.#inEffect.apply(changes, this.#weightsWith(changes))
  }
}
