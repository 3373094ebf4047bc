// Requests about the trainer's model, while it runs or before it starts: go back to a version, publish everything
// again, resume.

import type { VersionReason } from '../records/modelUpdate.ts'

export interface ControlRequest {
  /**
   * Ascending from 1. The model version that comes of it bears the number, so that a request repeated after a crash
   * fills the same model version.
   */
  readonly id: number
  readonly action: VersionReason
  /** Of a rollback: step of the checkpoint. */
  readonly version?: number
  /**
   * Of a rollback: the trainer keeps its own weights and continues training, but publishes nothing until it is resumed.
   */
  readonly hold?: boolean
  readonly requestedAtMs: number
}

export interface ControlResult {
  readonly id: number
  readonly action: VersionReason
  readonly outcome: 'done' | 'failed'
  /** That the publisher fills and switches to. */
  readonly modelVersion?: string
  readonly message?: string
  readonly atMs: number
}

/** Two files, each written atomically: the request by a command, the result by the trainer. */
export interface ModelControl {
  request(): ControlRequest | undefined
  result(): ControlResult | undefined
  finish(result: ControlResult): void
}
