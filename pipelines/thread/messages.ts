// Messages between the main thread and the model thread: plain objects that survive structured cloning.

import type { AccountNumbers } from '../../src/core/account.ts'
import type { Config } from '../../src/core/config/config.ts'
import type { ErrorCode } from '../../src/core/errors.ts'
import type { BackendReport } from '../../src/model/backend.ts'
import type { EncoderStep } from '../../src/model/encoder.ts'
import type { Detection } from '../../src/monitor/drift/detection.ts'
import type { MetricsReport } from '../../src/monitor/metrics.ts'
import type { RejectedCandidate } from '../../src/publish/modelGate.ts'
import type { HeldPromotion } from '../../src/publish/publisherReport.ts'
import type { EncodedSession } from '../../src/serve/sessions.ts'
import type { ProgressiveReport } from '../../src/train/progressive/progressive.ts'
import type { LogStyle } from '../logger.ts'

export interface ModelThreadTask {
  readonly config: Config
  readonly dataDir: string
  readonly run: string
  /** Which of the run's publishers this process is (`publish-1`); absent: the only one. */
  readonly place?: string
  /** Read topics that were created again from their beginning. */
  readonly acceptNewTopic?: boolean
  readonly stages: readonly ('train' | 'publish' | 'encode')[]
  /** Stages log in JSON style only. */
  readonly logStyle: LogStyle
}

export interface TrainStatus {
  /** Of user-sequences: next offset by partition, as `offsetsToJson` gives it. */
  readonly consumed: Readonly<Record<string, string>>
  /** When the log took the newest record consumed, milliseconds; 0 before the first. */
  readonly takenAtMs: number
  readonly batches: number
  readonly examplesTrained: number
  readonly account: AccountNumbers<'train'>
  readonly catalogue: AccountNumbers<'catalogue'>
  /** Trained, and undone by a rollback. */
  readonly examplesUndone: number
  /** Ranked before the first step. */
  readonly untrainedTargets: number
  /** By this process, in `trainSeconds`. */
  readonly examplesThisRun: number
  readonly trainSeconds: number
  readonly batchesDropped: number
  readonly rollbacks: number
  readonly loss: number
  readonly intraUserCosine: number
  readonly progressive: ProgressiveReport
  /** Changes of hit rate and loss, oldest first. */
  readonly detections: readonly Detection[]
  /** Every batch has been sent to the publisher. */
  readonly updatesSent: boolean
}

export interface PublishStatus {
  /** Of user-sequences. */
  readonly consumed: Readonly<Record<string, string>>
  /** Of interactions, for popularity. */
  readonly counted: Readonly<Record<string, string>>
  /** Of model-updates: next offset. */
  readonly model: string
  /** When the log took the newest record consumed, milliseconds; 0 before the first. */
  readonly takenAtMs: number
  /** The publisher's first. */
  readonly accounts: readonly [AccountNumbers<'publish'>, ...AccountNumbers[]]
  readonly waitingItems: number
  readonly waitingUsers: number
  readonly step: number
  readonly indexVersion: string
  /** Weights that the gate rejected. */
  readonly held?: RejectedCandidate
  /** An index version that does not go live. */
  readonly heldPromotion?: HeldPromotion
  /** Why vectors cannot be written, and since when. */
  readonly outage?: string
}

/** The thread failed, and ends. */
interface Failed {
  readonly kind: 'failed'
  readonly code: ErrorCode | undefined
  readonly message: string
  readonly stack: string | undefined
}

/** The answer to `encode`; `problem`: why the session could not be encoded. */
interface Encoded {
  readonly kind: 'encoded'
  readonly id: number
  readonly session?: EncodedSession | undefined
  readonly problem?: string
}

export type FromModelThread =
  | { readonly kind: 'ready'; readonly backend: BackendReport }
  | { readonly kind: 'train'; readonly status: TrainStatus }
  | { readonly kind: 'publish'; readonly status: PublishStatus }
  /** Of a thread that only encodes sessions; not ready: it has not read the live model yet. */
  | { readonly kind: 'encode'; readonly accounts: readonly AccountNumbers[]; readonly ready: boolean }
  /** Sent several times a second. `problem`: why the thread cannot work now. */
  | { readonly kind: 'metrics'; readonly report: MetricsReport; readonly problem: string | undefined }
  | { readonly kind: 'freshness'; readonly agesMs: readonly number[] }
  | { readonly kind: 'problem'; readonly message: string }
  | Failed
  | Encoded

export type ToModelThread =
  | { readonly kind: 'drain'; readonly on: boolean }
  | { readonly kind: 'encode'; readonly id: number; readonly history: readonly EncoderStep[] }
  | { readonly kind: 'stop' }
