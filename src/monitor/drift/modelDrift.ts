// Drift of the model: change detectors on hit rate and loss, the winners' entropy, and overfitting.
//
// Unseen against seen: the loss of a batch before training on it (prequential: Gama, Sebastião & Rodrigues, On
// evaluating stream learning algorithms, Machine Learning 2013) less that of replayed examples of the same step. The
// winners' entropy sees collapse onto one tower, the imbalance that routing of experts is watched for (Shazeer et al.,
// Outrageously Large Neural Networks, ICLR 2017, § 4); vectors that are all alike show in the intra-user cosine (as in
// Jing et al., Understanding Dimensional Collapse, ICLR 2022).

import { Adwin, type AdwinState } from './adwin.ts'
import type { Detection } from './detection.ts'
import { entropyRatio } from './evenness.ts'

/** Figures of one batch, from before and from its training step. */
export interface BatchSigns {
  /** Ranks of the targets, 0 best; −1: not ranked. */
  readonly ranks: Int32Array
  /** The rank that stands for a target that the model has no row for. */
  readonly unknownRank: number
  /** Losses of the batch's examples, none of them trained on before; undefined if the step was dropped. */
  readonly freshLosses: Float32Array | undefined
  /** Mean loss of the replayed examples of the step; undefined if there were none. */
  readonly replayedLoss: number | undefined
  /** Share of the targets that each interest was the nearest to. [K] */
  readonly wins: Float32Array
  /** Of the newest example, milliseconds since the Unix epoch. */
  readonly eventTimeMs: number
}

interface ModelDriftReport {
  /** Mean over ADWIN's window: the progressive hit rate since the last change. NaN before the first. */
  readonly hitRate: number
  readonly hitRateWindow: number
  readonly loss: number
  /** undefined: not known yet. */
  readonly winsEntropy: number | undefined
  readonly overfitGap: number | undefined
  readonly newItemShare: number | undefined
}

export interface ModelDriftState {
  readonly format: 2
  readonly adwin: Readonly<Record<'hit_rate' | 'loss', AdwinState>>
  readonly seen: Readonly<Record<'hit_rate' | 'loss', number>>
  readonly quietUntil: Readonly<Record<'hit_rate' | 'loss', number>>
  readonly wins: readonly number[]
  readonly overfitGap: number | null
  readonly newItemShare: number | null
}

/** A hit: the target among the first 20, as everywhere. */
const hitRanks = 20
/** Losses are read as shares of this, clipped: a loss of 10 is that of guessing among 22,000. */
const lossScale = 10
/**
 * Before so many examples a falling hit rate is that of a model which has hardly begun; the loss rises for longer, as the
 * number of items that it distinguishes grows.
 */
const warmup = { hit_rate: 3000, loss: 10_000 } as const
/** One change comes as several cuts: what follows within so many examples is the same change. */
const quiet = 3000
/** Averages are over about this many examples. */
const memory = 5000

export class ModelDrift {
  readonly #adwin: Readonly<Record<'hit_rate' | 'loss', Adwin>>
  readonly #seen = { hit_rate: 0, loss: 0 }
  #quietUntil = { hit_rate: 0, loss: 0 }
  #wins: number[] = []
  #overfitGap: number | undefined
  #newItemShare: number | undefined

  /** @param confidence δ of ADWIN. Clicks of a session are dependent: far stricter than the paper's .002 */
  constructor({ confidence = 1e-4 }: { confidence?: number } = {}) {
    // A hundred values to a side: with fewer one session decides.
    const options = { confidence, sideMin: 100, lengthMax: 100_000 }
    this.#adwin = { hit_rate: new Adwin(options), loss: new Adwin(options) }
  }

  get report(): ModelDriftReport {
    return {
      hitRate: this.#adwin.hit_rate.mean,
      hitRateWindow: this.#adwin.hit_rate.length,
      loss: this.#adwin.loss.mean * lossScale,
      winsEntropy: this.#wins.length === 0 ? undefined : entropyRatio(this.#wins),
      overfitGap: this.#overfitGap,
      newItemShare: this.#newItemShare
    }
  }

  /** @returns what was noticed; a model that gets better is no drift */
  observe(batch: BatchSigns): Detection[] {
    const found: Detection[] = []
    let ranked = 0
    let unknown = 0
    for (const rank of batch.ranks) {
      this.#seen.hit_rate++ // examples, ranked or not: the model's age does not depend on the sample
      if (rank < 0) continue
      ranked++
      if (rank === batch.unknownRank) unknown++
      this.#take('hit_rate', rank < hitRanks ? 1 : 0, batch.eventTimeMs, found)
    }
    if (ranked > 0) {
      const share = Math.min(1, ranked / memory)
      this.#newItemShare = faded(this.#newItemShare, unknown / ranked, share)
      if (this.#wins.length !== batch.wins.length) this.#wins = new Array<number>(batch.wins.length).fill(0)
      for (let k = 0; k < batch.wins.length; k++) this.#wins[k]! += (batch.wins[k]! - this.#wins[k]!) * share
    }
    const losses = batch.freshLosses
    if (losses === undefined || losses.length === 0) return found
    let sum = 0
    for (let i = 0; i < losses.length; i++) {
      sum += losses[i]!
      this.#seen.loss++
      this.#take('loss', losses[i]! / lossScale, batch.eventTimeMs, found)
    }
    const gap = batch.replayedLoss === undefined ? Number.NaN : sum / losses.length - batch.replayedLoss
    if (Number.isFinite(gap)) this.#overfitGap = faded(this.#overfitGap, gap, Math.min(1, losses.length / memory))
    return found
  }

  #take(signal: 'hit_rate' | 'loss', value: number, eventTimeMs: number, found: Detection[]): void {
    if (!Number.isFinite(value)) return
    const seen = this.#seen[signal]
    const cut = this.#adwin[signal].add(value)
    if (cut === undefined || (signal === 'loss' ? cut.after <= cut.before : cut.after >= cut.before)) return
    const scale = signal === 'loss' ? lossScale : 1
    if (seen > warmup[signal] && seen >= this.#quietUntil[signal])
      found.push({ signal, detector: 'adwin', value: cut.after * scale, eventTimeMs })
    // Silence lasts for as long as cuts follow each other.
    this.#quietUntil[signal] = seen + quiet
  }

  state(): ModelDriftState {
    const of = <T>(state: (signal: 'hit_rate' | 'loss') => T) => ({ hit_rate: state('hit_rate'), loss: state('loss') })
    return {
      format: 2,
      adwin: of((signal) => this.#adwin[signal].state()),
      seen: { ...this.#seen },
      quietUntil: { ...this.#quietUntil },
      wins: [...this.#wins],
      overfitGap: this.#overfitGap ?? null,
      newItemShare: this.#newItemShare ?? null
    }
  }

  /** @returns false, and stays new, for a state of another format */
  restore(state: ModelDriftState): boolean {
    if (state.format !== 2) return false
    for (const signal of ['hit_rate', 'loss'] as const) {
      this.#adwin[signal].restore(state.adwin[signal])
      this.#seen[signal] = state.seen[signal]
    }
    this.#quietUntil = { ...state.quietUntil }
    this.#wins = [...state.wins]
    this.#overfitGap = state.overfitGap ?? undefined
    this.#newItemShare = state.newItemShare ?? undefined
    return true
  }
}

function faded(before: number | undefined, value: number, share: number): number {
  return before === undefined ? value : before + (value - before) * share
}
