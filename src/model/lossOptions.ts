// What can be chosen of the loss, and the small numbers that keep it finite: shared by its forms.

/** Keeps the square root's slope finite at 0; the least distance is then 1e-3. */
export const distanceFloorSquared = 1e-6
/** ε of the inverse distance weights: a tower that sits on the target gets a large weight, not all of it. */
export const weightEpsilon = 1e-3
/**
 * Below the least normal float: a probability that underflowed. The reported loss saturates at 87; its gradient stays
 * exact.
 */
export const probabilityFloor = 1.2e-38

export interface LossOptions {
  readonly loss: 'softmax' | 'triplet'
  readonly temperature: number
  /** m of the triplet form. */
  readonly margin: number
  /** How a weight falls with the distance: d^−α, or e^(−d²/2sτ). */
  readonly idwForm: 'power' | 'gaussian'
  /** α of the power form. Infinity: the nearest tower alone. */
  readonly idwAlpha: number
  /** s of the gaussian form. */
  readonly idwSoftness: number
  readonly idwStopGradient: boolean
  /** β */
  readonly repelBeta: number
  /** m_r */
  readonly repelMargin: number
  /** β of REMI's hard negatives; 0: all negatives weigh alike. */
  readonly hardNegativesBeta: number
}

/** Whether `softmaxLoss`, or the graph of towerGraph.ts, computes what these options ask for. */
export function isPlainSoftmax(options: LossOptions): boolean {
  return (
    options.loss === 'softmax' &&
    options.hardNegativesBeta === 0 &&
    (options.idwStopGradient || options.idwAlpha === Number.POSITIVE_INFINITY)
  )
}
