// An offline evaluation for a reader at a terminal.

import { number, ratio } from './figures.ts'
import { cuts, metricNames, type OfflineMetrics } from './offlineMetrics.ts'
import type { OfflineSummary } from './offlineResult.ts'

export function offlineText(summary: OfflineSummary): string {
  const { model, data, protocol, seed, users, items, interactions, runs, spreads } = summary
  const several = runs.length > 1
  const details = runs[0]!.details
  const lines = [
    `${model} on ${data}, protocol ${protocol}, ${several ? `seeds ${seed.join(' ')}: mean ± standard deviation` : `seed ${seed[0]}`}`,
    `${number(users)} users, ${number(items)} items, ${number(interactions)} interactions after the filter; tested on ${number(details.testUsers)} users`,
    '',
    `${''.padEnd(18)}${cuts.flatMap((cut) => ['recall', 'hit rate', 'ndcg'].map((name) => `${name}@${cut}`.padStart(several ? 15 : 12))).join('')}`
  ]
  const row = (title: string, values: OfflineMetrics, deviations: OfflineMetrics) =>
    `${title.padEnd(18)}${metricNames
      .map((name) =>
        (several ? `${ratio(values[name])} ± ${ratio(deviations[name])}` : ratio(values[name])).padStart(
          several ? 15 : 12
        )
      )
      .join('')}`
  lines.push(
    row('all items', summary.metrics, spreads.metrics),
    row('without history', summary.withoutHistory, spreads.withoutHistory)
  )
  const { withMemory } = summary
  if (withMemory !== undefined) {
    const choices = withMemory.choices.map(({ weight, decay }) => `λ ${weight}, ρ ${decay}`)
    lines.push(
      `with the memory (${[...new Set(choices)].join('; ')}, chosen on validation users)`,
      row('all items', withMemory.metrics, withMemory.spreads.metrics),
      row('without history', withMemory.withoutHistory, withMemory.spreads.withoutHistory)
    )
  }
  lines.push('')
  lines.push(`coverage of the lists ${ratio(summary.coverage)} of the items`)
  if (summary.intraUserCosine !== null)
    lines.push(`cosine of two interests of a user ${ratio(summary.intraUserCosine)}`)
  if (summary.parameters > 0) {
    lines.push(
      `${number(summary.parameters)} parameters; ${summary.epochs.toFixed(several ? 1 : 0)} epochs, ${number(summary.trainSeconds)} s of learning, ${number(summary.examplesPerSecond)} examples/s (${details.backend})`
    )
  }
  for (const run of runs)
    for (const { signature, message, remedy } of run.details.findings)
      lines.push(`seed ${run.seed}: ${signature}: ${message}; ${remedy}`)
  return `${lines.join('\n')}\n`
}
