// What the train stage knows besides the trainer, and what of it a checkpoint holds.

import { Account, type AccountNumbers } from '../core/account.ts'
import type { Clock } from '../core/clock.ts'
import type { NamedArrays } from '../core/namedArrays.ts'
import type { Offsets } from '../core/offsets.ts'
import { type Checkpoint, named } from '../model/replica/checkpoint.ts'
import { AccountMeter } from '../monitor/accountMetrics.ts'
import type { MetricsReport } from '../monitor/metrics.ts'
import type { ExtraState } from './checkpoint/checkpointWriter.ts'
import type { RequestsState } from './modelRequests.ts'
import { ModelWatch, type ModelWatchState } from './modelWatch.ts'
import { ProgressiveEvaluator } from './progressive/progressive.ts'
import { RepeatFilter, type RepeatFilterState } from './repeatFilter.ts'
import type { StageTrainer } from './trainer.ts'
import { TrainFigures, type TrainFiguresState } from './trainFigures.ts'

interface TrainStateHeader extends RequestsState, TrainFiguresState {
  readonly batch: number
  readonly next: Readonly<Record<string, string>>
  readonly repeats: RepeatFilterState
  readonly progressive: Readonly<Record<string, unknown>>
  readonly drift: ModelWatchState
  readonly examplesTrained: number
  readonly account: AccountNumbers<'train'>
  /** Milliseconds; shown in lists of versions. */
  readonly savedAtMs: number
  readonly versionAtMs: number
  readonly modelVersion: string
  readonly divergedInARow: number
}

export class TrainState {
  readonly evaluator = new ProgressiveEvaluator()
  readonly figures = new TrainFigures()
  readonly drift: ModelWatch
  /** Number of the last batch. Unlike the trainer's step it counts dropped ones too. */
  batch = 0
  repeats = new RepeatFilter()
  /** Of the new steps that batches took: what waits for a batch does not count as read yet. */
  account = new Account('train')
  meter = new AccountMeter(this.account.numbers())
  /** When the last version was saved, milliseconds. */
  versionAtMs = 0
  divergedInARow = 0
  /** Step of the checkpoint that was restored after a divergence, until a batch is trained on. */
  wentBackTo: number | undefined

  constructor(setup: { readonly clock: Clock; readonly measure?: ((report: MetricsReport) => void) | undefined }) {
    this.drift = new ModelWatch({ clock: setup.clock, measure: setup.measure })
  }

  /** The last batch was trained on: the state is worth saving and sending. */
  get isSound(): boolean {
    return this.divergedInARow === 0 && this.wentBackTo === undefined
  }

  get examplesTrained(): number {
    return this.account.of('trained')
  }

  markSound(): void {
    this.divergedInARow = 0
    this.wentBackTo = undefined
  }

  /** Of this moment. @param rest what the stage itself knows */
  extra(rest: RequestsState & Pick<TrainStateHeader, 'next' | 'savedAtMs' | 'modelVersion'>): ExtraState {
    const progressive = this.evaluator.copy()
    const stage: TrainStateHeader = {
      ...rest,
      ...this.figures.state(),
      batch: this.batch,
      repeats: this.repeats.state(),
      progressive: progressive.header,
      drift: this.drift.state(),
      examplesTrained: this.examplesTrained,
      account: this.account.numbers(),
      versionAtMs: this.versionAtMs,
      divergedInARow: this.divergedInARow
    }
    return { header: { stage }, parts: named('progressive', progressive.parts) }
  }

  /** Restores the trainer, and the figures of its weights: ranks before training, loss and cosine. */
  restoreModel(checkpoint: Checkpoint, trainer: StageTrainer): TrainStateHeader {
    const state = checkpoint.header.stage as TrainStateHeader
    // Of several the last one counts.
    let progressive: NamedArrays = new Map()
    trainer.restore(checkpoint, ({ arrays }) => {
      progressive = arrays
    })
    this.evaluator.restore(state.progressive, progressive)
    this.figures.restoreModel(state)
    return state
  }

  /** Restores everything. */
  restore(checkpoint: Checkpoint, trainer: StageTrainer): { readonly next: Offsets; readonly requests: RequestsState } {
    const state = this.restoreModel(checkpoint, trainer)
    this.batch = state.batch
    this.repeats = RepeatFilter.from(state.repeats)
    this.drift.restore(state.drift)
    this.account = new Account('train', state.account)
    this.meter = new AccountMeter(this.account.numbers())
    this.figures.restore(state)
    this.versionAtMs = state.versionAtMs
    this.divergedInARow = state.divergedInARow
    // Rows that changed after the checkpoint become dirty again by repeating its batches; the others were sent.
    trainer.restoreVersion(state.modelVersion)
    const next = Object.entries(state.next).map(([partition, offset]) => [Number(partition), BigInt(offset)] as const)
    return { next: new Map(next), requests: state }
  }

  /** What was trained on after the checkpoint is no longer in the weights. */
  noteUndone({ header }: Checkpoint): void {
    const then = header.stage as TrainStateHeader
    this.figures.examplesUndone = this.examplesTrained - (then.examplesTrained - then.examplesUndone)
  }
}
