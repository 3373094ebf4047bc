// Means over seeds, and whether one method is ahead of another.

export interface Spread {
  readonly mean: number
  /** Of one value, with n − 1; 0 for a single one. */
  readonly deviation: number
}

/** @param values at least one */
export function spread(values: readonly number[]): Spread {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, deviation: values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1)) }
}

interface PairedDifference {
  readonly mean: number
  /** Of the mean: deviation of the differences / √n; NaN for a single pair. */
  readonly standardError: number
  /** More than two standard errors from 0; `unknown` with fewer than two pairs. */
  readonly verdict: 'ahead' | 'behind' | 'tied' | 'unknown'
}

/** How far `ours` is ahead of `theirs`, seed by seed. @param theirs as long as `ours`, at least one */
export function pairedDifference(ours: readonly number[], theirs: readonly number[]): PairedDifference {
  const { mean, deviation } = spread(ours.map((value, i) => value - theirs[i]!))
  if (ours.length < 2) return { mean, standardError: Number.NaN, verdict: 'unknown' }
  const standardError = deviation / Math.sqrt(ours.length)
  const verdict = Math.abs(mean) <= 2 * standardError ? 'tied' : mean > 0 ? 'ahead' : 'behind'
  return { mean, standardError, verdict }
}
