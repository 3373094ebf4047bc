// How far a quality fell at a drift, and how soon it was back.

export interface RecoveryPoint {
  /** Where on the stream the period ends, in whatever unit the drift is given in: examples or event time. */
  readonly at: number
  /** The quality over the period. */
  readonly value: number
}

export interface Recovery {
  /** Mean of the last `levelPoints` periods that ended before the drift. */
  readonly before: number
  /** The least of a period that ended after the drift. */
  readonly lowest: number
  readonly lowestAt: number
  /** Whether it fell below `enough` times the level before at all. */
  readonly fell: boolean
  /** End of the first period, from the lowest on, with at least `enough` times the level before; undefined: not by the end of the curve. */
  readonly recoveredAt: number | undefined
  readonly recoveredValue: number | undefined
  /** `recoveredAt` less the drift. */
  readonly recoveredAfter: number | undefined
}

/** A single period is noisy, and many would take in the time when the model knew nothing yet. */
const levelPoints = 5
/** The share of the level before that counts as back. */
const enough = 0.95

/**
 * @param curve in order of `at`
 * @param driftAt in the unit of `at`; the period in which it lies counts as after it, since it is only partly before
 * @returns undefined if there is no period on one of the sides of the drift
 */
export function recovery(curve: readonly RecoveryPoint[], driftAt: number): Recovery | undefined {
  const earlier = curve.filter((point) => point.at <= driftAt).slice(-levelPoints)
  const later = curve.filter((point) => point.at > driftAt)
  if (earlier.length === 0 || later.length === 0) return undefined
  const before = earlier.reduce((sum, point) => sum + point.value, 0) / earlier.length
  const lowest = later.reduce((least, point) => (point.value < least.value ? point : least))
  const back = later.find((point) => point.at >= lowest.at && point.value >= enough * before)
  return {
    before,
    lowest: lowest.value,
    lowestAt: lowest.at,
    fell: lowest.value < enough * before,
    recoveredAt: back?.at,
    recoveredValue: back?.value,
    recoveredAfter: back === undefined ? undefined : back.at - driftAt
  }
}
