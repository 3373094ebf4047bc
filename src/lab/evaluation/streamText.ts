// A streaming evaluation for a reader at a terminal, and its table for a page as well.

import { number, percent, ratio } from './figures.ts'
import type { PageTable } from './htmlPage.ts'
import type { StreamResult } from './streamResult.ts'

export function streamText(result: StreamResult): string {
  const { model, data, policy, seed, users, items, interactions, mean, forgetting } = result
  const row = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.slice(0, 13).padEnd(14) : cell.padStart(12))).join('')
  const { heads, rows } = streamTable(result)
  return `${[
    `${model}, policy ${policy}, on ${data}, seed ${seed}: ${number(users)} users, ${number(items)} items, ${number(interactions)} interactions`,
    '',
    row(heads),
    ...rows.map(row),
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

/** A row a period. */
export function streamTable({ periods }: StreamResult): PageTable {
  return {
    heads: ['period', 'targets', 'Recall@20', 'MRR@20', 'new items', 'new users', 'unknown', 'update s', 'of retrain'],
    rows: periods.map(({ name, metrics, unknownShare, updateSeconds, shareOfRetrain }) => [
      name,
      number(metrics.all.targets),
      ratio(metrics.all['recall@20']),
      ratio(metrics.all['mrr@20']),
      ratio(metrics.newItems['recall@20']),
      ratio(metrics.newUsers['recall@20']),
      percent(unknownShare),
      updateSeconds.toFixed(1),
      percent(shareOfRetrain)
    ])
  }
}
