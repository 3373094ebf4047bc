// One pass over a stream, tested then learned: progressive quality beside popularity's and a Markov chain's, on items
// by how often they were met before, how soon it is back after the simulation's drift, and speed.
//
//     npm run bench -- stream --data PATH | --simulation [--limit N] [--seed S] [--curve] [--set train.replayRatio=0 …]
//     [--set simulation.events=24000 …]

import { parseArgs } from 'node:util'
import type { Config } from '../../src/core/config/config.ts'
import { recovery } from '../../src/lab/evaluation/recovery.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { ModelDrift } from '../../src/monitor/drift/modelDrift.ts'
import { featureLookup } from '../../src/records/catalogueItem.ts'
import { cutExamples } from '../../src/records/cutExamples.ts'
import type { Example } from '../../src/records/example.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { ProgressiveEvaluator } from '../../src/train/progressive/progressive.ts'
import { unknownRank } from '../../src/train/trainer.ts'
import { simulatedSequences } from '../support/simulatedSequences.ts'
import { type RecordedStream, recordedStream } from './recorded.ts'
import { configOf, settingsOf } from './settings.ts'

const { values: flags } = parseArgs({
  options: {
    data: { type: 'string' },
    simulation: { type: 'boolean' },
    limit: { type: 'string' },
    seed: { type: 'string', default: '1' },
    curve: { type: 'boolean' },
    set: { type: 'string', multiple: true, default: [] }
  }
})
const seed = Number(flags.seed)
// Every example is ranked, however many items there are: the quality is what is asked for.
const { simulation: ofSimulation, ...settings } = settingsOf(flags.set)
const config = configOf(settings)
const { historyMax } = config.sequence
const backend = await loadBackend()

interface Stream extends RecordedStream {
  /** Examples before the drift. */
  readonly driftAt?: number
}

const stream: Stream = flags.data === undefined ? await simulated(config) : await recordedStream(config, flags.data)
const examples = stream.examples.slice(0, flags.limit === undefined ? undefined : Number(flags.limit))
const trainer = new IncrementalTrainer({ model: config.model, train: config.train, historyMax, seed })
trainer.useCatalogue(featureLookup(stream.catalogue))
const evaluator = new ProgressiveEvaluator()
const drift = new ModelDrift()
const detections: { readonly at: number; readonly signal: string; readonly detector: string }[] = []

/** Targets by how often they were met before. */
const bands = [
  { title: 'never', from: 0, hits: 0, targets: 0 },
  { title: '1–2 times', from: 1, hits: 0, targets: 0 },
  { title: '3–9 times', from: 3, hits: 0, targets: 0 },
  { title: '10–99 times', from: 10, hits: 0, targets: 0 },
  { title: '100 times and more', from: 100, hits: 0, targets: 0 }
]
const met = new Map<string, number>()
let evaluateMs = 0
let learnMs = 0
let cpuMs = 0
const { batchSize } = config.train
for (let from = 0; from < examples.length; from += batchSize) {
  const batch = examples.slice(from, from + batchSize)
  const marks = [performance.now()]
  const before = process.cpuUsage()
  const evaluation = trainer.evaluateExamples(batch)
  marks.push(performance.now())
  const report = trainer.learnExamples(batch, new Map())
  marks.push(performance.now())
  const { user, system } = process.cpuUsage(before)
  cpuMs += (user + system) / 1000
  evaluator.observe(batch, evaluation.ranks, evaluation)
  const noticed = drift.observe({
    ranks: evaluation.ranks,
    unknownRank,
    wins: evaluation.wins,
    freshLosses: report.freshLosses,
    replayedLoss: report.replayedLoss,
    eventTimeMs: batch.at(-1)!.target.eventTimeMs
  })
  for (const { signal, detector } of noticed) detections.push({ at: from, signal, detector })
  for (const [b, { target, history }] of batch.entries()) {
    if (history.some(({ itemId }) => itemId === target.itemId)) continue
    const count = met.get(target.itemId) ?? 0
    const band = bands.findLast(({ from }) => count >= from)!
    band.targets++
    if (evaluation.ranks[b]! >= 0 && evaluation.ranks[b]! < 20) band.hits++
  }
  for (const { target } of batch) met.set(target.itemId, (met.get(target.itemId) ?? 0) + 1)
  evaluateMs += marks[1]! - marks[0]!
  learnMs += marks[2]! - marks[1]!
}
const report = evaluator.report()
const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toFixed(4)) : value)
const batches = examples.length / batchSize
const curve = report.curve.map(({ examples: at, metrics }) => ({ at, value: metrics.model['hitRate@20'] }))
process.stdout.write(
  `${JSON.stringify(
    {
      data: stream.name,
      seed,
      set: flags.set.join(' '),
      examples: examples.length,
      'hitRate@20': report['hitRate@20'],
      'ndcg@20': report['ndcg@20'],
      window: report.window.model['hitRate@20'],
      popularity: report.popularity['hitRate@20'],
      byTimesMet: Object.fromEntries(
        bands.slice(1).map(({ title, hits, targets }) => [title, { hitRate: hits / targets, targets }])
      ),
      ...(stream.driftAt === undefined ? {} : { recovery: recovery(curve, stream.driftAt) }),
      ...(flags.curve === true ? { curve: curve.map(({ value }) => value) } : {}),
      detections,
      items: trainer.items.size,
      evaluateMs: evaluateMs / batches,
      learnMs: learnMs / batches,
      cpuMs: cpuMs / batches,
      backend: backend.backend,
      tensorflow: backend.tensorflow
    },
    rounded
  )}\n`
)

async function simulated({ sequence, events }: Config): Promise<Stream> {
  const simulation = simulate({ seed, ...ofSimulation })
  const found: Example[] = []
  for await (const emitted of simulatedSequences(simulation, { sequence, events })) {
    const cut = emitted.flatMap((one) => cutExamples(one, (type) => events.types[type]))
    found.push(...cut.sort((a, b) => a.target.eventTimeMs - b.target.eventTimeMs))
  }
  const driftAt = found.findIndex(({ target }) => target.eventTimeMs >= simulation.driftMs)
  return {
    name: 'simulation',
    catalogue: [...simulation.items()],
    examples: found,
    ...(driftAt < 0 ? {} : { driftAt })
  }
}
