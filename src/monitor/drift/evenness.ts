// How evenly something is spread among towers.

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
