// Carries out what somebody asks of the trainer's model: to go back to a version, to publish everything once more, to
// go on after a pause.

import type { Clock } from '../core/clock.ts'
import type { ModelOptions } from '../core/config/config.ts'
import { ConfigError, CorruptError } from '../core/errors.ts'
import { modelVersionOf } from '../model/model.ts'
import type { Checkpoint, CheckpointStore } from '../model/replica/checkpoint.ts'
import type { ModelUpdate } from '../records/modelUpdate.ts'
import type { ControlRequest, ModelControl } from './modelControl.ts'
import type { StageTrainer } from './trainer.ts'

/** How often it is looked whether somebody asks for something. */
const lookMs = 500

/** The stage, as far as a request reaches into it. */
export interface Requested {
  /** Batches that were written down before a crash have not all been learned again. */
  learnsAgain(): boolean
  /** Waits for the checkpoint that is being written. */
  saved(): Promise<void>
  /** Keeps the model as it is among the versions: it is about to be left behind. */
  keepVersion(): Promise<void>
  /** The trainer, and what is counted of it, are the version's again: what went wrong after it is undone. */
  restoreVersion(checkpoint: Checkpoint): void
  /** What follows bears the next batch's number. */
  nextBatch(): void
  /** The updates are all there is: rows and weights are sent again when their time has come. */
  sendAll(updates: readonly ModelUpdate[]): Promise<void>
  checkpoint(): Promise<void>
}

export interface ModelRequestsOptions {
  /** Where people ask; undefined: nobody can. */
  readonly control: ModelControl | undefined
  readonly trainer: StageTrainer
  readonly checkpoints: CheckpointStore
  readonly model: ModelOptions
  readonly clock: Clock
  readonly stage: Requested
}

/** What a checkpoint holds of them. */
export interface RequestsState {
  /** Number of the last request that was carried out, and whether updates are held since. */
  readonly controlDone?: number
  readonly updatesHeld?: boolean
}

export class ModelRequests {
  readonly #options: ModelRequestsOptions
  #done = 0
  #lookedMs = Number.NEGATIVE_INFINITY
  #isUnderWay = false
  /** Somebody went back to an earlier version for those who are served, and lets the trainer go its own way. */
  updatesHeld = false

  constructor(options: ModelRequestsOptions) {
    this.#options = options
  }

  /** Nothing is to be sent: updates are held, or a request has been read and not carried out. */
  get holdUpdates(): boolean {
    return this.updatesHeld || this.#isUnderWay
  }

  state(): RequestsState {
    return { controlDone: this.#done, updatesHeld: this.updatesHeld }
  }

  restore({ controlDone = 0, updatesHeld = false }: RequestsState): void {
    this.#done = controlDone
    this.updatesHeld = updatesHeld
  }

  /**
   * Carries out what somebody asked for, if it has not been. Each step may be repeated: the model version is named after the
   * request, and the checkpoint that says it is done comes after everything was sent. Killed before, the trainer does
   * it again.
   */
  async obey(): Promise<void> {
    const { control, clock, trainer, stage } = this.#options
    if (control === undefined || clock.nowMs() - this.#lookedMs < lookMs) return
    this.#lookedMs = clock.nowMs()
    const request = control.request()
    if (request === undefined || request.id <= (control.result()?.id ?? 0)) return
    const { id, action } = request
    if (id <= this.#done) {
      // Killed after the checkpoint and before it could be said.
      control.finish({ id, action, outcome: 'done', modelVersion: trainer.modelVersion, atMs: clock.nowMs() })
      return
    }
    // What a crash interrupted comes first, as it was, but is not sent: it may be that parts of the new model version were.
    this.#isUnderWay = true
    if (stage.learnsAgain()) {
      this.#lookedMs = Number.NEGATIVE_INFINITY
      return
    }
    await stage.saved() // it may be the one that is asked for
    let own: Checkpoint | undefined
    try {
      own = await this.#restoreRequested(request)
    } catch (error) {
      if (!(error instanceof ConfigError || error instanceof CorruptError)) throw error
      this.#isUnderWay = false
      control.finish({ id, action, outcome: 'failed', message: error.message, atMs: clock.nowMs() })
      return
    }
    stage.nextBatch() // the checkpoint of what is left behind keeps its own number, and can be gone back to in turn
    const modelVersion = `${modelVersionOf(this.#options.model)}.${id}`
    await stage.sendAll(this.#newVersion(modelVersion, request))
    if (own !== undefined) trainer.restore(own)
    this.updatesHeld = own !== undefined
    this.#done = id
    this.#isUnderWay = false
    await stage.checkpoint()
    await stage.saved()
    control.finish({ id, action, outcome: 'done', modelVersion, atMs: clock.nowMs() })
  }

  /**
   * Of a rollback. @returns what the trainer goes on with, where that is not the version @throws ConfigError,
   * CorruptError if there is no such version; nothing has changed
   */
  async #restoreRequested({ action, version, hold }: ControlRequest): Promise<Checkpoint | undefined> {
    if (action !== 'rollback') return
    const { trainer, checkpoints, stage } = this.#options
    const checkpoint = await checkpoints.load(version ?? Number.NaN)
    if (hold === true) {
      const own = trainer.checkpoint()
      trainer.restore(checkpoint)
      return own
    }
    await stage.keepVersion()
    stage.restoreVersion(checkpoint)
    return undefined
  }

  /** All rows and weights, for a model version of their own. */
  #newVersion(modelVersion: string, { action }: ControlRequest): ModelUpdate[] {
    const { trainer, clock } = this.#options
    const nowMs = clock.nowMs()
    trainer.beginVersion(modelVersion)
    // Nothing has to leave a model version that is empty.
    const updates = trainer
      .takeUpdates(true, nowMs)
      .filter((update) => update.kind !== 'item-row' || update.row !== null)
    return [{ kind: 'model-version', modelVersion, reason: action, begunAtMs: nowMs }, ...updates]
  }
}
