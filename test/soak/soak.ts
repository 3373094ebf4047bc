// Trains for minutes or hours on a stream that does not grow, and says whether the process does.
//
//     npm run soak -- [--minutes M] [--folder F] [--seed S]        10 minutes by default; 2 in continuous integration
//
// Everything of the trainer is at work: ranking, learning, replay, items that come and go, updates for the publisher,
// checkpoints on the disk. Written to the folder are soak.json (every sample), soak.svg (the plot); printed is one JSON
// line. Status 1: something grows.
//
// Memory is judged by the process's own pages (RssAnon), where the system tells them: pages of files that are mapped
// into it count as resident too, and come and go as the system likes. What waits to be collected is collected before
// each look. It is the line through the least of each of eight parts of the run after its first third and 200,000
// examples: it grows if the slope is above a megabyte an hour by more than three standard errors, and by more than a
// twentieth of all within the run. A short run can therefore only find a large leak; the error printed says how large,
// and the slopes of heap and buffers where to look.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as tf from '@tensorflow/tfjs-core'
import { configSchema } from '../../src/core/config/config.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { leastSquares } from './leastSquares.ts'
import { plot } from './plot.ts'
import { ShiftingStream } from './shiftingStream.ts'

const { values: flags } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    folder: { type: 'string', default: '.' },
    seed: { type: 'string', default: '1' }
  }
})
const minutes = Number(flags.minutes)
if (!(minutes > 0)) throw new RangeError(`--minutes must be above 0, not ${flags.minutes}`)
const slopeMax = 1024 * 1024
const samples = 120
const parts = 8
/**
 * Until so many have been learned, buffers of libtensorflow and of the reservoir still fill, however fast or slow the
 * machine is.
 */
const warmUpExamples = 200_000
const stepsPerUpdate = 20
const stepsPerCheckpoint = 100

interface Sample {
  readonly minutes: number
  readonly examples: number
  readonly examplesPerSecond: number
  readonly rssBytes: number
  /** Of it, what is no file's; all of it where the system does not tell. */
  readonly ownBytes: number
  /** V8's heap: what is in use, and what it has taken from the system. */
  readonly heapBytes: number
  readonly heapTotalBytes: number
  /** Of typed arrays. */
  readonly bufferBytes: number
  readonly tensors: number
  /** Files and sockets that are open, between checkpoints. */
  readonly handles: number
}

const { model, train, sequence } = configSchema.parse({
  // Small enough that a minute sees every part many times; full tables and a full reservoir long before the first third
  // is over.
  model: { dimensions: 32 },
  train: {
    batchSize: 256,
    negatives: 256,
    reservoirMax: 2000,
    itemsMax: 3000
  },
  sequence: { historyMax: 20 }
})
const backend = await loadBackend()
const scratch = mkdtempSync(path.join(tmpdir(), 'mtmi-soak-'))
mkdirSync(flags.folder, { recursive: true })
const checkpoints = new CheckpointFiles({ directory: scratch, keep: 2 })
const trainer = new IncrementalTrainer({
  model,
  train: { ...train, guardExamples: 2000 },
  historyMax: sequence.historyMax,
  seed: Number(flags.seed),
  rankedShare: 'auto' // as in production
})
const stream = new ShiftingStream({
  users: 2000,
  items: 4000,
  historyMax: sequence.historyMax,
  seed: Number(flags.seed)
})

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const taken: Sample[] = []
const startedMs = performance.now()
const minutesSince = () => (performance.now() - startedMs) / 60_000
let examples = 0
let lastMs = startedMs
let lastExamples = 0
for (let step = 1; minutesSince() < minutes; step++) {
  const batch = stream.next(train.batchSize)
  trainer.step(batch, new Map())
  examples += batch.length
  if (step % stepsPerUpdate === 0) trainer.takeUpdates(step % (5 * stepsPerUpdate) === 0, Date.now())
  if (step % stepsPerCheckpoint === 0) {
    const isWhole = step % (10 * stepsPerCheckpoint) === stepsPerCheckpoint
    await checkpoints.save(
      step,
      trainer.beginCheckpoint(isWhole ? 'whole' : 'changed'),
      isWhole ? {} : { since: step - stepsPerCheckpoint }
    )
  }
  await nextTurn()
  const nowMs = performance.now()
  if (nowMs - lastMs < (60_000 * minutes) / samples) continue
  collectGarbage()
  const { rss, heapUsed, heapTotal, arrayBuffers } = process.memoryUsage()
  taken.push({
    minutes: minutesSince(),
    examples,
    examplesPerSecond: (1000 * (examples - lastExamples)) / (nowMs - lastMs),
    rssBytes: rss,
    ownBytes: ownBytes() ?? rss,
    heapBytes: heapUsed,
    heapTotalBytes: heapTotal,
    bufferBytes: arrayBuffers,
    tensors: tf.memory().numTensors,
    handles: openHandles()
  })
  lastMs = nowMs
  lastExamples = examples
}
rmSync(scratch, { recursive: true, force: true })

const warm = taken.filter((sample) => sample.minutes > minutes / 3 && sample.examples > warmUpExamples)
if (warm.length < 3 * parts)
  throw new Error(
    `${warm.length} samples after the first third and ${warmUpExamples} examples, of ${examples}, are too few to judge by: give it more minutes`
  )
/** Bytes an hour, by the least of each part. */
const slopeOf = (bytes: (sample: Sample) => number) => {
  const least = Array.from({ length: parts }, (_, part) => {
    const ofPart = warm.slice(Math.floor((part * warm.length) / parts), Math.floor(((part + 1) * warm.length) / parts))
    return ofPart.reduce((low, sample) => (bytes(sample) < bytes(low) ? sample : low))
  })
  return leastSquares(least.map((sample) => [sample.minutes / 60, bytes(sample)]))
}
const { slope, standardError } = slopeOf(({ ownBytes }) => ownBytes)
const megabytes = (bytes: number) => Number((bytes / 1e6).toFixed(2))
const grown = (slope * (minutes * 2)) / 3 / 60
const speeds = warm.map(({ examplesPerSecond }) => examplesPerSecond)
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!
const half = Math.floor(speeds.length / 2)
const range = (values: readonly number[]) => [Math.min(...values), Math.max(...values)] as const
const tensors = range(warm.map((sample) => sample.tensors))
const handles = range(warm.map((sample) => sample.handles))
const problems = [
  ...(slope - 3 * standardError > slopeMax && grown > warm[0]!.ownBytes / 20
    ? [`memory grows by ${Math.round(slope / slopeMax)} MB an hour`]
    : []),
  ...(tensors[0] === tensors[1] ? [] : [`between ${tensors[0]} and ${tensors[1]} tensors are alive between steps`]),
  ...(handles[0] === handles[1] ? [] : [`between ${handles[0]} and ${handles[1]} handles are open between steps`])
]
writeFileSync(path.join(flags.folder, 'soak.json'), `${JSON.stringify(taken, undefined, 1)}\n`)
const curve = (name: string, unit: string, value: (sample: Sample) => number) => ({
  name,
  unit,
  points: taken.map((sample): [number, number] => [sample.minutes, value(sample)])
})
const curves = [
  curve('resident memory', 'MB', ({ rssBytes }) => rssBytes / 1e6),
  curve('of it the process’s own', 'MB', ({ ownBytes }) => ownBytes / 1e6),
  curve("V8's heap", 'MB', ({ heapBytes }) => heapBytes / 1e6),
  curve('typed arrays', 'MB', ({ bufferBytes }) => bufferBytes / 1e6),
  curve('speed', 'examples a second', ({ examplesPerSecond }) => examplesPerSecond),
  curve('tensors', 'alive', (sample) => sample.tensors),
  curve('handles', 'open', (sample) => sample.handles)
]
writeFileSync(path.join(flags.folder, 'soak.svg'), plot(curves, 'minutes'))
process.stdout.write(
  `${JSON.stringify({
    minutes,
    examples,
    steps: trainer.trainedSteps,
    ownMegabytesPerHour: megabytes(slope),
    standardError: megabytes(standardError),
    heapMegabytesPerHour: megabytes(slopeOf(({ heapBytes }) => heapBytes).slope),
    bufferMegabytesPerHour: megabytes(slopeOf(({ bufferBytes }) => bufferBytes).slope),
    ownBytes: warm.at(-1)!.ownBytes,
    rssBytes: warm.at(-1)!.rssBytes,
    tensors,
    handles,
    examplesPerSecond: {
      firstHalf: Math.round(median(speeds.slice(0, half))),
      secondHalf: Math.round(median(speeds.slice(half)))
    },
    backend: backend.backend,
    tensorflow: backend.tensorflow,
    problems
  })}\n`
)
process.exitCode = problems.length === 0 ? 0 : 1

/** Pages that are no file's, bytes: Linux tells. */
function ownBytes(): number | undefined {
  const status = '/proc/self/status'
  const kilobytes = existsSync(status) ? /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(status, 'utf8'))?.[1] : undefined
  return kilobytes === undefined ? undefined : 1024 * Number(kilobytes)
}

/** Linux tells all of them; elsewhere those are counted that keep the event loop alive. */
function openHandles(): number {
  return existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : process.getActiveResourcesInfo().length
}
