// Whether one of two paired methods really loses: McNemar's test, exact.

/**
 * P(at least `lost` of `lost + gained` | either way is equally likely): how often chance alone makes a loss of this
 * size, when the pairs that come out alike say nothing. Q. McNemar, Psychometrika 12 (1947); the exact form is the sign
 * test.
 *
 *     p = Σ_{i ≥ lost} C(n, i) / 2ⁿ,  n = lost + gained
 *
 * @returns 0 … 1; 1 if nothing was lost
 */
export function signTest(lost: number, gained: number): number {
  const n = lost + gained
  if (lost <= 0) return 1
  // Terms by their logarithms: C(2000, 1000) is beyond what a double holds.
  let logTerm = -n * Math.LN2 // i = n
  let sum = Math.exp(logTerm)
  for (let i = n; i > lost; i--) {
    logTerm += Math.log(i) - Math.log(n - i + 1)
    sum += Math.exp(logTerm)
  }
  return Math.min(1, sum)
}
