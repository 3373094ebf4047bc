// Whether what is learned is as good as it was: recall on two data sets with three seeds, beside the stored figures.
// After every change of arithmetic.
//
//     MTMI_DATA=… npm run bench -- quality [--seed 1 2 3] [--set train.userShareMax=1 …] [--only stream | epochs]
//     [--store]
//
//     stream   MovieLens 100k, its first 20,000 ratings, as the trainer meets them: tested, then learned, with replay, guard and admission as configured.
//              One target an example, so that recall@20 is the hit rate
//     epochs   3,000 users of Gowalla's tail, four epochs by windows, as `mtmi evaluate` learns: recall@50 of the 600 held out
//
// `worse` and `better`: the mean difference, seed by seed, is beyond two standard errors and beyond what threads make
// of the order of sums.
// --store writes the figures down, for what comes after. Status 1 where something is worse.

import { readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { encoderLists } from '../../src/lab/evaluation/encoderLists.ts'
import { loadOfflineData } from '../../src/lab/evaluation/offlineData.ts'
import { offlineMetrics } from '../../src/lab/evaluation/offlineMetrics.ts'
import { coreFilter, splitOffline } from '../../src/lab/evaluation/offlineSplit.ts'
import { OfflineTrainer } from '../../src/lab/evaluation/offlineTrainer.ts'
import { pairedDifference, spread } from '../../src/lab/evaluation/spread.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { featureLookup } from '../../src/records/catalogueItem.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { recordedStream } from './recorded.ts'
import { configOf, settingsOf } from './settings.ts'

const { values: flags } = parseArgs({
  options: {
    seed: { type: 'string', multiple: true, default: ['1', '2', '3'] },
    set: { type: 'string', multiple: true, default: [] },
    only: { type: 'string' },
    store: { type: 'boolean' }
  }
})
const data = process.env.MTMI_DATA
if (data === undefined) throw new Error('set MTMI_DATA to the folder that holds ml-100k/ and gowalla-tail/')
const stored = path.join(import.meta.dirname, '..', '..', 'results', 'evidence', 'quality.json')
const seeds = flags.seed.map(Number)

const streamExamples = 20_000
const epochUsers = 3000
const epochs = 4
/** Two runs with the same seed differ by less: libtensorflow's threads add in any order. */
const noise = 0.003

interface Measured {
  readonly name: 'stream recall@20' | 'epochs recall@50'
  readonly values: readonly number[]
  readonly seconds: number
}

const backend = await loadBackend()
const measured: Measured[] = []
if (flags.only !== 'epochs') measured.push(await measure('stream recall@20', await streamed(data)))
if (flags.only !== 'stream') measured.push(await measure('epochs recall@50', await overEpochs(data)))

type Baseline = Readonly<Record<string, { readonly seeds: readonly number[]; readonly values: readonly number[] }>>
let baseline: Baseline = {}
try {
  baseline = (JSON.parse(readFileSync(stored, 'utf8')) as { measured: Baseline }).measured
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}
const round = (value: number) => Number(value.toFixed(4))
const rows = measured.map(({ name, values, seconds }) => {
  const found = spread(values)
  const of = baseline[name]
  const both = of === undefined ? [] : seeds.filter((seed) => of.seeds.includes(seed))
  const ours = both.map((seed) => values[seeds.indexOf(seed)]!)
  const theirs = both.map((seed) => of!.values[of!.seeds.indexOf(seed)]!)
  const difference = both.length === 0 ? undefined : pairedDifference(ours, theirs)
  const counts = Math.abs(difference?.mean ?? 0) > noise && difference?.verdict !== 'tied'
  const verdict =
    difference === undefined ? 'nothing stored' : !counts ? 'as stored' : difference.mean < 0 ? 'worse' : 'better'
  return { name, mean: round(found.mean), deviation: round(found.deviation), values: values.map(round), change: difference && round(difference.mean), verdict, seconds: Math.round(seconds) } // biome-ignore format: one row
})
for (const { name, mean, deviation, change, verdict, seconds } of rows)
  process.stderr.write(
    `${name.padEnd(18)} ${mean} ± ${deviation}   change ${change ?? '–'}   ${verdict}   ${seconds} s\n`
  )
const result = {
  seeds,
  set: flags.set.join(' '),
  measured: Object.fromEntries(
    rows.map(({ name, values, mean, deviation }) => [name, { seeds, values, mean, deviation }])
  ),
  machine: { cpu: os.cpus()[0]?.model, cores: os.availableParallelism(), node: process.version, ...backend }
}
if (flags.store === true) writeFileSync(stored, `${JSON.stringify(result, undefined, 2)}\n`)
process.stdout.write(`${JSON.stringify({ ...result, rows })}\n`)
if (rows.some(({ verdict }) => verdict === 'worse')) process.exitCode = 1

async function measure(name: Measured['name'], run: (seed: number) => number): Promise<Measured> {
  const startedMs = performance.now()
  const values: number[] = []
  for (const seed of seeds) {
    values.push(run(seed))
    process.stderr.write(`${name}, seed ${seed}: ${values.at(-1)!.toFixed(4)}\n`)
  }
  return { name, values, seconds: (performance.now() - startedMs) / 1000 }
}

async function streamed(folder: string): Promise<(seed: number) => number> {
  const config = configOf(settingsOf(flags.set))
  const stream = await recordedStream(config, path.join(folder, 'ml-100k'))
  const examples = stream.examples.slice(0, streamExamples)
  const { batchSize } = config.train
  return (seed) => {
    const trainer = new IncrementalTrainer({
      model: config.model,
      train: config.train,
      historyMax: config.sequence.historyMax,
      seed
    })
    trainer.useCatalogue(featureLookup(stream.catalogue))
    let hits = 0
    for (let from = 0; from < examples.length; from += batchSize) {
      const { evaluation } = trainer.step(examples.slice(from, from + batchSize), new Map())
      hits += evaluation.ranks.filter((rank) => rank >= 0 && rank < 20).length
    }
    return hits / examples.length
  }
}

async function overEpochs(folder: string): Promise<(seed: number) => number> {
  const given = settingsOf(flags.set, {
    model: { dropout: 0.2 },
    // Half the batch and a quarter of the negatives of an evaluation: a part of the data has fewer items.
    train: { batchSize: 512, negatives: 512, denseLearningRate: 0.002 }
  })
  const config = configOf(given)
  const { users: all } = await loadOfflineData(config, { data: path.join(folder, 'gowalla-tail') })
  const users = coreFilter(all, config.evaluate.interactionsMin).slice(0, epochUsers)
  return (seed) => {
    const { train, validation, test } = splitOffline(users, 'users', seed)
    const { historyMax } = config.evaluate
    const trainer = new OfflineTrainer(train, [], { model: config.model, train: config.train, historyMax, seed })
    trainer.give()
    trainer.observe()
    for (let epoch = 0; epoch < epochs; epoch++) for (const _ of trainer.epoch());
    const cases = [...validation, ...test]
    const replica = new ModelReplica()
    const { lists } = encoderLists(trainer.publish(replica), trainer.candidates(), cases)
    replica.dispose()
    return offlineMetrics(cases, lists)['recall@50']
  }
}
