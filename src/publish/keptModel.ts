// What the publisher has put into effect, kept for the next life: the towers after every acceptance, and the rows with
// them as soon as the log goes on without them, by weights that were refused or another index version that is being filled.

import { CorruptError, type MtmiError } from '../core/errors.ts'
import type { VectorIndex } from '../index/vectorIndex.ts'
import type { CheckpointStore } from '../model/replica/checkpoint.ts'
import { type LiveModel, liveModelFromCheckpoint, liveModelToCheckpoint } from '../model/replica/liveModel.ts'
import type { ModelReplica } from '../model/replica/modelReplica.ts'

export type LiveModelStore = Pick<CheckpointStore, 'save' | 'latest'>

interface Kept {
  readonly replica: ModelReplica
  readonly index: Pick<VectorIndex, 'live'>
  readonly store: LiveModelStore
  readonly onProblem?: ((problem: MtmiError) => void) | undefined
}

export class KeptModel {
  readonly #parts: Kept
  /** What the newest file holds. */
  #saved: { readonly next: bigint; readonly weights: bigint; readonly whole: boolean } | undefined

  constructor(parts: Kept) {
    this.#parts = parts
  }

  /**
   * The model to go on with; undefined: none was kept, or what is live is not its index version any more, or another log's.
   * @param end of model-updates
   */
  async load(end: bigint): Promise<LiveModel | undefined> {
    const { store, index, onProblem } = this.#parts
    let live: LiveModel
    try {
      const kept = await store.latest()
      if (kept === undefined) return undefined
      live = liveModelFromCheckpoint(kept.checkpoint)
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      onProblem?.(error) // the log has a model all the same
      return undefined
    }
    const served = await index.live()
    if (live.next > end || (served !== undefined && served.indexVersion !== live.modelVersion)) return undefined
    this.#saved = { next: live.next, weights: live.next, whole: live.rows !== undefined }
    return live
  }

  /** Whether `keep` has something to do. @param held weights were refused, and none accepted since */
  isDue(held: boolean): boolean {
    const { replica } = this.#parts
    // While an index version is filled, the one that is answered from is what is to come back.
    if (!replica.ready || replica.previous !== undefined) return false
    const { next, weights } = replica.inEffect
    if (held || replica.beginsVersion) return this.#saved?.whole !== true || this.#saved.next !== next
    return this.#saved?.weights !== weights
  }

  async keep(held: boolean): Promise<void> {
    const { replica, store } = this.#parts
    const { next, weights } = replica.inEffect
    const whole = held || replica.beginsVersion
    await store.save(Number(next), liveModelToCheckpoint(replica.liveModel(whole)))
    this.#saved = { next, weights, whole }
  }
}
