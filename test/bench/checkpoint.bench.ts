// How long a checkpoint holds up learning, how long it takes to write while learning goes on, and how long a start from
// it takes.
//
//     npm run bench -- checkpoint [--json] [--items N] [--dim D] [--steps S] [--rounds R]
//
// N items with a row, a full reservoir, B 256, L 50, ids by N^u. A whole checkpoint, then R of changes after S steps
// each; the start reads all of them. Beside each time stands the processor's of this process, which others on the
// machine do not stretch (but for what they do to caches).
//
// What should be possible: marking passes over a byte a row, 1 ms a million. A row of 64 numbers is 300 bytes with all:
// copied, hashed (1.6 GB/s) and written (a page cache takes 2 GB/s) in some 600 ns, .6 s a million; read twice, hashed
// and put into the dictionary in 1 µs, 1 s a million.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { configSchema } from '../../src/core/config/config.ts'
import { Rng } from '../../src/core/rng.ts'
import { loadBackend } from '../../src/model/backend.ts'
import type { Example } from '../../src/records/example.ts'
import type { Extent } from '../../src/train/batch/changedRows.ts'
import { CheckpointFiles } from '../../src/train/checkpoint/checkpointFiles.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean' },
    items: { type: 'string', default: '1000000' },
    dim: { type: 'string', default: '64' },
    steps: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '5' }
  }
})
const N = Number(flags.items)
const batchSize = 256
const historyMax = 50

const backend = await loadBackend()
const { model, train } = configSchema.parse({
  model: { dimensions: Number(flags.dim) },
  train: { negatives: 0, batchSize, itemsMax: 2 * N }
})
const makeTrainer = () => new IncrementalTrainer({ model, train, historyMax, seed: 1 })
const rng = new Rng(2)
let offset = 0n
const stepOf = (i: number) => ({
  itemId: `item-${Math.floor(N ** rng.uniform())}`,
  type: 'click',
  eventTimeMs: 1e12 + i * 1000
})
const nextBatch = () =>
  Array.from({ length: batchSize }, (): Example => {
    const history = Array.from({ length: historyMax }, (_, i) => stepOf(i))
    const source = { partition: 0, offset: offset++ }
    return { userId: `user-${rng.integer(1_000_000)}`, history, target: stepOf(historyMax), source, weight: 1 }
  })

interface Span {
  readonly ms: number
  readonly cpuMs: number
}

function spanOf(work: () => void): Span {
  const cpu = process.cpuUsage()
  const startedMs = performance.now()
  work()
  return since(startedMs, cpu)
}

function since(startedMs: number, cpu: NodeJS.CpuUsage): Span {
  const { user, system } = process.cpuUsage(cpu)
  return { ms: round(performance.now() - startedMs), cpuMs: round((user + system) / 1000) }
}

const round = (value: number) => Number(value.toFixed(1))
const median = (values: readonly number[]) =>
  round([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN)

/** Most memory that the process has had at one time; 0 where the system does not tell. */
function peakBytes(): number {
  try {
    return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}

const trainer = makeTrainer()
for (let i = 0; i < N; i++) trainer.items.observe(`item-${i}`, 1e12)
trainer.takeUpdates(false, 0)
const learn = () => spanOf(() => trainer.step(nextBatch(), new Map())).ms
for (let i = 0; i < Math.ceil(train.reservoirMax / batchSize) + 10; i++) learn()
trainer.takeUpdates(false, 0)

const directory = mkdtempSync(path.join(os.tmpdir(), 'mtmi-checkpoint-bench-'))
const store = new CheckpointFiles({ directory, keep: 1 })
let taken = 0

/** One checkpoint, with learning going on until it is written. */
async function take(extent: Extent) {
  const step = ++taken
  trainer.takeUpdates(false, 0) // as a stage does, to which what has not been sent would be lost
  let checkpoint = { header: {}, parts: [] } as ReturnType<IncrementalTrainer['beginCheckpoint']>
  const stall = spanOf(() => {
    checkpoint = trainer.beginCheckpoint(extent)
  })
  const startedMs = performance.now()
  let isWritten = false
  let waitingBlocks = 0
  const saving = store.save(step, checkpoint, extent === 'whole' ? {} : { since: step - 1 }).finally(() => {
    isWritten = true
  })
  const learnMs: number[] = []
  while (!isWritten) {
    learnMs.push(learn())
    waitingBlocks = Math.max(waitingBlocks, trainer.waitingBlocks)
    await nextTurn()
  }
  const { bytes } = await saving
  return {
    stall,
    writeMs: round(performance.now() - startedMs),
    stepsMeanwhile: learnMs.length,
    stepMs: median(learnMs),
    waitingBlocks,
    bytes
  }
}

try {
  const before = { rssBytes: process.memoryUsage().rss, stepMs: median(Array.from({ length: 20 }, learn)) }
  const whole = await take('whole')
  const changes: Awaited<ReturnType<typeof take>>[] = []
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (let i = 0; i < Number(flags.steps); i++) learn()
    changes.push(await take('changed'))
  }
  const peak = peakBytes()
  // Nobody learns meanwhile: what the writing itself costs.
  const alone = await (async () => {
    const cpu = process.cpuUsage()
    const startedMs = performance.now()
    await store.save(++taken, trainer.beginCheckpoint('whole'))
    return since(startedMs, cpu)
  })()
  for (let round = 0; round < 2; round++) {
    learn()
    await take('changed')
  }
  const cpu = process.cpuUsage()
  const startedMs = performance.now()
  const latest = await new CheckpointFiles({ directory, keep: 1 }).latest()
  const check = since(startedMs, cpu)
  const restored = makeTrainer()
  const restore = spanOf(() => restored.restore(latest!.checkpoint))
  const first = spanOf(() => restored.step(nextBatch(), new Map()))
  const result = {
    items: N,
    dim: Number(flags.dim),
    before,
    whole,
    changes: {
      stepsBetween: Number(flags.steps),
      stall: {
        ms: median(changes.map(({ stall }) => stall.ms)),
        cpuMs: median(changes.map(({ stall }) => stall.cpuMs)),
        mostMs: Math.max(...changes.map(({ stall }) => stall.ms))
      },
      writeMs: median(changes.map(({ writeMs }) => writeMs)),
      bytes: median(changes.map(({ bytes }) => bytes))
    },
    writeAlone: alone,
    peakBytes: peak,
    restart: {
      check,
      restore,
      first,
      ms: round(check.ms + restore.ms + first.ms),
      cpuMs: round(check.cpuMs + restore.cpuMs + first.cpuMs)
    },
    load: os.loadavg().map(round),
    backend: backend.backend,
    tensorflow: backend.tensorflow,
    cpu: os.cpus()[0]?.model,
    cores: os.availableParallelism(),
    node: process.version
  }
  process.stdout.write(`${JSON.stringify(result, undefined, flags.json ? undefined : 2)}\n`)
} finally {
  rmSync(directory, { recursive: true, force: true })
}
