// How often the watch on hit rate and loss raises an alarm where nothing changed, and how often and how soon where the
// model got worse.
//
//     npm run bench -- driftModel --record FILE --seed S [--limit 60000] [--set simulation.driftAt=.5 …]
//     npm run bench -- driftModel --recorded FILE,FILE [--seeds 20] [--events 100000] [--drops 0,.1,.2,.4]
//     npm run bench -- driftModel --recorded FILE,FILE --as-recorded
//
// The first trains on the simulation once and records, the second watches series drawn from recorded ones, the third
// those recorded.
//
// A drawn series is made of runs of eight batches of the recorded ones, from 20,000 examples on, in random order:
// stationary, and as dependent as recorded. A drop of .2 makes every fifth hit a miss and adds .2 to every loss, from
// half way on.

import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Rng } from '../../src/core/rng.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import type { Detection } from '../../src/monitor/drift/detection.ts'
import { ModelDrift } from '../../src/monitor/drift/modelDrift.ts'
import { featureLookup } from '../../src/records/catalogueItem.ts'
import { cutExamples } from '../../src/records/cutExamples.ts'
import type { Example } from '../../src/records/example.ts'
import { unknownRank } from '../../src/train/trainer.ts'
import { simulatedSequences } from '../support/simulatedSequences.ts'
import { configOf, settingsOf } from './settings.ts'

const { values: flags } = parseArgs({
  options: {
    record: { type: 'string' },
    recorded: { type: 'string' },
    'as-recorded': { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
    limit: { type: 'string', default: '60000' },
    seeds: { type: 'string', default: '20' },
    events: { type: 'string', default: '100000' },
    drops: { type: 'string', default: '0' },
    set: { type: 'string', multiple: true, default: [] }
  }
})

interface Batch {
  /** Of the targets that were ranked: 1 a hit, 0 a miss. */
  readonly hits: readonly number[]
  readonly losses: readonly number[]
}

interface Recording {
  readonly seed: number
  /** Example at which the simulation drifts; absent without a drift. */
  readonly driftAt?: number
  readonly batches: readonly Batch[]
}

const { simulation: ofSimulation, ...settings } = settingsOf(flags.set)
const config = configOf(settings)
const settledExamples = 20_000
const runBatches = 8

if (flags.record !== undefined) await record(flags.record)
else {
  const recordings = flags.recorded!.split(',').map((file) => JSON.parse(readFileSync(file, 'utf8')) as Recording)
  if (flags['as-recorded'])
    for (const { seed, driftAt, batches } of recordings) print({ seed, driftAt, alarms: watch(batches) })
  else for (const drop of flags.drops.split(',').map(Number)) print(await drawn(recordings, drop))
}

async function record(file: string): Promise<void> {
  const { loadBackend } = await import('../../src/model/backend.ts')
  const { IncrementalTrainer } = await import('../../src/train/incrementalTrainer.ts')
  await loadBackend()
  const seed = Number(flags.seed)
  const simulation = simulate({ seed, ...ofSimulation })
  const { train, model, sequence, events, progressive } = config
  const trainer = new IncrementalTrainer({
    ...{ model, train, seed, historyMax: sequence.historyMax },
    rankedShare: progressive.share
  })
  trainer.useCatalogue(featureLookup([...simulation.items()]))
  const found: Example[] = []
  for await (const emitted of simulatedSequences(simulation, { sequence, events })) {
    const cut = emitted.flatMap((one) => cutExamples(one, (type) => events.types[type]))
    found.push(...cut.sort((a, b) => a.target.eventTimeMs - b.target.eventTimeMs))
  }
  const examples = found.slice(0, Number(flags.limit))
  const batches: Batch[] = []
  for (let from = 0; from < examples.length; from += train.batchSize) {
    const batch = examples.slice(from, from + train.batchSize)
    const evaluation = trainer.evaluateExamples(batch)
    const { freshLosses } = trainer.learnExamples(batch, new Map())
    const ranked = [...evaluation.ranks].filter((rank) => rank >= 0)
    batches.push({
      hits: ranked.map((rank) => (rank < 20 ? 1 : 0)),
      losses: [...(freshLosses ?? [])].map((loss) => Number(loss.toFixed(3)))
    })
  }
  const driftAt = examples.findIndex(({ target }) => target.eventTimeMs >= simulation.driftMs)
  const recording: Recording = { seed, ...(driftAt < 0 ? {} : { driftAt }), batches }
  writeFileSync(file, JSON.stringify(recording))
}

/** @returns alarms, by the examples seen until then */
function watch(batches: Iterable<Batch>): { signal: string; value: number; at: number }[] {
  const drift = new ModelDrift()
  const alarms: { signal: string; value: number; at: number }[] = []
  let at = 0
  for (const { hits, losses } of batches) {
    at += losses.length
    const found: readonly Detection[] = drift.observe({
      // −1: not ranked.
      ranks: Int32Array.from(losses, (_, b) => (b >= hits.length ? -1 : hits[b] === 1 ? 0 : 1000)),
      unknownRank,
      wins: new Float32Array(0),
      freshLosses: Float32Array.from(losses),
      replayedLoss: undefined,
      eventTimeMs: at
    })
    for (const { signal, value } of found) alarms.push({ signal, value: Number(value.toFixed(3)), at })
  }
  return alarms
}

async function drawn(recordings: readonly Recording[], drop: number) {
  const events = Number(flags.events)
  const counts = Object.fromEntries(
    ['hit_rate', 'loss'].map((signal) => [signal, { alarms: 0, noticed: 0, delays: [] as number[] }])
  )
  for (let seed = 1; seed <= Number(flags.seeds); seed++) {
    const rng = new Rng(seed)
    const settled = settledOf(recordings[rng.integer(recordings.length)]!)
    const seen = new Set<string>()
    for (const { signal, at } of watch(drawnBatches(settled, events, drop, rng))) {
      const one = counts[signal]!
      if (drop === 0 || at <= events / 2) one.alarms++
      else if (!seen.has(signal)) {
        seen.add(signal)
        one.noticed++
        one.delays.push(at - events / 2)
      }
    }
  }
  const of = ({ alarms, noticed, delays }: { alarms: number; noticed: number; delays: number[] }) =>
    drop === 0
      ? { alarms }
      : { early: alarms, noticed, delay: delays.sort((a, b) => a - b)[Math.floor((delays.length - 1) / 2)] }
  return {
    drop,
    seeds: Number(flags.seeds),
    examples: Number(flags.seeds) * events,
    ...Object.fromEntries(Object.entries(counts).map(([name, one]) => [name, of(one)]))
  }
}

function settledOf({ batches, driftAt }: Recording): readonly Batch[] {
  const from = Math.ceil(settledExamples / config.train.batchSize)
  return batches.slice(from, driftAt === undefined ? undefined : Math.floor(driftAt / config.train.batchSize))
}

function* drawnBatches(settled: readonly Batch[], events: number, drop: number, rng: Rng): Generator<Batch> {
  let at = 0
  while (at < events) {
    const from = rng.integer(settled.length - runBatches)
    for (const { hits, losses } of settled.slice(from, from + runBatches)) {
      const worse = at >= events / 2 ? drop : 0
      yield {
        hits: hits.map((hit) => (hit === 1 && rng.uniform() >= worse ? 1 : 0)),
        losses: losses.map((loss) => loss + worse)
      }
      at += losses.length
    }
  }
}

function print(row: object): void {
  process.stdout.write(`${JSON.stringify(row)}\n`)
}
