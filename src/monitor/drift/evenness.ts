// How evenly something is spread: among towers, among items.

/**
 * H / ln K: Shannon's entropy of the shares as a part of the greatest there can be (Pielou's evenness, 1966). 1: all
 * alike; 0: one has it all.
 *
 * @param shares [K], ≥ 0, of any sum
 * @returns 1 for a single share; NaN where all are 0
 */
export function entropyRatio(shares: ArrayLike<number>): number {
  const K = shares.length
  let total = 0
  for (let k = 0; k < K; k++) total += shares[k]!
  if (!(total > 0)) return Number.NaN
  if (K < 2) return 1
  let entropy = 0
  for (let k = 0; k < K; k++) {
    const share = shares[k]! / total
    if (share > 0) entropy -= share * Math.log(share)
  }
  return entropy / Math.log(K)
}

/**
 * Gini's index: 0 all alike, (N − 1)/N one has it all. G = Σ_i (2i − N − 1) x_i / (N Σ x), x ascending, i from 1
 * (Dagum's form).
 *
 * @param counts those above 0 suffice
 * @param size N, those with 0 included; at least counts.length
 * @returns NaN where all are 0
 */
export function giniIndex(counts: ArrayLike<number>, size: number): number {
  const ascending = Float64Array.from(counts).sort()
  const zeros = Math.max(0, size - ascending.length)
  const N = zeros + ascending.length
  let total = 0
  let weighted = 0
  for (let i = 0; i < ascending.length; i++) {
    total += ascending[i]!
    weighted += (2 * (zeros + i + 1) - N - 1) * ascending[i]!
  }
  return total > 0 ? weighted / (N * total) : Number.NaN
}
