// When the train stage takes a checkpoint and what it records beside the trainer; going back to one, and erasing users.

import type { Offsets } from '../core/offsets.ts'
import type { UserId } from '../records/interaction.ts'
import { CheckpointWriter, type SavedCheckpoint } from './checkpoint/checkpointWriter.ts'
import { forgetInCheckpoints } from './forgetUser.ts'
import type { RequestsState } from './modelRequests.ts'
import type { TrainStageOptions } from './trainStageOptions.ts'
import type { TrainState } from './trainState.ts'

/** What a checkpoint needs of the stage. */
interface StageCheckpointsContext {
  readonly state: TrainState
  /** Batches from before a crash have not all been repeated. */
  readonly repeatsBatches: () => boolean
  /** Sends the embeddings that changed. */
  readonly sendUpdates: () => Promise<void>
  /** Next offset of user-sequences that no batch holds yet, by partition. */
  readonly next: () => Offsets
  readonly requests: () => RequestsState
}

export class StageCheckpoints {
  readonly #options: TrainStageOptions
  readonly #context: StageCheckpointsContext
  readonly #writer: CheckpointWriter
  #takenAtMs = 0
  /** State of the last checkpoint: batch, and next offsets. */
  #last: { readonly batch: number; readonly next: string } | undefined

  constructor(options: TrainStageOptions, context: StageCheckpointsContext) {
    this.#options = options
    this.#context = context
    const { trainer, checkpoints, clock, measure } = options
    this.#writer = new CheckpointWriter({ trainer, checkpoints, clock, measure })
  }

  /** The interval to the next checkpoint begins. */
  start(): void {
    this.#takenAtMs = this.#options.clock.nowMs()
  }

  /** Waits for the checkpoint in progress. @throws the error of its write */
  saved(): Promise<void> {
    return this.#writer.saved()
  }

  /** The last one, unless nothing has changed since. */
  async end(): Promise<void> {
    const { state, next } = this.#context
    await this.saved()
    const isSaved = this.#last?.batch === state.batch && this.#last.next === JSON.stringify(offsetsOf(next()))
    if (state.isSound && !isSaved) await this.take()
    await this.saved()
  }

  /** Takes one where it is due. To be awaited between two batches. */
  async keepUp(): Promise<void> {
    const { clock, config, measure } = this.#options
    const nowMs = clock.nowMs()
    await this.#writer.keepUp()
    if (this.#writer.isWriting || nowMs - this.#takenAtMs < config.train.checkpointIntervalMs) return
    if (this.#last?.batch !== this.#context.state.batch) await this.take()
    else {
      // No batch since the last checkpoint: it is up to date.
      this.#takenAtMs = nowMs
      measure?.([{ metric: 'checkpointAge', value: nowMs }])
    }
  }

  /**
   * Takes a checkpoint; it is written while training continues. Updates first: rows that changed but were not sent are
   * not part of it. @param asVersion kept as a version, and no other is deleted for it: one of them is about to be
   * restored
   */
  async take(asVersion = false): Promise<void> {
    const { trainer, clock, config } = this.#options
    const { state } = this.#context
    // While batches are repeated, commits of later ones are in the log, and an index refuses earlier ones as old. What
    // is not sent yet is in no checkpoint, so none is taken either.
    if (this.#context.repeatsBatches()) return
    await this.#writer.saved()
    await this.#context.sendUpdates()
    const startedMs = clock.nowMs()
    const { versionKeep, versionIntervalMs } = config.train
    const version = versionKeep > 0 && (asVersion || startedMs - state.versionAtMs >= versionIntervalMs)
    if (version) state.versionAtMs = startedMs
    const next = offsetsOf(this.#context.next())
    const { batch } = state
    const { loss } = state.figures.state()
    this.#last = { batch, next: JSON.stringify(next) }
    const rest = { next, savedAtMs: startedMs, modelVersion: trainer.modelVersion, ...this.#context.requests() }
    const onSaved = (saved: SavedCheckpoint) => this.#noteSaved(saved, { batch, next, loss })
    this.#writer.take(batch, state.extra(rest), { version, pruneLater: asVersion, onSaved })
    this.#takenAtMs = clock.nowMs()
  }

  /**
   * Erases users from existing checkpoints first: the one that holds the erasures as read is taken when nothing is left
   * to do for them.
   */
  async forget(erased: readonly UserId[]): Promise<void> {
    if (erased.length === 0) return
    const { checkpoints, measure } = this.#options
    await this.saved() // the one in progress was taken with them
    const { rewritten } = await forgetInCheckpoints(checkpoints, erased)
    if (this.#context.state.isSound) await this.take()
    await this.saved()
    measure?.([
      { metric: 'forgottenUsers', value: erased.length },
      { metric: 'rewrittenCheckpoints', value: rewritten }
    ])
  }

  /**
   * After several batches in a row that were not finite: back to the weights of the last checkpoint, at half the
   * learning rate. What was trained on since is lost from the weights, because training on it again would diverge
   * again. If that checkpoint does no better, it was taken too late: then the one before.
   */
  async goBack(): Promise<void> {
    const { trainer, checkpoints, logger, measure } = this.#options
    const { state } = this.#context
    await this.saved()
    const earlier = (await checkpoints.steps()).filter((step) => step < (state.wentBackTo ?? Number.POSITIVE_INFINITY))
    const step = Math.max(...earlier)
    if (earlier.length > 0) {
      const checkpoint = await checkpoints.load(step)
      trainer.restore(checkpoint)
      state.noteUndone(checkpoint)
      trainer.resendAll() // publishers have embeddings of the run that is given up
      state.wentBackTo = step
    }
    trainer.slowDown(0.5)
    state.divergedInARow = 0
    state.figures.rollbacks++
    logger?.warn(
      { batch: state.batch, to: state.wentBackTo ?? null },
      'several steps in a row were not finite: went back to a checkpoint, at half the learning rate'
    )
    measure?.([{ metric: 'rollbacks', value: 1 }])
  }

  #noteSaved(
    { bytes, oldest }: SavedCheckpoint,
    { batch, next, loss }: { batch: number; next: Readonly<Record<string, string>>; loss: number | null }
  ): void {
    const { ledger, clock, config, logger, measure } = this.#options
    // Versions are restored on request, without repeating what came after them.
    ledger.truncateBefore(oldest + 1)
    const savedMs = clock.nowMs()
    const offsets = Object.entries(next).map(([partition, to]) => ({ partition: Number(partition), to }))
    logger?.info(
      { topic: config.topics.userSequences, next: offsets, batch, bytes, loss },
      `checkpoint of batch ${batch}`
    )
    measure?.([
      { metric: 'checkpointAge', value: savedMs },
      { metric: 'checkpointBytes', value: bytes }
    ])
  }
}

function offsetsOf(next: Offsets): Readonly<Record<string, string>> {
  return Object.fromEntries([...next].map(([partition, offset]) => [partition, String(offset)]))
}
