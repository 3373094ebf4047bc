// What goes wrong with models of several interests, told from the numbers of a run: named, with what to do.
//
// The live metrics watch the same signatures, with the same limits (infra/prometheus, docs/alerts.md).

import { entropyRatio } from '../../monitor/drift/evenness.ts'

/** Mean cosine of two interests of a user beyond which the towers say the same. */
const collapsedCosineMin = 0.9
/** Entropy of which tower is the nearest, as a share of its greatest, below which one tower does it all. */
const winsEntropyMin = 0.3
/** Training users are found this many times better than validation users: histories were learned by heart. */
const overfitRatioMin = 2.5
/** Recall@50 still rises by this share of itself with each of the last epochs. */
const slowRiseMin = 0.02

export const signatures = [
  'collapsed-towers',
  'lone-tower',
  'over-fitting',
  'divergence',
  'slow-convergence',
  'not-learning'
] as const

/** What a report says where it has found none. */
export const nothingFound = `None of ${signatures.join(', ')}.`

export interface Finding {
  readonly signature: (typeof signatures)[number]
  /** What was seen, with the numbers. */
  readonly message: string
  readonly remedy: string
}

export interface RunSymptoms {
  readonly interestCount: number
  readonly intraUserCosine: number | null
  /** [K] */
  readonly wins: readonly number[]
  /** Steps that were not finite. */
  readonly diverged: number
  /** Whether it ended because nothing got better, rather than at the last epoch allowed. */
  readonly stoppedEarly: boolean
  readonly curve: readonly {
    readonly loss: number
    readonly trainRecall: number
    readonly validationRecall: number | null
  }[]
  /** Recall@50 of the most popular items on the validation users; null where there are none. */
  readonly popularRecall: number | null
  /** Epoch (from 1) whose weights were kept; 0 if none. */
  readonly bestEpoch: number
}

export function failureSignatures(run: RunSymptoms): Finding[] {
  const findings: Finding[] = []
  const { interestCount: K, intraUserCosine: cosine, wins, curve } = run
  if (K > 1 && cosine !== null && cosine >= collapsedCosineMin)
    findings.push({
      signature: 'collapsed-towers',
      message: `two interests of a user have a mean cosine of ${cosine.toFixed(2)}: the ${K} towers say the same`,
      remedy: 'raise model.repelBeta (1 keeps mtmi near .5), or lower model.interestCount'
    })
  const most = Math.max(0, ...wins)
  if (K > 1 && most > 0 && entropyRatio(wins) < winsEntropyMin)
    findings.push({
      signature: 'lone-tower',
      message: `one tower is the nearest to ${(100 * most).toFixed(0)}% of the targets: the others are dead weight`,
      remedy: 'lower model.idwAlpha, so that far towers learn too, or lower model.interestCount'
    })
  if (run.diverged > 0)
    findings.push({
      signature: 'divergence',
      message: `${run.diverged} times a loss or a gradient was not finite, and learning went back an epoch at half the rate`,
      remedy: 'lower the learning rates, or raise model.temperature'
    })
  const best = curve[run.bestEpoch - 1]
  if (best !== undefined && best.validationRecall !== null) {
    if (best.validationRecall > 0 && best.trainRecall >= overfitRatioMin * best.validationRecall)
      findings.push({
        signature: 'over-fitting',
        message: `Recall@50 is ${best.trainRecall.toFixed(3)} on training users and ${best.validationRecall.toFixed(3)} on others`,
        remedy: 'raise evaluate.dropout, lower model.dimensions, or give more data'
      })
    if (run.popularRecall !== null && best.validationRecall <= run.popularRecall)
      findings.push({
        signature: 'not-learning',
        message: `Recall@50 of ${best.validationRecall.toFixed(3)} on validation users is no better than that of the most popular items, ${run.popularRecall.toFixed(3)}`,
        remedy:
          'there may be too little data (evaluate.interactionsMin), too few epochs (evaluate.epochsMax), or rates that are too low'
      })
  }
  if (!run.stoppedEarly && risesStill(curve.map(({ validationRecall }) => validationRecall)))
    findings.push({
      signature: 'slow-convergence',
      message: `after ${curve.length} epochs Recall@50 on validation users was still rising`,
      remedy: 'raise evaluate.epochsMax, or the learning rates'
    })
  return findings
}

function risesStill(recall: readonly (number | null)[]): boolean {
  const [a, b, c] = recall.slice(-3)
  if (typeof a !== 'number' || typeof b !== 'number' || typeof c !== 'number') return false
  return b > a * (1 + slowRiseMin) && c > b * (1 + slowRiseMin)
}
