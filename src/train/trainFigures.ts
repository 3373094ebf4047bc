// Figures of the train stage for status, report and metrics.

/** Batches that the mean cosine covers. */
const cosineBatches = 20

/** Those that a checkpoint holds. JSON-able: null stands for no value yet. */
export interface TrainFiguresState {
  readonly examplesUndone: number
  readonly untrainedTargets: number
  readonly batchesDropped: number
  readonly rollbacks: number
  readonly loss: number | null
  readonly intraUserCosine: number | null
}

export class TrainFigures {
  /** Examples whose training a rollback undid. */
  examplesUndone = 0
  /** Targets that were ranked before the first step: they say nothing of the model. */
  untrainedTargets = 0
  /** Batches whose loss or gradient was not finite. */
  batchesDropped = 0
  rollbacks = 0
  /** Of the last batch that had anything to train on. */
  loss = Number.NaN
  /** Mean cosine between two interests of a user, over about the last 20 batches. */
  intraUserCosine = Number.NaN
  /** When the log took the newest user sequence that was trained on, milliseconds; 0 before the first. */
  takenAtMs = 0

  noteCosine(cosine: number): void {
    if (!Number.isFinite(cosine)) return
    if (Number.isFinite(this.intraUserCosine)) this.intraUserCosine += (cosine - this.intraUserCosine) / cosineBatches
    else this.intraUserCosine = cosine
  }

  state(): TrainFiguresState {
    const { examplesUndone, untrainedTargets, batchesDropped, rollbacks, loss, intraUserCosine } = this
    const ofModel = { loss: finite(loss), intraUserCosine: finite(intraUserCosine) }
    return { examplesUndone, untrainedTargets, batchesDropped, rollbacks, ...ofModel }
  }

  restore(state: TrainFiguresState): void {
    this.examplesUndone = state.examplesUndone
    this.batchesDropped = state.batchesDropped
    this.rollbacks = state.rollbacks
    this.restoreModel(state)
  }

  /** The figures of the weights alone: for going back to an earlier model. */
  restoreModel({ untrainedTargets, loss, intraUserCosine }: TrainFiguresState): void {
    this.untrainedTargets = untrainedTargets
    this.loss = loss ?? Number.NaN
    this.intraUserCosine = intraUserCosine ?? Number.NaN
  }
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null
}
