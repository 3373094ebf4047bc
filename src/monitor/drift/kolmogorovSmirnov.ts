// How far one distribution of a number is from another: the two-sample Kolmogorov–Smirnov test.
//
// Smirnov 1948; the approximation of the tail is Stephens's, as in Numerical Recipes § 14.3.

/**
 * D = max_x |F(x) − G(x)|, the largest gap between two empirical distributions, 0 … 1.
 *
 * @param a ascending
 * @param b ascending
 * @returns 0 where one is empty
 */
export function ksDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length === 0 || b.length === 0) return 0
  let i = 0
  let j = 0
  let gap = 0
  while (i < a.length && j < b.length) {
    const x = Math.min(a[i]!, b[j]!)
    // Both steps before the gap is read: at a tie neither distribution is ahead.
    while (i < a.length && a[i]! <= x) i++
    while (j < b.length && b[j]! <= x) j++
    gap = Math.max(gap, Math.abs(i / a.length - j / b.length))
  }
  return gap
}

/**
 * The same of binned windows: exact for whole numbers with a bin each, a lower bound for wider bins. O(bins) whatever the windows hold, so that it can follow a stream.
 *
 * @param a counts by ordered bin
 * @param b counts by the same bins
 */
export function ksDistanceOfCounts(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new RangeError(`KS of ${a.length} bins against ${b.length}: both windows need the same bins`)
  let n = 0
  let m = 0
  for (let i = 0; i < a.length; i++) {
    n += a[i]!
    m += b[i]!
  }
  if (n === 0 || m === 0) return 0
  let below = 0
  let other = 0
  let gap = 0
  for (let i = 0; i < a.length; i++) {
    below += a[i]!
    other += b[i]!
    gap = Math.max(gap, Math.abs(below / n - other / m))
  }
  return gap
}

/** P(a distance of at least `distance`), were both samples of one distribution: n and m values, independent of each other. For ties and bins it is too large. */
export function ksPValue(distance: number, n: number, m: number): number {
  if (!(distance > 0) || n === 0 || m === 0) return 1
  const root = Math.sqrt((n * m) / (n + m))
  const lambda = (root + 0.12 + 0.11 / root) * distance
  // Near 0 the series converges too slowly to be summed; there it is 1 to nine digits.
  if (lambda < 0.2) return 1
  let total = 0
  for (let k = 1; k <= 100; k++) {
    const term = 2 * (k % 2 === 1 ? 1 : -1) * Math.exp(-2 * k * k * lambda * lambda)
    total += term
    if (Math.abs(term) < 1e-12) break
  }
  return Math.min(1, Math.max(0, total))
}

/** The distance that chance exceeds with probability `alpha`: √(−ln(α/2)/2 · (n + m)/(n m)), capped at 1. */
export function ksCritical(alpha: number, n: number, m: number): number {
  if (n === 0 || m === 0) return 1
  return Math.min(1, Math.sqrt(((-Math.log(alpha / 2) / 2) * (n + m)) / (n * m)))
}
