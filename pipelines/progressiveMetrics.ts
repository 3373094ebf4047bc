// The progressive report of recent targets, as metrics.

import type { MetricsEntry } from '../src/monitor/metrics.ts'
import type { ProgressiveReport } from '../src/train/progressive/progressive.ts'

/** @returns nothing before the first target was ranked: a hit rate of 0 that was not measured would be wrong */
export function progressiveMetrics({ window, standardError, examples }: ProgressiveReport): MetricsEntry[] {
  if (examples === 0) return []
  const entries: MetricsEntry[] = [{ metric: 'hitRateError', value: standardError }]
  for (const k of ['20', '50'] as const) {
    for (const ranker of ['model', 'popularity', 'cooccurrence'] as const) {
      entries.push({ metric: 'hitRate', labels: { ranker, k }, value: window[ranker][`hitRate@${k}`] })
      entries.push({ metric: 'ndcg', labels: { ranker, k }, value: window[ranker][`ndcg@${k}`] })
    }
  }
  return entries
}
