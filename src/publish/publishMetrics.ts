// What the publisher's reports are in metrics.

import type { MetricsEntry } from '../monitor/metrics.ts'
import type { ItemReport, UserReport } from './publisherReport.ts'

export function reportEntries(
  role: 'item' | 'user',
  report: ItemReport | UserReport,
  startedMs: number,
  nowMs: number
): MetricsEntry[] {
  const entries: MetricsEntry[] = []
  const outcomes = { unchanged: 0, dropped: 0, lists: 0, ...report }
  for (const outcome of ['written', 'unchanged', 'unknown', 'stale', 'refused', 'removed', 'dropped', 'lists'] as const)
    if (outcomes[outcome] > 0)
      entries.push({ metric: 'published', labels: { role, outcome }, value: outcomes[outcome] })
  if (report.promotion !== undefined)
    entries.push({ metric: 'promotions', labels: { outcome: report.promotion.outcome }, value: 1 })
  if (report.written > 0) {
    entries.push({ metric: 'publishSeconds', labels: { role }, value: (nowMs - startedMs) / 1000 })
    entries.push({ metric: 'publishedAge', labels: { role }, value: nowMs })
    entries.push({ metric: 'publishedStep', value: report.step })
  }
  if ('scoreErrorMax' in report) entries.push({ metric: 'itemErrorMax', value: report.scoreErrorMax })
  else {
    entries.push(...freshnessEntries(report))
    if (report.effectiveInterests.length > 0)
      entries.push({ metric: 'effectiveInterests', values: report.effectiveInterests })
  }
  return entries
}

/** Time from a change to its vectors, and its parts. */
function freshnessEntries({ agesMs, partsMs }: UserReport): MetricsEntry[] {
  if (agesMs.length === 0) return []
  const seconds = (values: readonly number[]) => values.map((ms) => ms / 1000)
  const ofBatch = (ms: number) => seconds(agesMs.map(() => ms))
  return [
    { metric: 'freshness', values: seconds(agesMs) },
    { metric: 'freshnessParts', labels: { part: 'read' }, values: seconds(partsMs.read) },
    { metric: 'freshnessParts', labels: { part: 'wait' }, values: seconds(partsMs.wait) },
    { metric: 'freshnessParts', labels: { part: 'encode' }, values: ofBatch(partsMs.encode) },
    { metric: 'freshnessParts', labels: { part: 'write' }, values: ofBatch(partsMs.write) }
  ]
}
