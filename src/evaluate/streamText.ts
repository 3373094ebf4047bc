// A streaming evaluation for a reader at a terminal.

import type { StreamResult } from './streamResult.ts'

export function streamText(result: StreamResult): string {
  const { model, data, policy, seed, users, items, interactions, periods, mean, forgetting } = result
  const ratio = (value: number | null) => (value === null ? '–' : value.toFixed(3).replace(/^0/, ''))
  const number = (value: number) => Math.round(value).toLocaleString('en')
  const percent = (value: number | null) => (value === null ? '–' : `${(100 * value).toFixed(1)}%`)
  const row = (cells: readonly string[]) => cells.map((cell, i) => (i === 0 ? cell.padEnd(14) : cell.padStart(12))).join('')
  return `${[
    `${model}, policy ${policy}, on ${data}, seed ${seed}: ${number(users)} users, ${number(items)} items, ${number(interactions)} interactions`,
    '',
    row(['period', 'targets', 'Recall@20', 'MRR@20', 'new items', 'new users', 'unknown', 'update s', 'of retrain']),
    ...periods.map(({ name, metrics, unknownShare, updateSeconds, shareOfRetrain }) =>
      row([
        name.slice(0, 13),
        number(metrics.all.targets),
        ratio(metrics.all['recall@20']),
        ratio(metrics.all['mrr@20']),
        ratio(metrics.newItems['recall@20']),
        ratio(metrics.newUsers['recall@20']),
        percent(unknownShare),
        updateSeconds.toFixed(1),
        percent(shareOfRetrain)
      ])
    ),
    row([
      'mean',
      '',
      ratio(mean['recall@20']),
      ratio(mean['mrr@20']),
      ratio(mean.newItemRecall),
      ratio(mean.newUserRecall),
      '',
      (mean.updateSeconds ?? 0).toFixed(1),
      percent(mean.shareOfRetrain)
    ]),
    '',
    `forgotten of the first period (Recall@20 of its held-out users, after it less at the end): ${ratio(forgetting)}`
  ].join('\n')}\n`
}
