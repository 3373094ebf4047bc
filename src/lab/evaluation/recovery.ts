// How far a quality fell at a drift, and how soon it was back.

interface RecoveryPoint {
  /** Where on the stream the period ends, in whatever unit the drift is given in: examples or event time. */
  readonly at: number
  /** The quality over the period. */
  readonly value: number
}

interface Recovery {
  /** Mean of the last `levelPoints` periods that ended before the drift. */
  readonly before: number
  /**
   * Whether it fell below `enough` times the level before within `onsetPoints` periods: a later fall has another cause.
   */
  readonly fell: boolean
  /** The least of a period from the drift until it was back; of the first `onsetPoints` if it never fell. */
  readonly lowest: number
  /**
   * End of the first period after the fall that together with the next reaches `enough` times the level before;
   * undefined: none yet, or it never fell.
   */
  readonly recoveredAt: number | undefined
  readonly recoveredValue: number | undefined
  /** `recoveredAt` less the drift. */
  readonly recoveredAfter: number | undefined
}

/** A single period is noisy, and many would take in the time when the model knew nothing yet. */
const levelPoints = 5
const onsetPoints = 5
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
  const goal = enough * before
  const least = (points: readonly RecoveryPoint[]) => Math.min(...points.map((point) => point.value))
  const onset = later.slice(0, onsetPoints).findIndex((point) => point.value < goal)
  if (onset < 0) {
    const lowest = least(later.slice(0, onsetPoints))
    return { before, fell: false, lowest, recoveredAt: undefined, recoveredValue: undefined, recoveredAfter: undefined }
  }
  const backIndex = later.findIndex(
    (point, i) => i > onset && point.value >= goal && (point.value + (later[i + 1] ?? point).value) / 2 >= goal
  )
  const back = later[backIndex]
  return {
    before,
    fell: true,
    lowest: least(back === undefined ? later : later.slice(0, backIndex)),
    recoveredAt: back?.at,
    recoveredValue: back?.value,
    recoveredAfter: back === undefined ? undefined : back.at - driftAt
  }
}
