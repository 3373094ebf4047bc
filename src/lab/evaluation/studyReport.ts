// The runs of a study as tables and plots.

import { type Finding, nothingFound } from './failureSignatures.ts'
import { number, ratio } from './figures.ts'
import type { PageSection, PageTable } from './htmlPage.ts'
import type { InterestMeasures } from './interestMeasures.ts'
import type { OfflineResult } from './offlineResult.ts'
import { barChart, heatMap, lineChart } from './plots.ts'
import { pairedDifference, spread } from './spread.ts'
import type { Study, StudyCell } from './studyPlan.ts'

export interface StudyRun {
  readonly cell: StudyCell
  readonly result: OfflineResult
}

/** A cell on one data set, over its seeds. */
interface Row {
  readonly cell: StudyCell
  readonly data: string
  readonly results: readonly OfflineResult[]
}

export function studySections(study: Study, runs: readonly StudyRun[]): PageSection[] {
  const rows = rowsOf(runs)
  const datas = [...new Set(rows.map(({ data }) => data))]
  const sections = datas.flatMap((data): PageSection[] => {
    const own = rows.filter((row) => row.data === data)
    const first = own[0]!.results[0]!
    const section = {
      title: data,
      text: `${number(first.users)} users, ${number(first.items)} items, ${number(first.interactions)} interactions after the filter; ${number(first.details.testUsers)} test users a seed.`,
      plots: plotsOf(study, own),
      table: tableOf(study, own)
    }
    const more = study === 'coldstart' ? coldSections(data, own) : [interestSection(data, own)]
    return [section, ...more]
  })
  return [...sections, ...findings(study, runs)]
}

function rowsOf(runs: readonly StudyRun[]): Row[] {
  const groups = new Map<string, StudyRun[]>()
  for (const run of runs) {
    const key = `${run.result.data}\n${run.cell.question}\n${run.cell.name}`
    groups.set(key, [...(groups.get(key) ?? []), run])
  }
  return [...groups.values()].map((group) => ({
    cell: group[0]!.cell,
    data: group[0]!.result.data,
    results: group.map(({ result }) => result)
  }))
}

function tableOf(study: Study, rows: readonly Row[]): PageTable {
  const mean = (row: Row, value: (result: OfflineResult) => number) => spread(row.results.map(value))
  const recall = (row: Row, name: 'recall@20' | 'hitRate@20' | 'recall@50' | 'hitRate@50') =>
    withSpread(mean(row, ({ metrics }) => metrics[name]))
  const ours = study === 'compare' ? rows.find(({ cell }) => cell.name === 'mtmi') : undefined
  const isHeld = rows.some(({ cell }) => cell.against !== undefined)
  const heads = [
    '',
    'seeds',
    'Recall@20',
    'HR@20',
    'Recall@50',
    'HR@50',
    'R@50 without history',
    'R@20 with memory',
    'R@50 with memory',
    'cosine',
    'coverage',
    'epochs',
    'train s',
    'examples/s',
    'parameters'
  ]
  return {
    heads: [
      ...heads,
      ...(ours === undefined ? [] : ['mtmi is, on Recall@50', 'mtmi with the memory is']),
      ...(isHeld ? ['Recall@50 against'] : []),
      ...(study === 'cost' ? ['ms to learn 1,000', 'ms a list', 'MiB a step'] : [])
    ],
    rows: rows.map((row) => {
      const learned = row.results[0]!.parameters > 0
      const cosine = row.results.every(({ intraUserCosine }) => intraUserCosine !== null)
      return [
        labelOf(study, row.cell),
        row.results.map(({ seed }) => seed).join(' '),
        recall(row, 'recall@20'),
        recall(row, 'hitRate@20'),
        recall(row, 'recall@50'),
        recall(row, 'hitRate@50'),
        withSpread(mean(row, ({ withoutHistory }) => withoutHistory['recall@50'])),
        ...(['recall@20', 'recall@50'] as const).map((name) =>
          hasMemory(row) ? withSpread(mean(row, ({ withMemory }) => withMemory!.metrics[name])) : '–'
        ),
        cosine
          ? withSpread(
              mean(row, ({ intraUserCosine }) => intraUserCosine ?? 0),
              2
            )
          : '–',
        ratio(mean(row, ({ coverage }) => coverage).mean),
        learned ? mean(row, ({ epochs }) => epochs).mean.toFixed(1) : '–',
        learned ? number(mean(row, ({ trainSeconds }) => trainSeconds).mean) : '–',
        learned ? number(mean(row, ({ examplesPerSecond }) => examplesPerSecond).mean) : '–',
        learned ? number(row.results[0]!.parameters) : '–',
        ...(ours === undefined || row === ours
          ? ours === undefined
            ? []
            : ['', '']
          : [verdict(ours, row), hasMemory(ours) ? verdict(ours, row, 'memory') : '–']),
        ...(isHeld ? [heldAgainst(row, rows)] : []),
        ...(study === 'cost' ? costsOf(row) : [])
      ]
    })
  }
}

function hasMemory({ results }: Row): boolean {
  return results.every(({ withMemory }) => withMemory !== undefined)
}

/** What several interests are for, with and without the memory. */
function interestSection(data: string, rows: readonly Row[]): PageSection {
  const heads = [
    '',
    'win ≥ 10% of the targets',
    'effective',
    'R@50, mixed users',
    'others',
    'rare targets found',
    'groups found',
    'α-NDCG@20'
  ]
  const cells = (name: string, { results }: Row, of: (result: OfflineResult) => InterestMeasures) => {
    const mean = (value: (measures: InterestMeasures) => number) =>
      withSpread(spread(results.map((one) => value(of(one)))))
    const { wins } = results[0]!.details
    const winners = spread(results.map(({ details }) => details.wins.filter((share) => share >= 0.1).length)).mean
    const effective = spread(results.map(({ details }) => details.effectiveInterests ?? 1)).mean
    return [
      name,
      wins.length < 2 ? '–' : `${winners.toFixed(1)} of ${wins.length}`,
      wins.length < 2 ? '–' : effective.toFixed(2),
      ...[mean((x) => x.mixedRecall), mean((x) => x.otherRecall), mean((x) => x.rareFound)],
      ...[mean((x) => x.groupsFound), mean((x) => x.alphaNdcg)]
    ]
  }
  const { mixedUsers, rareTargets } = rows[0]!.results[0]!.details.interests
  return {
    title: `${data}: what interests are for`,
    text: `Mixed users have less than half of their history in one group of items, ${number(mixedUsers)} of the first seed's test users; rare targets are outside the main group of their user (${number(rareTargets)}). Groups are a field of the catalogue, or clusters of co-occurrence.`,
    table: {
      heads,
      rows: rows.flatMap((row) => [
        cells(row.cell.name, row, ({ details }) => details.interests),
        ...(hasMemory(row) ? [cells(`${row.cell.name}, memory`, row, ({ withMemory }) => withMemory!.interests)] : [])
      ])
    }
  }
}

/** An ablation's rows say what was changed only together with their heading. */
function labelOf(study: Study, cell: StudyCell): string {
  return study === 'ablation' && cell.name !== cell.model ? `${cell.question}: ${cell.name}` : cell.name
}

function costsOf({ results }: Row): string[] {
  const mib = spread(results.map(stepMiB)).mean
  return [
    number(spread(results.map(learningMs)).mean),
    spread(results.map(listMs)).mean.toFixed(2),
    Number.isFinite(mib) ? number(mib) : '–'
  ]
}

function learningMs({ examplesPerSecond }: OfflineResult): number {
  return 1e6 / Math.max(1, examplesPerSecond)
}

function listMs({ details }: OfflineResult): number {
  return (1000 * details.scoreSeconds) / Math.max(1, details.testUsers)
}

/** Not a number where it is not known. */
function stepMiB({ details }: OfflineResult): number {
  return details.stepBytes === undefined ? Number.NaN : details.stepBytes / 2 ** 20
}

/** Empty where there is no such row, or not yet. */
function heldAgainst(row: Row, rows: readonly Row[]): string {
  const other = rows.find(({ cell }) => cell.name === row.cell.against)
  return other === undefined ? '' : `${other.cell.name}: ${verdict(row, other)}`
}

/** By seeds that both have. @param how `memory`: ours with the memory, theirs with it where it has one */
function verdict(ours: Row, theirs: Row, how: 'alone' | 'memory' = 'alone'): string {
  const recall = ({ metrics, withMemory }: OfflineResult) =>
    (how === 'memory' ? (withMemory?.metrics ?? metrics) : metrics)['recall@50']
  const pairs = ours.results.flatMap((a) => {
    const b = theirs.results.find(({ seed }) => seed === a.seed)
    return b === undefined ? [] : [[recall(a), recall(b)] as const]
  })
  if (pairs.length === 0) return '–'
  const {
    mean,
    standardError,
    verdict: found
  } = pairedDifference(
    pairs.map(([a]) => a),
    pairs.map(([, b]) => b)
  )
  const difference = `${mean < 0 ? '−' : '+'}${ratio(Math.abs(mean))}`
  return found === 'unknown'
    ? `${difference} (one seed)`
    : `${found} (${difference}, standard error ${ratio(standardError)}, ${pairs.length} seeds)`
}

function plotsOf(study: Study, rows: readonly Row[]): { caption: string; svg: string }[] {
  const value = (row: Row, of: (result: OfflineResult) => number) => spread(row.results.map(of)).mean
  if (study === 'sensitivity') {
    const questions = [...new Set(rows.map(({ cell }) => cell.question))]
    const measures = [
      ['Recall@50', ({ metrics }: OfflineResult) => metrics['recall@50']],
      ['cosine of two interests of a user', ({ intraUserCosine }: OfflineResult) => intraUserCosine ?? 1],
      ['seconds of learning an epoch', ({ trainSeconds, epochs }: OfflineResult) => trainSeconds / Math.max(1, epochs)]
    ] as const
    return questions.flatMap((question) => {
      const cells = rows.filter(({ cell }) => cell.question === question && cell.at !== undefined)
      const { xName, yName } = cells[0]!.cell.at!
      return measures.map(([name, of]) => ({
        caption: `${question}: ${name}`,
        svg: heatMap({
          xLabel: xName,
          yLabel: yName,
          cells: cells.map((row) => ({ x: row.cell.at!.x, y: row.cell.at!.y, value: value(row, of) }))
        })
      }))
    })
  }
  if (study === 'cost') {
    const points = (series: string, of: (result: OfflineResult) => number) =>
      rows.map((row) => {
        const y = value(row, of)
        return { series, x: Number(row.cell.name.slice(2)), y: Number.isFinite(y) ? y : null }
      })
    return [
      {
        caption: 'Milliseconds of learning for 1,000 positions, against K',
        svg: lineChart({ xLabel: 'K', yLabel: 'ms / 1,000 positions', points: points('learning', learningMs) })
      },
      {
        caption: 'Milliseconds for one exact list, encoding of users and items included, against K',
        svg: lineChart({ xLabel: 'K', yLabel: 'ms / user', points: points('serving', listMs) })
      },
      {
        caption: 'Memory of a step of learning: its tensors at the most, MiB, against K',
        svg: lineChart({ xLabel: 'K', yLabel: 'MiB', points: points('a step', stepMiB) })
      }
    ]
  }
  if (study === 'coldstart') {
    return [
      { caption: ofSteps, svg: coldLines(rows, 'byHistoryLength', 'steps known') },
      { caption: ofItems, svg: coldLines(rows, 'byItemCount', 'interactions of the item in training') }
    ]
  }
  const bars = rows.map((row) => {
    const { mean, deviation } = spread(row.results.map(({ metrics }) => metrics['recall@50']))
    return { facet: '', name: labelOf(study, row.cell), value: mean, deviation }
  })
  return [
    {
      caption: 'Recall@50; whiskers: standard deviation between seeds',
      svg: barChart({ label: 'Recall@50', bars })
    }
  ]
}

const ofSteps = 'Recall@50 of the same users (at most 1,000), knowing only their last steps'
const ofItems = 'Share of targets found among 50, by how often the item was met in training'

type ColdPart = 'byHistoryLength' | 'byItemCount'

function coldLines(rows: readonly Row[], part: ColdPart, xLabel: string): string {
  const points = rows.flatMap((row) =>
    coldValues(row, part).map(({ recall }, i) => ({ series: row.cell.name, x: i, y: recall }))
  )
  const xNames = rows[0]!.results[0]!.details[part].map(({ name }) => name)
  return lineChart({ xLabel, yLabel: 'Recall@50', points, xNames })
}

/** What the lines show, as tables: a report in Markdown has no plots. */
function coldSections(data: string, rows: readonly Row[]): PageSection[] {
  const parts: readonly (readonly [ColdPart, string, string])[] = [
    ['byHistoryLength', ofSteps, 'users asked'],
    ['byItemCount', ofItems, 'targets asked']
  ]
  return parts.map(([part, text, asked]) => {
    const first = coldValues(rows[0]!, part)
    return {
      title: `${data}: by ${part === 'byHistoryLength' ? 'steps known of a user' : 'interactions of the item'}`,
      text: `${text}.`,
      table: {
        heads: ['', ...first.map(({ name }) => name)],
        rows: [
          ...rows.map((row) => [
            row.cell.name,
            ...coldValues(row, part).map(({ recall }) => (recall === null ? '–' : ratio(recall)))
          ]),
          [asked, ...first.map((point) => number(point.asked))]
        ]
      }
    }
  })
}

/** Means over the seeds; `asked` in all. */
function coldValues({ results }: Row, part: ColdPart): { name: string; asked: number; recall: number | null }[] {
  return results[0]!.details[part].map(({ name }, i) => {
    const points = results.map(({ details }) => details[part][i]!)
    const known = points.flatMap(({ 'recall@50': recall }) => (recall === null ? [] : [recall]))
    return {
      name,
      asked: points.reduce((sum, { asked }) => sum + asked, 0),
      recall: known.length === 0 ? null : spread(known).mean
    }
  })
}

/** Each signature once for a row and its data, in the words of the first seed that showed it. */
function findings(study: Study, runs: readonly StudyRun[]): PageSection[] {
  const seen = new Map<string, { run: StudyRun; finding: Finding; seeds: number[] }>()
  for (const run of runs) {
    for (const finding of run.result.details.findings) {
      const key = JSON.stringify([run.cell.question, run.cell.name, run.result.data, finding.signature])
      const known = seen.get(key)
      if (known === undefined) seen.set(key, { run, finding, seeds: [run.result.seed] })
      else known.seeds.push(run.result.seed)
    }
  }
  const rows = [...seen.values()].map(({ run: { cell, result }, finding: { signature, message, remedy }, seeds }) => [
    labelOf(study, cell),
    result.data,
    seeds.join(' '),
    signature,
    `${message}; ${remedy}`
  ])
  const title = 'What looked wrong'
  if (rows.length === 0) return runs.some(({ result }) => result.parameters > 0) ? [{ title, text: nothingFound }] : []
  return [{ title, table: { heads: ['', 'data', 'seeds', 'signature', 'what was seen, and what to do'], rows } }]
}

function withSpread({ mean, deviation }: { mean: number; deviation: number }, digits = 3): string {
  return deviation === 0 ? ratio(mean, digits) : `${ratio(mean, digits)} ± ${ratio(deviation, digits)}`
}
