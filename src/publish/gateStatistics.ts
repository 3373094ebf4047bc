// Whether a loss of targets is more than chance, in one trial and over the trials since the best weights.

/**
 * P(at least `lost` of `lost + gained` | either is equally likely): how often chance alone makes such a loss. The exact
 * form of McNemar's test (Psychometrika 12, 1947) is the sign test.
 *
 *     p = Σ_{i ≥ lost} C(n, i) / 2ⁿ,  n = lost + gained
 *
 * @returns 0 … 1; 1 if nothing was lost
 */
export function signTest(lost: number, gained: number): number {
  const n = lost + gained
  if (lost <= 0) return 1
  // Terms by their logarithms: C(2000, 1000) is beyond a double.
  let logTerm = -n * Math.LN2 // i = n
  let sum = Math.exp(logTerm)
  for (let i = n; i > lost; i--) {
    logTerm += Math.log(i) - Math.log(n - i + 1)
    sum += Math.exp(logTerm)
  }
  return Math.min(1, sum)
}

/** Losses too small to reject, summed over the weights that were accepted since the best. */
export interface GateSlide {
  /** Share of the targets lost, gains subtracted; ≥ 0. */
  readonly share: number
  readonly lost: number
  readonly gained: number
}

export const noSlide: GateSlide = { share: 0, lost: 0, gained: 0 }

/**
 * A cumulative sum (E. S. Page, Biometrika 41, 1954): differences to the weights before are added up, and begin again
 * at 0 when as much was gained as was lost. Each is measured on the newest targets of its time, so a stream that
 * becomes harder to predict does not count.
 */
export function slideAfter(
  slide: GateSlide,
  { targets, lost, gained }: { targets: number; lost: number; gained: number }
): GateSlide {
  const share = slide.share + (lost - gained) / Math.max(1, targets)
  return share <= 0 ? noSlide : { share, lost: slide.lost + lost, gained: slide.gained + gained }
}
