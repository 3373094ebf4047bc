// The model in effect, kept for the next process: the towers after every acceptance, and the embedding rows too once the
// log has advanced without them, by a rejected candidate or another version that is being filled.

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
  /** Content of the newest file. */
  #saved: { readonly next: bigint; readonly weights: bigint; readonly whole: boolean } | undefined

  constructor(parts: Kept) {
    this.#parts = parts
  }

  /**
   * The model to resume with; undefined: none was kept, another version is live, or it is of another log.
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
      onProblem?.(error) // the log has a model too
      return undefined
    }
    const served = await index.live()
    if (live.next > end || (served !== undefined && served.indexVersion !== live.modelVersion)) return undefined
    this.#saved = { next: live.next, weights: live.next, whole: live.rows !== undefined }
    return live
  }

  /** Whether `keep` has something to do. @param rejected a candidate was rejected, and none accepted since */
  isDue(rejected: boolean): boolean {
    const { replica } = this.#parts
    // While a version is filled, the model that is served is the one to keep.
    if (!replica.ready || replica.previous !== undefined) return false
    const { next, weights } = replica.inEffect
    if (rejected || replica.beginsVersion) return this.#saved?.whole !== true || this.#saved.next !== next
    return this.#saved?.weights !== weights
  }

  async keep(rejected: boolean): Promise<void> {
    const { replica, store } = this.#parts
    const { next, weights } = replica.inEffect
    const whole = rejected || replica.beginsVersion
    await store.save(Number(next), liveModelToCheckpoint(replica.liveModel(whole)))
    this.#saved = { next, weights, whole }
  }
}
