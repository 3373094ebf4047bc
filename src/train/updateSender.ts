// Sends what changed in the model to the publishers: embeddings every few seconds, tower weights less often.

import type { StageIo } from '../log/stageIo.ts'
import { type ModelUpdate, updateKey } from '../records/modelUpdate.ts'
import type { StageTrainer } from './trainer.ts'

const fence = 'train'
const text = new TextEncoder()

export class UpdateSender {
  readonly #io: StageIo
  readonly #trainer: StageTrainer
  #updatedMs = 0
  #weightsMs = 0
  /** Batches whose embeddings, and whose weights, were sent last. */
  #batch = 0
  #weightsBatch = 0

  constructor(io: StageIo, trainer: StageTrainer) {
    this.#io = io
    this.#trainer = trainer
  }

  /** Nothing was sent yet. */
  get isFirst(): boolean {
    return this.#batch === 0
  }

  get isDue(): boolean {
    return this.#io.clock.nowMs() - this.#updatedMs >= this.#io.config.train.updateIntervalMs
  }

  start(): void {
    this.#updatedMs = this.#weightsMs = this.#io.clock.nowMs()
  }

  /** Whether everything up to the batch was sent. @param withWeights tower weights included */
  hasSent(batch: number, withWeights: boolean): boolean {
    return (withWeights ? Math.min(this.#batch, this.#weightsBatch) : this.#batch) === batch
  }

  /**
   * Sends changed embeddings, and the tower weights when they are due: those of the last batch even if no other batch
   * follows.
   *
   * @param withWeights the weights are due
   * @param hold nothing may be sent now; it stays changed
   */
  async sendChanges(batch: number, withWeights: boolean, hold: boolean): Promise<void> {
    const { clock, config } = this.#io
    const nowMs = clock.nowMs()
    this.#updatedMs = nowMs
    if (hold) return
    const isTime = withWeights || this.isFirst || nowMs - this.#weightsMs >= config.train.weightsIntervalMs
    const weightsDue = isTime && this.#weightsBatch !== batch
    if (!weightsDue && this.#batch === batch) return
    if (weightsDue) this.#weightsMs = nowMs
    await this.#send(batch, this.#trainer.takeUpdates(weightsDue, nowMs), weightsDue)
  }

  /** Sends a complete model. */
  async sendAll(batch: number, updates: readonly ModelUpdate[]): Promise<void> {
    const nowMs = this.#io.clock.nowMs()
    await this.#send(batch, updates, true)
    this.#updatedMs = this.#weightsMs = nowMs
  }

  async #send(batch: number, updates: readonly ModelUpdate[], withWeights: boolean): Promise<void> {
    const { log, codecs, config } = this.#io
    const records = updates
      // Commits have the number of the batch, which never goes back, as the trainer's own does after a divergence.
      .map((update) => (update.kind === 'commit' ? { ...update, step: batch } : update))
      .map((update) => ({
        key: text.encode(updateKey(update)),
        value: codecs.modelUpdate.encode(update),
        partition: 0
      }))
    await log.append(config.topics.modelUpdates, records, fence)
    this.#batch = batch
    if (withWeights) this.#weightsBatch = batch
  }
}
