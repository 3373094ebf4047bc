// Takes checkpoints of the trainer while training continues: a whole one from time to time, and incremental ones
// between, so that they may come every few seconds whatever the size of the table.

import type { Clock } from '../../core/clock.ts'
import { handledLater } from '../../core/promises.ts'
import type { Checkpoint, CheckpointPart, CheckpointStore } from '../../model/replica/checkpoint.ts'
import type { MetricsReport } from '../../monitor/metrics.ts'
import type { StageTrainer } from '../trainer.ts'

/** A whole one follows this many incremental ones, however small: a start reads them all. */
const changesMax = 60

interface CheckpointWriterOptions {
  readonly trainer: StageTrainer
  readonly checkpoints: CheckpointStore
  readonly clock: Clock
  /** Blocks, about a megabyte each, that may be copied before training waits for the checkpoint. Default 64. */
  readonly waitingBlocksMax?: number
  readonly measure?: ((report: MetricsReport) => void) | undefined
}

/** What a checkpoint holds besides the trainer. */
export interface ExtraState {
  readonly header: Readonly<Record<string, unknown>>
  readonly parts: Iterable<CheckpointPart>
}

export interface SavedCheckpoint {
  readonly bytes: number
  /** The oldest that a restart may use. */
  readonly oldest: number
}

/** What the next one can build on. */
interface Chain {
  readonly step: number
  /** As `IncrementalTrainer.copies` was when it was taken. */
  readonly copies: number
  readonly wholeBytes: number
  readonly changes: number
  readonly changesBytes: number
}

export class CheckpointWriter {
  readonly #options: CheckpointWriterOptions
  #chain: Chain | undefined
  #writing: Promise<void> | undefined
  #failure: { readonly cause: unknown } | undefined

  constructor(options: CheckpointWriterOptions) {
    this.#options = options
  }

  get isWriting(): boolean {
    return this.#writing !== undefined
  }

  /** Waits for the checkpoint in progress. @throws the error of its write */
  async saved(): Promise<void> {
    await this.#writing
    if (this.#failure !== undefined) throw this.#failure.cause
  }

  /** To be awaited between two batches. @throws the error of the write */
  async keepUp(): Promise<void> {
    const { trainer, waitingBlocksMax = 64, clock } = this.#options
    if (this.#failure !== undefined) await this.saved()
    if (trainer.waitingBlocks <= waitingBlocksMax) return
    const startedMs = clock.nowMs()
    await this.saved()
    this.#stalled(startedMs)
  }

  /**
   * Takes one of this moment; it is written while training continues. No other may be in progress.
   *
   * @param step its number
   * @param extra state of this moment
   * @param onSaved called after it was written
   */
  take(
    step: number,
    extra: ExtraState,
    {
      version,
      pruneLater = false,
      onSaved
    }: { version: boolean; pruneLater?: boolean; onSaved(saved: SavedCheckpoint): void }
  ): void {
    const { trainer, clock } = this.#options
    if (this.#writing !== undefined) throw new Error('CheckpointWriter.take: the one before is still being written')
    const startedMs = clock.nowMs()
    const base = version ? undefined : this.#base(step)
    const extent = base === undefined ? 'whole' : 'changed'
    const { header, parts } = trainer.beginCheckpoint(extent)
    const { copies } = trainer
    this.#stalled(startedMs)
    const checkpoint: Checkpoint = { header: { ...header, ...extra.header }, parts: joined(parts, extra.parts) }
    const writing = handledLater(this.#write(step, checkpoint, { version, pruneLater, base, copies, onSaved }))
    this.#writing = writing
      .catch((cause: unknown) => {
        this.#failure = { cause }
      })
      .finally(() => {
        this.#writing = undefined
      })
  }

  async #write(
    step: number,
    checkpoint: Checkpoint,
    taken: {
      version: boolean
      pruneLater: boolean
      base: Chain | undefined
      copies: number
      onSaved(saved: SavedCheckpoint): void
    }
  ): Promise<void> {
    const { checkpoints } = this.#options
    const { version, pruneLater, base, copies } = taken
    const saved = await checkpoints.save(
      step,
      checkpoint,
      base === undefined ? { version, pruneLater } : { since: base.step }
    )
    this.#chain =
      base === undefined
        ? { step, copies, wholeBytes: saved.bytes, changes: 0, changesBytes: 0 }
        : { ...base, step, copies, changes: base.changes + 1, changesBytes: base.changesBytes + saved.bytes }
    taken.onSaved(saved)
  }

  /** undefined: the next one must be whole. All increments together are no larger than the whole one. */
  #base(step: number): Chain | undefined {
    const chain = this.#chain
    if (chain === undefined || chain.copies !== this.#options.trainer.copies || chain.step >= step) return undefined
    return chain.changes < changesMax && chain.changesBytes < chain.wholeBytes ? chain : undefined
  }

  #stalled(sinceMs: number): void {
    const { clock, measure } = this.#options
    measure?.([{ metric: 'checkpointStallSeconds', value: (clock.nowMs() - sinceMs) / 1000 }])
  }
}

function* joined<T>(...all: readonly Iterable<T>[]): Iterable<T> {
  for (const values of all) yield* values
}
