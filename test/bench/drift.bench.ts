// How often the watch on interactions raises an alarm where nothing changed, and how often and how soon where something
// did: the table of docs/drift.md.
//
//     npm run bench -- drift [--stream simulation | independent | movielens | movielens-sessions | diginetica]
//                            [--data FOLDER] [--first 1] [--seeds 20] [--events 60000] [--set drift.windowMs=0 …]
//                            [--plant none | type,category,… | drift] [--sizes .05,.1,.2] [--at 20000]
//
// FOLDER holds ml-100k/ and diginetica/. `--plant drift` is the simulation's own, of a share of the items.

import { parseArgs } from 'node:util'
import { Rng } from '../../src/core/rng.ts'
import { inputFeatures } from '../../src/monitor/drift/inputDrift.ts'
import {
  type DriftStream,
  digineticaStream,
  independentStream,
  movieLensSessionStream,
  movieLensStream,
  type Plant,
  planted,
  simulatedStream
} from '../support/driftStreams.ts'
import { watchStream } from '../support/watchStream.ts'
import { configOf, settingsOf } from './settings.ts'

const { values: flags } = parseArgs({
  options: {
    stream: { type: 'string', default: 'simulation' },
    data: { type: 'string', default: process.env.MTMI_DATA ?? '' },
    first: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '20' },
    events: { type: 'string', default: '60000' },
    plant: { type: 'string', default: 'none' },
    sizes: { type: 'string', default: '0' },
    at: { type: 'string', default: '20000' },
    set: { type: 'string', multiple: true, default: [] }
  }
})
const { simulation: ofSimulation, ...settings } = settingsOf(flags.set)
const config = configOf(settings)
const events = Number(flags.events)
const at = Number(flags.at)
type Planted = Plant | 'drift'

function streamOf(seed: number, plant: Planted, size: number): DriftStream {
  if (flags.stream === 'independent') return independentStream(seed, events)
  if (flags.stream === 'movielens') return movieLensStream(flags.data, seed)
  if (flags.stream === 'movielens-sessions') return movieLensSessionStream(flags.data, seed)
  if (flags.stream === 'diginetica') return digineticaStream(flags.data, seed, events)
  const drift =
    plant === 'drift' ? { driftAt: at / events, driftItemShare: size, driftUserShare: Math.min(1, 5 * size) } : {}
  return simulatedStream(seed, { events, ...drift, ...ofSimulation })
}

for (const plant of flags.plant.split(',') as Planted[]) {
  for (const size of flags.sizes.split(',').map(Number)) print(await measured(plant, size))
}

async function measured(plant: Planted, size: number) {
  let taken = 0
  let compared = 0
  const signals = Object.fromEntries(
    inputFeatures.map((feature) => [feature, { early: 0, delays: [] as number[], nearest: 0 }])
  )
  const noticed: number[] = []
  const first = Number(flags.first)
  for (let seed = first; seed < first + Number(flags.seeds); seed++) {
    const stream = streamOf(seed, plant, size)
    const interactions = plant === 'drift' ? stream.interactions : planted(stream, plant, size, at, new Rng(seed))
    const watched = await watchStream({ catalogue: stream.catalogue, interactions }, config)
    const isEarly = (alarm: { at: number }) => plant === 'none' || alarm.at <= at
    taken += watched.events
    compared += watched.compared
    for (const feature of inputFeatures) {
      const found = watched.alarms.filter(({ signal }) => signal === feature)
      const one = signals[feature]!
      one.early += found.filter(isEarly).length
      one.nearest = Math.max(one.nearest, watched.nearest.get(feature) ?? Number.NaN)
      const first = found.find((alarm) => !isEarly(alarm))
      if (first !== undefined) one.delays.push(first.at - at)
    }
    const first = watched.alarms.find((alarm) => !isEarly(alarm))
    if (first !== undefined) noticed.push(first.at - at)
  }
  const of = ({ early, delays, nearest }: { early: number; delays: readonly number[]; nearest: number }) =>
    plant === 'none'
      ? { alarms: early, nearest }
      : { early, noticed: delays.length, delay: median(delays), slowest: Math.max(0, ...delays) }
  return {
    stream: flags.stream,
    plant,
    size,
    set: flags.set.join(' '),
    seeds: Number(flags.seeds),
    events: taken,
    compared,
    noticed: noticed.length,
    delay: median(noticed),
    signals: Object.fromEntries(Object.entries(signals).map(([name, one]) => [name, of(one)]))
  }
}

function print(row: object): void {
  process.stdout.write(
    `${JSON.stringify(row, (_, value) => (typeof value === 'number' ? Number(value.toFixed(3)) : value))}\n`
  )
}

function median(values: readonly number[]): number | undefined {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)]
}
