// `mtmi evaluate --data`, as its users meet it.

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { after } from 'node:test'
import { lastLine, MtmiProcess, mtmi } from '../../support/mtmiProcess.ts'

const cwd = mkdtempSync(path.join(tmpdir(), 'mtmi-evaluate-'))
after(() => rmSync(cwd, { recursive: true }))

/** Sixty users, each with eight of the ten items of one of five groups. */
const data = path.join(cwd, 'groups.txt')
writeFileSync(
  data,
  Array.from({ length: 60 }, (_, u) =>
    Array.from({ length: 8 }, (_, i) => `${u} g${u % 5}-${(u + 3 * i) % 10}\n`).join('')
  ).join('')
)
const small = [
  ...['--option', 'model.dimensions=8', 'evaluate.batchSize=64', 'evaluate.negatives=32'],
  ...['--option', 'evaluate.epochsMax=3']
]
const metricNames = ['recall@20', 'hitRate@20', 'ndcg@20', 'recall@50', 'hitRate@50', 'ndcg@50']

test('a learned model: the whole result, and the same again without learning', async () => {
  const command = ['evaluate', ...small, '--data', data, '--model', 'mtmi', '--json']
  const first = await mtmi(command, { cwd })
  assert.equal(first.status, 0, first.stderr)
  const result = lastLine(first.stdout)
  assert.deepEqual(
    {
      ...result,
      metrics: 0,
      withoutHistory: 0,
      withMemory: 0,
      intraUserCosine: 0,
      coverage: 0,
      trainSeconds: 0,
      examplesPerSecond: 0,
      details: 0
    },
    {
      model: 'mtmi',
      data: 'groups',
      protocol: 'users',
      seed: 1,
      users: 60,
      items: 50,
      interactions: 480,
      metrics: 0,
      withoutHistory: 0,
      withMemory: 0,
      intraUserCosine: 0,
      coverage: 0,
      trainSeconds: 0,
      examplesPerSecond: 0,
      epochs: 3,
      // 50 rows of 8; attention 8·32 + 32 + 4·8 + 20·4 + 32·4; users 4·8·8 + 4·8; items 8·8 + 8
      parameters: 400 + 528 + 288 + 72,
      details: 0,
      records: { read: 480, used: 480, ignored: 0, refused: 0, ignoredTypes: { named: [], other: 0 } }
    }
  )
  const { metrics, withoutHistory } = result.withMemory as Record<string, Record<string, number>>
  for (const part of [result.metrics, result.withoutHistory, metrics, withoutHistory] as Record<string, number>[]) {
    assert.deepEqual(Object.keys(part), metricNames)
    for (const value of Object.values(part)) assert(value >= 0 && value <= 1)
  }
  const again = await mtmi(command, { cwd })
  assert.deepEqual(lastLine(again.stdout), result)
})

test('several seeds: means, spreads, and each run', async () => {
  const { stdout, stderr, status } = await mtmi(
    ['evaluate', '--data', data, '--model', 'co-occurrence', '--protocol', 'users', '--seed', '1', '2', '--json'],
    { cwd }
  )
  assert.equal(status, 0, stderr)
  const summary = lastLine(stdout) as {
    seed: number[]
    metrics: Record<string, number>
    spreads: { metrics: Record<string, number> }
    runs: { seed: number; metrics: Record<string, number> }[]
  }
  assert.deepEqual(summary.seed, [1, 2])
  const [a, b] = summary.runs.map(({ metrics }) => metrics['recall@50']!) as [number, number]
  assert(Math.abs(summary.metrics['recall@50']! - (a + b) / 2) < 1e-12)
  assert(Math.abs(summary.spreads.metrics['recall@50']! - Math.abs(a - b) / Math.SQRT2) < 1e-12)
})

test('interactions of types without a weight are counted by type, and the option that the warning gives lets them count', async () => {
  const types = ['hover', 'wiggle', 'click', 'hover']
  const file = path.join(cwd, 'typed.csv')
  const rows = Array.from(
    { length: 400 },
    (_, i) => `u${i % 20},i${(i * 7) % 30},${1_700_000_000 + i * 60},${types[i % 4]}`
  )
  writeFileSync(file, `${['user_id,item_id,event_time,event_type', ...rows].join('\n')}\n`)
  const command = [
    'evaluate',
    '--data',
    file,
    '--model',
    'most-popular',
    '--option',
    'evaluate.interactionsMin=1',
    '--json'
  ]
  const { status, stdout, stderr } = await mtmi(command, { cwd })
  assert.equal(status, 0, stderr)
  const ignoredTypes = {
    named: [
      ['hover', 200],
      ['wiggle', 100]
    ],
    other: 0
  }
  assert.deepEqual(lastLine(stdout).records, { read: 400, used: 100, ignored: 300, refused: 0, ignoredTypes })
  assert.match(
    stderr,
    /300 of 400 interactions are left out, because their types have no weight: hover 200, wiggle 100\./
  )
  const [, weights] = /--types (\S+)/.exec(stderr)!
  const again = await mtmi([...command, '--types', weights!], { cwd })
  assert.equal(again.status, 0, again.stderr)
  assert.equal((lastLine(again.stdout).records as Record<string, number>).used, 400)
  assert.doesNotMatch(again.stderr, /left out/)
  const none = await mtmi([...command, '--types', 'purchase=1'], { cwd })
  assert.equal(none.status, 78)
  assert.match(
    none.stderr,
    /nothing to evaluate: 400 of 400 interactions are left out.*hover 200, click 100, wiggle 100.*--types hover=1,click=1,wiggle=1/
  )
})

test('killed, it goes on from its last epoch', async () => {
  const endless = ['--option', 'evaluate.epochsMax=2000', '--option', 'evaluate.patience=1000']
  const command = ['evaluate', ...small, ...endless, '--data', data, '--seed', '3', '--json']
  const killed = new MtmiProcess(command, { cwd })
  await killed.says(/epoch 2 done/)
  await killed.stop('SIGKILL')
  const folder = readdirSync(path.join(cwd, 'data', 'evaluations')).find((name) =>
    name.startsWith('groups-mtmi-users-3-')
  )!
  assert(!existsSync(path.join(cwd, 'data', 'evaluations', folder, 'result.json')))
  const resumed = new MtmiProcess(command, { cwd })
  await resumed.says(/resumes after epoch \d+/)
  await resumed.says(/epoch \d+ done/)
  const stopped = await resumed.stop('SIGINT')
  assert.equal(stopped.status, 130)
  assert.match(stopped.stderr, /the same command resumes/)
})

test('what cannot be done is said, with what to do', async () => {
  const fails = async (args: string[], expected: RegExp) => {
    const { status, stderr } = await mtmi(args, { cwd })
    assert.equal(status, 78, stderr)
    assert.match(stderr, expected)
  }
  await fails(['evaluate', '--data', data, '--model', 'none-such'], /model\.name.*simple methods are most-popular/s)
  await fails(['evaluate', '--data', data, '--model', 'markov', '--protocol', 'time'], /own order only.*leave-one-out/s)
  await fails(
    ['evaluate', '--data', data, '--model', 'markov', '--protocol', 'weekly'],
    /users, leave-one-out, time, stream/
  )
  const tiny = path.join(cwd, 'tiny.txt')
  writeFileSync(tiny, 'u a\nu b\nu c\n')
  await fails(
    ['evaluate', '--data', tiny, '--model', 'mtmi'],
    /nothing to learn from.*0 users with 0 interactions.*evaluate\.interactionsMin/s
  )
  await fails(['evaluate', '--data', data, '--policy', 'replay'], /give --protocol stream/)
  await fails(['evaluate', '--data', data, '--protocol', 'stream'], /own order only/)
  await fails(['evaluate', '--model', 'mtmi'], /there is no report.*--data/s)
})

/** 600 clicks of 60 users in time order: each walks on from item to item within one of three rings of ten. */
const timed = path.join(cwd, 'walks.csv')
writeFileSync(
  timed,
  `user,item,timestamp\n${Array.from({ length: 600 }, (_, i) => `u${i % 60},r${i % 3}-${(i % 60) + Math.floor(i / 60) - 10 * Math.floor(((i % 60) + Math.floor(i / 60)) / 10)},${1_600_000_000 + i}\n`).join('')}`
)

test('stream: period by period, for a model that is updated and for a chain', async () => {
  const settings = [...small, '--option', 'evaluate.periods=4', '--option', 'evaluate.periodEpochs=1']
  for (const policy of ['replay', 'static', 'retrain', 'cumulative-markov']) {
    const { status, stdout, stderr } = await mtmi(
      ['evaluate', ...settings, '--data', timed, '--protocol', 'stream', '--policy', policy, '--json'],
      { cwd }
    )
    assert.equal(status, 0, stderr)
    const result = lastLine(stdout) as {
      periods: { metrics: { all: { targets: number; 'recall@20': number } }; updatePositions: number }[]
      policy: string
    }
    assert.equal(result.policy, policy)
    assert.equal(result.periods.length, 3)
    for (const { metrics } of result.periods) assert(metrics.all.targets === 150 && metrics.all['recall@20'] >= 0)
    const learned = result.periods.map(({ updatePositions }) => updatePositions)
    assert(policy === 'static' ? learned[1] === 0 : learned[1]! > 0)
    // The next item of a ring is always the same: a chain that has met them all is never wrong.
    if (policy === 'cumulative-markov') assert(result.periods[2]!.metrics.all['recall@20'] > 0.9)
  }
})

test('a study and a search: a table, plots, and the runs behind them; the second time nothing is learned', async () => {
  const settings = [...small, '--option', 'evaluate.epochsMax=2']
  const compare = [
    'study',
    'compare',
    ...settings,
    '--data',
    data,
    '--model',
    'mtmi',
    'markov',
    '--seed',
    '1',
    '2',
    '--out',
    'found'
  ]
  const first = await mtmi(compare, { cwd })
  assert.equal(first.status, 0, first.stderr)
  assert.match(
    readFileSync(path.join(cwd, 'found', 'compare.md'), 'utf8'),
    /4 of 4 runs.*\| mtmi \| 1 2 \|.*\| markov \| 1 2 \|.*Node/s
  )
  assert.match(readFileSync(path.join(cwd, 'found', 'compare.html'), 'utf8'), /<svg/)
  const kept = JSON.parse(readFileSync(path.join(cwd, 'found', 'compare.json'), 'utf8')) as {
    runs: { result: { trainSeconds: number } }[]
  }
  await mtmi(compare, { cwd })
  assert.deepEqual(
    (JSON.parse(readFileSync(path.join(cwd, 'found', 'compare.json'), 'utf8')) as typeof kept).runs,
    kept.runs
  )
  const tuned = await mtmi(['tune', ...settings, '--data', data, '--trials', '3', '--out', 'found', '--json'], { cwd })
  assert.equal(tuned.status, 0, tuned.stderr)
  const { tuning } = lastLine(tuned.stdout) as {
    tuning: { model: string; evaluated: { trial: { number: number }; epochs: number }[] }[]
  }
  // Three for one epoch (2/3 of one, rounded), the best of them for two.
  assert.deepEqual(
    tuning[0]!.evaluated.map(({ epochs }) => epochs),
    [2, 1, 1]
  )
})
