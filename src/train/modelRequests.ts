// Handles requests about the trainer's model: go back to a version, publish everything again, resume after a hold.

import type { Clock } from '../core/clock.ts'
import type { ModelOptions } from '../core/config/config.ts'
import { ConfigError, CorruptError } from '../core/errors.ts'
import { modelVersionOf } from '../model/model.ts'
import type { Checkpoint, CheckpointStore } from '../model/replica/checkpoint.ts'
import type { ModelUpdate } from '../records/modelUpdate.ts'
import type { ControlRequest, ModelControl } from './modelControl.ts'
import type { StageTrainer } from './trainer.ts'

/** How often requests are polled. */
const pollMs = 500

/** What a request needs of the stage. */
export interface RequestContext {
  /** Batches from before a crash have not all been repeated. */
  repeatsBatches(): boolean
  /** Waits for the checkpoint in progress. */
  saved(): Promise<void>
  /** Saves the model as a version before it is left behind. */
  keepVersion(): Promise<void>
  /** Restores the trainer, and the figures of its weights. */
  restoreVersion(checkpoint: Checkpoint): void
  /** What follows has the next batch's number. */
  nextBatch(): void
  /** Sends a complete model. */
  sendAll(updates: readonly ModelUpdate[]): Promise<void>
  checkpoint(): Promise<void>
}

interface ModelRequestsOptions {
  /** undefined: there are no requests. */
  readonly control: ModelControl | undefined
  readonly trainer: StageTrainer
  readonly checkpoints: CheckpointStore
  readonly model: ModelOptions
  readonly clock: Clock
  readonly context: RequestContext
}

/** What a checkpoint holds of them. */
export interface RequestsState {
  /** Number of the last request handled, and whether updates are held since. */
  readonly controlDone: number
  readonly updatesHeld: boolean
}

export class ModelRequests {
  readonly #options: ModelRequestsOptions
  #done = 0
  #polledMs = Number.NEGATIVE_INFINITY
  #inProgress = false
  /** A rollback with `hold` serves an earlier version, while the trainer continues with its own weights. */
  updatesHeld = false

  constructor(options: ModelRequestsOptions) {
    this.#options = options
  }

  /** Nothing may be sent: updates are held, or a request was read and not handled yet. */
  get holdUpdates(): boolean {
    return this.updatesHeld || this.#inProgress
  }

  state(): RequestsState {
    return { controlDone: this.#done, updatesHeld: this.updatesHeld }
  }

  restore({ controlDone, updatesHeld }: RequestsState): void {
    this.#done = controlDone
    this.updatesHeld = updatesHeld
  }

  /**
   * Handles a new request. Each step may be repeated: the model version is named after the request, and the checkpoint
   * that marks it as done is taken after everything was sent. Killed before that, the trainer does it again.
   */
  async handle(): Promise<void> {
    const { control, clock, trainer, context } = this.#options
    if (control === undefined || clock.nowMs() - this.#polledMs < pollMs) return
    this.#polledMs = clock.nowMs()
    const request = control.request()
    if (request === undefined || request.id <= (control.result()?.id ?? 0)) return
    const { id, action } = request
    if (id <= this.#done) {
      // Killed after the checkpoint and before the result was written.
      control.finish({ id, action, outcome: 'done', modelVersion: trainer.modelVersion, atMs: clock.nowMs() })
      return
    }
    // Interrupted batches are repeated first, but not sent: parts of the new model version may have been.
    this.#inProgress = true
    if (context.repeatsBatches()) {
      this.#polledMs = Number.NEGATIVE_INFINITY
      return
    }
    await context.saved() // it may be the requested one
    let own: Checkpoint | undefined
    try {
      own = await this.#restoreRequested(request)
    } catch (error) {
      if (!(error instanceof ConfigError || error instanceof CorruptError)) throw error
      this.#inProgress = false
      control.finish({ id, action, outcome: 'failed', message: error.message, atMs: clock.nowMs() })
      return
    }
    context.nextBatch() // the checkpoint of what is left behind keeps its own number, and can be restored in turn
    const modelVersion = `${modelVersionOf(this.#options.model)}.${id}`
    await context.sendAll(this.#newVersion(modelVersion, request))
    if (own !== undefined) trainer.restore(own)
    this.updatesHeld = own !== undefined
    this.#done = id
    this.#inProgress = false
    await context.checkpoint()
    await context.saved()
    control.finish({ id, action, outcome: 'done', modelVersion, atMs: clock.nowMs() })
  }

  /**
   * Restores the version of a rollback. @returns the trainer's own state, where it continues with that @throws
   * ConfigError, CorruptError if there is no such version; nothing has changed then
   */
  async #restoreRequested({ action, version, hold }: ControlRequest): Promise<Checkpoint | undefined> {
    if (action !== 'rollback') return
    const { trainer, checkpoints, context } = this.#options
    const checkpoint = await checkpoints.load(version ?? Number.NaN)
    if (hold === true) {
      const own = trainer.checkpoint()
      trainer.restore(checkpoint)
      return own
    }
    await context.keepVersion()
    context.restoreVersion(checkpoint)
    return undefined
  }

  /** All embeddings and weights, as a new model version. */
  #newVersion(modelVersion: string, { action }: ControlRequest): ModelUpdate[] {
    const { trainer, clock } = this.#options
    const nowMs = clock.nowMs()
    trainer.beginVersion(modelVersion)
    // A new model version has nothing to delete.
    const updates = trainer
      .takeUpdates(true, nowMs)
      .filter((update) => update.kind !== 'item-row' || update.row !== null)
      .filter((update) => update.kind !== 'item-neighbours' || update.neighbours.length > 0)
    return [{ kind: 'model-version', modelVersion, reason: action, begunAtMs: nowMs }, ...updates]
  }
}
