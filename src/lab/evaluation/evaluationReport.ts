// The reports of single evaluations as sections of a page: offline, streaming, progressive.

import { nothingFound } from './failureSignatures.ts'
import { number, percent, ratio } from './figures.ts'
import type { PageSection } from './htmlPage.ts'
import { cuts, metricNames, type OfflineMetrics } from './offlineMetrics.ts'
import type { OfflineSummary } from './offlineResult.ts'
import { barChart, lineChart } from './plots.ts'
import type { StreamResult } from './streamResult.ts'
import { streamTable } from './streamText.ts'
import type { RunReport } from './textReport.ts'

export function offlineSections(summary: OfflineSummary): PageSection[] {
  return [resultSection(summary), ...curveSections(summary), strengthSection(summary), ...findingSections(summary)]
}

function resultSection(summary: OfflineSummary): PageSection {
  const { runs, metrics, withoutHistory, spreads, withMemory } = summary
  const cell = (values: OfflineMetrics, deviations: OfflineMetrics, name: (typeof metricNames)[number]) =>
    runs.length > 1 ? `${ratio(values[name])} ± ${ratio(deviations[name])}` : ratio(values[name])
  return {
    title: 'Results',
    text: `${number(summary.users)} users, ${number(summary.items)} items, ${number(summary.interactions)} interactions after the filter; ${number(runs[0]!.details.testUsers)} test users a seed.`,
    figures: [
      { value: ratio(metrics['recall@50']), label: 'Recall@50' },
      { value: ratio(metrics['hitRate@50']), label: 'hit rate@50' },
      { value: ratio(summary.coverage), label: 'of the items on some list' },
      ...(summary.intraUserCosine === null
        ? []
        : [{ value: ratio(summary.intraUserCosine), label: 'cosine of two interests' }]),
      ...(summary.parameters === 0
        ? []
        : [
            { value: number(summary.parameters), label: 'parameters' },
            { value: number(summary.examplesPerSecond), label: 'examples a second' }
          ])
    ],
    table: {
      heads: ['', ...cuts.flatMap((cut) => [`Recall@${cut}`, `HR@${cut}`, `NDCG@${cut}`])],
      rows: [
        ['all items', ...metricNames.map((name) => cell(metrics, spreads.metrics, name))],
        ['without the history', ...metricNames.map((name) => cell(withoutHistory, spreads.withoutHistory, name))],
        ...(withMemory === undefined
          ? []
          : (['metrics', 'withoutHistory'] as const).map((part) => [
              part === 'metrics' ? 'all items, with the memory' : 'without the history, with the memory',
              ...metricNames.map((name) => cell(withMemory[part], withMemory.spreads[part], name))
            ]))
      ]
    }
  }
}

function curveSections({ runs }: OfflineSummary): PageSection[] {
  const curves = runs.flatMap(({ seed, details }) =>
    details.curve.flatMap(({ epoch, validationRecall, trainRecall }) => [
      { series: `validation${runs.length > 1 ? ` ${seed}` : ''}`, x: epoch, y: validationRecall },
      { series: `training${runs.length > 1 ? ` ${seed}` : ''}`, x: epoch, y: trainRecall }
    ])
  )
  const losses = runs.flatMap(({ seed, details }) =>
    details.curve.map(({ epoch, loss }) => ({ series: `seed ${seed}`, x: epoch, y: loss }))
  )
  if (!curves.some(({ y }) => y !== null)) return []
  return [
    {
      title: 'Training',
      plots: [
        {
          caption: 'Recall@50 by epoch: of validation users, and of training users evaluated alike',
          svg: lineChart({ xLabel: 'epoch', yLabel: 'Recall@50', points: curves })
        },
        {
          caption: 'Loss by epoch',
          svg: lineChart({ xLabel: 'epoch', yLabel: 'loss', points: losses, yFromZero: false })
        }
      ]
    }
  ]
}

function strengthSection({ runs }: OfflineSummary): PageSection {
  const cold = runs[0]!.details.byHistoryLength.map(({ count, 'recall@50': y }) => ({ series: 'recall', x: count, y }))
  const items = runs[0]!.details.byItemCount.filter((point) => point['recall@50'] !== null)
  const towers = runs[0]!.details.wins
  return {
    title: 'By history length and item popularity',
    plots: [
      {
        caption: 'Recall@50 of the same users, knowing only their last steps',
        svg: lineChart({ xLabel: 'steps known', yLabel: 'Recall@50', points: cold, xScale: 'log' })
      },
      {
        caption: 'Share of targets found, by interactions of the item in training',
        svg: barChart({
          label: 'found',
          bars: items.map(({ name, 'recall@50': value }) => ({ facet: '', name, value: value ?? 0 }))
        })
      },
      ...(towers.length < 2
        ? []
        : [
            {
              caption: 'Share of the targets to which this tower is the nearest',
              svg: barChart({
                label: 'share',
                bars: towers.map((value, k) => ({ facet: '', name: `tower ${k + 1}`, value }))
              })
            }
          ])
    ]
  }
}

function findingSections(summary: OfflineSummary): PageSection[] {
  const { runs } = summary
  const wrong = runs.flatMap(({ seed, details }) =>
    details.findings.map(({ signature, message, remedy }) => [signature, `${seed}`, `${message}; ${remedy}`])
  )
  const title = 'What looks wrong'
  if (wrong.length > 0)
    return [{ title, table: { heads: ['signature', 'seed', 'what was seen, and what to do'], rows: wrong } }]
  return summary.parameters > 0 ? [{ title, text: nothingFound }] : []
}

export function streamSections(runs: readonly StreamResult[]): PageSection[] {
  return runs.map((run) => {
    const line = (series: string, value: (period: StreamResult['periods'][number]) => number | null) =>
      run.periods.map((period, i) => ({ series, x: i + 1, y: value(period) }))
    return {
      title: `${run.model}, policy ${run.policy}, seed ${run.seed}`,
      text: `${number(run.users)} users, ${number(run.items)} items, ${number(run.interactions)} interactions.`,
      figures: [
        { value: ratio(run.mean['recall@20']), label: 'Recall@20, mean of the periods' },
        { value: ratio(run.mean['mrr@20']), label: 'MRR@20' },
        { value: ratio(run.forgetting), label: 'forgotten of the first period' },
        { value: percent(run.mean.shareOfRetrain), label: 'of a full retrain, an update' }
      ],
      plots: [
        {
          caption: 'Recall@20 by period: all targets, new items, and the first period’s held-out users again',
          svg: lineChart({
            xLabel: 'period',
            yLabel: 'Recall@20',
            points: [
              ...line('all', ({ metrics }) => metrics.all['recall@20']),
              ...line('new items', ({ metrics }) => metrics.newItems['recall@20']),
              ...line('first period', ({ firstPeriod }) => firstPeriod['recall@20'])
            ]
          })
        },
        {
          caption: 'Seconds of each update',
          svg: lineChart({
            xLabel: 'period',
            yLabel: 'seconds',
            points: line('update', ({ updateSeconds }) => updateSeconds)
          })
        }
      ],
      table: streamTable(run)
    }
  })
}

/** Of `start` and `replay`: what the model and the simple methods found before they learned it. */
export function runSections(report: RunReport): PageSection[] {
  const { progressive, sample } = report
  const sections: PageSection[] = [
    {
      title: 'The run',
      figures: [
        { value: number(report.interactions), label: 'interactions' },
        { value: number(report.users), label: 'users' },
        { value: number(report.items), label: 'items in the index' },
        ...(report.interactionsThisTime === 0
          ? []
          : [{ value: number(report.interactionsThisTime / report.seconds), label: 'events a second' }]),
        ...(report.freshnessMs === undefined
          ? []
          : [{ value: `${number(report.freshnessMs.p50)} ms`, label: 'until a click is searchable, median' }])
      ]
    }
  ]
  if (progressive !== undefined) {
    const methods = ['model', 'popularity', 'cooccurrence'] as const
    const shown = {
      model: 'mtmi',
      popularity: 'recent popularity',
      cooccurrence: 'co-occurrence'
    }
    const points = progressive.curve.flatMap((point) =>
      methods.map((method) => ({ series: shown[method], x: point.examples, y: point.metrics[method]['hitRate@20'] }))
    )
    sections.push({
      title: 'Progressive validation: each target is ranked before it is learned',
      plots: [
        {
          caption: 'Hit rate@20, part by part of the stream',
          svg: lineChart({ xLabel: 'examples seen', yLabel: 'hit rate@20', points })
        }
      ],
      table: {
        heads: ['', 'HR@20', 'NDCG@20', 'HR@50', 'NDCG@50'],
        rows: methods.map((method) => {
          const found = method === 'model' ? progressive : progressive[method]
          return [
            shown[method],
            ratio(found['hitRate@20']),
            ratio(found['ndcg@20']),
            ratio(found['hitRate@50']),
            ratio(found['ndcg@50'])
          ]
        })
      }
    })
  }
  if (sample !== undefined)
    sections.push({
      title: `User ${sample.userId}`,
      text: `Took last: ${sample.recent.join(', ')}.`,
      table: {
        heads: ['recommended', 'interest', 'score', 'about'],
        rows: sample.recommendations.map(({ title, interest, score, about }) => [
          title,
          `${interest + 1}`,
          score.toFixed(3),
          about ?? ''
        ])
      }
    })
  return sections
}
