// What the trainer is made with, and the limits that are no settings.

import type { ModelOptions, TrainOptions as TrainSettings } from '../core/config/config.ts'

export const trainLimits = {
  /** Row-wise Adagrad, for embeddings. From .025 to .1 results differ little: vectors are scaled to length 1. */
  rowLearningRate: 0.05,
  /** Gradients are scaled down to this norm; 0: never. */
  gradientNormMax: 5,
  /** An item this long unseen, by event time, loses its row. */
  itemIdleMaxMs: 365 * 86_400_000,
  /** Newest examples trained on, of which no user and no item may have more than its share. */
  guardExamples: 10_000
}

/** The settings; limits are set by tests and by offline evaluation alone. */
export type TrainOptions = TrainSettings & Partial<typeof trainLimits>

export interface IncrementalTrainerOptions {
  readonly model: ModelOptions
  readonly train: TrainOptions
  /** Newest steps of a history that the model reads. */
  readonly historyMax: number
  readonly seed: number
  /** Share of the examples that are ranked before they are trained on: see `progressive.share`. Default: 1. */
  readonly rankedShare?: number | 'auto'
  /** Model version: goes into every commit. Default: the model's name and shape, as in `mtmi-4x64`. */
  readonly modelVersion?: string
}
