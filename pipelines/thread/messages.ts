// What the thread that trains and publishes says, and what it is told: plain objects that survive structured cloning.

import type { AccountNumbers } from '../../src/core/account.ts'
import type { Config } from '../../src/core/config/config.ts'
import type { ErrorCode } from '../../src/core/errors.ts'
import type { BackendReport } from '../../src/model/backend.ts'
import type { EncoderStep } from '../../src/model/encoder.ts'
import type { Detection } from '../../src/monitor/drift/detection.ts'
import type { MetricsReport } from '../../src/monitor/metrics.ts'
import type { HeldModel } from '../../src/publish/modelGate.ts'
import type { HeldPromotion } from '../../src/publish/publisherReport.ts'
import type { EncodedSession } from '../../src/serve/sessionEncoder.ts'
import type { ProgressiveReport } from '../../src/train/progressive/progressive.ts'
import type { LogStyle } from '../journal.ts'

/** Which stages the thread runs. */
export interface ModelThreadTask {
  readonly config: Config
  readonly dataDir: string
  readonly run: string
  /** Of this process among those that publish in the run; without one it is alone. */
  readonly place?: string
  readonly stages: readonly ('train' | 'publish' | 'encode')[]
  /** Of what the stages tell by themselves; only as JSON do they. */
  readonly logStyle: LogStyle
}

export interface TrainStatus {
  readonly consumed: Readonly<Record<string, string>>
  /** When the log took the newest record of it, milliseconds; 0 before the first. */
  readonly takenAtMs: number
  readonly batches: number
  readonly examplesLearned: number
  readonly account: AccountNumbers<'train'>
  readonly catalogue: AccountNumbers<'catalogue'>
  /** Learned, and undone by a rollback. */
  readonly examplesUndone: number
  /** Ranked before the first step. */
  readonly untrainedTargets: number
  /** By this process: what `trainSeconds` were spent on. */
  readonly examplesThisRun: number
  readonly batchesDropped: number
  readonly rollbacks: number
  readonly items: number
  readonly loss: number
  readonly intraUserCosine: number
  readonly progressive: ProgressiveReport
  /** Changes noticed in hit rate and loss, oldest first. */
  readonly detections: readonly Detection[]
  /** Every batch has been sent to the publisher. */
  readonly updatesSent: boolean
  readonly trainSeconds: number
}

export interface PublishStatus {
  readonly consumed: Readonly<Record<string, string>>
  /** Of interactions: what popularity was counted from. */
  readonly counted: Readonly<Record<string, string>>
  /** When the log took the newest record of it, milliseconds; 0 before the first. */
  readonly takenAtMs: number
  /** Of the publisher first. */
  readonly accounts: readonly [AccountNumbers<'publish'>, ...AccountNumbers[]]
  readonly model: string
  readonly waitingItems: number
  readonly waitingUsers: number
  readonly step: number
  readonly indexVersion: string
  /** New weights that were refused. */
  readonly held?: HeldModel
  /** Why another index version does not go live. */
  readonly heldPromotion?: HeldPromotion
  /** What keeps vectors from being written, since when. */
  readonly outage?: string
}

export type FromModelThread =
  | { readonly kind: 'ready'; readonly backend: BackendReport }
  | { readonly kind: 'train'; readonly status: TrainStatus }
  | { readonly kind: 'publish'; readonly status: PublishStatus }
  | { readonly kind: 'metrics'; readonly report: MetricsReport }
  | { readonly kind: 'freshness'; readonly agesMs: readonly number[] }
  | { readonly kind: 'problem'; readonly message: string }
  | {
      readonly kind: 'failed'
      readonly code: ErrorCode | undefined
      readonly message: string
      readonly stack: string | undefined
    }
  /** Of a session; `problem`: why it could not be encoded. */
  | {
      readonly kind: 'encoded'
      readonly id: number
      readonly session?: EncodedSession | undefined
      readonly problem?: string
    }
  | { readonly kind: 'done' }

export type ToModelThread =
  | { readonly kind: 'hurry'; readonly on: boolean }
  | { readonly kind: 'encode'; readonly id: number; readonly history: readonly EncoderStep[] }
  | { readonly kind: 'stop' }
