import assert from 'node:assert/strict'
import test from 'node:test'
import { resolveConfig } from '../../../src/core/config/config.ts'
import { learnedModels } from '../../../src/core/config/modelOptions.ts'
import { itemPoints, shortened } from '../../../src/lab/evaluation/coldStart.ts'
import { markdownTable } from '../../../src/lab/evaluation/htmlPage.ts'
import { metricNames, type OfflineMetrics } from '../../../src/lab/evaluation/offlineMetrics.ts'
import type { OfflineResult } from '../../../src/lab/evaluation/offlineResult.ts'
import { simpleMethods } from '../../../src/lab/evaluation/simpleMethods.ts'
import { studies, studyCells } from '../../../src/lab/evaluation/studyPlan.ts'
import { studySections } from '../../../src/lab/evaluation/studyReport.ts'
import { labConfig } from '../../../src/lab/labOptions.ts'
import { itemsOf, steps } from './offlineSteps.ts'

const metrics = (value: number) =>
  Object.fromEntries(metricNames.map((name) => [name, value])) as unknown as OfflineMetrics

function result(model: string, seed: number, recall: number): OfflineResult {
  return {
    model,
    data: 'd',
    protocol: 'users',
    seed,
    users: 10,
    items: 20,
    interactions: 30,
    metrics: metrics(recall),
    withoutHistory: metrics(recall),
    intraUserCosine: 0.5,
    coverage: 0.25,
    trainSeconds: 4,
    examplesPerSecond: 100,
    epochs: 2,
    parameters: 7,
    details: {
      trainUsers: 8,
      validationUsers: 1,
      testUsers: 1,
      testUsersWithoutHistory: 1,
      bestEpoch: 1,
      curve: [],
      wins: [0.5, 0.5],
      scoreSeconds: 0.5,
      findings: [],
      byHistoryLength: [{ count: 1, name: '1', asked: 1, 'recall@50': recall }],
      byItemCount: [{ count: 0, name: '0', asked: 0, 'recall@50': null }],
      interests: {
        ...{ mixedUsers: 1, mixedRecall: recall, otherRecall: recall, rareTargets: 2, rareFound: 0.5 },
        ...{ groupsFound: 0.5, alphaNdcg: 0.5 }
      },
      stepBytes: 2 ** 20,
      backend: 'none'
    }
  }
}

test('every setting that a study changes exists, in its bounds', () => {
  const config = resolveConfig(undefined, {})
  for (const study of studies) {
    const cells = studyCells(study, { models: learnedModels, simple: simpleMethods })
    assert(cells.length > 1, study)
    assert.equal(
      new Set(cells.map(({ question, name }) => `${question} ${name}`)).size,
      cells.length,
      `${study}: two rows are called the same`
    )
    for (const { settings } of cells) labConfig(config, settings)
  }
})

test('compare: mtmi is ahead by the paired differences of the seeds that both have', () => {
  const cells = studyCells('compare', { models: ['mtmi', 'mind'], simple: [] })
  // Differences .1, .2, .3: mean .2, standard error .1/√3 = .058. Seed 4 has no pair.
  const runs = [
    ...[0.5, 0.6, 0.7].map((recall, i) => ({ cell: cells[0]!, result: result('mtmi', i + 1, recall) })),
    ...[0.4, 0.4, 0.4, 0.9].map((recall, i) => ({ cell: cells[1]!, result: result('mind', i + 1, recall) }))
  ]
  const [section] = studySections('compare', runs)
  const { heads, rows } = section!.table!
  assert.deepEqual(rows[0]!.slice(0, 3), ['mtmi', '1 2 3', '.600 ± .100'])
  assert.deepEqual(rows[1]!.slice(-2), ['ahead (+.200, standard error .058, 3 seeds)', '–'])
  for (const row of rows) assert.equal(row.length, heads.length)
})

test('compare: with the memory, ours and theirs are compared with it, a method without one as it is', () => {
  const cells = studyCells('compare', { models: ['mtmi', 'mind'], simple: ['most-popular'] })
  const withMemory = (one: OfflineResult, recall: number): OfflineResult => ({
    ...one,
    withMemory: {
      ...{ weight: 5, decay: 0.8, metrics: metrics(recall), withoutHistory: metrics(recall), coverage: 0.5 },
      ...{ byItemCount: [], interests: { ...one.details.interests, rareFound: 0.25 } }
    }
  })
  const [section, interests] = studySections('compare', [
    { cell: cells[0]!, result: withMemory(result('mtmi', 1, 0.5), 0.6) },
    { cell: cells[1]!, result: withMemory(result('mind', 1, 0.5), 0.4) },
    { cell: cells[2]!, result: { ...result('most-popular', 1, 0.1), parameters: 0 } }
  ])
  const { heads, rows } = section!.table!
  const at = (head: string) => rows.map((row) => row[heads.indexOf(head)])
  assert.deepEqual(at('R@50 with memory'), ['.600', '.400', '–'])
  assert.deepEqual(at('mtmi is, on Recall@50'), ['', '+.000 (one seed)', '+.400 (one seed)'])
  assert.deepEqual(at('mtmi with the memory is'), ['', '+.200 (one seed)', '+.500 (one seed)'])
  const table = interests!.table!
  assert.deepEqual(
    table.rows.map((row) => [row[0], row[table.heads.indexOf('rare targets found')]]),
    [
      ['mtmi', '.500'],
      ['mtmi, memory', '.250'],
      ['mind', '.500'],
      ['mind, memory', '.250'],
      ['most-popular', '.500']
    ]
  )
  for (const row of table.rows) assert.equal(row.length, table.heads.length)
})

test('cost: times and memory of each K, as a table and as lines', () => {
  const cells = studyCells('cost', { models: [], simple: [] })
  const { stepBytes: _, ...details } = result('mtmi', 1, 0.5).details
  const [section] = studySections('cost', [
    { cell: cells[0]!, result: result('mtmi', 1, 0.5) },
    { cell: cells[1]!, result: { ...result('mtmi', 1, 0.5), details } }
  ])
  assert.deepEqual(section!.table!.heads.slice(-3), ['ms to learn 1,000', 'ms a list', 'MiB a step'])
  // 100 examples a second; .5 s for one user; a result of an earlier release does not know its memory.
  assert.deepEqual(
    section!.table!.rows.map((row) => row.slice(-3)),
    [
      ['10,000', '500.00', '1'],
      ['10,000', '500.00', '–']
    ]
  )
})

test('coldstart: what is found by steps known, and by how often an item was met, with how many were asked', () => {
  const cells = studyCells('coldstart', { models: [], simple: [] })
  const runs = [1, 2].map((seed) => ({ cell: cells[0]!, result: result('mtmi', seed, seed / 10) }))
  const [, bySteps, byItems, wrong] = studySections('coldstart', runs)
  assert.deepEqual(bySteps!.table, { heads: ['', '1'], rows: [['mtmi', '.150'], ['users asked', '2']] }) // biome-ignore format: a table
  assert.deepEqual(byItems!.table!.rows, [['mtmi', '–'], ['targets asked', '0']]) // biome-ignore format: a table
  // Nothing was found: which is said, or nobody knew that it was looked for.
  assert.match(wrong!.text!, /^None of collapsed-towers, /)
})

test('an ablation says what was changed, and how that compares with what is usual', () => {
  const cells = studyCells('ablation', { models: [], simple: [] })
  const negatives = cells.find(({ name }) => name === '256')!
  const runs = [1, 2].flatMap((seed) => [
    { cell: cells[0]!, result: result('mtmi', seed, 0.5) },
    { cell: negatives, result: result('mtmi', seed, 0.4) }
  ])
  const { heads, rows } = studySections('ablation', runs)[0]!.table!
  assert.deepEqual(
    rows.map((row) => row[0]),
    ['mtmi', 'negatives: 256']
  )
  assert.equal(heads.at(-1), 'Recall@50 against')
  assert.match(rows[1]!.at(-1)!, /^mtmi: behind \(−\.100/)
})

test('what looked wrong is said once for a row, with the seeds that showed it', () => {
  const [cell] = studyCells('cost', { models: [], simple: [] })
  const found = (seed: number) => {
    const one = result('mtmi', seed, 0.5)
    const finding = { signature: 'divergence', message: `seen with ${seed}`, remedy: 'slow down' } as const
    return { cell: cell!, result: { ...one, details: { ...one.details, findings: [finding] } } }
  }
  const { table } = studySections('cost', [found(3), found(4)]).at(-1)!
  assert.deepEqual(table!.rows, [['K 1', 'd', '3 4', 'divergence', 'seen with 3; slow down']])
  assert.match(markdownTable(table!), /\n\|---\|--:\|--:\|---\|---\|\n/)
})

test('each study draws what it has found', () => {
  for (const study of studies) {
    const cells = studyCells(study, { models: ['mtmi', 'mind'], simple: ['markov'] })
    const [section] = studySections(
      study,
      cells.map((cell, i) => ({ cell, result: result(cell.model, 1, 0.2 + i / 100) }))
    )
    assert(section!.plots!.length > 0)
    for (const { svg } of section!.plots!) assert.match(svg, /^<svg[^>]*>.*<\/svg>$/s)
    assert.equal(section!.table!.rows.length, cells.length)
  }
})

test('a shortened history keeps its newest steps; targets are sorted by how often they were met', () => {
  const one = { userId: 'u', history: steps('a b c'), targets: ['x', 'y', 'z'] }
  assert.equal(itemsOf(shortened([one], 2)[0]!.history), 'b c')
  const points = itemPoints([one], [['y', 'z']], (item) => ({ x: 0, y: 4, z: 4 })[item] ?? 0)
  assert.deepEqual(
    points.filter(({ asked }) => asked > 0).map(({ name, asked, 'recall@50': recall }) => [name, asked, recall]),
    [
      ['0', 1, 0],
      ['3–5', 2, 1]
    ]
  )
})

test('a table in Markdown', () => {
  assert.equal(markdownTable({ heads: ['', 'n'], rows: [['a|b', '1']] }), '|  | n |\n|---|--:|\n| a\\|b | 1 |')
})
