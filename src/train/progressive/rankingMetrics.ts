// Hit rate and NDCG of one target per example, from its rank.

/** Of ranked targets; every number but `targets` is a mean over them, 0 … 1, and 0 where there are none. */
export interface RankingMetrics {
  readonly targets: number
  readonly 'hitRate@20': number
  readonly 'ndcg@20': number
  readonly 'hitRate@50': number
  readonly 'ndcg@50': number
}

/** A rank from here on is a miss for every metric: no metric distinguishes ranks below it. */
export const missRank = 50

/** With one relevant item the ideal DCG is 1, so NDCG@k = 1 / log2(rank + 2) for rank < k (rank 0 is best), else 0. */
const gain = Float64Array.from({ length: missRank }, (_, rank) => 1 / Math.log2(rank + 2))

/** NDCG@20 of one rank. */
export function gainOf(rank: number): number {
  return rank >= 0 && rank < 20 ? gain[rank]! : 0
}

/** Sums of the metrics: hits@20, gain@20, hits@50, gain@50 at `at … at + 3`. */
export const metricCount = 4

/**
 * Adds `weight` times the metrics of one rank (0 best; ≥ missRank or negative: a miss) to the four sums at
 * `sums[at …]`.
 */
export function addRank(sums: Float64Array, at: number, rank: number, weight = 1): void {
  if (rank < 0 || rank >= missRank) return
  const value = weight * gain[rank]!
  if (rank < 20) {
    sums[at] = sums[at]! + weight
    sums[at + 1] = sums[at + 1]! + value
  }
  sums[at + 2] = sums[at + 2]! + weight
  sums[at + 3] = sums[at + 3]! + value
}

/** The means from four sums at `sums[at …]`. @param weight of all @param targets how many they were */
export function metricsFrom(sums: Float64Array, at: number, weight: number, targets = weight): RankingMetrics {
  const mean = (i: number) => (targets === 0 ? 0 : sums[at + i]! / weight)
  return { targets, 'hitRate@20': mean(0), 'ndcg@20': mean(1), 'hitRate@50': mean(2), 'ndcg@50': mean(3) }
}
