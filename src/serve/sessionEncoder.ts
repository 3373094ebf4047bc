// Makes the interests of a session that is not stored. It may be far from the caller's thread: a model's step must not
// hold up other answers.

import type { EncoderStep } from '../model/encoder.ts'

export interface EncodedSession {
  /** The model version that made the vectors. */
  readonly modelVersion: string
  /** [K, D], each of length 1. */
  readonly vectors: Float32Array
  /** K. */
  readonly count: number
}

export interface SessionEncoder {
  /**
   * @param history oldest first
   * @returns undefined where no step of the history is known to the model, or there is no model yet
   * @throws UnavailableError if it cannot be made now
   */
  encode(history: readonly EncoderStep[]): Promise<EncodedSession | undefined>
}
