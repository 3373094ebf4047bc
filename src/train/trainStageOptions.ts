// What the train stage is made of.

import type { CatalogueReader } from '../log/catalogueReader.ts'
import type { StageIo } from '../log/stageIo.ts'
import type { CheckpointStore } from '../model/replica/checkpoint.ts'
import type { MetricsReport } from '../monitor/metrics.ts'
import type { StageLogger } from '../monitor/stageLogger.ts'
import type { Example } from '../records/example.ts'
import type { BatchLedger } from './checkpoint/batchLedger.ts'
import type { ModelControl } from './modelControl.ts'
import type { BatchReport, StageTrainer } from './trainer.ts'

export interface TrainStageOptions extends StageIo {
  readonly trainer: StageTrainer
  /** Shared with the other stages of the thread. Default: its own. */
  readonly catalogue?: CatalogueReader
  readonly checkpoints: CheckpointStore
  readonly ledger: BatchLedger
  /**
   * Topics that were created again: `userSequences` is read from its beginning, `modelUpdates` gets the whole model.
   */
  readonly newTopics?: {
    readonly userSequences: boolean
    readonly modelUpdates: boolean
    /** Called once that is durable. */
    readonly onApplied: () => void
  }
  /** Requests for a rollback, a rebuild, or to resume. */
  readonly control?: ModelControl
  readonly measure?: (report: MetricsReport) => void
  readonly logger?: StageLogger
  /** After every batch. */
  readonly onBatch?: (batch: BatchReport) => void
  /** Awaited after every batch: the turn of the other stages of the thread. */
  readonly betweenBatches?: () => Promise<void>
  /** The examples of a batch, after it was trained on: for audits. */
  readonly onTrained?: (batch: number, examples: readonly Example[]) => void
}
